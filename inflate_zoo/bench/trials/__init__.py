"""Trials from plan to record; imports training, scoring and below."""

"""Typed forms of what is on disk; imports nothing else of the ranking."""

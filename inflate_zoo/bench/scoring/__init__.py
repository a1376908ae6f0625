"""Scores of a trained network; imports data, arms, definitions."""

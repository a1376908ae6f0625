"""Drawings of scores and slices."""

"""Drawings of scores and slices; imports the results and output."""

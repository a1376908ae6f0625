"""Hiera; imports what lies beside it in networks."""

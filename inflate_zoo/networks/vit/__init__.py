"""The plain vision transformer; imports what lies beside it in networks."""

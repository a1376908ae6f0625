"""SAM 2's image encoder; imports what lies beside it in networks."""

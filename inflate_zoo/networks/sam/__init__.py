"""SAM's image encoder; imports what lies beside it in networks."""

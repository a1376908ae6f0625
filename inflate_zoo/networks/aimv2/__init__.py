"""AIMv2; imports what lies beside it in networks."""

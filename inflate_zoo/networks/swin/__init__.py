"""The Swin transformer; imports what lies beside it in networks."""

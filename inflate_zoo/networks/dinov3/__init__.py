"""DINOv3; imports what lies beside it in networks."""

"""nnU-Net v2 on a 3D backbone: its trainer, and what configures it; imports registry and below."""

"""3D networks, one file each."""

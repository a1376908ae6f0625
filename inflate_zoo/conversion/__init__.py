"""The main job: a 2D source becomes a proven 3D folder; imports inflation and below."""

"""3D backbones, a folder for each network; imports hub, files."""

"""From published volumes to prepared cases; imports definitions."""

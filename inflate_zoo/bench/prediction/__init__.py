"""Segmenting new images with a trained trial; imports trials and below."""

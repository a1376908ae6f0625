"""Decoders on any backbone, and parameter groups; imports networks and below."""

"""Training a network on prepared cases; imports data, arms, definitions."""

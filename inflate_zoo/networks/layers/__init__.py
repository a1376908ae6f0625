"""What networks are built of; imports `base` and `network` alone of the networks."""

"""Networks as other programs take them, each proved from its file; imports bench and below."""

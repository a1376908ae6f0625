"""What configs say: gated, read with types, and asked of timm; imports definition, patterns."""

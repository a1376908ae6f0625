"""What is shown of a ranking; imports ranking, data, arms, definitions."""

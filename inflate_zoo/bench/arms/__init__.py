"""What is compared, with its converted weights; imports definitions."""

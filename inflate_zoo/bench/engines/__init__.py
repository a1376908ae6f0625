"""What runs planned trials, and where; imports trials and below."""

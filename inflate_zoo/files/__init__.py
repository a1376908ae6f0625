"""Files on disk, read with suspicion and written whole; imports errors, texts, version."""

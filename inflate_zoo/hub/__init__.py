"""The Hugging Face Hub: addresses, download, upload, cards, faults; imports files."""

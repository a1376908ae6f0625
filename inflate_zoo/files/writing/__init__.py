"""Writing files and folders that are whole or absent; imports the rest of files."""

"""What the files of one network say, a module each; imports the rest of naming."""

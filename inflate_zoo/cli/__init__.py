"""The command line, a module for each command; imports everything, once it is needed."""

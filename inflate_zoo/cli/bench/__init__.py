"""The commands of the ranking; imports what cli shares."""

"""`python -m inflate_zoo`."""

from inflate_zoo.cli import main

main()

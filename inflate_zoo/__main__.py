"""What `inflate-zoo` and `python -m inflate_zoo` start."""

import os
import signal


def main() -> None:
    """Entry point: signals are answered before anything else is imported."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: os._exit(128 + number))
    from inflate_zoo.interrupts import program

    program(_command)


def _command() -> None:
    from inflate_zoo.cli.app import command_line

    command_line()


if __name__ == "__main__":
    main()

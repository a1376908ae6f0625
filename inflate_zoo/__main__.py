"""What `inflate-zoo` and `python -m inflate_zoo` start."""

import os
import signal
import sys


def main() -> None:
    """Entry point: signals are answered before anything else is imported."""
    if sys.argv[1:2] == ["bench-trial"] and hasattr(signal, "pthread_sigmask"):
        # What a scheduler sends waits until the command takes it as a request: see `stops`.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
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

"""What `inflate-zoo` and `python -m inflate_zoo` start."""

from typing import NoReturn

from inflate_zoo.interrupts import program


def main() -> NoReturn:
    """Entry point: signals are listened to before anything heavy is imported."""
    program(_command)


def _command() -> None:
    from inflate_zoo.cli import app

    app()


if __name__ == "__main__":
    main()

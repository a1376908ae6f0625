"""Whoever is told what happens: keeps the lines."""


class Said(list[str]):
    """Lines in order, and those of them that are urgent."""

    def __init__(self) -> None:
        super().__init__()
        self.urgent: list[str] = []

    def say(self, text: str, *, urgent: bool = False) -> None:
        """A `Say`."""
        self.append(text)
        if urgent:
            self.urgent.append(text)


def unsaid(text: str, *, urgent: bool = False) -> None:
    """A `Say` that keeps nothing."""

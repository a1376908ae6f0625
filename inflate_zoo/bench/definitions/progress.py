"""What long work tells whoever watches."""

from collections.abc import Callable
from typing import Protocol

StageProgress = Callable[[str, int, int], None]
"""Told the stage in words, how many are done, and how many there are."""


class Say(Protocol):
    """Told what happens."""

    def __call__(self, text: str, *, urgent: bool = False) -> None:
        """A line; an urgent one, a warning or a failure, is told to those who want quiet too."""

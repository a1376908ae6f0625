"""What a stage of many files tells whoever watches."""

from collections.abc import Callable

StageProgress = Callable[[str, int, int], None]
"""Told the stage in words, how many are done, and how many there are."""

"""Offsets between tokens of a grid, of which tables of relative positions have a row each."""

from typing import Final

CLS_ROWS: Final = 3  # from cls to a patch, from a patch to cls, from cls to itself


def offsets(grid: tuple[int, int]) -> tuple[int, int]:
    """Offsets (in height, in width) between the tokens of a grid (height, width)."""
    return 2 * grid[0] - 1, 2 * grid[1] - 1


def table_rows(grid: tuple[int, int]) -> int:
    """Rows of a table of a grid (height, width), those of a cls token included."""
    height, width = offsets(grid)
    return height * width + CLS_ROWS

"""Another patch for the stem's kernel: the pseudo-inverse of resizing, FlexiViT's PI-resize.

Resizing is linear: what was a patch x of the old size becomes B x. The kernel of the new size is
(B^T)^+ W: on B x it answers what W answers on x, as far as B keeps x (Beyer et al. 2023, arXiv
2212.08013, section 3.4). B is bicubic and antialiased, as for position tables. Dimensions: O out, I
in, H height, W width.
"""

from __future__ import annotations

import decimal
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Matrix = tuple[tuple[decimal.Decimal, ...], ...]
_DIGITS = 50
_REACH = 2  # taps of the cubic to each side, in pixels of the coarser grid


def resize_patch(kernel_oihw: Tensor, patch: tuple[int, int]) -> Tensor:
    """Resize a stem's kernel by the pseudo-inverse of resizing images, each axis by itself.

    Sums run in one order, elementwise: the same bits on every machine.

    Args:
        kernel_oihw: 2D kernel, shape (O, I, H, W), float64.
        patch: New height and width, in pixels.

    Returns:
        Shape (O, I, *patch); the kernel itself where that is its size.
    """
    for axis, size in ((2, patch[0]), (3, patch[1])):
        if kernel_oihw.shape[axis] != size:
            kernel_oihw = _along(kernel_oihw, axis, size)
    return kernel_oihw


def _along(kernel: Tensor, axis: int, new: int) -> Tensor:
    inverse_no = kernel.new_tensor(pseudo_inverse(kernel.shape[axis], new))
    columns = kernel.movedim(axis, 0).unsqueeze(-1)
    total = columns[0] * inverse_no[:, 0]
    for column, weights_n in zip(columns[1:], inverse_no.unbind(1)[1:], strict=True):
        total += column * weights_n
    return total.movedim(-1, axis)


@cache
def pseudo_inverse(old: int, new: int) -> tuple[tuple[float, ...], ...]:
    """(B^T)^+ for the matrix B that resizes `old` pixels to `new` ones, shape (new, old).

    In decimals, which are rounded alike on every machine; B has full rank.
    """
    with decimal.localcontext(decimal.Context(prec=_DIGITS)):
        rows = _resizing(old, new)
        columns = _transposed(rows)
        # B (B^T B)^-1 where B has as many rows as columns or more, else (B B^T)^-1 B.
        if new >= old:
            found = _transposed(_solved(_products(columns, columns), columns))
        else:
            found = _solved(_products(rows, rows), rows)
        return tuple(tuple(float(value) for value in row) for row in found)


def _resizing(old: int, new: int) -> Matrix:
    """B: the weights of `old` pixels in each of `new` ones, a row each, that sum to 1."""
    scale = max(decimal.Decimal(old) / new, decimal.Decimal(1))
    rows = []
    for index in range(new):
        middle = decimal.Decimal((2 * index + 1) * old) / (2 * new)
        taps = [_cubic((decimal.Decimal(2 * n + 1) / 2 - middle) / scale) for n in range(old)]
        whole = sum(taps, decimal.Decimal())
        rows.append(tuple(tap / whole for tap in taps))
    return tuple(rows)


def _cubic(place: decimal.Decimal) -> decimal.Decimal:
    """Keys' cubic with a = -1/2, as antialiased resizing has it."""
    x = abs(place)
    if x >= _REACH:
        return decimal.Decimal()
    near = ((3 * x - 5) * x * x + 2) / 2
    far = (((5 - x) * x - 8) * x + 4) / 2
    return near if x < 1 else far


def _transposed(rows: Matrix) -> Matrix:
    return tuple(zip(*rows, strict=True))


def _products(left: Matrix, right: Matrix) -> Matrix:
    """Each row of the one times each of the other."""
    zero = decimal.Decimal()
    return tuple(
        tuple(sum((a * b for a, b in zip(row, other, strict=True) if a), zero) for other in right)
        for row in left
    )


def _solved(square: Matrix, right: Matrix) -> Matrix:
    """X of `square` X = `right`, by elimination: no pivots, as it is positive definite."""
    count = len(square)
    rows = [[*left, *more] for left, more in zip(square, right, strict=True)]
    for index, pivot in enumerate(rows):
        inverse = 1 / pivot[index]
        pivot[index:] = [value * inverse for value in pivot[index:]]
        for other in rows:
            if other is not pivot and (factor := other[index]):
                pairs = zip(other[index:], pivot[index:], strict=True)
                other[index:] = [a - factor * b if b else a for a, b in pairs]
    return tuple(tuple(row[count:]) for row in rows)

"""The stem's input channels: other channel counts, and the input normalisation folded in.

Sums run in float64 as trees of elementwise additions, so that their result does not depend on the
machine's vector width or thread count. Dimensions: O out, I in, D depth, H height, W width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def tree_sum(values: Tensor) -> Tensor:
    """Sum over the last dimension by pairwise halving: the same bits on every machine.

    Args:
        values: Shape (..., N), N at least 1.

    Returns:
        Shape (...).
    """
    while (count := values.shape[-1]) > 1:
        half = count // 2
        paired = values[..., :half] + values[..., half : 2 * half]
        if count % 2:
            paired[..., 0] += values[..., -1]
        values = paired
    return values[..., 0]


def to_channels(kernel: Tensor, channels: int) -> Tensor:
    """Adapt a kernel to another number of input channels.

    The same number stays as it is. Otherwise every new channel gets the sum over the old ones
    divided by the new number: exact for an image whose channels are all equal.

    Args:
        kernel: Shape (O, I, ...).
        channels: New number of input channels N, at least 1.

    Returns:
        Shape (O, N, ...).
    """
    if kernel.shape[1] == channels:
        return kernel
    summed = tree_sum(kernel.movedim(1, -1)).unsqueeze(1) / channels
    return summed.repeat(1, channels, *(1 for _ in kernel.shape[2:]))


def fold_scale(kernel_oidhw: Tensor, std: Sequence[float]) -> Tensor:
    """Divide a kernel by each input channel's standard deviation: W' = W / std.

    Args:
        kernel_oidhw: Inflated kernel, shape (O, I, D, H, W), float64.
        std: One value per input channel, in intensities of [0, 1].

    Returns:
        Shape (O, I, D, H, W).
    """
    return kernel_oidhw / kernel_oidhw.new_tensor(std).view(1, kernel_oidhw.shape[1], 1, 1, 1)


def fold_shift(folded_oidhw: Tensor, bias: Tensor | None, mean: Sequence[float]) -> Tensor:
    """The bias that completes a folded kernel: b' = b - sum of W' * mean.

    Args:
        folded_oidhw: Kernel from `fold_scale`, before its channels are summed.
        bias: The stem's bias, shape (O,), or `None` for a stem without one.
        mean: One value per input channel, in intensities of [0, 1].

    Returns:
        Shape (O,), float64.
    """
    per_channel = tree_sum(folded_oidhw.flatten(2))
    shift = tree_sum(per_channel * per_channel.new_tensor(mean).view(per_channel.shape[1]))
    return -shift if bias is None else bias.to(shift.dtype) - shift


def fold_shift_by_place(folded_oidhw: Tensor, mean: Sequence[float]) -> Tensor:
    """What a folded kernel that reaches beyond its volume takes: the sum of W' * mean, by place.

    Where zeros pad a normalised image, the mean is to be taken from what a kernel sees of the image
    alone: from each of its places in the plane by itself.

    Args:
        folded_oidhw: Kernel from `fold_scale`, before its channels are summed.
        mean: One value per input channel, in intensities of [0, 1].

    Returns:
        Shape (O, H, W), float64.
    """
    factors = folded_oidhw.new_tensor(mean).view(1, folded_oidhw.shape[1], 1, 1, 1)
    return tree_sum((folded_oidhw * factors).flatten(1, 2).movedim(1, -1))

"""Floating-point operations of a network on one window."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inflate_zoo.segmentation.segmenter import Segmenter


def count_flops(call: Callable[[Any], Any], network: Any, shape: tuple[int, ...]) -> int:
    """Floating-point operations on one window, as torch counts them: two per multiply-add."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network.eval()
    device = next(network.parameters()).device
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call(torch.zeros(1, *shape, device=device))
    return int(counter.get_total_flops())


def encoder_flops(network: Segmenter, shape: tuple[int, ...]) -> int:
    """Floating-point operations of the backbone on one window, counted as Zhang et al. (2022) do.

    Theirs are those of torchprofile: five per value of a layer norm beside the products.

    Args:
        network: The segmenter.
        shape: Of a window, [channels, depth, height, width].
    """
    from torch import nn

    values = 0

    def count(_module: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal values
        values += output.numel()

    norms = [part for part in network.backbone.modules() if isinstance(part, nn.LayerNorm)]
    hooks = [norm.register_forward_hook(count) for norm in norms]
    try:
        return count_flops(network.encode, network, shape) + 5 * values
    finally:
        for hook in hooks:
            hook.remove()

"""Networks of residual blocks, whatever runs them: stochastic depth and recomputed blocks.

Dimensions: B batch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from inflate_zoo.networks.base import BackboneConfig, Triple
from inflate_zoo.networks.layers.parts import PatchEmbed
from inflate_zoo.networks.network import Network3D


def advice(x: Tensor, channels: int, size: str) -> str:
    """What to do about volumes that a network does not take.

    Args:
        x: The volumes.
        channels: Those of the network.
        size: What to do where the size alone is another.
    """
    if x.ndim != 5:
        return "give all five dimensions: x[None] makes a batch of one volume"
    if x.shape[1] != channels:
        return f"channels are set when weights are converted: --channels {x.shape[1]}"
    return size


def require_tensor(x: object) -> None:
    """Raise for arrays, which have shapes and devices, too."""
    if not isinstance(x, Tensor):
        kind = type(x).__name__
        raise TypeError(f"expected a tensor, got {kind}; make it one: torch.as_tensor(x)")


class ResidualBlock(nn.Module):
    """A block of two residual branches, either of which a sample may drop while training."""

    def __init__(self) -> None:
        super().__init__()
        self.drop_path = 0.0
        # Uniform draws (2 branches, B) of whoever wants them reproducible; `None` draws anew.
        self.drop_draws: Tensor | None = None

    def _drop(self, branch: Tensor, which: int) -> Tensor:
        # Stochastic depth (Huang et al. 2016): whole samples of a branch, rescaled.
        if not self.training or self.drop_path == 0.0:
            return branch
        keep = 1.0 - self.drop_path
        draws = self.drop_draws
        rows = torch.rand(len(branch), device=branch.device) if draws is None else draws[which]
        kept = (rows < keep).to(branch.device, branch.dtype)
        return branch * (kept.view(-1, 1, 1) / keep)


class ResidualNetwork(Network3D):
    """A backbone whose blocks are residual ones, behind a stem."""

    patch_embed: PatchEmbed

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        self.grad_checkpointing = False

    @abstractmethod
    def _blocks(self) -> Sequence[ResidualBlock]:
        """All blocks, in the order of the forward pass."""

    def _grid_of(self, x: Tensor) -> Triple:
        """Grid (depth, height, width) of the final tokens of volumes.

        Raises:
            TypeError: They are no tensor.
            ValueError: They are of another size than the network takes, of another type than its
                weights, or elsewhere.
        """
        config = self.config
        self._require_kin(x)
        fits = x.ndim == 5 and x.shape[1] == config.in_channels
        if fits and tuple(x.shape[2:]) == config.volume:
            return self.grid_size
        stride = config.levels[-1].stride
        sides = list(zip(x.shape[2:], stride, strict=False))
        if self.dynamic_img_size and fits and all(n and n % step == 0 for n, step in sides):
            depth, height, width = (n // step for n, step in sides)
            return depth, height, width
        if self.dynamic_img_size:
            steps = "multiples of " + " x ".join(map(str, stride))
            expected, size = f"batch, {config.in_channels}, {steps}", "pad or crop it"
        else:
            expected = ", ".join(map(str, ("batch", config.in_channels, *config.volume)))
            size = "load(..., volume=...) or set_input_size prepares the backbone for another size"
        help_ = advice(x, config.in_channels, size)
        raise ValueError(f"expected a volume [{expected}], got {list(x.shape)}; {help_}")

    def _require_kin(self, x: Tensor) -> None:
        """Raise for volumes that are not of the weights' type, unless autocast sees to it."""
        require_tensor(x)
        like = self.patch_embed.weight
        if x.device != like.device:
            raise ValueError(
                f"the volume is on {x.device}, the weights on {like.device}; "
                f"move it: x.to('{like.device}')"
            )
        if x.dtype == like.dtype or (
            x.is_floating_point() and torch.is_autocast_enabled(x.device.type)
        ):
            return
        kind = str(like.dtype).removeprefix("torch.")
        raise ValueError(
            f"the volume is {str(x.dtype).removeprefix('torch.')}, the weights are {kind}; "
            f"convert it: x.to(torch.{kind}), or run under torch.autocast"
        )

    def _run(self, block: nn.Module, x: Tensor, beside: tuple[Any, ...] = ()) -> Tensor:
        if self.grad_checkpointing and self.training:
            return checkpoint(block, x, *beside, use_reentrant=False)  # type: ignore[no-any-return]
        return block(x, *beside)  # type: ignore[no-any-return]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass: less memory, about a third more time."""
        self.grad_checkpointing = enable

    def set_drop_path(self, rate: float) -> None:
        """Stochastic depth while training, growing linearly from 0 to `rate` over the blocks.

        Args:
            rate: Probability, at least 0 and below 1, of dropping a branch of the last block.

        Raises:
            ValueError: `rate` is out of range.
        """
        if not 0 <= rate < 1:
            raise ValueError(f"drop path rate {rate} is not in [0, 1)")
        blocks = self._blocks()
        for index, block in enumerate(blocks):
            block.drop_path = rate * index / max(1, len(blocks) - 1)

    @property
    def drop_shape(self) -> tuple[int, ...]:
        """Two branches of each block, where any is dropped."""
        rates = [block.drop_path for block in self._blocks()]
        return (len(rates), 2) if any(rates) else ()

    def fix_drops(self, draws: Tensor) -> None:
        """Decide what the next passes drop; draws of shape (blocks, 2 branches, B)."""
        for block, rows in zip(self._blocks(), draws, strict=True):
            block.drop_draws = rows

"""What belongs to a step: its learning rate, its windows, what it drops, what it runs.

All follows from the step's number, the protocol and the trial's seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from inflate_zoo.bench.definitions.protocols import Train
from inflate_zoo.bench.training.seeding import derive_seed
from inflate_zoo.segmentation.network import SegmentationNetwork
from inflate_zoo.segmentation.segmenter import Segmenter
from inflate_zoo.segmentation.upernet import UpernetDecoder


def learning_rate_factor(step: int, settings: Train) -> float:
    """Factor on the peak learning rate at a step from 0: linear warm-up, then down to zero."""
    warmup = round(settings.warmup_ratio * settings.steps)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, settings.steps - warmup)
    return (1 + math.cos(math.pi * done)) / 2 if settings.schedule == "cosine" else 1 - done


class GroupSampler:
    """Numbers of the windows of each Dice group that one process trains on, step by step.

    Args:
        settings: The protocol's.
        start: First step.
        rank: This process's number.
        processes: How many share the groups of a step.
    """

    def __init__(self, settings: Train, start: int, rank: int, processes: int) -> None:
        self._settings, self._start = settings, start
        self._mine = range(rank, settings.batch // settings.dice_group, processes)

    @property
    def per_step(self) -> int:
        """Groups of a step."""
        return len(self._mine)

    def of(self, step: int) -> list[list[int]]:
        """The groups of one step."""
        size, first = self._settings.dice_group, step * self._settings.batch
        return [list(range(at, at + size)) for at in (first + size * g for g in self._mine)]

    def __iter__(self) -> Iterator[list[int]]:
        """The groups of all steps to come."""
        for step in range(self._start, self._settings.steps):
            yield from self.of(step)


class Drops:
    """What is dropped of which windows, whatever shares their micro-batch.

    Branches of the backbone's blocks, and channels of a decoder that drops some. The draws stay in
    the same memory as long as the number of windows does.

    Args:
        network: The network.
        seed: The trial's seed.
        copies: Rows of the backbone's batch per window: its slices, or 1.
    """

    def __init__(self, network: SegmentationNetwork, seed: int, copies: int) -> None:
        self._network, self._seed, self._copies = network, seed, copies
        self._held: dict[str, Tensor] = {}

    def fix(self, windows: Sequence[int]) -> None:
        """Decide it for the windows of these numbers, in the order in which they come."""
        backbone, decoder = self._network.backbone, self._network.decoder
        if shape := backbone.drop_shape:
            drawn = self._drawn("drop path", windows, len(shape), *shape, self._copies)
            backbone.fix_drops(drawn)
        if isinstance(decoder, UpernetDecoder):
            channels = decoder.head.in_channels
            decoder.drop_draws = self._drawn("dropout", windows, 0, self._copies, channels)

    def _drawn(self, what: str, windows: Sequence[int], axis: int, *shape: int) -> Tensor:
        """Uniform draws of each window, joined along `axis`, on the network's device."""
        seeds = (derive_seed(self._seed, what, window) for window in windows)
        parts = [torch.rand(*shape, generator=torch.Generator().manual_seed(s)) for s in seeds]
        drawn = torch.cat(parts, axis)
        held = self._held.get(what)
        if held is None or held.shape != drawn.shape:
            device = next(self._network.parameters()).device
            self._held[what] = held = torch.empty_like(drawn, device=device)
        # One copy, and not one in every block; from pinned memory nobody waits for it.
        on_gpu = held.device.type == "cuda"
        return held.copy_(drawn.pin_memory() if on_gpu else drawn, non_blocking=on_gpu)


class TrainingModule(nn.Module):
    """What the optimiser sees in one forward pass: the whole network, or its decoder alone."""

    def __init__(self, network: Segmenter, frozen: bool) -> None:
        super().__init__()
        self.network, self.frozen = network, frozen

    def forward(self, inputs: Tensor, depth: int) -> Tensor:
        """Logits of volumes [B, C, D, H, W], or of kept features [B, slices, E, ...]."""
        if self.frozen:
            return self.network.decode([inputs.flatten(0, 1)], None, depth)
        logits: Tensor = self.network(inputs)
        return logits

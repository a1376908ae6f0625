"""A network as one function of a volume, with names for its results and axes, and its capture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from inflate_zoo.errors import UsageError, out_of_memory
from inflate_zoo.exporting.record import Tensor
from inflate_zoo.files.foreign import parsing, reason_of
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.segmentation.segmenter import Segmenter

INPUT = "volume"
_PLACES = ("channels", "depth", "height", "width")
_TRACED = 2  # volumes at a time while a graph of any number is captured; 1 would be taken for fixed


@dataclass(frozen=True, slots=True)
class Graph:
    """What is captured.

    Attributes:
        module: Takes a volume, gives a tuple of tensors.
        inputs: What it takes.
        outputs: What it gives.
        tried: Shapes of the volumes that a proof tries; others than the captured one where any
            number is taken.
        captured: Shape of the volume that is traced.
    """

    module: nn.Module
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    tried: tuple[tuple[int, ...], ...]
    captured: tuple[int, ...]

    @property
    def dynamic(self) -> dict[int, str]:
        """Axes of the input that may have any length, by their place."""
        shape = self.inputs[0].shape
        return {place: side for place, side in enumerate(shape) if isinstance(side, str)}


class BackboneOutputs(nn.Module):
    """A backbone's tokens, and one vector of them."""

    def __init__(self, network: Backbone) -> None:
        super().__init__()
        self.network = network

    def forward(self, volume: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, C, D, H, W) to (B, prefix + tokens, E) and (B, E)."""
        tokens = self.network.forward_features(volume)
        return tokens, self.network.forward_head(tokens, pre_logits=True)


class SegmenterOutputs(nn.Module):
    """A segmenter's logits."""

    def __init__(self, network: Segmenter) -> None:
        super().__init__()
        self.network = network

    def forward(self, volume: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, C, D, H, W) to (B, K, D, H, W)."""
        return (self.network(volume),)


def graph_of(network: Backbone | Segmenter, batch: int | None) -> Graph:
    """What of a network is captured.

    Args:
        network: In evaluation.
        batch: Volumes at a time; `None` for any number.
    """
    first: int | str = "batch" if batch is None else batch
    if isinstance(network, Segmenter):
        return _of_segmenter(network, first)
    sides = (network.config.in_channels, *network.config.volume)
    tokens, width = network.num_prefix_tokens + prod(network.grid_size), network.embed_dim
    outputs = (
        Tensor(name="tokens", axes=("batch", "token", "width"), shape=(first, tokens, width)),
        Tensor(name="pooled", axes=("batch", "width"), shape=(first, width)),
    )
    return _graph(BackboneOutputs(network), first, sides, outputs)


def _of_segmenter(network: Segmenter, first: int | str) -> Graph:
    channels = network.config.backbone.in_channels
    depth, height, width = network.volume
    # What sees each slice alone takes any number of them.
    deep: int | str = "depth" if network.slice_wise else depth
    shown = 1 if network.centre_slice else deep
    outputs = (
        Tensor(
            name="logits",
            axes=("batch", "class", *_PLACES[1:]),
            shape=(first, network.classes, shown, height, width),
        ),
    )
    return _graph(SegmenterOutputs(network), first, (channels, deep, height, width), outputs, depth)


def _graph(
    module: nn.Module,
    batch: int | str,
    sides: Sequence[int | str],
    outputs: tuple[Tensor, ...],
    depth: int = 1,
) -> Graph:
    shape = (batch, *sides)
    given = Tensor(name=INPUT, axes=("batch", *_PLACES), shape=shape)

    def filled(count: int, deep: int) -> tuple[int, ...]:
        names = {"batch": count, "depth": deep}
        return tuple(names[side] if isinstance(side, str) else side for side in shape)

    captured = filled(_TRACED, max(2, depth))
    tried = dict.fromkeys((filled(1, depth), filled(_TRACED + 1, max(2, depth) + 1)))
    return Graph(module.eval(), (given,), outputs, tuple(tried), captured)


def capture(graph: Graph) -> ExportedProgram:
    """The graph as torch's own program.

    Raises:
        UsageError: Torch cannot capture it.
    """
    example = torch.rand(graph.captured)
    dims = {place: Dim(name, min=1) for place, name in graph.dynamic.items()}
    with torch.no_grad(), parsing(_uncaptured):
        return torch.export.export(
            graph.module, (example,), dynamic_shapes=(dims,) if dims else None
        )


def _uncaptured(error: Exception) -> Exception:
    if out_of_memory(error):
        return error
    return UsageError(
        f"torch.export cannot capture the network: {reason_of(error)}",
        hint="please report it with the version of torch; --batch 1 may do",
    )

"""A training step as CUDA graphs: one launch instead of thousands.

A step of a small batch is limited by how fast a processor launches kernels, not by how fast a GPU
runs them. A graph runs the same kernels on the same memory each time: what goes in is copied there,
gradients stay where they are, and learning rates are tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from inflate_zoo.networks.layers.constants import holding

_WARM_UPS = 3  # libraries choose and allocate in the first calls, which no graph may hold


def can_be_graphed(device: torch.device, processes: int) -> bool:
    """Whether a step is one graph: processes that share a trial meet in the middle of it."""
    return device.type == "cuda" and processes == 1


class Graph:
    """A function as one CUDA graph.

    Args:
        run: Runs the same kernels at every call and looks at no number of the device. It runs a
            few times before the graph is made.
        inputs: What it takes: tensors on the device, of the shapes of all calls to come.
        changed: What a run changes and the next one needs, e.g. averages of norms: as before once
            the graph is made.

    Raises:
        torch.OutOfMemoryError: The graph has memory of its own, and there is too little.
    """

    def __init__(
        self, run: Callable[..., Tensor], *inputs: Tensor, changed: Sequence[Tensor] = ()
    ) -> None:
        self._inputs = [tensor.clone() for tensor in inputs]
        before = [tensor.clone() for tensor in changed]
        # Not on the stream of everything else: a graph may wait for nothing outside of it.
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                run(*self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with (
            holding() as self._constants,
            torch.cuda.graph(self._graph, stream=side, capture_error_mode="thread_local"),
        ):
            self._output = run(*self._inputs)
        for tensor, value in zip(changed, before, strict=True):
            tensor.copy_(value)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """What `run` gives for these inputs; overwritten by the next call."""
        for kept, tensor in zip(self._inputs, inputs, strict=True):
            kept.copy_(tensor)
        self._graph.replay()
        return self._output


class GraphedUpdate:
    """Steps of an optimiser as a graph after the first, for gradients that stay where they are.

    It reads them where they were when it was made, whatever a parameter's `grad` is by then: it may
    live no longer than the graph that writes them there.

    Args:
        optimizer: Its groups' learning rates are tensors on the device; `capturable`.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stepped = False

    def step(self) -> None:
        """Change the weights."""
        if not self._stepped:  # the first one makes the moments
            self._optimizer.step()
            self._stepped = True
            return
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(
                self._graph, capture_error_mode="thread_local"
            ):  # what is captured does not run yet
                self._optimizer.step()
        self._graph.replay()

"""One optimiser step: gradients of its groups, as many at once as memory holds, and the update."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from inflate_zoo.bench.definitions.trials import TrialSpec, window_of
from inflate_zoo.bench.training.checkpointing import State
from inflate_zoo.bench.training.graphs import Graph, GraphedUpdate, can_be_graphed
from inflate_zoo.bench.training.losses import GroupLoss
from inflate_zoo.bench.training.sampling import Group
from inflate_zoo.bench.training.stepping import Drops, TrainingModule, learning_rate_factor
from inflate_zoo.errors import NotFiniteError, out_of_memory
from inflate_zoo.segmentation.optimization import param_groups
from inflate_zoo.segmentation.segmenter import Segmenter

if TYPE_CHECKING:
    from accelerate import Accelerator


class Stepper:
    """Changes a network's weights, step by step.

    Args:
        spec: The trial.
        network: Its network.
        accelerator: Device, precision, processes.
        compiled: Whether torch compiles the network.
    """

    def __init__(
        self, spec: TrialSpec, network: Segmenter, accelerator: Accelerator, *, compiled: bool
    ) -> None:
        self._network, self._accelerator = network, accelerator
        self._settings, self._freeze = spec.protocol.train, spec.protocol.network.freeze
        settings = self._settings
        groups = param_groups(
            network,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            layer_decay=settings.layer_decay,
            decay_norms=settings.decay_norms,
        )
        device = accelerator.device
        self._graphed = can_be_graphed(device, accelerator.num_processes)
        self._peaks = torch.tensor([group["lr"] for group in groups], dtype=torch.float64)
        self._rates: Tensor | None = None
        if self._graphed:  # a graph would hold a number as it is now
            self._peaks = self._peaks.to(device)
            self._rates = self._peaks.float()
            groups = [{**g, "lr": r} for g, r in zip(groups, self._rates.unbind(), strict=True)]
        self.optimizer = torch.optim.AdamW(
            groups, fused=device.type == "cuda", capturable=self._graphed
        )
        # Together or not at all: the second reads gradients where the first writes them.
        self._graph: Graph | None = None
        self._update: GraphedUpdate | None = None
        slices = window_of(spec)[0] if spec.arm.kind == "2d" else 1
        self._drops = Drops(network, spec.seed, slices)
        self._loss = GroupLoss(spec.protocol.loss).to(device)
        body = TrainingModule(network, self._freeze)
        if compiled:
            # It keeps eight forms of networks, and then compiles no more without a word.
            torch.compiler.reset()
            body.compile(dynamic=False)
        self._body = accelerator.prepare_model(body)

    @property
    def holds_graphs(self) -> bool:
        """Whether there is memory that `forget_graphs` gives back."""
        return self._graph is not None

    def forget_graphs(self) -> None:
        """Give back the memory of the graphs, and of the gradients in it; the next step has it."""
        self._graph = self._update = None
        self.optimizer.zero_grad()
        torch.cuda.empty_cache()

    def step(self, state: State, batch: list[Group], numbers: list[list[int]]) -> float:
        """One optimiser step on this process's groups; the loss of the whole batch.

        Args:
            state: Says which step; is told how many groups fit at once.
            batch: The groups.
            numbers: Numbers of their windows.

        Raises:
            NotFiniteError: The loss or the gradients are no number; the weights are as they were.
        """
        world = self._accelerator
        self._set_learning_rates(state.step)
        # A CPU has no allocator that says so before the system kills, and one group is as fast.
        single = world.device.type == "cpu" or world.num_processes > 1
        state.groups_at_once = state.groups_at_once or (1 if single else len(batch))
        self._network.train()
        if self._freeze:
            self._network.backbone.eval()
        while (found := self._attempt(batch, numbers, state.groups_at_once)) is None:
            # Not where the error is caught: until then it holds what did not fit.
            self.forget_graphs()
            state.groups_at_once //= 2
        # Together: each look at a number of the device waits for it.
        loss, size = (float(value) for value in found.tolist())
        if not (math.isfinite(loss) and math.isfinite(size)):
            raise NotFiniteError(state.step, sorted({c for group in batch for c in group.cases}))
        (self._update or self.optimizer).step()
        return loss

    def _set_learning_rates(self, step: int) -> None:
        factor = learning_rate_factor(step, self._settings)
        if self._rates is not None:  # nothing from the host, which would wait
            self._rates.copy_(self._peaks * factor)
            return
        for group, peak in zip(self.optimizer.param_groups, self._peaks.tolist(), strict=True):
            group["lr"] = peak * factor

    def _attempt(self, batch: list[Group], numbers: list[list[int]], at_once: int) -> Tensor | None:
        """Loss and size of the gradients, or `None` where memory does not hold so many groups."""
        try:
            return self._gradients(batch, numbers, at_once)
        except Exception as error:
            if at_once == 1 or not out_of_memory(error):
                raise
            return None

    def _gradients(self, batch: list[Group], numbers: list[list[int]], at_once: int) -> Tensor:
        """Gradients of the mean loss over all groups of the step, clipped; [loss, their size]."""
        if self._graphed and at_once >= len(batch):
            inputs = self._moved(batch, numbers)
            if self._graph is None:
                changed = list(self._network.buffers())
                self._graph = Graph(self._whole_step, *inputs, changed=changed)
                self._update = GraphedUpdate(self.optimizer)
            return self._graph(*inputs)
        self.optimizer.zero_grad()
        total = torch.zeros((), device=self._accelerator.device)
        for first in range(0, len(batch), at_once):
            inputs = self._moved(batch[first : first + at_once], numbers[first : first + at_once])
            # Processes average their gradients, once, in the last backward pass.
            last = first + at_once >= len(batch)
            with nullcontext() if last else self._accelerator.no_sync(self._body):
                total += self._backward(*inputs)
        return torch.stack([self._accelerator.reduce(total, "sum"), self._clipped()])

    def _whole_step(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """`_gradients` of one micro-batch that is the whole step."""
        self.optimizer.zero_grad()
        loss = self._backward(inputs, labels)
        return torch.stack([loss, self._clipped()])

    def _moved(self, groups: list[Group], numbers: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Inputs and labels of a micro-batch on the device; what it drops is decided."""
        device = self._accelerator.device
        pinned = device.type == "cuda"  # other copies must be waited for
        inputs, labels = (
            torch.cat([part.to(device, non_blocking=pinned) for part in parts])
            for parts in ([g.images for g in groups], [g.labels for g in groups])
        )
        if not self._freeze:
            self._drops.fix([number for group in numbers for number in group])
        return inputs, labels

    def _backward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Add the gradients of a micro-batch; its part of the loss."""
        settings, world = self._settings, self._accelerator
        labels = labels.long()
        with world.autocast():
            logits = self._body(inputs, labels.shape[1]).float()
        parts = zip(
            torch.split(logits, settings.dice_group),
            torch.split(labels, settings.dice_group),
            strict=True,
        )
        count = settings.batch // settings.dice_group
        loss = torch.stack([self._loss(*part) for part in parts]).sum() / count
        world.backward(loss * world.num_processes)
        return loss.detach()

    def _clipped(self) -> Tensor:
        """Clip the gradients; their size before."""
        found = [p for p in self._network.parameters() if p.grad is not None]
        return nn.utils.clip_grad_norm_(found, self._settings.clip)

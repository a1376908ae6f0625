"""What a killed training goes on from: one file, whole or absent."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from inflate_zoo.bench.atomic import replace_tensors

CHECKPOINT, BEST = "checkpoint.safetensors", "best.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass
class State:
    """What a checkpoint knows besides tensors.

    Attributes:
        step: Steps done.
        loss: Step and mean loss since the entry before.
        validation_dice: Step and mean Dice on the inner validation cases.
        recent: Losses since the last entry of `loss`.
        best: Step of the best validation so far; `None` before the first.
        groups_at_once: Groups in a micro-batch; 0 until the first step.
        seconds: Spent training, in all attempts.
        waiting: Of these, waiting for data.
        pausing: Of these, in validations and checkpoints.
    """

    step: int = 0
    loss: list[tuple[int, float]] = field(default_factory=list)
    validation_dice: list[tuple[int, float]] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)
    best: int | None = None
    groups_at_once: int = 0
    seconds: float = 0.0
    waiting: float = 0.0
    pausing: float = 0.0


def save_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.AdamW, state: State
) -> None:
    """Write trained weights, the optimiser's moments and the state, atomically.

    What is frozen follows from the trial and is left out.

    Raises:
        WriteError: It cannot be written.
    """
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    state_dict = network.state_dict()
    tensors = {f"network.{name}": state_dict[name] for name in state_dict.keys() - frozen}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
    replace_tensors(path, tensors, json.dumps(asdict(state)))


def load_checkpoint(path: Path, network: nn.Module, optimizer: torch.optim.AdamW) -> State:
    """Put weights and moments back; returns the state."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        state = State(**json.loads(file.metadata()["state"]))
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    weights = {n.removeprefix("network."): t for n, t in found.items() if n.startswith("network.")}
    network.load_state_dict(weights, strict=False)  # the frozen ones stay as they were built
    fused = bool(optimizer.defaults["fused"])  # such a one counts its steps on the device
    for name, parameter in network.named_parameters():
        if f"optimizer.step.{name}" in found:
            moments = {key: found[f"optimizer.{key}.{name}"] for key in _MOMENTS}
            optimizer.state[parameter] = {
                key: value if key == "step" and not fused else value.to(parameter.device)
                for key, value in moments.items()
            }
    return state

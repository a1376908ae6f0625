"""What a killed training goes on from: one file, whole or absent."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, FiniteFloat, TypeAdapter
from torch import Tensor, nn

from inflate_zoo.errors import CheckpointError, UsageError
from inflate_zoo.files.budgets import MOST_STEPS
from inflate_zoo.files.foreign import json_value, parsing, reason_of
from inflate_zoo.files.header import read_header
from inflate_zoo.files.reading import reading
from inflate_zoo.files.writing.contents import replace_tensors

CHECKPOINT, BEST = "checkpoint.safetensors", "best.safetensors"
ASIDE = "unreadable-"  # put before their names
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
Steps = Annotated[int, Field(ge=0, le=MOST_STEPS)]


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
        trial: Hash of the trial; empty in checkpoints of release 0.2.
        threads: Of torch, on a CPU; 0 elsewhere, and where nobody noted it.
        unjudged: Whether the validation that may be due after this step is still to come.
    """

    step: Steps = 0
    loss: list[tuple[Steps, FiniteFloat]] = field(default_factory=list)
    validation_dice: list[tuple[Steps, FiniteFloat]] = field(default_factory=list)
    recent: list[FiniteFloat] = field(default_factory=list)
    best: Steps | None = None
    groups_at_once: Steps = 0
    seconds: FiniteFloat = 0.0
    waiting: FiniteFloat = 0.0
    pausing: FiniteFloat = 0.0
    trial: str = ""
    threads: Steps = 0
    unjudged: bool = False


_STATE = TypeAdapter(State)


def save_checkpoint(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.AdamW,
    state: State,
    guard: Callable[[], None] = lambda: None,
) -> None:
    """Write trained weights, the optimiser's moments and the state, atomically.

    What is frozen follows from the trial and is left out. `guard` may raise before the file takes
    its place: to write it may take long.

    Raises:
        WriteError: It cannot be written.
    """
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    state_dict = network.state_dict()
    tensors = {f"network.{name}": state_dict[name] for name in state_dict.keys() - frozen}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
    _write(path, tensors, state, guard)


def save_best(
    path: Path, network: nn.Module, state: State, guard: Callable[[], None] = lambda: None
) -> None:
    """Write the weights of now, the best so far, atomically; `guard` as of `save_checkpoint`.

    Raises:
        WriteError: They cannot be written.
    """
    _write(path, network.state_dict(), State(state.step, trial=state.trial), guard)


def _write(
    path: Path, tensors: Mapping[str, Tensor], state: State, guard: Callable[[], None]
) -> None:
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    known = asdict(state)
    text = json.dumps({**known, "digest": digest_of(whole, known)})
    replace_tensors(path, whole, text, durable=True, guard=guard)


def digest_of(tensors: Mapping[str, Tensor], state: Mapping[str, object]) -> str:
    """SHA-256 over a state as JSON values and contiguous tensors on the CPU, hexadecimal."""
    digest = hashlib.sha256(json.dumps(state).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_best(path: Path, network: nn.Module, state: State) -> None:
    """Put the weights of the best validation into the network.

    Raises:
        CheckpointError: They are damaged, or not those of this network and training.
        UsageError: The system refuses to read them.
    """
    network.load_state_dict(_read_best(path, network, state))


def resume(
    folder: Path, network: nn.Module, optimizer: torch.optim.AdamW, *, main: bool
) -> State | None:
    """Go on from a trial's checkpoint.

    Args:
        folder: The trial's, named by its hash.
        network: As it was built.
        optimizer: Of its parameters.
        main: Whether this process, of those that share the trial, is to move files.

    Returns:
        Where the training stands; `None` where it begins anew, as there is no checkpoint or it
        cannot be used. It is put aside then, with a warning, and what was scored is forgotten.
    """
    path, reason = folder / CHECKPOINT, None
    if path.exists():
        try:
            state, found = _read(path)
            if state.trial not in ("", folder.name):
                raise _unfit(path, "it is another trial's")
            if state.best not in (None, state.step):  # that of now is written by the caller
                _read_best(folder / BEST, network, state)
            _put_back(path, found, network, optimizer)
        except UsageError as error:
            reason = error.message
        else:
            return state
    if main:
        _forget(folder, reason)
    return None


def _put_back(
    path: Path, found: dict[str, Tensor], network: nn.Module, optimizer: torch.optim.AdamW
) -> None:
    """Put tensors back once all of them fit."""
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    own = {name: t for name, t in network.state_dict().items() if name not in frozen}
    weights = {n.removeprefix("network."): t for n, t in found.items() if n.startswith("network.")}
    _require_fitting(path, weights, own)
    kept = {}
    for name, parameter in network.named_parameters():
        if f"optimizer.step.{name}" in found:
            wanted = dict.fromkeys(_MOMENTS, parameter) | {"step": torch.zeros(())}
            stored = {key: f"optimizer.{key}.{name}" for key in _MOMENTS}
            moments = {key: found[stored[key]] for key in wanted if stored[key] in found}
            _require_fitting(path, moments, wanted)
            kept[parameter] = moments
    network.load_state_dict(weights, strict=False)  # the frozen ones stay as they were built
    fused = bool(optimizer.defaults["fused"])  # such a one counts its steps on the device
    for parameter, moments in kept.items():
        optimizer.state[parameter] = {
            key: value if key == "step" and not fused else value.to(parameter.device)
            for key, value in moments.items()
        }


def _read_best(path: Path, network: nn.Module, state: State) -> dict[str, Tensor]:
    """The weights of the best validation; the errors are those of `load_best`."""
    written, found = _read(path)
    if written.trial and (written.trial, written.step) != (state.trial, state.best):
        raise _unfit(path, "it is another step's")
    _require_fitting(path, found, network.state_dict())
    return found


def _forget(folder: Path, reason: str | None) -> None:
    if reason is not None:
        warnings.warn(
            f"trial {folder.name}: {reason}; the training starts anew, and the checkpoint is kept "
            f"as '{ASIDE}{CHECKPOINT}'",
            stacklevel=3,
        )
    for name in (CHECKPOINT, BEST):
        with suppress(FileNotFoundError):
            (folder / name).replace(folder / f"{ASIDE}{name}")
    shutil.rmtree(folder / "cases", ignore_errors=True)


def _read(path: Path) -> tuple[State, dict[str, Tensor]]:
    from safetensors import safe_open

    def refused(error: Exception) -> CheckpointError:
        return _unfit(path, reason_of(error))

    def stateless(_: Exception) -> CheckpointError:
        return _unfit(path, "it tells no state")

    read_header(path)
    with reading(path), parsing(refused), safe_open(path, "pt") as file:
        value = json_value((file.metadata() or {}).get("state", ""), stateless)
        with parsing(stateless):
            digest = value.pop("digest", None)
            state = _STATE.validate_python(value)
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    if digest not in (None, digest_of(found, value)):  # those of release 0.2 have none
        raise _unfit(path, "it is not as it was written")
    return state, found


def _require_fitting(path: Path, found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    for name in sorted(found.keys() | own.keys()):
        if name not in found or name not in own:
            raise _unfit(path, f"'{name}' is {'missing' if name in own else 'left over'}")
        if found[name].shape != own[name].shape:
            raise _unfit(path, f"'{name}' has another shape")
        if not torch.isfinite(found[name].sum(dtype=torch.float64)):
            raise _unfit(path, f"'{name}' holds values that are NaN or infinite")


def _unfit(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"'{path.name}' cannot be used: {what}",
        hint="move it away, then run the same command again",
    )

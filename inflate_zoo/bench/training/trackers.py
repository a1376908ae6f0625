"""Curves for a tracker of experiments, beside TensorBoard's: a run of its own for each trial.

Accelerate knows how to talk to them. What fails there is told, and does not end a training.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from inflate_zoo.errors import UnknownNameError, UsageError, visible
from inflate_zoo.extras import install_hint

if TYPE_CHECKING:
    from accelerate import Accelerator

    from inflate_zoo.bench.definitions.trial_folder import TrialFolder
    from inflate_zoo.bench.definitions.trials import TrialSpec

TRACKERS = ("mlflow", "wandb")
Track = Callable[[Mapping[str, float], int], None]
"""Told values by name, and their step."""
_LONGEST = 300  # characters of a reason
_NO_NAME = re.compile(r"[^\w./ -]", re.ASCII)  # of a value; MLflow refuses it


def require_trackers(names: Sequence[str], *, installed: bool = True) -> None:
    """Refuse trackers that cannot be had.

    Args:
        names: Of the trackers.
        installed: Whether they are to be used here; elsewhere there may be other packages.

    Raises:
        UsageError: One is not known, or its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise UnknownNameError("tracker", name, TRACKERS)
    if missing := [name for name in names if installed and find_spec(name) is None]:
        raise UsageError(
            f"--tracker {missing[0]} needs the package {missing[0]}, which is not installed",
            hint=install_hint(missing),
        )


def untracked(values: Mapping[str, float], step: int) -> None:
    """Track nothing."""


@contextmanager
def tracking(trial: TrialFolder, accelerator: Accelerator, names: Sequence[str]) -> Iterator[Track]:
    """A run of each tracker for a trial; of a trial that goes on, the run that it had.

    Args:
        trial: Its folder.
        accelerator: Knows the trackers.
        names: Of the trackers.
    """
    runs: list[Any] = []
    for name in names if accelerator.is_main_process else ():
        _tried(name, partial(_begin, name, trial, accelerator, runs))

    def track(values: Mapping[str, float], step: int) -> None:
        told = {_NO_NAME.sub("_", name): value for name, value in values.items()}
        for run in tuple(runs):
            if not _tried(run.name, partial(run.log, told, step=step)):
                runs.remove(run)

    try:
        yield track
    finally:
        for run in runs:
            _tried(run.name, run.finish)


def _begin(name: str, trial: TrialFolder, accelerator: Accelerator, runs: list[Any]) -> None:
    """Begin a tracker's run, and add it to those that are told."""
    from accelerate.tracking import filter_trackers

    options = _of_wandb(trial) if name == "wandb" else _of_mlflow(trial)
    accelerator.log_with, accelerator.trackers = filter_trackers([name]), []
    # A run that goes on has it, and MLflow refuses what differs: labels hang on the other arms.
    said = None if "run_id" in options else config(trial.spec)
    accelerator.init_trackers(_project(name, trial.spec), said, {name: options})
    runs += accelerator.trackers


def _project(name: str, spec: TrialSpec) -> str:
    chosen = os.environ.get("WANDB_PROJECT" if name == "wandb" else "MLFLOW_EXPERIMENT_NAME")
    return chosen or f"{spec.task.name}-{spec.protocol.name}"


def config(spec: TrialSpec) -> dict[str, str | int | float]:
    """What a trial's run says of itself, without local paths."""
    train = spec.protocol.train
    return {
        "hash": spec.hash,
        "arm": spec.arm.label,
        "kind": spec.arm.kind,
        "source": spec.arm.source,
        "scheme": spec.arm.scheme or "",
        "architecture": spec.arm.architecture,
        "task": spec.task.name,
        "protocol": spec.protocol.name,
        "seed": spec.seed,
        "fold": spec.fold,
        "decoder": spec.protocol.network.decoder,
        "steps": train.steps,
        "batch": train.batch,
        "learning_rate": train.learning_rate,
    }


def _title(spec: TrialSpec) -> str:
    return f"{spec.arm.label}, seed {spec.seed}, fold {spec.fold}"


def _of_wandb(trial: TrialFolder) -> dict[str, Any]:
    spec = trial.spec
    options = {
        "name": _title(spec),
        "id": spec.hash,
        "resume": "allow",
        "group": spec.arm.label,
        "settings": {"silent": True},
    }
    if "WANDB_DIR" not in os.environ:  # else it litters the current folder
        options["dir"] = str(trial.folder)
    return options


def _of_mlflow(trial: TrialFolder) -> dict[str, Any]:
    import mlflow

    # It prints addresses on stdout, which is for results.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    experiment = _project("mlflow", trial.spec)
    options: dict[str, Any] = {"run_name": _title(trial.spec)}
    if mlflow.get_experiment_by_name(experiment) is not None:
        before = mlflow.search_runs(
            experiment_names=[experiment],
            filter_string=f"params.hash = '{trial.spec.hash}'",
            max_results=1,
            output_format="list",
        )
        if before:
            options["run_id"] = before[0].info.run_id
    return options


def _tried(name: str, call: Callable[[], object]) -> bool:
    """Whether a tracker did what it was asked; what it raises is told: a training is worth more."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - what foreign clients raise, nobody lists
        reason = visible(f"{type(error).__name__}: {error}".splitlines()[0][:_LONGEST])
        warnings.warn(
            f"the tracker {name} failed, and the trial goes on without it: {reason}", stacklevel=2
        )
        return False
    return True

"""What a place must have before it takes trials of a run: looked at there, and told by name.

A place that lacks weights, data or a library would fail one trial after another, each for all.
"""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from inflate_zoo.bench.data.cases import absent_cases
from inflate_zoo.bench.data.machine import usable_cores
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.training.devices import Resources, device_kind, device_name, set_threads
from inflate_zoo.bench.trials.run_plan import RunPlan, planned_trials, run_plan
from inflate_zoo.bench.trials.versions import unlike, versions
from inflate_zoo.errors import UsageError
from inflate_zoo.files.reading import called
from inflate_zoo.texts import plural

_AGAIN = "run the 'inflate-zoo bench' command of this run again: what is gone is made anew"
_SHARED = "all hosts of a run share its folder and the cache, under the same paths"


@dataclass(frozen=True, slots=True)
class Ready:
    """A place that can take the trials of a run.

    Attributes:
        host: Its name.
        trials: All of the run, in the order in which they should run.
        device: What its device calls itself.
        cores: That it may keep busy.
        threads: Of a trial, as torch has them.
    """

    host: str
    trials: tuple[TrialFolder, ...]
    device: str
    cores: int
    threads: int

    def require_cores(self) -> None:
        """Refuse a place whose trials would take more threads than it has cores.

        Raises:
            UsageError: They would; the results would be right all the same, and late.
        """
        if self.threads > self.cores:
            raise UsageError(
                f"host '{self.host}' has {plural(self.cores, 'core')} for this process, and a "
                f"trial takes {plural(self.threads, 'thread')}",
                hint="give it more cores, or take fewer by --threads: results round otherwise then",
            )

    @property
    def sentence(self) -> str:
        """That it is ready, in a line."""
        return (
            f"host {self.host} can take {plural(len(self.trials), 'trial')}: {self.device}, "
            f"{plural(self.threads, 'thread')} on {plural(self.cores, 'core')}"
        )


def require_place(out: Path, resources: Resources) -> Ready:
    """Refuse a host that cannot take trials of a run, before it takes one.

    Args:
        out: Run folder.
        resources: What a trial may use here.

    Raises:
        UsageError: The run folder is not there or cannot be written, the cache lacks data or
            weights, libraries have other versions than those that planned it, or there is no such
            device; each names the host.
    """
    import torch

    host = socket.gethostname()
    with _named(host, out):
        trials = planned_trials(out)
        _require_writable(trials[0].folder)
        plan = run_plan(out)
        if plan and (other := unlike(plan.versions, versions())):
            raise UsageError(
                f"it has {', '.join(other)}",
                hint="use the same environment on all hosts, or plan the run again in this one",
            )
        _require_data(_each_kind(trials, plan))
        kind = device_kind(resources)
        set_threads(resources)
    device = torch.device(resources.device or kind)
    return Ready(host, trials, device_name(device), usable_cores(), torch.get_num_threads())


@contextmanager
def _named(host: str, out: Path) -> Iterator[None]:
    """Name the host in what is refused."""
    try:
        yield
    except UsageError as error:
        raise UsageError(
            f"host '{host}' cannot take trials of '{called(out)}': {error.message}",
            hint=error.hint,
            details=error.details,
        ) from error


def _each_kind(trials: Sequence[TrialFolder], plan: RunPlan | None) -> Sequence[TrialFolder]:
    """One trial of each kind, where the plan tells kinds apart."""
    names = set(plan.kinds) if plan else set()
    return [trial for trial in trials if trial.folder.name in names] if names else trials


def _require_writable(folder: Path) -> None:
    probe = folder / f".clock-{uuid.uuid4().hex}"  # a killed one is removed with the leases' own
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(f"it cannot write there: {reason}", hint=_SHARED) from error


def _require_data(trials: Sequence[TrialFolder]) -> None:
    """Refuse where the cache lacks what some trials need."""
    entries: dict[str, set[str]] = {}
    for trial in trials:
        spec, place = trial.spec, trial.place
        if place.weights and not (Path(place.weights) / "model.safetensors").is_file():
            raise UsageError(
                f"the weights of '{spec.arm.label}' are not in its cache",
                hint=f"{_SHARED}; {_AGAIN}",
            )
        entries.setdefault(place.cache, set()).update(spec.entries.values())
    for cache, keys in entries.items():
        if absent := absent_cases(Path(cache), keys):
            raise UsageError(
                f"{len(absent)} of {plural(len(keys), 'case')} are not in its cache",
                hint=f"{_SHARED}; {_AGAIN}",
            )

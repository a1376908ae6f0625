"""Runs planned trials one after another; other processes may share them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Watcher
from inflate_zoo.bench.trials.leases import holder
from inflate_zoo.bench.trials.running import run_trial

WAIT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Tally:
    """How trials ended.

    Attributes:
        done: Those with a record.
        failed: Those without, with the reason.
    """

    done: tuple[TrialFolder, ...]
    failed: tuple[tuple[TrialFolder, str], ...]


def run_trials(
    trials: Sequence[TrialFolder],
    resources: Resources,
    watch: Callable[[TrialFolder, int, int], Watcher],
    say: Callable[[str], None],
) -> Tally:
    """Run trials, wait for those that other processes hold, and say how all ended.

    Args:
        trials: Their folders.
        resources: Device and workers.
        watch: Gives the watcher of a trial, from it, the number of trials ended and of all.
        say: Told what happens.

    Raises:
        UsageError: A folder is no trial, or there is no such device; before any trial starts.
    """
    for trial in trials:
        if not trial.done:
            trial.require_ready()
    ended: dict[Path, str] = {}
    began = time.time()
    waited: set[Path] = set()
    while len(ended) < len(trials):
        for trial in trials:
            if trial.folder in ended:
                continue
            watcher = watch(trial, len(ended), len(trials))
            since = began if trial.folder in waited else None
            how = run_trial(trial, resources, watcher, since)
            if how == "held":
                if trial.folder not in waited:
                    say(f"trial {trial.folder.name} is run by {holder(trial.folder) or 'another'}")
                waited.add(trial.folder)
            else:
                ended[trial.folder] = how
                if how == "failed":
                    say(f"trial {trial.folder.name} failed: {reason(trial)}")
        if len(ended) < len(trials):
            time.sleep(WAIT_SECONDS)
    return Tally(
        tuple(trial for trial in trials if ended[trial.folder] == "done"),
        tuple((t, reason(t)) for t in trials if ended[t.folder] == "failed"),
    )


def reason(trial: TrialFolder) -> str:
    """Why a trial failed."""
    failure = trial.failure()
    if failure is None:
        return "unknown"
    return f"{failure.reason} (case {failure.case})" if failure.case else failure.reason

"""One trial, from its folder to its record."""

from __future__ import annotations

import gc
import os
import re
import socket
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from inflate_zoo import stops
from inflate_zoo.bench.definitions.results import OUT_OF_MEMORY, Failure
from inflate_zoo.bench.definitions.trial_folder import FAILURE, RECORD, TrialFolder
from inflate_zoo.bench.definitions.trial_progress import PROGRESS
from inflate_zoo.bench.training.devices import (
    Resources,
    device_name,
    make_accelerator,
    set_threads,
)
from inflate_zoo.bench.training.progress import Watcher
from inflate_zoo.bench.trials.attempt import remove_scratch, run_attempt
from inflate_zoo.bench.trials.leases import LostLeaseError, holder, leased
from inflate_zoo.bench.trials.noting import Noting
from inflate_zoo.bench.trials.run_plan import failed_since
from inflate_zoo.bench.trials.stopping import STOPS, Kept, kept, note_stop
from inflate_zoo.errors import InflateZooError, WorkError, out_of_memory
from inflate_zoo.interrupts import check
from inflate_zoo.stops import Stopped

if TYPE_CHECKING:
    from accelerate import Accelerator
Outcome = Literal["done", "failed", "held", "stopped"]
_FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s'\"/]+/)+")  # before a file's name


def run_trial(
    trial: TrialFolder, resources: Resources, watcher: Watcher, since: float | None = None
) -> Outcome:
    """Run a trial, or go on with it, unless it is done or another process has it.

    Under `torchrun` or `accelerate launch` all processes share the one trial.

    Args:
        trial: Its folder.
        resources: Device and workers.
        watcher: Told how it goes.
        since: Where it failed after this moment, in seconds since 1970, in another process, that
            counts: it would fail here as well. `None` tries it whatever was before.

    Returns:
        `done`, `held` (another process has it), `stopped` (that was asked, and it can go on) or
        `failed` (`failure.json` says why).

    Raises:
        UsageError: The folder is no trial, or there is no such device.
        WorkError: It failed in one of several processes, which cannot go on together.
    """
    if "LOCAL_RANK" not in os.environ and (stands := standing(trial)):  # else all agree, below
        return stands
    trial.require_ready()
    try:
        set_threads(resources)
        accelerator = make_accelerator(trial.spec.protocol.train.precision, resources)
        device = device_name(accelerator.device)
    except Exception as error:
        if not out_of_memory(error):
            raise
        return _no_room(trial, error)
    if not accelerator.is_main_process:  # the first process holds the lease for all
        how = _agreed(accelerator, None)
        return how or _attempt(trial, accelerator, resources, watcher, lambda: None)
    noting = Noting(watcher, socket.gethostname(), device)
    with leased(trial.folder, noting.write) as guard:
        how = _agreed(accelerator, _without_us(trial, guard is None, since))
        if how or guard is None:
            return how or "held"
        if (trial.folder / FAILURE).exists():  # what was stopped before that counts no more
            for name in (STOPS, FAILURE):
                (trial.folder / name).unlink(missing_ok=True)
        if (trial.folder / RECORD).exists():
            trial.put_aside()
        how = _attempt(trial, accelerator, resources, noting, guard)
    if how in ("done", "failed"):  # only here: until now it was written again and again
        (trial.folder / PROGRESS).unlink(missing_ok=True)
    return how


def standing(trial: TrialFolder) -> Outcome | None:
    """How a trial stands where nothing is to be done here; `None` where it may be run.

    What a done one needs no more is removed.
    """
    held = holder(trial.folder) is not None
    if trial.done:
        if not held:
            remove_scratch(trial)  # in case it was killed right after the record
        return "done"
    return "held" if held else None


def fail_elsewhere(trial: TrialFolder, failure: Failure) -> Outcome:
    """Write why the process that had a trial could not do so itself.

    Returns:
        `failed`, or how it stands where another process ended it or took it over meanwhile.
    """
    if trial.done:
        return "done"
    with leased(trial.folder) as guard:
        if guard is None:
            return "held"
        (trial.folder / PROGRESS).unlink(missing_ok=True)
        trial.fail(failure)
    return "failed"


def _no_room(trial: TrialFolder, error: Exception) -> Outcome:
    """Fail a trial whose device has no memory left even for what torch itself needs there.

    Raises:
        WorkError: Others share the trial, which wait for this process.
    """
    reason = "out of memory before it had begun: others fill the device"
    failure = _failure(error).model_copy(update={"reason": reason})
    how = fail_elsewhere(trial, failure)
    if "LOCAL_RANK" in os.environ:
        raise _failed_together(trial, failure) from error
    return how


def _failed_together(trial: TrialFolder, failure: Failure) -> WorkError:
    return WorkError(
        f"trial {trial.folder.name} failed: {failure.reason}",
        hint="run the same command again once the reason is gone",
    )


def _without_us(trial: TrialFolder, held: bool, since: float | None) -> Outcome | None:
    """How a trial stands where nothing is left to do here: another may have ended it just now."""
    if trial.done:
        return "done"
    if held:
        return "held"
    return "failed" if since and failed_since(trial.folder, since) else None


def _agreed(accelerator: Accelerator, how: Outcome | None) -> Outcome | None:
    """What the first process found, told to all that share the trial."""
    from accelerate.utils import broadcast_object_list

    found = [how]
    if accelerator.num_processes > 1:
        broadcast_object_list(found)
    return found[0]


def _attempt(
    trial: TrialFolder,
    accelerator: Accelerator,
    resources: Resources,
    watcher: Watcher,
    guard: Callable[[], None],
) -> Outcome:
    import torch

    before = kept(trial.folder)
    try:
        run_attempt(trial, accelerator, resources, watcher, guard)
    except LostLeaseError:
        return "held"
    except Stopped:
        return _stopped(trial, accelerator, before, guard)
    except Exception as error:
        check()  # a signal may come as the death of a worker, which is no failure
        if stops.asked():  # such a one as well
            return _stopped(trial, accelerator, before, guard)
        try:
            guard()
        except LostLeaseError:  # its new holder tidied up what this one was writing
            return "held"
        failure = _failure(error)
        if not (trial.folder / FAILURE).exists():  # of several processes the first knows why
            trial.fail(failure)
        if accelerator.num_processes > 1:
            raise _failed_together(trial, failure) from error
        gc.collect()
        if accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        return "failed"
    return "done"


def _stopped(
    trial: TrialFolder, accelerator: Accelerator, before: Kept, guard: Callable[[], None]
) -> Outcome:
    with suppress(LostLeaseError):
        guard()
        if accelerator.is_main_process and note_stop(trial, before):
            return "failed"
    return "stopped"


def _failure(error: Exception) -> Failure:
    """Why an attempt failed, without local paths."""
    from inflate_zoo.errors import DeadWorkerError, NotFiniteError, WindowError

    text, case, kind = f"{type(error).__name__}: {error}", None, "error"
    if out_of_memory(error):
        kind, text = OUT_OF_MEMORY, "out of memory, with as few windows at a time as can be"
    elif isinstance(error, NotFiniteError):
        kind, text, case = "nan_loss", error.message, ", ".join(error.cases)
    elif isinstance(error, WindowError):
        kind, text, case = "data_worker", error.message, error.case
    elif isinstance(error, DeadWorkerError):
        kind, text, case = "data_worker", error.message, ", ".join(error.cases)
    elif isinstance(error, InflateZooError):
        text = f"{error.message}; {error.hint}"
    elif isinstance(error, OSError):
        file = f": '{Path(os.fsdecode(error.filename)).name}'" if error.filename else ""
        text = f"{type(error).__name__}: {error.strerror or error}{file}"
    where = traceback.extract_tb(error.__traceback__)[-1]
    return Failure(
        kind=kind,
        reason=_FOLDERS.sub("", text.splitlines()[0])[:500],
        case=case,
        where=f"{Path(where.filename).name}:{where.lineno}",
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )

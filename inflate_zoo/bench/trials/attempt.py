"""One attempt at a trial: network, training, evaluation, record."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from inflate_zoo.bench.data.machine import processor_name
from inflate_zoo.bench.definitions.results import CaseScores, Curves, Result, Run
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.definitions.trial_progress import PROGRESS
from inflate_zoo.bench.definitions.trials import TrialSpec
from inflate_zoo.bench.scoring.flops import count_flops, encoder_flops
from inflate_zoo.bench.training.checkpointing import ASIDE, BEST, CHECKPOINT
from inflate_zoo.bench.training.devices import (
    Resources,
    capability,
    device_name,
    peak_memory,
    reset_peak_memory,
    workers_for,
)
from inflate_zoo.bench.training.progress import Watcher
from inflate_zoo.bench.training.trackers import Track, tracking, untracked
from inflate_zoo.bench.trials.leases import LOCK, remove_partial
from inflate_zoo.bench.trials.stopping import STOPS
from inflate_zoo.bench.trials.versions import versions
from inflate_zoo.files.writing.store import store_of
from inflate_zoo.stops import check

if TYPE_CHECKING:
    from accelerate import Accelerator

    from inflate_zoo.bench.data.cases import CachedCase
    from inflate_zoo.bench.scoring.inference import SlidingWindowPredictor
    from inflate_zoo.bench.training.trainer import Trainer
    from inflate_zoo.segmentation.segmenter import Segmenter


def run_attempt(
    trial: TrialFolder,
    accelerator: Accelerator,
    resources: Resources,
    watcher: Watcher,
    guard: Callable[[], None],
) -> None:
    """Train, or go on training, evaluate and write the record.

    Args:
        trial: The trial, leased.
        accelerator: Device, precision, processes.
        resources: Device and workers.
        watcher: Told how it goes.
        guard: Raises if the trial was taken over.

    Raises:
        Stopped: That was asked; what is done so far is kept.
    """
    with tracking(trial, accelerator, resources.trackers) as track:
        _attempt(trial, accelerator, resources, watcher, guard, track)


def _attempt(
    trial: TrialFolder,
    accelerator: Accelerator,
    resources: Resources,
    watcher: Watcher,
    guard: Callable[[], None],
    track: Track,
) -> None:
    from inflate_zoo.bench.scoring.evaluation import evaluate

    spec, cache = trial.spec, Path(trial.place.cache)
    began, started = time.perf_counter(), datetime.now(UTC)
    predictor, trainer = prepare_trial(trial, accelerator, resources, watcher, guard, track)
    watcher.stage("training")
    state = trainer.run()
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        return
    watcher.stage("evaluating")
    trained = time.perf_counter()
    names = [(name, spec.entries[name]) for name in spec.cases.test]
    part = _pausing(watcher, check)
    cases = evaluate(predictor, spec.task, names, cache, trial.folder, part, guard)
    guard()
    predictor.network.save_pretrained(trial.folder)
    result = _result(spec, predictor.network, cases, trainer)
    track(_scored(result), spec.protocol.train.steps)
    seconds: dict[str, float | None] = {
        "training": state.seconds,
        "waiting_for_data": state.waiting,
        "evaluation": time.perf_counter() - trained,
        "this_attempt": time.perf_counter() - began,
    }
    guard()
    run = _circumstances(trial, accelerator, resources, trainer, seconds, started)
    trial.finish(result, run)
    remove_scratch(trial)


def _scored(result: Result) -> dict[str, float]:
    """What a tracker is told of a result: means over the test cases."""
    dice = [case.mean_dice for case in result.cases if case.mean_dice is not None]
    told = {"test_dice": sum(dice) / len(dice)} if dice else {}
    for region, scores in result.mean.items():
        told |= {f"test/{region}/{name}": float(v) for name, v in scores.items() if v is not None}
    return told


def _pausing(watcher: Watcher, pause: Callable[[], None]) -> Callable[[int, int], None]:
    """Tells the watcher of each part, and pauses between two of them."""

    def part(done: int, total: int) -> None:
        watcher.part(done, total)
        if done < total:
            pause()

    return part


def remove_scratch(trial: TrialFolder) -> None:
    """Remove what a done trial needs no more."""
    aside = (f"{ASIDE}{CHECKPOINT}", f"{ASIDE}{BEST}")
    # Nobody takes a lease on a done trial.
    for name in (CHECKPOINT, BEST, *aside, STOPS, PROGRESS, LOCK):
        (trial.folder / name).unlink(missing_ok=True)
    shutil.rmtree(trial.folder / "cases", ignore_errors=True)
    remove_partial(trial.folder)


def _circumstances(
    trial: TrialFolder,
    accelerator: Accelerator,
    resources: Resources,
    trainer: Trainer,
    seconds: dict[str, float | None],
    started: datetime,
) -> Run:
    """The record's `run`: what may differ between two runs of the same trial."""
    import torch

    state, train = trainer.state, trial.spec.protocol.train
    stepping = state.seconds - state.pausing
    return Run(
        command=trial.place.command,
        seconds=seconds,
        windows_per_second=train.batch * train.steps / stepping if stepping > 0 else None,
        groups_at_once=state.groups_at_once,
        peak_memory_bytes=peak_memory(accelerator.device),
        device=device_name(accelerator.device),
        threads=torch.get_num_threads(),
        processor=processor_name(),
        capability=capability(accelerator.device),
        processes=accelerator.num_processes,
        compiled=resources.compiled,
        host=socket.gethostname(),
        versions={**versions()},
        started=started.isoformat(timespec="seconds"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def prepare_trial(
    trial: TrialFolder,
    accelerator: Accelerator,
    resources: Resources,
    watcher: Watcher,
    guard: Callable[[], None],
    track: Track = untracked,
) -> tuple[SlidingWindowPredictor, Trainer]:
    """The network on its device, and what trains it."""
    from inflate_zoo.bench.data.cases import open_case
    from inflate_zoo.bench.definitions.trials import window_of
    from inflate_zoo.bench.scoring.evaluation import validation_dice
    from inflate_zoo.bench.scoring.inference import SlidingWindowPredictor
    from inflate_zoo.bench.training.building import build

    spec, place, device = trial.spec, trial.place, accelerator.device
    cache = Path(place.cache)
    reset_peak_memory(device)
    watcher.stage("loading")
    weights = Path(place.weights) if place.weights else None
    if weights is not None:
        store_of(cache).use(weights)
    network = build(spec, weights).to(device)
    predictor = SlidingWindowPredictor(
        network, window_of(spec), spec.protocol.evaluation, device, accelerator.autocast
    )
    inner = spec.cases.validation[: spec.protocol.train.validation_cases]

    pause = _pause(accelerator)

    def opened(name: str) -> CachedCase:
        pause()
        return open_case(cache, spec.entries[name])

    def validate() -> float | None:
        return validation_dice(predictor, map(opened, inner), spec.task)

    trainer = _trainer(trial, predictor, accelerator, resources, watcher, guard, validate, track)
    return predictor, trainer


def _pause(accelerator: Accelerator) -> Callable[[], None]:
    """Leaves where that was asked; one of several processes waits until all agree, after a step."""
    return check if accelerator.num_processes == 1 else lambda: None


def _trainer(
    trial: TrialFolder,
    predictor: SlidingWindowPredictor,
    accelerator: Accelerator,
    resources: Resources,
    watcher: Watcher,
    guard: Callable[[], None],
    validate: Callable[[], float | None],
    track: Track,
) -> Trainer:
    from inflate_zoo.bench.training.features import FeatureWindows, encode_windows
    from inflate_zoo.bench.training.sampling import WindowRule, Windows
    from inflate_zoo.bench.training.trainer import Trainer

    spec, cache = trial.spec, Path(trial.place.cache)
    protocol = spec.protocol
    windows: Windows | FeatureWindows
    if protocol.network.freeze:
        watcher.stage("features")
        part = _pausing(watcher, _pause(accelerator))
        with accelerator.main_process_first():
            made = encode_windows(
                spec, predictor.network, cache, predictor.device, predictor.autocast, part
            )
        windows = FeatureWindows(made, spec.seed)
    else:
        centre = protocol.network.centre_slice
        rule = WindowRule(predictor.window, protocol.train.foreground, protocol.augment, centre)
        keys = [spec.entries[name] for name in spec.cases.train]
        windows = Windows(cache, keys, rule, spec.seed)
    return Trainer(
        spec,
        predictor.network,
        windows,
        trial.folder,
        accelerator,
        watcher=watcher,
        guard=guard,
        validate=validate,
        workers=workers_for(resources, predictor.device),
        compiled=resources.compiled,
        track=track,
    )


def _result(
    spec: TrialSpec, network: Segmenter, cases: Sequence[CaseScores], trainer: Trainer
) -> Result:
    """The record's `result`: on a CPU the same bits for the same specification."""
    from inflate_zoo.bench.definitions.scores import means, pooled
    from inflate_zoo.bench.definitions.trials import window_of

    state = trainer.state
    shape = (len(spec.task.channels), *window_of(spec))
    return Result(
        cases=tuple(cases),
        pooled=pooled(case.regions for case in cases),
        mean=means(case.regions for case in cases),
        curves=Curves(loss=tuple(state.loss), validation_dice=tuple(state.validation_dice)),
        selected_step=trainer.selected_step,
        parameters=sum(p.numel() for p in network.parameters()),
        trained_parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        flops=count_flops(network, network, shape),
        encoder_flops=encoder_flops(network, shape),
        window=window_of(spec),
    )

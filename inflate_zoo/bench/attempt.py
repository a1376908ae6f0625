"""One attempt at a trial: network, training, evaluation, record."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inflate_zoo.bench.atomic import remove_partial
from inflate_zoo.bench.checkpointing import ASIDE, BEST, CHECKPOINT
from inflate_zoo.bench.devices import (
    Resources,
    device_name,
    peak_memory,
    reset_peak_memory,
    workers_for,
)
from inflate_zoo.bench.leases import LOCK
from inflate_zoo.bench.progress import Watcher
from inflate_zoo.bench.records import Trial, TrialSpec
from inflate_zoo.version import __version__

if TYPE_CHECKING:
    from accelerate import Accelerator

    from inflate_zoo.bench.evaluation import Seer
    from inflate_zoo.bench.training import Trainer
    from inflate_zoo.segmentation import Segmenter

VERSIONS = ("torch", "monai", "accelerate", "numpy", "scipy", "surface-distance")


def run_attempt(
    trial: Trial,
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
    """
    from inflate_zoo.bench.evaluation import evaluate

    spec, cache = trial.spec, Path(trial.place.cache)
    began, started = time.perf_counter(), datetime.now(UTC)
    seer, trainer = ready(trial, accelerator, resources, watcher, guard)
    watcher.stage("training")
    state = trainer.run()
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        return
    watcher.stage("evaluating")
    trained = time.perf_counter()
    names = [(name, spec.entries[name]) for name in spec.cases.test]
    cases = evaluate(seer, spec.task, names, cache, trial.folder, watcher.part)
    guard()
    seer.network.save_pretrained(trial.folder)
    result = _result(spec, seer.network, cases, trainer)
    seconds = {
        "training": state.seconds,
        "waiting_for_data": state.waiting,
        "evaluation": time.perf_counter() - trained,
        "this_attempt": time.perf_counter() - began,
    }
    guard()
    run = _circumstances(trial, accelerator, trainer, seconds, started)
    trial.finish(result, {**run, "compiled": resources.compiled})
    tidy(trial)


def tidy(trial: Trial) -> None:
    """Remove what a done trial needs no more."""
    aside = (f"{ASIDE}{CHECKPOINT}", f"{ASIDE}{BEST}")
    for name in (CHECKPOINT, BEST, *aside, LOCK):  # nobody takes a lease on a done trial
        (trial.folder / name).unlink(missing_ok=True)
    shutil.rmtree(trial.folder / "cases", ignore_errors=True)
    remove_partial(trial.folder)


def _circumstances(
    trial: Trial,
    accelerator: Accelerator,
    trainer: Trainer,
    seconds: dict[str, float],
    started: datetime,
) -> dict[str, Any]:
    """The record's `run`: what may differ between two runs of the same trial."""
    state, train = trainer.state, trial.spec.protocol.train
    stepping = state.seconds - state.pausing
    return {
        "command": list(trial.place.command),
        "seconds": seconds,
        "windows_per_second": train.batch * train.steps / stepping if stepping > 0 else None,
        "groups_at_once": state.groups_at_once,
        "peak_memory_bytes": peak_memory(accelerator.device),
        "device": device_name(accelerator.device),
        "processes": accelerator.num_processes,
        "host": socket.gethostname(),
        "versions": {
            "python": sys.version.split()[0],
            "inflate-zoo": __version__,  # a checkout need not be installed
            **{name: version(name) for name in VERSIONS},
        },
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def ready(
    trial: Trial,
    accelerator: Accelerator,
    resources: Resources,
    watcher: Watcher,
    guard: Callable[[], None],
) -> tuple[Seer, Trainer]:
    """The network on its device, and what trains it."""
    from inflate_zoo.bench.building import build, window_of
    from inflate_zoo.bench.cache import open_case
    from inflate_zoo.bench.evaluation import Seer, validation_dice

    spec, place, device = trial.spec, trial.place, accelerator.device
    cache = Path(place.cache)
    reset_peak_memory(device)
    watcher.stage("loading")
    network = build(spec, Path(place.weights) if place.weights else None).to(device)
    seer = Seer(network, window_of(spec), spec.protocol.evaluation, device, accelerator.autocast)
    inner = spec.cases.validation[: spec.protocol.train.validation_cases]

    def validate() -> float | None:
        cases = [open_case(cache, spec.entries[name]) for name in inner]
        return validation_dice(seer, cases, spec.task)

    return seer, _trainer(trial, seer, accelerator, resources, watcher, guard, validate)


def _trainer(
    trial: Trial,
    seer: Seer,
    accelerator: Accelerator,
    resources: Resources,
    watcher: Watcher,
    guard: Callable[[], None],
    validate: Callable[[], float | None],
) -> Trainer:
    from inflate_zoo.bench.features import FeatureWindows, encode_windows
    from inflate_zoo.bench.sampling import WindowRule, Windows
    from inflate_zoo.bench.training import Trainer

    spec, cache = trial.spec, Path(trial.place.cache)
    protocol = spec.protocol
    windows: Windows | FeatureWindows
    if protocol.network.freeze:
        watcher.stage("features")
        with accelerator.main_process_first():
            made = encode_windows(
                spec, seer.network, cache, seer.device, seer.autocast, watcher.part
            )
        windows = FeatureWindows(made, spec.seed)
    else:
        centre = protocol.network.centre_slice
        rule = WindowRule(seer.window, protocol.train.foreground, protocol.augment, centre)
        keys = [spec.entries[name] for name in spec.cases.train]
        windows = Windows(cache, keys, rule, spec.seed)
    return Trainer(
        spec,
        seer.network,
        windows,
        trial.folder,
        accelerator,
        watcher=watcher,
        guard=guard,
        validate=validate,
        workers=workers_for(resources, seer.device),
        compiled=resources.compiled,
    )


def _result(
    spec: TrialSpec, network: Segmenter, cases: list[dict[str, Any]], trainer: Trainer
) -> dict[str, Any]:
    """The record's `result`: on a CPU the same bits for the same specification."""
    from inflate_zoo.bench.building import window_of
    from inflate_zoo.scores import means, pooled

    state = trainer.state
    shape = (len(spec.task.channels), *window_of(spec))
    return {
        "cases": cases,
        "pooled": pooled(case["regions"] for case in cases),
        "mean": means(case["regions"] for case in cases),
        "curves": {"loss": state.loss, "validation_dice": state.validation_dice},
        "selected_step": trainer.selected_step,
        "parameters": sum(p.numel() for p in network.parameters()),
        "trained_parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "flops": _flops(network, network, shape),
        "encoder_flops": encoder_flops(network, shape),
        "window": list(window_of(spec)),
    }


def _flops(call: Callable[[Any], Any], network: Any, shape: tuple[int, ...]) -> int:
    """Floating-point operations on one window, as torch counts them: two per multiply-add."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network.eval()
    device = next(network.parameters()).device
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call(torch.zeros(1, *shape, device=device))
    return int(counter.get_total_flops())


def encoder_flops(network: Segmenter, shape: tuple[int, ...]) -> int:
    """Floating-point operations of the backbone on one window, counted as Zhang et al. (2022) do.

    Theirs are those of torchprofile: five per value of a layer norm beside the products.

    Args:
        network: The segmenter.
        shape: Of a window, [channels, depth, height, width].
    """
    from torch import nn

    values = 0

    def count(_module: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal values
        values += output.numel()

    norms = [part for part in network.backbone.modules() if isinstance(part, nn.LayerNorm)]
    hooks = [norm.register_forward_hook(count) for norm in norms]
    try:
        return _flops(network.encode, network, shape) + 5 * values
    finally:
        for hook in hooks:
            hook.remove()

"""Tiny planned trials: a random data set, a random vision transformer, a protocol of seconds."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from inflate_zoo.bench.arms.making import ArmRequest
from inflate_zoo.bench.definitions.catalog import load_protocol
from inflate_zoo.bench.definitions.protocols import Protocol
from inflate_zoo.bench.definitions.results import Result
from inflate_zoo.bench.definitions.trial_folder import TrialFolder
from inflate_zoo.bench.trials.folder import plan_trial
from inflate_zoo.bench.trials.planning import Planned, Request, plan
from tests.support.checkpoints import save_transformers
from tests.support.datasets import write_decathlon
from tests.support.once import made_once
from tests.support.said import unsaid

# What makes the bundled `quick` tiny; a test's own changes come after and win.
TINY = (
    "network.decoder=unetr",
    "network.window=[4, 8, 8]",
    "network.patch_depth=2",
    "train.steps=6",
    "train.batch=4",
    "train.dice_group=2",
    "train.warmup_ratio=0.34",
    "train.validate_every=3",
    "train.validation_cases=1",
    "train.checkpoint_every=2",
)
LINEAR = ("network.decoder=linear",)
# The quickest to train: one linear layer on features that are kept on disk.
FROZEN = (*LINEAR, "network.freeze=true", "train.windows_per_case=2")
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "patch_size": 4,
    "image_size": 8,
}
SHAPE = (14, 12, 6)  # voxels (x, y, z), so (6, 12, 14) in slices, height, width


def tiny_protocol(*changes: str) -> Protocol:
    """The `quick` protocol made tiny, with changes such as `train.steps=3` on top."""
    return load_protocol("quick", [*TINY, *changes])


@dataclass(frozen=True)
class Run:
    """A planned run folder.

    Attributes:
        out: The run folder, with `trials/<hash>/trial.json` and `place-<host>-<digest>.json`.
        cache: The cache folder: prepared cases, converted weights.
        data: The data set.
        source: The 2D checkpoint.
        trials: In the order in which they should run.
    """

    out: Path
    cache: Path
    data: Path
    source: Path
    trials: tuple[TrialFolder, ...]

    def trial(self, kind: str = "inflated", seed: int = 0) -> TrialFolder:
        """The trial of an arm's kind (`inflated`, `2d`, `random`) and a seed, in the first fold."""
        for trial in self.trials:
            if (trial.spec.arm.kind, trial.spec.seed) == (kind, seed):
                return trial
        raise LookupError(f"no trial of {kind} with seed {seed} was planned")


def tiny_run(
    folder: Path,
    *changes: str,
    kinds: Sequence[str] = ("inflated",),
    seeds: int = 1,
    folds: Sequence[int] = (0,),
    cases: int = 10,
    shape: Sequence[int] = SHAPE,
    channels: Sequence[str] = ("MRI",),
    name: str = "run",
) -> Run:
    """Plan a run of seconds; data, source and cache are made once per `folder`.

    Args:
        folder: For everything, e.g. `tmp_path`.
        changes: Of the tiny protocol, e.g. `"train.steps=3"`, `*FROZEN`.
        kinds: Arms: `inflated`, `2d` and `random` of the one source, `random` never alone.
        seeds: Seeds from 0.
        folds: Folds of five.
        cases: Cases of the data set, at least 10.
        shape: Voxels (x, y, z) of a case.
        channels: Names of its channels.
        name: Name of the run folder, below `folder`.
    """

    def make(home: Path) -> None:
        write_decathlon(home / "data", cases, shape, channels)
        save_transformers("vit", home / "vit", **VIT)
        _planned(home, tiny_protocol(), ("inflated", "2d"), out=home / "run")  # fills the cache

    if not (folder / "data").exists():
        made_once(("run", cases, shape, channels), folder, make)
    elif not (folder / "vit").exists():  # data of the test's own
        save_transformers("vit", folder / "vit", **VIT)
    planned = _planned(folder, tiny_protocol(*changes), kinds, seeds, folds, folder / name)
    return _run_of(planned, folder)


def planned_run(
    folder: Path, sources: Sequence[str], *changes: str, channels: Sequence[str] = ("MRI",)
) -> Run:
    """Plan a run of seconds of any sources, as they are written behind `--source`."""
    write_decathlon(folder / "data", 10, SHAPE, channels)
    planned = _planned_arms(folder, tiny_protocol(*changes), sources, out=folder / "run")
    return _run_of(planned, folder)


def _run_of(planned: Planned, folder: Path) -> Run:
    trials = tuple(plan_trial(planned.out, spec, place) for spec, place in planned.trials)
    return Run(planned.out, folder / "cache", folder / "data", folder / "vit", trials)


def _planned(
    home: Path,
    protocol: Protocol,
    kinds: Sequence[str],
    seeds: int = 1,
    folds: Sequence[int] = (0,),
    out: Path | None = None,
) -> Planned:
    source = home / "vit"
    asked = {"inflated": str(source), "2d": f"{source}:2d", "random": "random"}
    return _planned_arms(home, protocol, [asked[kind] for kind in kinds], seeds, folds, out)


def _planned_arms(
    home: Path,
    protocol: Protocol,
    sources: Sequence[str],
    seeds: int = 1,
    folds: Sequence[int] = (0,),
    out: Path | None = None,
) -> Planned:
    request = Request(
        data=home / "data",
        dataset=None,
        wanted=ArmRequest(tuple(sources), ("center",)),
        protocol=protocol,
        seeds=seeds,
        folds=tuple(folds),
        rule="sum",
        out=out,
        cache=home / "cache",
        command=("inflate-zoo", "bench"),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the source states no license")
        return plan(request, unsaid, lambda *_: None)


def result_of(trial: TrialFolder, **changes: Any) -> Result:
    """A made-up result that a trial may have."""
    spec = trial.spec
    counts = {"intersection": 1, "prediction_voxels": 2, "reference_voxels": 2}
    scores = {"dice": 0.5, **counts}
    table = {region: dict(scores) for region in spec.task.regions}
    cases = [
        {"case": name, "regions": table, "mean_dice": 0.5, "slice": 0} for name in spec.cases.test
    ]
    mean = {region: {"dice": 0.5} for region in table}
    sizes = dict.fromkeys(("parameters", "trained_parameters", "flops", "encoder_flops"), 1)
    made = {
        "cases": cases, "mean": mean, "pooled": mean, "curves": {}, "selected_step": 1,
        "window": [4, 8, 8], **sizes,
    }  # fmt: skip
    return Result(**made | changes)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: quicker for tiny tensors, and the same sums on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMP_NUM_THREADS", "1")  # what a command starts with
            yield
    finally:
        torch.set_num_threads(before)

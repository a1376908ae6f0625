"""Time and memory of data preparation, windows, prediction and scores on volumes of full size.

    python benchmarks/speed/full_size.py [--task msd-task03] [--shape 512 512 700] [--cases 3]

The volumes are random, with the channels, labels and spacing of the task; the network is a builtin
one, so the time of prediction says little about a large one. Memory is the process's highest since
the stage began, on Linux.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import inflate_zoo  # noqa: E402
from inflate_zoo.bench.data.cases import open_case, prepare  # noqa: E402
from inflate_zoo.bench.data.checking import check  # noqa: E402
from inflate_zoo.bench.data.layouts import read_dataset  # noqa: E402
from inflate_zoo.bench.data.resampling import restore  # noqa: E402
from inflate_zoo.bench.definitions.catalog import load_protocol, load_task  # noqa: E402
from inflate_zoo.bench.definitions.protocols import Evaluation  # noqa: E402
from inflate_zoo.bench.definitions.tasks import class_regions  # noqa: E402
from inflate_zoo.bench.scoring.inference import SlidingWindowPredictor  # noqa: E402
from inflate_zoo.bench.scoring.metrics import case_scores  # noqa: E402
from inflate_zoo.bench.training.devices import peak_memory, reset_peak_memory  # noqa: E402
from inflate_zoo.bench.training.sampling import WindowRule, Windows  # noqa: E402
from tests.support import standins  # noqa: E402 - the path comes first

CPU = torch.device("cpu")


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Print what a stage took."""
    reset_peak_memory(CPU)
    began = time.perf_counter()
    yield
    spent, most = time.perf_counter() - began, peak_memory(CPU) or 0
    print(f"| {name} | {spent:.1f} | {most / 2**30:.1f} |", flush=True)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--task", default="msd-task03")
    asked.add_argument("--shape", type=int, nargs=3, default=(512, 512, 700), help="x y z")
    asked.add_argument("--cases", type=int, default=3)
    given = asked.parse_args()
    task, shape = load_task(given.task), tuple(given.shape)
    _, spacing, _ = standins.GEOMETRY[given.task]
    standins.GEOMETRY[given.task] = (shape, spacing, shape)
    print(f"{given.cases} random volumes of {' x '.join(map(str, shape))} as {given.task}\n")
    print("| stage | s | memory, GiB |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name), Path(name) / "cache"
        with stage("write the files (not ours to be quick at)"):
            standins.write_standin(folder, given.task, cases=given.cases)
        dataset = read_dataset(folder / "data")
        with stage("check"):
            check(dataset)
        with stage("prepare"):
            keys = prepare(task, dataset, [case.name for case in dataset.cases], cache)
        rule = WindowRule((96, 96, 96), 0.67, load_protocol("volume").augment)
        windows = Windows(cache, list(keys.values()), rule, 0)
        with stage("60 windows of 96^3, changed"):
            for number in range(60):
                windows[number]
        predict(task, cache, next(iter(keys.values())))


def predict(task: object, cache: Path, key: str) -> None:
    """Sliding windows over 96 slices, the way back to the file's grid, and scores of one case."""
    case = open_case(cache, key)
    network = inflate_zoo.segmenter(
        inflate_zoo.load("builtin-supervised-3d-center", volume=(32, 64, 64)),
        classes=len(task.values),
        decoder="linear",
    )
    predictor = SlidingWindowPredictor(
        network, (32, 64, 64), Evaluation(overlap=0.25, batch=8), CPU, nullcontext
    )
    with stage("predict 96 slices, small network"):
        found = predictor.probabilities(np.asarray(case.image[:1, :96]))
    with stage("bring them back to the file's grid"):
        restore(found, (96, *case.reference.shape[1:]))
    shifted = np.roll(np.asarray(case.reference), 2, axis=2)  # a good prediction, a little off
    with stage("score the whole case"):
        case_scores(
            shifted,
            np.asarray(case.reference),
            case.spacing,
            class_regions(task),
            task.surface_tolerance_mm,
        )


if __name__ == "__main__":
    main()

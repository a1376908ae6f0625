"""Run the bench end to end on random volumes as large as those of the published data sets.

Each task gets 10 random cases with its channels, labels, spacing and shape (20 of ACDC, which has
two per patient): checked, prepared, trained on for two steps, a fifth held out and scored on whole
grids. Memory is the highest of the process, on Linux. Windows are small and do not overlap, to take
hours on one core and not days. Scores on random volumes say nothing.

Usage: python benchmarks/speed/true_shapes.py [msd-task01 ...]
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from inflate_zoo.bench.training.devices import peak_memory  # noqa: E402
from tests.support.standins import GEOMETRY, write_standin  # noqa: E402 - the path comes first

CASES = 10
SETTINGS = (
    "network.decoder=unetr",
    "train.steps=2",
    "train.validate_every=0",
    'network.window=["spacing",32,32]',
    "evaluation.overlap=0",
    "evaluation.batch=8",
)


def bench(task: Path, data: Path, out: Path) -> None:
    """One trial; ends this process. Prints its highest memory in bytes."""
    import torch

    from inflate_zoo.cli.app import main

    changes = [word for setting in SETTINGS for word in ("--set", setting)]
    words = ["bench", "--data", str(data), "--dataset", str(task), "--source", "builtin/clip"]
    words += ["--protocol", "quick", "--seeds", "1", "--device", "cpu", "--workers", "0"]
    sys.argv = ["inflate-zoo", *words, *changes, "--out", str(out)]
    try:
        main()
    finally:
        print(peak_memory(torch.device("cpu")))


def row(name: str, folder: Path) -> str:
    """A task's row of the table."""
    standin = write_standin(folder, name, cases=CASES, true_shape=True)
    out = folder / "run"
    command = [sys.executable, __file__, "--one", standin.task, standin.folder, out]
    environment = {**os.environ, "INFLATE_ZOO_CACHE": str(folder / "cache")}
    began = time.perf_counter()
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    spent = time.perf_counter() - began
    if ended.returncode:
        raise SystemExit(f"{name}: {ended.stderr[-2000:]}")
    (path,) = out.glob("trials/*/record.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    shape = " x ".join(map(str, GEOMETRY[name][2]))
    seconds, most = record["run"]["seconds"], int(ended.stdout.split()[-1]) / 2**30
    return (
        f"| {name} | {shape} | {spent - seconds['this_attempt']:.0f} | "
        f"{seconds['training']:.0f} | {seconds['evaluation']:.0f} | {most:.1f} |"
    )


def main() -> None:
    names = sys.argv[1:] or [name for name in GEOMETRY if name != "msd-task04"]
    print("| task | x, y, z | check, prepare, report, s | training, s | scoring, s | memory, GiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            print(row(name, Path(folder)), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        bench(*map(Path, sys.argv[2:]))
    else:
        main()

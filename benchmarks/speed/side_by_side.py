"""Time `inflate-zoo bench` with one trial at a time against two: alone, and beside busy processes.

Each time is that of a whole command: start-up, planning from a warm cache, trials, report. The
rounds are interleaved, and the two ways train the same trials, so that only the order differs.

Usage: python benchmarks/speed/side_by_side.py [--trials 4] [--rounds 1] [--steps N] [--at-once 2]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
TARGETS = {"alone": 1.3, "busy": 3.0}
BUSY = 4
SPIN = "while True: pass"


@contextmanager
def company(count: int) -> Iterator[None]:
    """Processes that each keep a core busy."""
    others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def environment() -> dict[str, str]:
    """Nothing that decides threads, and this checkout first."""
    clean = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return clean | {"PYTHONPATH": str(ROOT)}


def bench(folder: Path, options: argparse.Namespace, *words: str) -> None:
    """Run `bench` on the builtin volumes."""
    command = [sys.executable, "-m", "inflate_zoo", "bench", "--dataset", "hippocampus-mini"]
    command += ["--protocol", "quick", "--device", "cpu", "--source", "builtin/mae"]
    command += ["--seeds", str(options.trials), "--cache", str(folder / "cache")]
    command += ["--set", f"train.steps={options.steps}"] * bool(options.steps)
    done = subprocess.run(
        [*command, *words], env=environment(), cwd=folder, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)


def timed(folder: Path, options: argparse.Namespace, at_once: int) -> float:
    """Seconds of a run whose data are prepared and whose sources are converted."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        began = time.perf_counter()
        bench(folder, options, "--out", out, "--at-once", str(at_once))
        return time.perf_counter() - began


def row(name: str, one: Sequence[float], two: Sequence[float]) -> str:
    """A line of the table; the ratio is taken inside each round."""
    ratios = [a / b for a, b in zip(one, two, strict=True)]
    target = TARGETS[name]
    told = "met" if median(ratios) >= target else "missed"
    beside = "" if name == "alone" else f"beside {BUSY} busy processes"
    shown = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return (
        f"| {beside or 'alone'} | {median(one):.1f} | {median(two):.1f} | {shown} | "
        f"at least {target:.1f}, {told} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=4, help="seeds of one arm")
    parser.add_argument("--rounds", type=int, default=1, help="of both ways, in turn")
    parser.add_argument("--steps", type=int, help="of each trial, instead of the protocol's")
    parser.add_argument("--at-once", type=int, default=2, help="trials at a time")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"warning: the load is {load:.1f}; run this on a quiet machine", file=sys.stderr)
    many = options.at_once
    print(f"| {options.trials} trials | one at a time, s | {many} at a time, s | ratio | target |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench(folder, options, "--out", str(folder / "dry"), "--dry-run")  # fills the cache
        for kind, count in (("alone", 0), ("busy", BUSY)):
            one, two = [], []
            for _ in range(options.rounds):
                with company(count):
                    one.append(timed(folder, options, 1))
                    two.append(timed(folder, options, many))
            print(row(kind, one, two), flush=True)


if __name__ == "__main__":
    main()

"""What an engine adds to each trial: wall time and processor time beside the trial's own.

Trials of one step on one thread, on the builtin volumes. The command runs three times: to plan, to
run the trials, and once more where all is done. What the second takes beyond the third, less what
the trials take by themselves, is the engine's: starting processes, importing, waiting. By the clock
that is what their records say of training and scoring; on processors, what the same trials take in
a process that has run one already. Processor time of the command is that of all processes that were
started for it, wherever they run on this machine, looked at five times a second.

Usage: python benchmarks/engines/overhead.py [--trials 8] [--at-once 2] [OPTION OF BENCH...]
       python benchmarks/engines/overhead.py --on slurm [--partition main]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
MARK = "INFLATE_ZOO_OVERHEAD"
BETWEEN_LOOKS = 0.2


class Processors:
    """Processor time of every process whose environment has a mark."""

    def __init__(self, mark: str) -> None:
        self._mark, self._over = mark, threading.Event()
        self._foreign: set[tuple[int, float]] = set()
        self._seconds: dict[tuple[int, float], float] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Processors":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        return sum(self._seconds.values())

    def _watch(self) -> None:
        while not self._over.wait(BETWEEN_LOOKS):
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    self._look(process)

    def _look(self, process: psutil.Process) -> None:
        key = process.pid, process.create_time()
        if key in self._foreign:
            return
        if key not in self._seconds and process.environ().get(MARK) != self._mark:
            if time.time() - key[1] > 1:  # a younger one may be about to become another program
                self._foreign.add(key)
            return
        times = process.cpu_times()
        self._seconds[key] = times.user + times.system


@dataclass(frozen=True)
class Took:
    """Seconds of a command: by the clock, and of processors."""

    wall: float
    processors: float


def bench(folder: Path, trials: int, words: list[str]) -> Took:
    """Run the command; quits where it fails."""
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", "inflate_zoo", "bench", "--dataset", "hippocampus-mini"]
    command += ["--protocol", "quick", "--source", "builtin/mae", "--device", "cpu"]
    command += ["--seeds", str(trials), "--cache", str(folder / "cache"), "--threads", "1"]
    command += ["--set", "train.steps=1", "--set", "train.validate_every=0", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", MARK: mark}
    began = time.perf_counter()
    with Processors(mark) as processors:
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
        wall = time.perf_counter() - began
        time.sleep(2 * BETWEEN_LOOKS)
    if done.returncode:
        sys.exit(done.stderr)
    return Took(wall, processors.seconds)


def own_processors(out: Path) -> float:
    """Processor seconds of a trial, the mean of all but the first, run in this process."""
    import torch

    from inflate_zoo.bench.training.devices import Resources
    from inflate_zoo.bench.training.progress import Silent
    from inflate_zoo.bench.trials.run_plan import planned_trials
    from inflate_zoo.bench.trials.running import run_trial

    torch.set_num_threads(1)
    seconds = []
    for trial in planned_trials(out)[:4]:
        began = time.process_time()
        run_trial(trial, Resources("cpu"), Silent())
        seconds.append(time.process_time() - began)
    return sum(seconds[1:]) / len(seconds[1:])


def own_seconds(out: Path) -> list[float]:
    """What the records say of training and scoring."""
    runs = [json.loads(path.read_text())["run"] for path in out.glob("trials/*/record.json")]
    return [run["seconds"]["training"] + run["seconds"]["evaluation"] for run in runs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--on", default="here", help="here, slurm or ray")
    parser.add_argument("--trials", type=int, default=8, help="two at least")
    parser.add_argument("--at-once", type=int, default=2, help="trials at a time")
    parser.add_argument("--folder", type=Path, help="for what is written; all machines see it")
    options, more = parser.parse_known_args()
    words = ["--on", options.on, *more]
    if options.on == "here":
        words += ["--at-once", str(options.at_once)]
    elif options.on == "slurm":
        words += ["--jobs", str(options.at_once)]
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        bench(folder, options.trials, ["--out", "dry", "--plan"])
        took = bench(folder, options.trials, [*words, "--out", "run"])
        again = bench(folder, options.trials, [*words, "--out", "run"])
        own = own_seconds(folder / "run")
        own_processor = own_processors(folder / "dry")
    count, at_once = len(own), options.at_once
    wall = (took.wall - again.wall - sum(own) / at_once) / count
    processors = (took.processors - again.processors) / count - own_processor
    print("| on | trials | at once | own, s | added, s | own, processor s | added, processor s |")
    print("| --- | --: | --: | --: | --: | --: | --: |")
    print(
        f"| {options.on} | {count} | {at_once} | {sum(own) / count:.1f} | {wall:.1f} | "
        f"{own_processor:.1f} | {processors:.1f} |"
    )


if __name__ == "__main__":
    main()

"""Measure on a GPU what a GPU owes, in pieces of minutes that go on from each other.

    python benchmarks/gpu/day.py --minutes 9 --state DIR --data Task04_Hippocampus \\
      --checkpoint dinov2-small

Does the first parts that DIR/figures.jsonl has no figures of from this card, as many as the minutes
allow, and stops by itself; the minutes begin with the command. DIR then holds the figures, and of
trainings what the next piece goes on from, as much of it as can travel there. Every figure bears
card, commit and versions; ratios are medians of interleaved rounds. A part that fails says where,
the others have their turn all the same, and the exit status is 1.
`--only PART...` chooses parts, measured ones too. `--rehearse` goes through all of it with tiny
sizes on a CPU, whose figures mean nothing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

BEGAN = time.monotonic()  # before the imports that take long
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "speed")]

from figures import Day, release  # noqa: E402 - the paths come first
from measures import attention, loader, paper, right, sliding, step  # noqa: E402
from scan import scan  # noqa: E402
from trainings import TABLES, shown  # noqa: E402

from inflate_zoo.bench.definitions.trial_folder import RECORD  # noqa: E402
from inflate_zoo.bench.training.checkpointing import BEST, CHECKPOINT  # noqa: E402
from inflate_zoo.bench.trials.leases import remove_partial  # noqa: E402

KEPT = 15 * 2**20  # bytes of the state: it travels as one file of 16 MiB at most

PARTS: dict[str, tuple[float, Callable[[Day], bool | None]]] = {  # seconds it needs at least
    "right": (60, right),
    "step": (110, step),
    "attention": (10, attention),
    "loader": (45, loader),
    "paper": (90, paper),
    "sliding": (30, sliding),
    "scan": (120, scan),
    **{f"{name}-table": (90, partial(shown, name=name)) for name in TABLES},
}


def parts(day: Day) -> Iterator[str]:
    """Those to do, in order."""
    chosen = day.options.only or [name for name in PARTS if name not in day.known("done")]
    yield from (name for name in PARTS if name in chosen)


def tidy(state: Path) -> None:
    """Leave what the next piece goes on from, the newest first, as much of it as may travel."""
    for folder in state.glob("*/trials/*"):
        strip(folder)
    others = (p for p in state.rglob("*") if p.is_file() and p.name not in (CHECKPOINT, BEST))
    room = KEPT - sum(path.stat().st_size for path in others)
    for checkpoint in sorted(state.rglob(CHECKPOINT), key=lambda path: -path.stat().st_mtime):
        files = [path for path in (checkpoint, checkpoint.with_name(BEST)) if path.exists()]
        size = sum(path.stat().st_size for path in files)
        if size <= room:
            room -= size
            continue
        for path in files:
            path.unlink()


def strip(folder: Path) -> None:
    """Remove from a trial's folder what neither the report nor the rest of the training reads."""
    remove_partial(folder)
    shutil.rmtree(folder / "cases", ignore_errors=True)
    finished = (folder / RECORD).exists()
    if finished:
        shutil.rmtree(folder / "events", ignore_errors=True)
        (folder / "config.json").unlink(missing_ok=True)
    goes_on = not finished and (folder / CHECKPOINT).exists()  # the best alone is of no use
    for path in folder.glob("*.safetensors"):
        if not goes_on or path.name not in (CHECKPOINT, BEST):
            path.unlink()


def attempt(day: Day, name: str) -> bool:
    """Do a part if there is time for it; whether nothing went wrong."""
    needed, run = PARTS[name]
    if day.left < needed and not day.options.rehearse:
        print(f"{name}: left for the next piece, {day.left:.0f} s are too few", flush=True)
        return True
    began = time.monotonic()
    try:
        release(day)
        finished = run(day)
    except (Exception, SystemExit):  # noqa: BLE001 - the others have their turn, whatever it was
        traceback.print_exc()
        return False
    if finished is not False:
        day.note("done", name, time.monotonic() - began, "s")
    return True


def main(arguments: list[str] | None = None) -> None:
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--minutes", type=float, help="default: 9, and 30 to rehearse")
    asked.add_argument("--state", type=Path, default=ROOT / "benchmarks" / "gpu" / "state")
    asked.add_argument("--data", type=Path, default=Path("Task04_Hippocampus"))
    asked.add_argument("--checkpoint", type=Path, help="a real 2D source with patches of 14 x 14")
    asked.add_argument("--work", type=Path, default=Path("runs") / "gpu", help="what may be lost")
    asked.add_argument("--commit", help="where there is no repository to ask")
    asked.add_argument("--only", nargs="*", choices=list(PARTS))
    asked.add_argument("--rehearse", action="store_true")
    options = asked.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    if options.minutes is None:  # a rehearsal is to come to its end, on a slow machine as well
        options.minutes = 30.0 if options.rehearse else 9.0
    if options.rehearse:
        options.data = ROOT / "benchmarks" / "builtin" / "hippocampus-mini"
    day = Day(options, BEGAN)
    try:
        failed = [name for name in parts(day) if not attempt(day, name)]
    finally:
        tidy(day.state)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

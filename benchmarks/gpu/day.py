"""Measure on a GPU what a GPU owes, in pieces of minutes that go on from each other.

    python benchmarks/gpu/day.py --minutes 9 --state DIR --data Task04_Hippocampus \\
      --checkpoint dinov2-small

Does the first parts that DIR/figures.jsonl has no figures of from this card, as many as the minutes
allow, and stops by itself. DIR then holds the figures, and of trainings what the next piece goes on
from. Every figure bears card, commit and versions; ratios are medians of interleaved rounds.
`--only PART...` chooses parts, measured ones too. `--rehearse` goes through all of it with tiny
sizes on a CPU, whose figures mean nothing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "speed")]

from figures import Day, release  # noqa: E402 - the paths come first
from measures import attention, loader, paper, right, sliding, step  # noqa: E402
from scan import scan  # noqa: E402
from trainings import TABLES, shown  # noqa: E402

from inflate_zoo.bench.training.checkpointing import CHECKPOINT  # noqa: E402

KEPT = 60 * 2**20  # bytes of the state that travel
NEVER_KEPT = ("events", "cases", "model.safetensors", "overlays.safetensors", "config.json")

PARTS: dict[str, tuple[float, Callable[[Day], bool | None]]] = {  # seconds it needs at least
    "right": (60, right),
    "step": (60, step),
    "attention": (10, attention),
    "loader": (45, loader),
    "paper": (45, paper),
    "sliding": (30, sliding),
    "scan": (60, scan),
    **{f"{name}-table": (90, partial(shown, name=name)) for name in TABLES},
}


def parts(day: Day) -> Iterator[str]:
    """Those to do, in order."""
    chosen = day.options.only or [name for name in PARTS if name not in day.known("done")]
    yield from (name for name in PARTS if name in chosen)


def tidy(state: Path) -> None:
    """Leave what the next piece needs, and nothing over what may travel."""
    for folder in state.glob("*/trials/*"):
        finished = (folder / "record.json").exists()
        for name in NEVER_KEPT:
            path = folder / name
            if path.is_dir() and (finished or name == "cases"):
                shutil.rmtree(path)
            elif path.is_file() and finished:
                path.unlink()
    checkpoints = sorted(state.rglob(CHECKPOINT), key=lambda p: p.stat().st_mtime)
    while checkpoints and sum(p.stat().st_size for p in state.rglob("*") if p.is_file()) > KEPT:
        checkpoints.pop(0).unlink()


def main(arguments: list[str] | None = None) -> None:
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--minutes", type=float, default=9.0)
    asked.add_argument("--state", type=Path, default=ROOT / "benchmarks" / "gpu" / "state")
    asked.add_argument("--data", type=Path, default=Path("Task04_Hippocampus"))
    asked.add_argument("--checkpoint", type=Path, help="a real 2D source with patches of 14 x 14")
    asked.add_argument("--work", type=Path, default=Path("runs") / "gpu", help="what may be lost")
    asked.add_argument("--commit", help="where there is no repository to ask")
    asked.add_argument("--only", nargs="*", choices=list(PARTS))
    asked.add_argument("--rehearse", action="store_true")
    options = asked.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    if options.rehearse:
        options.data = ROOT / "benchmarks" / "builtin" / "hippocampus-mini"
    day = Day(options)
    for name in parts(day):
        needed, run = PARTS[name]
        if day.left < needed and not options.rehearse:
            print(f"{name}: left for the next piece, {day.left:.0f} s are too few", flush=True)
            continue
        began = time.monotonic()
        finished = run(day)
        release(day)
        if finished is not False:
            day.note("done", name, time.monotonic() - began, "s")
    tidy(day.state)


if __name__ == "__main__":
    main()

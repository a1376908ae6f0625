"""What a GPU is measured at, and the figures that came of it."""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "monai", "timm", "transformers", "accelerate")


@dataclass(frozen=True)
class Sizes:
    """What is measured at; the rehearsal's differ."""

    extent: int = 96
    dim: int = 768
    blocks: int = 12
    side: int = 512
    batch: int = 4
    slices: int = 16
    rounds: int = 5
    tokens: tuple[int, ...] = (128, 222, 512, 1024, 2048, 4096)
    sliding: tuple[int, int, int] = (144, 192, 192)
    scan: tuple[int, int, int] = (512, 512, 300)  # x, y, z
    seeds: int = 5
    settings: tuple[str, ...] = ()
    at_once: tuple[int, ...] = (1, 8, 4, 2)  # what is aimed at first


TINY = Sizes(
    extent=32, dim=48, blocks=4, side=64, batch=1, slices=4, rounds=1, tokens=(24, 40),
    sliding=(32, 40, 40), scan=(48, 40, 36), seeds=1, at_once=(2,),
    settings=(
        "train.steps=2", "train.batch=2", "train.dice_group=1", "train.validate_every=0",
        "train.select=last", "evaluation.overlap=0.0", "network.features=8",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """One row of what was measured."""

    part: str
    what: str
    value: float | None
    unit: str
    detail: dict[str, Any] = field(default_factory=dict)


class Day:
    """The minutes there are, and what they gave.

    Args:
        options: What was asked for.
        began: When the minutes began, in seconds of `time.monotonic`.
    """

    def __init__(self, options: argparse.Namespace, began: float) -> None:
        self.options = options
        self.sizes = TINY if options.rehearse else Sizes()
        self.device = "cpu" if options.rehearse else "cuda"
        self.state: Path = options.state
        self.state.mkdir(parents=True, exist_ok=True)
        self.end = began + 60 * options.minutes
        self._file = self.state / "figures.jsonl"

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()

    @property
    def card(self) -> str:
        """What is measured."""
        return torch.cuda.get_device_name() if self.device == "cuda" else "no GPU: rehearsal"

    def known(self, part: str) -> set[str]:
        """What there are figures of, of this card."""
        if not self._file.exists():
            return set()
        rows = map(json.loads, self._file.read_text().splitlines())
        return {row["what"] for row in rows if (row["part"], row["card"]) == (part, self.card)}

    def note(self, part: str, what: str, value: float | None, unit: str, **detail: Any) -> None:
        """Keep a figure."""
        shown = "" if value is None else f"{value:.4g} {unit}"
        print(f"{part}: {what}: {shown} {detail or ''}", flush=True)
        row = {
            **asdict(Figure(part, what, value, unit, detail)),
            "card": self.card,
            "commit": self.options.commit or commit(),
            "versions": versions(),
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")


def commit() -> str:
    """What is measured."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    return found.stdout.strip() or "unknown"


def versions() -> dict[str, str]:
    """Of what the figures depend on."""
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def release(day: Day) -> None:
    """Give back what networks held."""
    torch.compiler.reset()
    gc.collect()
    if day.device == "cuda":
        torch.cuda.empty_cache()


def compare(day: Day, part: str, what: str, times: dict[str, list[float]]) -> None:
    """Milliseconds of each arm, and MONAI's over them."""
    theirs = times["MONAI"]
    day.note(part, f"{what}, MONAI", 1000 * statistics.median(theirs), "ms")
    for name, own in times.items():
        if name == "MONAI":
            continue
        each = [their / mine for their, mine in zip(theirs, own, strict=True)]
        spread = [round(min(each), 3), round(max(each), 3)]
        ratio = round(statistics.median(each), 3)
        day.note(
            part, f"{what}, {name}", 1000 * statistics.median(own), "ms", ratio=ratio, range=spread
        )

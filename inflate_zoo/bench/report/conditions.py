"""Where and when trials ran, with what, and whether that was the same for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from inflate_zoo.bench.definitions.results import Run
from inflate_zoo.bench.report.collect import CollectedTrial
from inflate_zoo.errors import visible
from inflate_zoo.texts import plural

Value = TypeVar("Value", str, int)
_TOLD = ("inflate-zoo", "torch", "monai")  # of the versions, in the first line
_MOST = 3  # values of one kind in a sentence


@dataclass(frozen=True)
class Conditions:
    """Under what trials ran; every distinct value, the most frequent first.

    Attributes:
        hosts: Names of the machines.
        processors: Models of their processors.
        capabilities: What torch used of them.
        devices: What trained.
        threads: Of each trial.
        versions: Library to its versions.
        dates: First and last day, in ISO 8601; empty where none is known.
    """

    hosts: tuple[str, ...]
    processors: tuple[str, ...]
    capabilities: tuple[str, ...]
    devices: tuple[str, ...]
    threads: tuple[int, ...]
    versions: dict[str, tuple[str, ...]]
    dates: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """All of it in a line; "" where nothing is known."""
        devices = [device for device in self.devices if device not in self.processors]
        counts = " or ".join(map(str, self.threads))
        parts = (
            _some(self.hosts, "host"),
            _some(self.processors, "processor"),
            " or ".join(map(visible, self.capabilities)),
            f"device {' or '.join(map(visible, devices))}" if devices else "",
            f"{counts} {'thread' if counts == '1' else 'threads'} a trial" if counts else "",
            " to ".join(dict.fromkeys(map(visible, self.dates))),
            *(
                f"{visible(name)} {' or '.join(map(visible, self.versions[name]))}"
                for name in _TOLD
                if name in self.versions
            ),
        )
        told = ", ".join(filter(None, parts))
        return f"Ran on {told}." if told else ""


def conditions(trials: Sequence[CollectedTrial]) -> Conditions:
    """Under what the finished of some trials ran."""
    runs = [trial.record.run for trial in trials if trial.record]
    names = dict.fromkeys(name for run in runs for name in run.versions)
    days = sorted(
        moment[:10] for run in runs for moment in (run.started, run.finished) if moment is not None
    )
    return Conditions(
        hosts=_distinct(runs, lambda run: run.host),
        processors=_distinct(runs, lambda run: run.processor),
        capabilities=_distinct(runs, lambda run: run.capability),
        devices=_distinct(runs, lambda run: run.device or None),
        threads=_distinct(runs, lambda run: run.threads),
        versions={name: _versions(runs, name) for name in sorted(names)},
        dates=(days[0], days[-1]) if days else (),
    )


def mixed(trials: Sequence[CollectedTrial]) -> Iterator[str]:
    """Sentences on what differs between the programs and machines that ran the trials."""
    runs = [trial.record.run for trial in trials if trial.record]
    names = dict.fromkeys(name for run in runs for name in run.versions)
    unlike = {
        name: sorted(found)
        for name in names
        if len(found := {visible(run.versions.get(name) or "absent") for run in runs}) > 1
    }
    if unlike:
        shown = [f"{visible(name)} ({', '.join(found[:4])})" for name, found in unlike.items()]
        yield f"the trials ran with different versions: {'; '.join(shown)}"
    parts = []
    for what, read in _BITS:
        counts = Counter(visible(value) for run in runs if (value := read(run)) is not None)
        if len(counts) > 1:
            told = [f"{value}: {plural(count, 'trial')}" for value, count in sorted(counts.items())]
            parts.append(f"{what} ({', '.join(told[:4])})")
    if parts:
        yield (
            f"the trials ran under mixed conditions: {'; '.join(parts)}; each sums in another "
            "order, so a part of the differences may come from rounding"
        )
    yield from _devices(trials)


_BITS: tuple[tuple[str, Callable[[Run], Hashable]], ...] = (
    ("threads", lambda run: run.threads),
    ("processor", lambda run: run.processor),
    ("capability", lambda run: run.capability),
    ("device", lambda run: run.device or None),
)
"""What decides the order of sums, and so the last bits of a result."""


def _devices(trials: Sequence[CollectedTrial]) -> Iterator[str]:
    """Trials on a CPU beside trials on something else."""
    devices = [trial.record.run.device for trial in trials if trial.record]
    on_cpu = devices.count("cpu")
    elsewhere = sum(device not in ("", "cpu") for device in devices)
    if on_cpu and elsewhere:
        half = any(trial.described.protocol.train.precision == "bf16" for trial in trials)
        how = "a CPU trains in float32, a GPU in bf16" if half else "they round differently"
        yield (
            f"{plural(on_cpu, 'trial')} ran on a CPU and {elsewhere} on a GPU: {how}, so a part of "
            "the differences may come from the device"
        )


def _distinct(runs: Sequence[Run], read: Callable[[Run], Value | None]) -> tuple[Value, ...]:
    counts = Counter(value for run in runs if (value := read(run)) is not None)
    return tuple(sorted(counts, key=lambda value: (-counts[value], str(value))))


def _versions(runs: Sequence[Run], name: str) -> tuple[str, ...]:
    return _distinct(runs, lambda run: run.versions.get(name))


def _some(values: Sequence[str], what: str) -> str:
    """The value; of several their number and the first of them."""
    if len(values) < 2:
        return "".join(map(visible, values))
    more = ", ..." if len(values) > _MOST else ""
    return f"{plural(len(values), what)} ({', '.join(map(visible, values[:_MOST]))}{more})"

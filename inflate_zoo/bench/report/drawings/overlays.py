"""Slices of the worst, median and best test case, the arms beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from inflate_zoo.bench.definitions.results import Overlay
from inflate_zoo.bench.definitions.tasks import Task
from inflate_zoo.bench.report.collect import CollectedTrial
from inflate_zoo.bench.report.output.document import Picture
from inflate_zoo.bench.report.output.drawing import CLASSES, figure, label, picture
from inflate_zoo.bench.report.output.text import number
from inflate_zoo.bench.report.results import Study
from inflate_zoo.errors import UsageError
from inflate_zoo.files.foreign import json_value, parsing
from inflate_zoo.files.header import read_header
from inflate_zoo.files.reading import reading

Bytes = NDArray[np.uint8]
_SHOWN = ("image", "reference", "prediction")
_MOST_LABELS = 12  # of a legend
_MOST_PIXELS = 240  # of a side; larger slices are thinned, smaller ones enlarged
_TILE = 1.25  # inches of a slice
_HEAD = 17  # characters of a line above it
_SAID = TypeAdapter(dict[str, Overlay])
_FILL = 0.35  # opacity of the inside of a class


@dataclass(frozen=True)
class Slices:
    """One arm's overlays, of the folds of one seed.

    Attributes:
        pictures: (case, what) to pixels, shape (H, W): grey values or class indices.
        said: Case to what is said about it, of all cases that have a slice.
    """

    pictures: dict[tuple[str, str], Bytes]
    said: dict[str, Overlay]


def of_study(study: Study) -> dict[str, Callable[[], Picture]]:
    """What can be drawn, by name, to be called later."""
    first: dict[str, list[CollectedTrial]] = {}
    for arm in study.arms:
        trials = [trial for trial in study.finished(arm) if trial.overlays]
        if trials:
            seed = min(trial.described.seed for trial in trials)
            first[arm] = [trial for trial in trials if trial.described.seed == seed]
    return {"overlays": partial(draw, study, first)} if first else {}


def of_arm(trials: Sequence[CollectedTrial], only: Collection[str] | None = None) -> Slices:
    """The overlays of an arm's trials of one seed, which test other cases in each fold; see `read`.

    Raises:
        UsageError: A file is damaged; names the trial's folder.
    """
    made = Slices({}, {})
    for trial in trials:
        assert trial.overlays is not None  # noqa: S101 - `of_study` asked
        own = read(trial.overlays, trial.overlays.parent.name, only)
        made.pictures.update(own.pictures)
        made.said.update(own.said)
    return made


def read(path: Path, trial: str, only: Collection[str] | None = None) -> Slices:
    """Read a file of overlays.

    Args:
        path: The file.
        trial: Name of the trial's folder.
        only: Cases whose pictures are read; all of them by default.

    Raises:
        UsageError: It is damaged; names the trial's folder.
    """
    from safetensors import safe_open

    def refused(_: Exception) -> UsageError:
        return _damaged(trial)

    try:
        read_header(path)
    except UsageError as error:
        raise _damaged(trial) from error
    with reading(path), parsing(refused), safe_open(path, framework="numpy") as file:
        state = json_value((file.metadata() or {}).get("state", "{}"), refused)
        said = _SAID.validate_python(state)
        names = set(file.keys())
        held = {
            told.case: (place, told)
            for place, told in said.items()
            if all(f"{place}.{what}" in names for what in _SHOWN)
        }
        pictures = {
            (case, what): file.get_tensor(f"{place}.{what}")
            for case, (place, _) in held.items()
            if only is None or case in only
            for what in _SHOWN
        }
    for case in {case for case, _ in pictures}:
        kept = [pictures[case, what] for what in _SHOWN]
        if any(p.ndim != 2 or p.dtype != np.uint8 or p.shape != kept[0].shape for p in kept):
            raise _damaged(trial)
    return Slices(pictures, {case: told for case, (_, told) in held.items()})


def _damaged(trial: str) -> UsageError:
    return UsageError(
        f"the overlays of the trial '{trial}' are damaged",
        hint="remove its overlays.safetensors; the report then leaves them out",
    )


def draw(study: Study, first: Mapping[str, Sequence[CollectedTrial]]) -> Picture:
    """Rows are the worst, the median and the best case, columns the reference and each arm."""
    rows = chosen(study, {arm: of_arm(trials, only=()) for arm, trials in first.items()})
    if not rows:
        return picture(figure(1, 0.2), "no overlays")
    cases = {case for _, case, _ in rows}
    found = {arm: of_arm(trials, cases) for arm, trials in first.items()}
    pixels, downs, acrosses = _montage([_tiles(case, found) for _, case, _ in rows])
    columns = len(found) + 1
    width = _TILE * columns + 0.5
    drawn = figure(width, (width - 0.5) * pixels.shape[0] / pixels.shape[1] + 0.85)
    axes = drawn.subplots()
    # One picture, as an axis for each tile would take many times as long.
    axes.imshow(pixels, interpolation="none")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    heads = ["reference", *(_lines(label(arm, 2 * _HEAD)) for arm in found)]
    axes.set_xticks(acrosses, heads, fontsize=8)
    axes.set_yticks(
        downs, [_told(*row) for row in rows], rotation=90, va="center", ma="center", fontsize=8
    )
    for down, (_, case, _) in zip(downs, rows, strict=True):
        _write_dice(axes, down + downs[0] + 1, acrosses, case, [*found.values()])
    for spine in axes.spines.values():
        spine.set_visible(False)
    _legend(drawn, study.trials[0].described.task)
    return picture(drawn, "Slices of the worst, median and best case, one column per arm")


def chosen(study: Study, found: Mapping[str, Slices]) -> list[tuple[str, str, float]]:
    """Which cases to show: (place, case, mean Dice), the worst first.

    By the mean over arms and seeds, among the cases of which most arms kept a slice: runs of
    earlier releases kept three of each arm's own.
    """
    held = Counter(case for slices in found.values() for case in slices.said)
    values: dict[str, list[float]] = {}
    for arm in found:
        for trial in study.finished(arm):
            for scores in trial.record.result.cases if trial.record else ():
                if scores.mean_dice is not None:
                    values.setdefault(scores.case, []).append(scores.mean_dice)
    means = {case: float(np.mean(own)) for case, own in values.items()}
    most = max((count for case, count in held.items() if case in means), default=0)
    ordered = sorted(
        (means[case], case) for case, count in held.items() if count == most and case in means
    )
    places = dict(zip(("worst", "median", "best"), (0, len(ordered) // 2, -1), strict=True))
    kept: dict[str, tuple[str, str, float]] = {}
    for place, at in places.items() if ordered else ():
        mean, case = ordered[at]
        kept.setdefault(case, (place, case, mean))
    return list(kept.values())


def _tiles(case: str, found: Mapping[str, Slices]) -> list[Bytes | None]:
    """The reference and each arm's prediction, painted; None where an arm kept no slice."""
    own = [slices.pictures if (case, "image") in slices.pictures else None
           for slices in found.values()]  # fmt: skip
    one = next(pictures for pictures in own if pictures is not None)
    made: list[Bytes | None] = [_painted(one[case, "image"], one[case, "reference"])]
    for pictures in own:
        if pictures is None:
            made.append(None)
        else:
            made.append(_painted(pictures[case, "image"], pictures[case, "prediction"]))
    return made


def _painted(grey: Bytes, classes: Bytes) -> Bytes:
    """A slice with its classes, so large that edges are thin and small enough for a page."""
    step = -(-max(grey.shape) // _MOST_PIXELS)
    times = max(1, min(3, _MOST_PIXELS // max(grey.shape)))
    return painted(grey[::step, ::step], classes[::step, ::step], times)


def _montage(rows: Sequence[Sequence[Bytes | None]]) -> tuple[Bytes, list[float], list[float]]:
    """All slices in one picture with transparent gaps, anterior or superior at the top.

    Returns:
        Colours with opacity, shape (H, W, 4), and the middles of its rows and columns of slices.
    """
    known = [tile.shape for row in rows for tile in row if tile is not None]
    height, width = max(shape[0] for shape in known), max(shape[1] for shape in known)
    gap, below = width // 24 + 1, width // 7  # below a slice stands its Dice
    down, across = height + below, width + gap
    made = np.zeros((len(rows) * down, len(rows[0]) * across - gap, 4), np.uint8)
    for row, tiles in enumerate(rows):
        for column, tile in enumerate(tiles):
            if tile is None:
                continue
            top = row * down + (height - tile.shape[0]) // 2
            left = column * across + (width - tile.shape[1]) // 2
            part = made[top : top + tile.shape[0], left : left + tile.shape[1]]
            part[..., :3], part[..., 3] = tile[::-1], 255  # rows rise: up is up
    downs = [(height - 1) / 2 + row * down for row in range(len(rows))]
    acrosses = [(width - 1) / 2 + column * across for column in range(len(rows[0]))]
    return made, downs, acrosses


def _write_dice(
    axes: Any, below: float, acrosses: Sequence[float], case: str,
    found: Sequence[Slices],
) -> None:  # fmt: skip
    """What each arm's slice scores, below it."""
    for across, slices in zip(acrosses[1:], found, strict=True):
        said = slices.said.get(case)
        told = number(said.dice) if said else "not kept"
        axes.annotate(
            told, (across, below), (0, -2), textcoords="offset points", ha="center", va="top",
            fontsize=8,
        )  # fmt: skip


def _lines(name: str) -> str:
    """A name on two lines where it is long, broken between words if these fit."""
    lines = wrap(name, _HEAD)
    return "\n".join(lines if len(lines) <= 2 else [name[:_HEAD], name[_HEAD:]])


def _told(place: str, case: str, mean: float) -> str:
    return f"{place}, Dice {number(mean)}\n{label(case, 18)}"


def colour(index: int) -> str:
    """Colour of a class index, which is not the background."""
    return CLASSES[(index - 1) % len(CLASSES)]


def painted(grey: Bytes, classes: Bytes, times: int = 3) -> Bytes:
    """A slice in grey with classes filled faintly and edged.

    Args:
        grey: Grey values, shape (H, W).
        classes: Class indices, shape (H, W).
        times: How much to enlarge, so that the edges are thin.

    Returns:
        Colours, shape (times H, times W, 3).
    """
    large = np.ones((times, times), np.uint8)
    grey, classes = (np.kron(array, large) for array in (grey, classes))
    pixels = np.repeat(grey[..., None], 3, axis=2).astype(np.float64)
    padded = np.pad(classes, 1, mode="edge")
    edge = np.zeros(classes.shape, bool)
    for shifted in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        edge |= shifted != classes
    for index in np.unique(classes[classes > 0]):
        inside = classes == index
        rgb = np.array([int(colour(int(index))[i : i + 2], 16) for i in (1, 3, 5)])
        pixels[inside] = (1 - _FILL) * pixels[inside] + _FILL * rgb
        pixels[inside & edge] = rgb
    return np.rint(pixels).astype(np.uint8)


def _legend(drawn: Any, task: Task) -> None:
    from matplotlib.patches import Patch

    by_value = {value: name for name, value in task.labels.items()}
    named = [(index, by_value[value]) for index, value in enumerate(task.values) if value]
    handles = [
        Patch(color=colour(index), label=label(name, 20)) for index, name in named[:_MOST_LABELS]
    ]
    drawn.legend(
        handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False,
        fontsize=8,
    )  # fmt: skip

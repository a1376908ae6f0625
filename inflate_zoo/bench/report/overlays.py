"""Slices of the worst, median and best test case with reference and prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
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
_PLACES = ("worst", "median", "best")
_SHOWN = ("image", "reference", "prediction")
_MOST_LABELS = 12  # of a legend
_MOST_PIXELS = 512  # of a side; larger slices are thinned
_SAID = TypeAdapter(dict[str, Overlay])
_FILL = 0.35  # opacity of the inside of a class


@dataclass(frozen=True)
class Slices:
    """One trial's overlays.

    Attributes:
        pictures: (place, what) to pixels, shape (H, W): grey values or class indices.
        said: Place to what is said about it.
    """

    pictures: dict[tuple[str, str], Bytes]
    said: dict[str, Overlay]


def of_study(study: Study) -> dict[str, Callable[[], Picture]]:
    """What can be drawn, one per arm, by name, to be called later."""
    drawings: dict[str, Callable[[], Picture]] = {}
    for place, arm in enumerate(study.arms):
        trials = [trial for trial in study.finished(arm) if trial.overlays]
        if trials:
            first = min(trials, key=lambda trial: (trial.described.seed, trial.described.fold))
            drawings[f"overlay-{place + 1}"] = partial(draw, first)
    return drawings


def read(path: Path, trial: str) -> Slices:
    """Read a file of overlays.

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
        pictures = {
            (place, what): file.get_tensor(f"{place}.{what}")
            for place in _PLACES
            if all(f"{place}.{what}" in names for what in _SHOWN)
            for what in _SHOWN
        }
    for place in _PLACES:
        kept = [pictures[place, what] for what in _SHOWN if (place, what) in pictures]
        if any(p.ndim != 2 or p.dtype != np.uint8 or p.shape != kept[0].shape for p in kept):
            raise _damaged(trial)
    if any((place, _SHOWN[0]) in pictures and place not in said for place in _PLACES):
        raise _damaged(trial)
    return Slices(pictures, said)


def _damaged(trial: str) -> UsageError:
    return UsageError(
        f"the overlays of the trial '{trial}' are damaged",
        hint="remove its overlays.safetensors; the report then leaves them out",
    )


def draw(trial: CollectedTrial) -> Picture:
    """One arm: rows are cases, columns image, reference and prediction."""
    assert trial.overlays is not None  # noqa: S101 - `of_study` asked
    slices = read(trial.overlays, trial.overlays.parent.name)
    arm, task = trial.described.arm.label, trial.described.task
    places = [place for place in _PLACES if (place, "image") in slices.pictures]
    if not places:
        return picture(figure(1, 0.2), "no overlays")
    pixels, rows, columns = _montage(slices, places)
    height = 4.6 * pixels.shape[0] / pixels.shape[1]
    drawn = figure(5.4, min(height, 9.0) + 0.95)
    axes = drawn.subplots()
    # One picture, as nine axes take nine times as long.
    axes.imshow(pixels, interpolation="none")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xticks(columns, _SHOWN)
    told = [_told(place, slices.said[place]) for place in places]
    axes.set_yticks(rows, told, rotation=90, va="center", ma="center", fontsize=8)
    for spine in axes.spines.values():
        spine.set_visible(False)
    drawn.suptitle(f"{label(arm)}, seed {trial.described.seed}", fontsize=10)
    _legend(drawn, task)
    return picture(drawn, f"Slices of the worst, median and best case of {label(arm, 80)}")


def _montage(slices: Slices, places: Sequence[str]) -> tuple[Bytes, list[float], list[float]]:
    """All slices in one picture with transparent gaps, anterior or superior at the top.

    Returns:
        Colours with opacity, shape (H, W, 4), and the middles of its rows and columns of slices.
    """
    tiles = []
    for place in places:
        grey = _thin(slices.pictures[place, "image"])
        classes = [_thin(slices.pictures[place, what]) for what in _SHOWN[1:]]
        tiles.append([painted(grey, each) for each in (np.zeros_like(grey), *classes)])
    height = max(row[0].shape[0] for row in tiles)
    width = max(row[0].shape[1] for row in tiles)
    gap = max(height, width) // 24 + 1
    made = np.zeros(
        (len(tiles) * (height + gap) - gap, len(_SHOWN) * (width + gap) - gap, 4), np.uint8
    )
    for row, across in enumerate(tiles):
        for column, tile in enumerate(across):
            top = row * (height + gap) + (height - tile.shape[0]) // 2
            left = column * (width + gap) + (width - tile.shape[1]) // 2
            part = made[top : top + tile.shape[0], left : left + tile.shape[1]]
            part[..., :3], part[..., 3] = tile[::-1], 255  # rows rise: up is up
    middles = [
        [(size - 1) / 2 + index * (size + gap) for index in range(count)]
        for size, count in ((height, len(tiles)), (width, len(_SHOWN)))
    ]
    return made, middles[0], middles[1]


def _thin(pixels: Bytes) -> Bytes:
    step = -(-max(pixels.shape) // _MOST_PIXELS)
    return pixels[::step, ::step]


def _told(place: str, said: Overlay) -> str:
    return f"{place}: Dice {number(said.dice)}\n{label(said.case, 22)}\nslice {said.slice}"


def colour(index: int) -> str:
    """Colour of a class index, which is not the background."""
    return CLASSES[(index - 1) % len(CLASSES)]


def painted(grey: Bytes, classes: Bytes) -> Bytes:
    """A slice in grey with classes filled faintly and edged.

    Args:
        grey: Grey values, shape (H, W).
        classes: Class indices, shape (H, W).

    Returns:
        Colours, shape (3 H, 3 W, 3): enlarged, so that the edges are thin.
    """
    grey, classes = (np.kron(array, np.ones((3, 3), np.uint8)) for array in (grey, classes))
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

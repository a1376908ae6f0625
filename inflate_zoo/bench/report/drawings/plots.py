"""Drawings of scores: curves, cases, differences, ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inflate_zoo.bench.definitions.results import Record
from inflate_zoo.bench.ranking.types import Comparison, Question
from inflate_zoo.bench.report.output.document import Picture
from inflate_zoo.bench.report.output.drawing import (
    FAINT,
    INK,
    KINDS,
    PAPER,
    figure,
    grid,
    label,
    picture,
)
from inflate_zoo.bench.report.results import Study, case_means, rank_shares

Floats = NDArray[np.float64]
MOST_REGIONS = 8  # that are drawn; the others are in the table and in results.csv
MOST_PAIRS = 45  # of a drawing; the others are in the table
WIDTH = 3.5  # inches of a drawing: at 96 dots an inch it fits the width of a phone
_MOST_POINTS = 150  # of a curve
_MOST_SEEDS = 10  # curves of single trainings
_ROW, _PAIR = 0.44, 0.42  # inches of an arm, of a pair; with its name above
_NAME = 44  # characters of a name that has the drawing's width
Drawings = dict[str, Callable[[], Picture]]
_ABOUT: dict[Question, str] = {
    "transfer": "Does transfer help?",
    "sources": "Which source is better?",
    "depth": "Does depth help?",
}


def of_study(study: Study, *, full: bool = True) -> Drawings:
    """What can be drawn of a study's scores, by name, to be called later.

    Args:
        study: The study.
        full: Whether cases, ranks and curves are drawn too.
    """
    finished = [trial for trial in study.trials if trial.record]
    drawings: Drawings = {}
    for question, about in _ABOUT.items():
        if asked := study.ranking.asked(question):
            drawings[f"differences-{question}"] = partial(differences, study, asked, about)
    if not full:
        return drawings
    if any(trial.record and trial.record.result.cases for trial in finished):
        for place, region in enumerate(study.regions[:MOST_REGIONS]):
            drawings[f"cases-{place + 1}"] = partial(cases, study, region)
    if rank_shares(study) is not None:
        drawings["ranks"] = partial(ranks, study)
    for name, what in (("loss", "training loss"), ("validation_dice", "validation Dice")):
        if any(_curve(trial.record, name) for trial in finished):
            drawings[name.replace("_", "-")] = partial(curves, study, name, what)
    return drawings


def _curve(record: Record | None, name: str) -> tuple[tuple[int, float], ...]:
    return getattr(record.result.curves, name) if record else ()


def _thinned(steps: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Means of neighbours, so that a long curve stays a small drawing."""
    pieces = min(len(steps), _MOST_POINTS)
    parts = np.array_split(np.arange(len(steps)), pieces)
    return (
        np.array([steps[part].mean() for part in parts]),
        np.array([values[part].mean() for part in parts]),
    )


def _lines(study: Study, arm: str, name: str) -> tuple[list[tuple[Floats, Floats]], Any]:
    """Each seed's curve, and their mean over the steps that all have."""
    told = []
    for trial in study.finished(arm):
        points = dict(_curve(trial.record, name))
        if points:
            told.append(dict(sorted(points.items())))
    seeds = [
        _thinned(np.array([*points]), np.array([*points.values()])) for points in told[:_MOST_SEEDS]
    ]
    common = sorted(set.intersection(*(set(points) for points in told))) if told else []
    if not common:
        return seeds, None
    mean = np.array([[points[step] for step in common] for points in told]).mean(axis=0)
    return seeds, _thinned(np.array(common), mean)


def curves(study: Study, name: str, what: str) -> Picture:
    """One panel per arm: mean over seeds thick, seeds thin, the other arms' means faint."""
    lines = {arm: _lines(study, arm, name) for arm in study.arms}
    shown = [arm for arm, (seeds, _) in lines.items() if seeds]
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    drawn = figure(WIDTH, 1.45 * rows + 0.5)
    for axes, arm in zip(
        grid(drawn, len(shown), columns, sharex=True, sharey=True), shown, strict=True
    ):
        colour, shape = KINDS[study.arms[arm].kind]
        for other in shown:
            if other != arm and lines[other][1]:
                axes.plot(*lines[other][1], color=FAINT, linewidth=0.6, alpha=0.45, zorder=1)
        seeds, mean = lines[arm]
        few = max(len(steps) for steps, _ in seeds) <= 12
        for steps, values in seeds:
            axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.5, zorder=2)
        if mean:
            marker = shape if few else None
            axes.plot(*mean, color=colour, linewidth=1.5, marker=marker, markersize=4, zorder=3)
        axes.set_title(label(arm, 21), loc="left", fontsize=8)
        axes.grid(visible=True)
        axes.tick_params(labelsize=8)
        axes.locator_params(axis="x", nbins=3)
    drawn.supxlabel("optimiser step", fontsize=9)
    drawn.supylabel(what, fontsize=9)
    return picture(drawn, f"{what} over optimiser steps, one panel per arm")


def _rows(drawn: Any, names: Sequence[str]) -> Any:
    """Axes with a row for each name, which stands above it and so may be as wide as they are."""
    width, height = drawn.get_size_inches()
    drawn.set_layout_engine("none")  # its edges are known, and finding them takes a third longer
    axes = drawn.add_axes((0.1 / width, 0.48 / height, 1 - 0.25 / width, 1 - 0.75 / height))
    axes.set_ylim(len(names) - 0.45, -0.8)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=True, axis="x")
    axes.locator_params(axis="x", nbins=5)
    for row, name in enumerate(names):
        axes.text(0, row - 0.3, name, transform=axes.get_yaxis_transform(), va="bottom",
                  fontsize=8.5, zorder=5)  # fmt: skip
    return axes


def cases(study: Study, region: str) -> Picture:
    """Every test case's Dice in a region, mean over seeds, with quartiles."""
    arms = [arm for arm in study.arms if study.finished(arm)]
    drawn = figure(WIDTH, _ROW * len(arms) + 0.75)
    jitter = np.random.default_rng(0)
    many = sum(len(trial.described.cases.test) for trial in study.trials) > 1500
    axes = _rows(drawn, [label(arm, _NAME) for arm in arms])
    for row, arm in enumerate(arms):
        values = np.array([*case_means(study, arm, region, "dice").values()])
        if not len(values):
            continue
        colour, shape = KINDS[study.arms[arm].kind]
        heights = row + 0.06 + jitter.uniform(-0.18, 0.18, len(values))
        axes.scatter(values, heights, s=9, color=colour, marker=shape, alpha=0.5,
                     linewidths=0, zorder=2, rasterized=many)  # fmt: skip
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        axes.add_patch(_box(low, high, row + 0.06, colour))
        axes.plot([middle, middle], [row - 0.2, row + 0.32], color=INK, linewidth=1.8, zorder=4)
    axes.set_title(label(region, _NAME), loc="left")
    axes.set_xlabel("Dice", fontsize=9)
    return picture(drawn, f"Dice of every test case per arm in {label(region, 80)}, with quartiles")


def _box(low: float, high: float, row: float, colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((low, row - 0.24), high - low, 0.48, fill=False, edgecolor=colour,
                     linewidth=1.3, zorder=3)  # fmt: skip


def differences(study: Study, asked: Sequence[Comparison], about: str) -> Picture:
    """Differences with the interval that decides, the bootstrap over cases thin inside it."""
    shown = asked[:MOST_PAIRS]
    drawn = figure(WIDTH, _PAIR * len(shown) + 0.75)
    half = (_NAME - 3) // 2
    axes = _rows(drawn, [_pair(one, half) for one in shown])
    for row, one in enumerate(shown):
        axes.plot([0, 0], [row - 0.1, row + 0.34], color=INK, linewidth=1, zorder=1)
        _interval(axes, row + 0.12, one, study.arms[one.second].kind)
    axes.set_title(about, loc="left")
    axes.set_xlabel("difference of mean Dice", fontsize=9)
    return picture(drawn, f"{about}: differences of mean Dice with the intervals of the test")


def _pair(one: Comparison, most: int) -> str:
    """Both arms; a short name leaves its room to the other."""
    names = one.first, one.second
    spare = [max(0, most - len(label(name, _NAME))) for name in names]
    first, second = (
        label(name, most + extra) for name, extra in zip(names, reversed(spare), strict=True)
    )
    return f"{first} − {second}"  # noqa: RUF001


def _interval(axes: Any, row: float, one: Comparison, kind: str) -> None:
    colour, shape = KINDS[kind]
    if one.half_width is not None:
        ends = [one.difference - one.half_width, one.difference + one.half_width]
        axes.plot(ends, [row, row], color=colour, linewidth=4.5, alpha=0.45, zorder=2,
                  solid_capstyle="butt")  # fmt: skip
    if one.low is not None and one.high is not None:
        axes.plot([one.low, one.high], [row, row], color=colour, linewidth=1.2, zorder=3)
    face = colour if one.claimed else PAPER
    axes.plot([one.difference], [row], marker=shape, markersize=6, markerfacecolor=face,
              markeredgecolor=colour, markeredgewidth=1.4, zorder=4)  # fmt: skip


def ranks(study: Study) -> Picture:
    """How often an arm has a rank when the cases are drawn anew."""
    found = rank_shares(study)
    assert found is not None  # noqa: S101 - `of_study` asked
    arms, shares = found
    count = len(arms)
    drawn = figure(max(WIDTH, 0.36 * count + 1.6), 0.31 * count + 0.8)
    axes = drawn.subplots()
    red, green, blue = 0x2B / 255, 0x83 / 255, 0xC4 / 255
    colours = np.zeros((*shares.shape, 4))
    colours[..., :3] = red, green, blue
    colours[..., 3] = np.sqrt(shares) * 0.6
    axes.imshow(colours, aspect="auto", interpolation="none")
    for row, place in zip(*np.nonzero(shares >= 0.005), strict=True):
        text = f"{100 * shares[row, place]:.0f}"
        axes.text(place, row, text, ha="center", va="center", fontsize=8)
    axes.set_xticks(range(count), [str(place + 1) for place in range(count)])
    axes.set_yticks(range(count), [label(arm, 22) for arm in arms], fontsize=8)
    axes.tick_params(length=0)
    axes.set_xlabel("rank by mean Dice; % of 2000 bootstraps")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return picture(drawn, "Share of bootstraps over cases in which an arm has each rank")

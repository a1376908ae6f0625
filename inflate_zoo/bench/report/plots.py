"""Drawings of scores: curves, cases, differences, ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inflate_zoo.bench.definitions.results import Record
from inflate_zoo.bench.ranking.types import Comparison
from inflate_zoo.bench.report.output.document import Picture
from inflate_zoo.bench.report.output.drawing import FAINT, INK, KINDS, figure, grid, label, picture
from inflate_zoo.bench.report.results import Study, case_means, rank_shares

Floats = NDArray[np.float64]
METRICS = {"dice": "Dice", "surface_dice": "surface Dice"}
MOST_REGIONS = 8  # of a drawing; the others are in the table and in results.csv
_MOST_POINTS = 150  # of a curve
_MOST_SEEDS = 10  # curves of single trainings
_ROW = 0.27  # inches


def of_study(
    study: Study, baselines: Sequence[Comparison], *, full: bool = True
) -> dict[str, Callable[[], Picture]]:
    """What can be drawn of a study's scores, by name, to be called later.

    Args:
        study: The study.
        baselines: Differences to the baselines.
        full: Whether cases, ranks and curves are drawn too.
    """
    finished = [trial for trial in study.trials if trial.record]
    drawings: dict[str, Callable[[], Picture]] = {}
    if full and any(trial.record and trial.record.result.cases for trial in finished):
        drawings["cases"] = partial(cases, study)
    if baselines:
        drawings["differences"] = partial(differences, study, baselines)
    if full and rank_shares(study) is not None:
        drawings["ranks"] = partial(ranks, study)
    for name, what in (("loss", "training loss"), ("validation_dice", "validation Dice")):
        if full and any(_curve(trial.record, name) for trial in finished):
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
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    drawn = figure(max(2.3 * columns + 0.6, 3.4), 1.75 * rows + 0.5)
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
        axes.set_title(label(arm, 30), loc="left")
        axes.grid(visible=True)
        axes.tick_params(labelsize=8)
        axes.locator_params(axis="x", nbins=4)
    drawn.supxlabel("optimiser step", fontsize=9)
    drawn.supylabel(what, fontsize=9)
    return picture(drawn, f"{what} over optimiser steps, one panel per arm")


def _arm_axis(axes: Any, names: Sequence[str], *, shown: bool = True) -> None:
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), [label(name) for name in names] if shown else [])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x")


def cases(study: Study) -> Picture:
    """Every test case's Dice, mean over seeds, with quartiles."""
    arms = [arm for arm in study.arms if study.finished(arm)]
    regions = study.regions[:MOST_REGIONS]
    columns = min(2, len(regions))
    rows = -(-len(regions) // columns)
    drawn = figure(3.6 * columns + 2.2, rows * (_ROW * len(arms) * 1.25 + 0.7) + 0.2)
    jitter = np.random.default_rng(0)
    many = sum(len(trial.described.cases.test) for trial in study.trials) * len(regions) > 3000
    panels = grid(drawn, len(regions), columns, sharex=True)
    for place, (axes, region) in enumerate(zip(panels, regions, strict=True)):
        for row, arm in enumerate(arms):
            values = np.array([*case_means(study, arm, region, "dice").values()])
            if not len(values):
                continue
            colour, shape = KINDS[study.arms[arm].kind]
            heights = row + jitter.uniform(-0.24, 0.24, len(values))
            axes.scatter(values, heights, s=9, color=colour, marker=shape, alpha=0.5,
                         linewidths=0, zorder=2, rasterized=many)  # fmt: skip
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
            axes.add_patch(_box(low, high, row, colour))
            axes.plot(
                [middle, middle], [row - 0.34, row + 0.34], color=INK, linewidth=1.8, zorder=4
            )
        axes.set_title(label(region), loc="left")
        _arm_axis(axes, arms, shown=place % columns == 0)
        axes.set_xlabel("Dice", fontsize=9)
    return picture(drawn, "Dice of every test case per arm and region, with quartiles")


def _box(low: float, high: float, row: int, colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((low, row - 0.34), high - low, 0.68, fill=False, edgecolor=colour,
                     linewidth=1.3, zorder=3)  # fmt: skip


def differences(study: Study, baselines: Sequence[Comparison]) -> Picture:
    """Differences to the baselines with bootstrap intervals; filled where better is claimed."""
    pairs = list(dict.fromkeys((c.first, c.second) for c in baselines))
    cells = list(dict.fromkeys((c.region, c.metric) for c in baselines))
    kept = [cell for cell in cells if cell[0] in study.regions[:MOST_REGIONS]]
    columns = min(2, len(kept))
    rows = -(-len(kept) // columns)
    drawn = figure(3.0 * columns + 3.4, rows * (_ROW * len(pairs) + 0.75) + 0.2)
    found = {(c.region, c.metric, c.first, c.second): c for c in baselines}
    panels = grid(drawn, len(kept), columns, sharex=True)
    for place, (axes, (region, metric)) in enumerate(zip(panels, kept, strict=True)):
        axes.axvline(0, color=INK, linewidth=1, zorder=1)
        for row, (first, second) in enumerate(pairs):
            if one := found.get((region, metric, first, second)):
                _interval(axes, row, one, study.arms[second].kind)
        axes.set_title(f"{label(region, 24)}, {METRICS.get(metric, metric)}", loc="left")
        _arm_axis(axes, [f"{label(a, 24)} − {label(b, 24)}" for a, b in pairs], shown=False)  # noqa: RUF001
        axes.locator_params(axis="x", nbins=5)
        if place % columns == 0:
            names = [f"{label(a, 24)} − {label(b, 24)}" for a, b in pairs]  # noqa: RUF001
            axes.set_yticks(range(len(pairs)), names)
    drawn.supxlabel("difference of means (95 % bootstrap interval over cases)", fontsize=9)
    return picture(drawn, "Differences of every arm to its baselines, with bootstrap intervals")


def _interval(axes: Any, row: int, one: Comparison, kind: str) -> None:
    colour, shape = KINDS[kind]
    if one.low is not None and one.high is not None:
        axes.plot([one.low, one.high], [row, row], color=colour, linewidth=1.8, zorder=2)
    face = colour if one.better else "none"
    axes.plot([one.difference], [row], marker=shape, markersize=6, markerfacecolor=face,
              markeredgecolor=colour, markeredgewidth=1.4, zorder=3)  # fmt: skip


def ranks(study: Study) -> Picture:
    """How often an arm has a rank when the cases are drawn anew."""
    found = rank_shares(study)
    assert found is not None  # noqa: S101 - `of_study` asked
    arms, shares = found
    count = len(arms)
    drawn = figure(min(0.46 * count + 3.0, 11), _ROW * 1.15 * count + 0.8)
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
    axes.set_yticks(range(count), [label(arm) for arm in arms])
    axes.tick_params(length=0)
    axes.set_xlabel("rank by mean Dice over regions; numbers are % of 2000 bootstraps")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return picture(drawn, "Share of bootstraps over cases in which an arm has each rank")

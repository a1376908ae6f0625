"""What a report says, in order: the answer, the table, the differences; the rest is folded."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import get_args

from inflate_zoo.bench.ranking.types import Caveat, Question
from inflate_zoo.bench.report import tables
from inflate_zoo.bench.report.answers import Answer, answer_of
from inflate_zoo.bench.report.conditions import conditions
from inflate_zoo.bench.report.drawings import overlays, plots
from inflate_zoo.bench.report.origins import origins, trials
from inflate_zoo.bench.report.output.document import (
    Block,
    Bullets,
    Code,
    Figures,
    Fold,
    Heading,
    Links,
    Notice,
    Paragraph,
    Picture,
)
from inflate_zoo.bench.report.output.text import number
from inflate_zoo.bench.report.output.wording import name_of, names_of
from inflate_zoo.bench.report.overall import answer_overall
from inflate_zoo.bench.report.results import Results, Study, best_trial
from inflate_zoo.texts import plural

Drawings = dict[str, Callable[[], Picture]]
NOWHERE: Mapping[str, str] = MappingProxyType({})
FILES = ("results.csv", "results.json", "report.md")
HD95 = (
    "HD95 is the 95th percentile of the distances between the surfaces of prediction and reference "
    "in mm, by surface area and not by the number of border voxels, from each to the other, the "
    "larger of the two: as DeepMind's surface-distance defines it. A case of which a training "
    "found nothing has none; means over different cases cannot be compared. Pooled Dice is over "
    "the voxels of all cases together."
)
_READING = (
    (
        "Three questions",
        "are asked of each task, on one number per case and training, the mean over regions: does "
        "transfer help (each arm against random weights of its network), which source is better "
        "(all pairs), does depth help (each arm against its own 2d). Those that are asked share a "
        "5 % chance of any false claim, for each task and metric; one whose pairs are all told "
        "apart hands its share on.",
    ),
    (
        "The interval",
        "behind ± is that of the test which decides: paired by seeds and cases, it holds the "
        "spread over cases and that between trainings, at the level at which its pair was judged. "
        "A difference is claimed exactly where it leaves out zero.",
    ),
    (
        "Letters",
        "show ties: arms that share one are not told apart, which does not say that they are "
        "equal.",
    ),
    (
        "Spread between seeds",
        "is what another training of the same arm would change; with one seed it is unknown.",
    ),
    (
        "Bootstrap intervals and Wilcoxon p",
        "are over cases: how the difference of these trained models would vary with other cases of "
        "this kind. Another training is not in them, and they decide nothing here.",
    ),
    (
        "Left out",
        "is a case whose reference has none of the regions. An arm with a missing trial is not "
        "ranked and in no comparison.",
    ),
    ("inflated", "pre-trained 2D weights, inflated to 3D; an arm 'as it is' was 3D already"),
    ("2d", "the same 2D weights, applied slice by slice"),
    ("random", "the same network from random weights: what training alone gives"),
)
MOST_FULL = 3  # tasks with all drawings: a page and twenty seconds hold no more
_CAPTIONS = {
    "cases": "Dice of every test case (points: mean over seeds), with quartiles (box) and median.",
    "ranks": (
        "Descriptive: how often an arm has a rank by mean Dice when the test cases are drawn anew "
        "(bootstrap over cases). The trainings are not drawn anew, so this is no test."
    ),
    "differences": (
        "Wide bars: the interval of the test that decides. Thin lines: 95 % bootstrap over cases "
        "for these trained models. Filled: told apart; hollow: not. Right of zero the first arm "
        "scores more."
    ),
    "curves": (
        "Mean over seeds (thick), each seed (thin), the other arms (grey). The validation cases "
        "are inner ones. Neither curve is a result; the test cases are."
    ),
    "overlays": (
        "The worst, the median and the best test case by the mean over arms and seeds; below each "
        "prediction its own Dice, of the arm's first seed."
    ),
}


@dataclass(frozen=True)
class Composed:
    """A report before it is rendered.

    Attributes:
        title: Its own.
        blocks: Its parts, in order.
        drawings: What the parts name, not yet drawn.
    """

    title: str
    blocks: list[Block]
    drawings: Drawings


def compose(results: Results, places: Mapping[str, str] = NOWHERE) -> Composed:
    """The report's parts, and the drawings they name.

    Args:
        results: The ranking.
        places: Hash of a trial to where its folder lies, seen from the report.
    """
    drawings: Drawings = {}
    blocks: list[Block] = []
    if ran := conditions(results.trials).sentence:
        blocks.append(Paragraph(ran, tone="soft"))
    several = len(results.studies) > 1
    if several:
        blocks += _overall(results)
    for place, study in enumerate(results.studies):
        prefix = f"{place + 1}-"
        own = _own_drawings(study, full=len(results.studies) <= MOST_FULL)
        drawings |= {f"{prefix}{name}": draw for name, draw in own.items()}
        if several:
            blocks.append(Heading(study.title))
        doubts, notes = parted(study.caveats)
        blocks += _notice("This is not a ranking", doubts)
        blocks += _lead(answer_of(study))
        if not several:
            blocks += _incomplete(results)
        blocks += _notice("Keep in mind", notes)
        blocks += _standings(study)
        if not several:
            blocks.append(_links())
        blocks += _best(study, places)
        blocks += _differences(study, prefix, own)
        blocks += _folded(study, prefix, own)
    blocks.append(Heading("More"))
    blocks.append(Fold("How to read this", (Bullets(_READING),)))
    blocks.append(Fold("Where this comes from", tuple(origins(results))))
    trial_table = trials(results, places)
    blocks.append(Fold(f"Trials and their folders ({len(results.trials)})", (trial_table,)))
    return Composed(title_of(results), blocks, drawings)


def title_of(results: Results) -> str:
    """What the page is called: what was compared on what."""
    first, *others = (study.ranking for study in results.studies)
    protocols = {ranking.protocol for ranking in (first, *others)}
    under = f"protocol {first.protocol}" if len(protocols) == 1 else f"{len(protocols)} protocols"
    if others:
        return f"{len({r.task for r in (first, *others)})} tasks, {under}: which source transfers"
    return f"{first.task}, {under}: which source transfers"


def _overall(results: Results) -> Iterator[Block]:
    found = answer_overall(results)
    doubts, notes = parted(results.ranking.caveats)
    yield from _notice("This is not a ranking", doubts)
    if found:
        yield from _lead(found)
    yield from _incomplete(results)
    yield from _notice("Keep in mind", notes)
    yield _links()
    if table := tables.overall(results.ranking):
        yield table
    if agreement := tables.stability(results.ranking):
        yield agreement


def _lead(answer: Answer) -> Iterator[Block]:
    return (Paragraph(sentence, "lead") for sentence in answer.sentences)


def _incomplete(results: Results) -> Iterator[Block]:
    if absent := tables.missing(results):
        yield Notice("Incomplete", (absent,))


def _links() -> Links:
    return Links(tuple((name, name) for name in FILES))


def parted(caveats: Sequence[Caveat]) -> tuple[list[Caveat], list[Caveat]]:
    """Why it is no ranking, and what else is to be kept in mind; the answer says the rest."""
    doubts = [caveat for caveat in caveats if caveat.weight == "not a ranking"]
    notes = [caveat for caveat in caveats if caveat.weight in ("note", "unstable")]
    return doubts, notes


def _notice(title: str, caveats: Sequence[Caveat]) -> Iterator[Notice]:
    if caveats:
        yield Notice(title, tuple(caveat.sentence for caveat in caveats))


def _own_drawings(study: Study, *, full: bool) -> Drawings:
    own = plots.of_study(study, full=full)
    return {**own, **overlays.of_study(study)} if full else own


def _standings(study: Study) -> Iterator[Block]:
    yield tables.standings(study)
    outside: dict[str, list[str]] = {}
    for contestant in (standing.contestant for standing in study.ranking.standings):
        if contestant.outside is not None:
            outside.setdefault(contestant.outside, []).append(contestant.arm)
    for why, arms in outside.items():
        yield Paragraph(f"Outside the ranking: {names_of(arms)}, {why}.", tone="soft")
    task = study.trials[0].described.task
    yield Paragraph(
        f"{task.title} ({task.modality}): {plural(study.ranking.cases, 'test case')}, "
        f"{plural(study.ranking.seeds, 'seed')}. Surface Dice at {task.surface_tolerance_mm:g} mm.",
        tone="soft",
    )


def _best(study: Study, places: Mapping[str, str]) -> Iterator[Block]:
    """The trained network to use, and how."""
    best = best_trial(study)
    if best is None:
        return
    trial, dice = best
    told = trial.described
    name = f"{name_of(told.arm.label)}, seed {told.seed}, fold {told.fold} (Dice {number(dice)})"
    if not trial.trained:
        yield Paragraph(f"The trial that scored best: {name}. Its network is not kept.")
    elif trial.hash in places:
        yield Paragraph(f"The trial that scored best: {name}. In the folder of this report:")
        yield Code(predict_command(places[trial.hash]))


def predict_command(folder: str) -> str:
    """What to type to segment images with a trial."""
    return f"inflate-zoo predict {shlex.quote(folder)} IMAGES --out predictions"


def _differences(study: Study, prefix: str, own: Drawings) -> Iterator[Block]:
    asked = [(question, study.ranking.asked(question)) for question in get_args(Question)]
    asked = [(question, found) for question, found in asked if found]
    yield Heading("Differences", 3)
    if not asked:
        yield Paragraph("No two complete arms can be compared.")
        return
    names = tuple(f"{prefix}{name}" for name in own if name.startswith("differences-"))
    if names:
        yield Figures(names, _CAPTIONS["differences"])
    if unlike := tables.unlike(study.ranking):
        yield unlike
    inner: list[Block] = []
    for question, found in asked:
        inner.append(tables.differences(found))
        if regions := tables.by_region(found):
            inner.append(regions)
        if beside := study.ranking.asked(question, "surface_dice"):
            inner.append(tables.differences(beside))
    yield Fold("Differences in numbers", tuple(inner))


def _folded(study: Study, prefix: str, own: Drawings) -> Iterator[Block]:
    """What is only wanted on demand."""
    yield Fold(
        "Every region, HD95, spread between seeds",
        (tables.regions(study), Paragraph(HD95, tone="soft"), tables.seeds(study)),
    )

    def fold(title: str, kind: str, *starts: str, wide: bool = False) -> Iterator[Block]:
        names = tuple(f"{prefix}{name}" for name in own if name.startswith(starts or kind))
        if names:
            yield Fold(title, (Figures(names, _CAPTIONS[kind], wide=wide), *more.get(kind, ())))

    more: dict[str, tuple[Block, ...]] = {}
    if (hidden := len(study.regions) - plots.MOST_REGIONS) > 0:
        told = Paragraph(f"{plural(hidden, 'further region')} not drawn: see results.csv.")
        more["cases"] = (told,)
    yield from fold("Slices", "overlays", wide=True)
    yield from fold("Test cases", "cases")
    yield from fold("Ranks under other test cases", "ranks")
    yield from fold("Learning curves", "curves", "loss", "validation-dice")
    times = "Times on different devices, or of trials beside each other, are not comparable."
    yield Fold("Cost", (tables.cost(study), Paragraph(times, tone="soft")))
    if not own.keys() - {name for name in own if name.startswith("differences-")}:
        yield Paragraph(
            f"Cases, curves, rank shares and slices are drawn where there are {MOST_FULL} tasks or "
            "fewer: 'inflate-zoo report' on the run of this task alone shows them.",
            tone="soft",
        )

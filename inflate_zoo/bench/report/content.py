"""What a report says, in order."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator, Sequence

from inflate_zoo.bench.definitions.protocols import Protocol
from inflate_zoo.bench.ranking.types import Caveat, Comparison
from inflate_zoo.bench.report import overlays, plots, tables
from inflate_zoo.bench.report.baselines import to_baselines
from inflate_zoo.bench.report.output.document import (
    Block,
    Bullets,
    Code,
    Figures,
    Fold,
    Heading,
    Notice,
    Paragraph,
    Picture,
    Table,
)
from inflate_zoo.bench.report.output.text import NONE, probability
from inflate_zoo.bench.report.results import Results, Study
from inflate_zoo.texts import plural

TITLE = "inflate-zoo bench report"
Drawings = dict[str, Callable[[], Picture]]

_KINDS = (
    ("inflated", "pre-trained 2D weights, inflated to 3D"),
    ("2d", "the same 2D weights, applied slice by slice"),
    ("random", "the same network from random weights: what training alone gives"),
)
_READING = (
    (
        "Better",
        "is claimed by a one-sided paired t test whose standard error holds both the spread over "
        "cases and that between trainings (seeds), corrected after Holm over all ordered pairs of "
        "a task, region and metric, at 0.05.",
    ),
    (
        "Spread between seeds",
        "is what another training of the same arm would change; with one seed it is unknown.",
    ),
    (
        "Bootstrap intervals",
        "are over cases: how the difference of these trained models would vary with other cases of "
        "this kind. Another training is not in them.",
    ),
    (
        "Wilcoxon p",
        "says whether these trained models differ on these cases; it says nothing of another "
        "training, and decides nothing here.",
    ),
    (
        "Smallest p",
        "is what an exact permutation test could attain at all with so many cases and seeds; where "
        "it is above 0.05, every claim trusts in the shape of the t distribution.",
    ),
    (
        "Left out",
        "of a region and metric, for all arms: a case without a value in any trial. An arm with a "
        "missing trial is not ranked and in no comparison.",
    ),
)
MOST_FULL = 3  # tasks with all drawings: a page and twenty seconds hold no more
_CAPTIONS = {
    "cases": "Dice of every test case (points: mean over seeds), with quartiles (box) and median.",
    "ranks": (
        "Descriptive: how often an arm has a rank by mean Dice when the test cases are drawn anew "
        "(bootstrap over cases). The trainings are not drawn anew, so this is no test."
    ),
    "differences": (
        "Arm − baseline; right of zero the arm scores more. Bars: 95 % bootstrap intervals over "  # noqa: RUF001
        "cases for these trained models. Filled: claimed to be better (Holm, p < 0.05); "
        "hollow: not. Grey diamonds: against random weights; orange squares: against 2d."
    ),
    "loss": "Training loss: mean over seeds (thick), each seed (thin), the other arms (grey).",
    "validation-dice": (
        "Dice on inner validation cases: mean over seeds (thick), each seed (thin), the other arms "
        "(grey). Neither curve is a result; the test cases are."
    ),
}


def compose(results: Results) -> tuple[list[Block], Drawings]:
    """The report's parts, and the drawings they name, not yet drawn."""
    blocks: list[Block] = []
    drawings: Drawings = {}
    if absent := tables.missing(results):
        blocks.append(Notice("Incomplete", (absent,)))
    if found := tables.overall(results.ranking):
        blocks.append(Heading("All tasks"))
        if results.ranking.caveats:
            blocks.append(_notice(results.ranking.caveats))
        blocks.append(found)
        if agreement := tables.stability(results.ranking):
            blocks.append(agreement)
    for place, study in enumerate(results.studies):
        prefix = f"{place + 1}-"
        blocks += _study(study, prefix, drawings, full=len(results.studies) <= MOST_FULL)
    blocks += [Heading("How to read this"), _reading()]
    blocks += _origins(results)
    return blocks, drawings


def _notice(caveats: tuple[Caveat, ...]) -> Notice:
    doubtful = any(caveat.weight == "not a ranking" for caveat in caveats)
    title = "This is not a ranking" if doubtful else "Read this first"
    return Notice(title, tuple(caveat.sentence for caveat in caveats))


def _study(study: Study, prefix: str, drawings: Drawings, *, full: bool) -> Iterator[Block]:
    baselines = to_baselines(study)
    own: Drawings = {**plots.of_study(study, baselines, full=full)}
    if full:
        own |= overlays.of_study(study)
    drawings |= {f"{prefix}{name}": draw for name, draw in own.items()}
    task = study.trials[0].described.task
    yield Heading(study.title)
    yield Paragraph(
        f"{task.title} ({task.modality}): {plural(study.ranking.cases, 'test case')}, "
        f"{plural(study.ranking.seeds, 'seed')}. Surface Dice at {task.surface_tolerance_mm:g} mm."
    )
    if study.caveats:
        yield _notice(study.caveats)
    yield tables.standings(study, pooled=True)
    if verdict := tables.verdict(study):
        yield Paragraph(verdict)
    yield Paragraph(
        "Means over test cases and seeds, ± standard deviation between the means of the seeds. "
        "Points: arms it is better than, summed over regions and metrics. Places go by the mean of "
        "the ranks by points in each region and metric; equal ones are tied. Pooled Dice: over the "
        "voxels of all cases, not ranked."
    )
    if len(study.regions) > tables.MOST_REGIONS:
        yield Fold("Every region", (tables.regions(study),))
    if found := tables.claims(study):
        yield Fold("Which arm is better than which", (found,))
    yield from _drawn(study, prefix, own, baselines)
    if not full:
        yield Paragraph(
            f"Cases, curves, rank shares and slices are drawn where there are {MOST_FULL} tasks or "
            "fewer: 'inflate-zoo report' on the run of this task alone shows them."
        )
    yield Heading("Cost", 3)
    yield tables.cost(study)
    yield Paragraph(
        "Means over trials; memory is the greatest. FLOPs: of one window, forward. Times on "
        "different devices, or of trials that ran beside each other, cannot be compared."
    )


def _drawn(
    study: Study, prefix: str, own: Drawings, baselines: Sequence[Comparison]
) -> Iterator[Block]:
    def figure(name: str, title: str) -> Iterator[Block]:
        if name in own:
            yield Heading(title, 3)
            yield Figures((f"{prefix}{name}",), _CAPTIONS[name])

    yield from figure("differences", "Differences to the baselines")
    if baselines:
        yield Fold("Differences in numbers", (tables.differences(baselines),))
    else:
        yield Paragraph("No complete arm has a complete baseline (random, 2d) to be compared with.")
    yield from figure("ranks", "Ranks under other test cases")
    yield from figure("cases", "Test cases")
    if len(study.regions) > plots.MOST_REGIONS:
        more = len(study.regions) - plots.MOST_REGIONS
        yield Paragraph(f"{plural(more, 'further region')} not drawn: see results.csv.")
    yield from figure("loss", "Learning curves")
    yield from figure("validation-dice", "Validation while training")
    slices = tuple(f"{prefix}{name}" for name in own if name.startswith("overlay-"))
    if slices:
        yield Heading("Slices", 3)
        caption = "Worst, median and best test case of each arm's first seed, by Dice."
        yield Figures(slices, caption)


def _reading() -> Bullets:
    return Bullets((*_READING, *_KINDS))


def _origins(results: Results) -> Iterator[Block]:
    yield Heading("Where this comes from")
    for study in results.studies:
        task, protocol = study.trials[0].described.task, study.protocol
        yield Heading(study.title, 3)
        yield Bullets(
            (
                ("Data set:", task.title),
                ("License of the data:", task.license),
                ("To cite:", task.citation or NONE),
                ("Address:", " ".join(filter(None, (task.address, task.checksum))) or NONE),
                ("Split:", _split(study)),
                ("Data digest:", _data(study)),
                ("Channels:", f"{', '.join(task.channels)}; rule {_rules(study)}"),
                ("Smallest attainable p:", probability(study.ranking.smallest_p)),
                ("Protocol:", protocol.summary),
                *_learning_rates(protocol),
                *(("Deviation:", deviation) for deviation in protocol.deviations),
            )
        )
        yield tables.splits(study)
        yield Fold("Arms", (tables.arms(study),))
        yield _task(study)
    protocols = {
        study.ranking.protocol: study.protocol.model_dump(
            mode="json", exclude={"name", "summary", "deviations"}
        )
        for study in results.studies
    }
    several = len(protocols) > 1
    title = "Protocols; settings that differ come first" if several else "Protocol"
    yield Fold(title, (tables.settings(protocols),))
    yield from _runs(results)


def _learning_rates(protocol: Protocol) -> Iterator[tuple[str, str]]:
    if (own := protocol.train.random_learning_rate) is not None:
        yield (
            "Learning rates:",
            f"{protocol.train.learning_rate:g} for sources, {own:g} for random weights",
        )
    if protocol.train.layer_decay < 1 and not protocol.network.freeze:
        yield (
            "Learning rates:",
            f"times {protocol.train.layer_decay:g} per block towards the stem, for every arm, as "
            "the rest of the protocol: for random as well, where no pre-trained layer is spared",
        )


def _task(study: Study) -> Fold:
    """Settings of the task; by fold where a derived task measured others in each."""
    folds = {t.described.fold: t.described.task.model_dump(mode="json") for t in study.trials}
    named = {f"fold {fold}": folds[fold] for fold in sorted(folds)}
    if all(settings == named[f"fold {min(folds)}"] for settings in named.values()):
        return Fold("Task", (tables.settings({study.ranking.task: folds[min(folds)]}),))
    return Fold("Task; settings that differ between folds come first", (tables.settings(named),))


def _runs(results: Results) -> Iterator[Block]:
    records = [trial.record for trial in results.trials if trial.record]
    commands = dict.fromkeys(shlex.join(record.run.command) for record in records)
    lines = tuple(Code(command) for command in sorted(commands) if command)
    if lines:
        yield Fold(f"Commands ({len(lines)})", lines)
    counts: dict[tuple[str, str], int] = {}
    for record in records:
        for name, version in record.run.versions.items():
            key = name, version or NONE
            counts[key] = counts.get(key, 0) + 1
    if counts:
        found = tuple((*key, str(count)) for key, count in sorted(counts.items()))
        yield Fold("Versions", (Table(("package", "version", "trials"), found, 2),))
    rows = tuple(
        (t.hash, t.described.task.name, t.described.protocol.name, t.described.arm.label,
         str(t.described.fold), str(t.described.seed),
         "done" if t.record else "left out" if t.doubt else "failed" if t.failure else "not run")
        for t in results.trials
    )  # fmt: skip
    columns = ("trial", "task", "protocol", "arm", "fold", "seed", "state")
    yield Fold(f"Trials ({len(rows)})", (Table(columns, rows, len(columns)),))


def _split(study: Study) -> str:
    task, data = study.trials[0].described.task, study.trials[0].described.protocol.data
    chosen = ", the scored cases choose the checkpoint" if data.select_on == "test" else ""
    if data.split == "paper" and task.paper_split:
        return f"the paper's own, digest {task.paper_split.digest or 'not pinned'}{chosen}"
    rule = task.split
    return f"{rule.rule}, {rule.folds} folds, digest {rule.digest or 'not pinned'}{chosen}"


def _data(study: Study) -> str:
    """Digest over the content keys of all cases."""
    entries = sorted({item for t in study.trials for item in t.described.entries.items()})
    if not entries:
        return NONE
    digest = hashlib.sha256(json.dumps(entries).encode()).hexdigest()
    return f"{digest[:16]} ({plural(len(dict(entries)), 'case')})"


def _rules(study: Study) -> str:
    return ", ".join(sorted({trial.described.channel_rule for trial in study.trials})) or NONE

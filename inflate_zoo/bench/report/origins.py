"""What a report says of where its numbers come from: data, protocols, arms, commands, trials."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping

from inflate_zoo.bench.definitions.protocols import Protocol
from inflate_zoo.bench.report import tables
from inflate_zoo.bench.report.collect import CollectedTrial
from inflate_zoo.bench.report.output.document import Block, Bullets, Code, Fold, Heading, Table
from inflate_zoo.bench.report.output.text import NONE
from inflate_zoo.bench.report.results import Results, Study
from inflate_zoo.texts import plural


def origins(results: Results) -> Iterator[Block]:
    """Where everything comes from."""
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
        caption = "Libraries that ran the trials."
        table = Table(("package", "version", "trials"), found, 2, caption=caption)
        yield Fold("Versions", (table,))


def state_of(trial: CollectedTrial) -> str:
    """What became of a trial."""
    if trial.record:
        return "done"
    return "left out" if trial.doubt else "failed" if trial.failure else "not run"


def trials(results: Results, places: Mapping[str, str]) -> Table:
    """Every trial, with a link to its folder.

    Args:
        results: The ranking.
        places: Hash of a trial to where its folder lies, seen from the report.
    """
    rows = tuple(
        (t.hash, t.described.arm.label, str(t.described.seed), str(t.described.fold), state_of(t),
         t.described.task.name, t.described.protocol.name)
        for t in results.trials
    )  # fmt: skip
    columns = ("trial", "arm", "seed", "fold", "state", "task", "protocol")
    links = tuple(places.get(trial.hash) for trial in results.trials)
    caption = "Each trial's name leads to its folder."
    return Table(columns, rows, len(columns), caption=caption, links=links if any(links) else ())


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

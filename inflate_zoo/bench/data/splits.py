"""Folds from case names alone: the same names give the same folds, on any machine, in any order."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from inflate_zoo.bench.definitions.tasks import PaperSplit, Split, Task
from inflate_zoo.errors import UsageError

FEWEST = 10  # cases; below, a fold's mean says nothing and its training part is nearly empty
_VALIDATION = 5  # every fifth training patient
_CHECK = "run 'inflate-zoo data check' on the data set's folder"
_PAPER_SEED = 1234


@dataclass(frozen=True)
class Parts:
    """The cases of one fold, each part in hash order, or in the order of the paper's own split.

    Attributes:
        train: Cases to train on.
        validation: Cases cut from the training part, for choosing a checkpoint.
        test: Cases to score, never seen before that.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def _hash(name: str) -> str:
    # A file name may hold bytes that are no UTF-8; Python keeps them as lone surrogates.
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _patients(names: Iterable[str], pattern: str | None) -> dict[str, list[str]]:
    """Patient to cases, both in hash order."""
    found: dict[str, list[str]] = {}
    for name in sorted(names, key=_hash):
        match = re.search(pattern, name) if pattern else None
        if pattern and not match:
            raise UsageError(
                f"case '{name}' names no patient: it does not match '{pattern}'", hint=_CHECK
            )
        cases = found.setdefault(match[0] if match else name, [])
        if name in cases:
            raise UsageError(f"case '{name}' stands twice in the data set", hint=_CHECK)
        cases.append(name)
    return {patient: found[patient] for patient in sorted(found, key=_hash)}


def _enough(names: Iterable[str], split: Split) -> dict[str, list[str]]:
    patients = _patients(names, split.patient)
    needed = max(FEWEST, split.folds)
    if len(patients) < needed:
        what = "patients" if split.patient else "cases"
        raise UsageError(
            f"{len(patients)} {what} are too few to split: {split.folds} folds need at least "
            f"{needed}",
            hint="add cases, or take a data set with more",
        )
    return patients


def _cases(patients: Mapping[str, Sequence[str]], chosen: Iterable[str]) -> tuple[str, ...]:
    return tuple(chain.from_iterable(patients[patient] for patient in chosen))


def deal(names: Iterable[str], split: Split) -> list[list[str]]:
    """Deal cases into folds: patients sorted by the SHA-256 of their names, then in turn.

    Args:
        names: Case names, all different.
        split: The rule.

    Raises:
        UsageError: Fewer than 10 patients or than folds, or a name that stands twice.
    """
    patients = _enough(names, split)
    order = list(patients)
    return [list(_cases(patients, order[fold :: split.folds])) for fold in range(split.folds)]


def digest(folds: Sequence[Sequence[str]]) -> str:
    """SHA-256 of the folds, hexadecimal: of a JSON list of lists of names, without spaces."""
    text = json.dumps([list(fold) for fold in folds], separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def divide(names: Iterable[str], split: Split, fold: int) -> Parts:
    """Training, validation and test cases of one fold; no patient stands in two parts.

    Args:
        names: Case names, all different.
        split: The rule.
        fold: Which one is tested, from 0.

    Raises:
        UsageError: No such fold, or the names cannot be dealt.
    """
    patients = _enough(names, split)
    if not 0 <= fold < split.folds:
        raise UsageError(f"there is no fold {fold}", hint=f"folds are 0 to {split.folds - 1}")
    order = list(patients)
    rest = [patient for place, patient in enumerate(order) if place % split.folds != fold]
    training = [patient for place, patient in enumerate(rest) if place % _VALIDATION]
    return Parts(
        train=_cases(patients, training),
        validation=_cases(patients, rest[::_VALIDATION]),
        test=_cases(patients, order[fold :: split.folds]),
    )


def divide_as_published(task: Task, listed: tuple[str, ...]) -> Parts:
    """The parts of the paper's own split.

    Its lists of patients name no cases to choose a checkpoint by (theirs was chosen by the scored
    ones): every fifth of the others in hash order, as in our folds.

    Args:
        task: With a `paper_split`.
        listed: Case names in the order of the data set's own list, `Dataset.listed`.

    Raises:
        UsageError: The task has none, or the cases are not those it was made of.
    """
    rule = task.paper_split
    if rule is None:
        raise UsageError(
            f"task '{task.name}' has no split of the paper",
            hint="leave out data.split, or use another task",
        )
    if rule.first is not None and listed[:1] != (rule.first,):
        raise UsageError(
            f"dataset.json does not list the cases of '{task.name}' in their published order, "
            "which the paper's split was drawn from",
            details=[f"first case: {listed[0] if listed else 'none'}, published: {rule.first}"],
            hint="use the published dataset.json, or --set data.split=folds",
        )
    parts = _shuffled(rule, listed) if rule.rule == "shuffle" else _listed(task, rule, listed)
    if not all((parts.train, parts.validation, parts.test)):
        raise UsageError(
            f"{len(listed)} cases are too few for the paper's split of '{task.name}'",
            hint="use the complete data set, or --set data.split=folds",
        )
    _require_same(task, rule.digest, [parts.train, parts.validation, parts.test], len(listed))
    return parts


def chosen_by_test(parts: Parts, rule: PaperSplit | None = None) -> Parts:
    """The same parts, the scored cases choosing the checkpoint too.

    Args:
        parts: As drawn.
        rule: The paper's, if it drew them. Of its 80/15/5 nothing was done with the 15; other cases
            that would have chosen are trained on.
    """
    unused = rule is not None and rule.rule == "shuffle"
    train = parts.train if unused else parts.train + parts.validation
    return Parts(train=train, validation=parts.test, test=parts.test)


def _shuffled(rule: PaperSplit, listed: Sequence[str]) -> Parts:
    generator = random.Random(_PAPER_SEED)  # noqa: S311 - theirs, and no secret
    for length in rule.before:
        generator.shuffle(list(range(length)))  # advances it as theirs was
    names = list(listed)
    generator.shuffle(names)
    first, second = int(0.8 * len(names)), int(0.95 * len(names))
    return Parts(tuple(names[:first]), tuple(names[first:second]), tuple(names[second:]))


def _listed(task: Task, rule: PaperSplit, listed: Sequence[str]) -> Parts:
    patients = _patients(listed, task.split.patient)
    if absent := [patient for patient in rule.test if patient not in patients]:
        raise UsageError(
            f"the paper scores '{absent[0]}', which the data set does not hold",
            details=[f"{len(absent)} of {len(rule.test)} such patients are missing"],
            hint="use the complete, unchanged data set",
        )
    rest = [patient for patient in patients if patient not in rule.test]
    training = [patient for place, patient in enumerate(rest) if place % _VALIDATION]
    return Parts(
        train=_cases(patients, training),
        validation=_cases(patients, rest[::_VALIDATION]),
        test=_cases(patients, rule.test),
    )


def require_digest(task: Task, names: Iterable[str]) -> None:
    """Refuse a data set whose cases are not those the task's folds were made of.

    Raises:
        UsageError: The folds differ from the task's, or the names cannot be dealt.
    """
    names = list(names)
    if task.cases is not None and len(names) != task.cases:
        raise UsageError(
            f"the data set is not the one task '{task.name}' was defined on: it has {len(names)} "
            f"cases, not {task.cases}",
            hint=_whole(task),
        )
    _require_same(task, task.split.digest, deal(names, task.split), len(names))


def _require_same(
    task: Task, expected: str | None, parts: Sequence[Sequence[str]], count: int
) -> None:
    found = digest(parts)
    if expected is not None and found != expected:
        raise UsageError(
            f"the data set is not the one task '{task.name}' was defined on: "
            f"its {count} case names give other folds",
            details=[f"digest of the folds {found[:16]}, expected {expected[:16]}"],
            hint=_whole(task),
        )


def _whole(task: Task) -> str:
    where = f": take it from {task.address}" if task.address else ""
    return f"use the complete, unchanged data set{where}"

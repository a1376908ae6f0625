"""Folds from case names alone: the same names give the same folds, on any machine, in any order."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from inflate_zoo.bench.definitions import Task
from inflate_zoo.errors import UsageError

FEWEST = 10  # cases; below, a fold's mean says nothing and its training part is nearly empty
_VALIDATION = 5  # every fifth training case


@dataclass(frozen=True)
class Parts:
    """The cases of one fold, each part in hash order.

    Attributes:
        train: Cases to train on.
        validation: Cases cut from the training part, for choosing a checkpoint.
        test: Cases to score, never seen before that.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def _in_hash_order(names: Iterable[str], folds: int) -> list[str]:
    # A file name may hold bytes that are no UTF-8; Python keeps them as lone surrogates.
    order = sorted(
        names, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    )
    needed = max(FEWEST, folds)
    if len(order) < needed:
        raise UsageError(
            f"{len(order)} cases are too few to split: {folds} folds need at least {needed}",
            hint="add cases, or take a data set with more",
        )
    if twice := sorted({a for a, b in pairwise(order) if a == b}):
        raise UsageError(
            f"{len(twice)} case(s) stand twice in the data set, e.g. '{twice[0]}'",
            hint="run 'inflate-zoo data check' on the data set's folder",
        )
    return order


def deal(names: Iterable[str], folds: int) -> list[list[str]]:
    """Deal cases into folds: sorted by the SHA-256 of their names, then in turn.

    Args:
        names: Case names, all different.
        folds: Number of folds.

    Raises:
        UsageError: Fewer than 10 cases or than folds, or a name that stands twice.
    """
    order = _in_hash_order(names, folds)
    return [order[fold::folds] for fold in range(folds)]


def digest(folds: Sequence[Sequence[str]]) -> str:
    """SHA-256 of the folds, hexadecimal: of a JSON list of lists of names, without spaces."""
    text = json.dumps([list(fold) for fold in folds], separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def split(names: Iterable[str], folds: int, fold: int) -> Parts:
    """Training, validation and test cases of one fold.

    Args:
        names: Case names, all different.
        folds: Number of folds.
        fold: Which one is tested, from 0.

    Raises:
        UsageError: No such fold, or the names cannot be dealt.
    """
    order = _in_hash_order(names, folds)
    if not 0 <= fold < folds:
        raise UsageError(f"there is no fold {fold}", hint=f"folds are 0 to {folds - 1}")
    rest = [name for place, name in enumerate(order) if place % folds != fold]
    return Parts(
        train=tuple(name for place, name in enumerate(rest) if place % _VALIDATION),
        validation=tuple(rest[::_VALIDATION]),
        test=tuple(order[fold::folds]),
    )


def require_digest(task: Task, names: Iterable[str]) -> None:
    """Refuse a data set whose cases are not those the task's folds were made of.

    Raises:
        UsageError: The folds differ from the task's, or the names cannot be dealt.
    """
    names = list(names)
    found = digest(deal(names, task.split.folds))
    if task.split.digest is not None and found != task.split.digest:
        where = f": take it from {task.address}" if task.address else ""
        raise UsageError(
            f"the data set is not the one task '{task.name}' was defined on: "
            f"its {len(names)} case names give other folds",
            details=[f"digest of the folds {found[:16]}, expected {task.split.digest[:16]}"],
            hint=f"use the complete, unchanged data set{where}",
        )

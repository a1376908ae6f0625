"""Folds: the same for the same names, complete, disjoint."""

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from inflate_zoo.bench.data.layouts import read_dataset
from inflate_zoo.bench.data.splits import (
    chosen_by_test,
    deal,
    digest,
    divide,
    divide_as_published,
    require_digest,
)
from inflate_zoo.bench.definitions.catalog import load_task
from inflate_zoo.bench.definitions.tasks import PaperSplit, Split
from inflate_zoo.errors import UsageError
from tests.support.datasets import ABSENT, TASK04

NAMES = st.lists(st.text(min_size=1), min_size=10, max_size=40, unique=True)
task04 = pytest.mark.skipif(not TASK04.is_dir(), reason=ABSENT)


@given(names=NAMES, folds=st.integers(2, 10), data=st.data())
def test_folds_are_a_partition_that_the_order_of_names_does_not_change(names, folds, data):
    dealt = deal(names, Split(folds=folds))
    assert sorted(name for fold in dealt for name in fold) == sorted(names)
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    assert deal(data.draw(st.permutations(names)), Split(folds=folds)) == dealt


@given(names=NAMES, folds=st.integers(2, 10), data=st.data())
def test_parts_of_a_fold_are_disjoint_and_complete(names, folds, data):
    fold = data.draw(st.integers(0, folds - 1))
    parts = divide(names, Split(folds=folds), fold)
    assert sorted(parts.train + parts.validation + parts.test) == sorted(names)
    assert list(parts.test) == deal(names, Split(folds=folds))[fold]
    rest = len(names) - len(parts.test)
    assert len(parts.validation) == -(-rest // 5)
    assert parts.train


def test_every_case_is_tested_once():
    names = [f"case_{number}" for number in range(23)]
    tested = [name for fold in range(5) for name in divide(names, Split(), fold).test]
    assert sorted(tested) == sorted(names)


def test_the_rule_written_out():
    names = [f"case_{number}" for number in range(12)]
    order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert deal(names, Split())[1] == [order[1], order[6], order[11]]
    rest = [name for name in order if name not in (order[1], order[6], order[11])]
    assert divide(names, Split(), 1).validation == (rest[0], rest[5])


def test_the_digest_tells_folds_apart():
    folds = [["a", "b"], ["c"]]
    others = [[["a"], ["b", "c"]], [["b", "a"], ["c"]], [["a,b"], ["c"]], [["a", "b"], ["c"], []]]
    assert len({digest(folds), *map(digest, others)}) == 5
    expected = hashlib.sha256(b'[["a","b"],["c"]]').hexdigest()
    assert digest(folds) == expected


@pytest.mark.parametrize(
    "count, folds, message",
    [(9, 5, "9 cases are too few"), (11, 12, "12 folds need at least 12")],
)
def test_too_few_cases_are_refused(count, folds, message):
    with pytest.raises(UsageError, match=message):
        deal([str(number) for number in range(count)], Split(folds=folds))


def test_a_name_twice_and_a_fold_that_does_not_exist_are_refused():
    names = [str(number) for number in range(11)]
    with pytest.raises(UsageError, match="case '7' stands twice in the data set"):
        deal([*names, "7"], Split())
    with pytest.raises(UsageError, match="no fold 5"):
        divide(names, Split(), 5)


def test_names_that_are_no_text_are_dealt():
    names = [f"case\udcff{number}" for number in range(10)]  # bytes of a file name, not UTF-8
    assert len(digest(deal(names, Split()))) == 64


@task04
def test_the_bundled_task_has_the_digest_of_the_real_data_set():
    names = [case.name for case in read_dataset(TASK04).cases]
    task = load_task("msd-task04")
    assert len(names) == 260
    require_digest(task, names)
    with pytest.raises(UsageError, match="it has 259 cases, not 260"):
        require_digest(task, names[1:])


# Patients.


def frames(count=14):
    names = [
        f"patient{patient:03d}_frame{frame:02d}" for patient in range(count) for frame in (1, 9)
    ]
    return names, Split(folds=4, patient="patient[0-9]+")


def patients(names):
    return {name.partition("_")[0] for name in names}


def test_no_patient_stands_in_two_parts():
    names, rule = frames()
    for fold in range(4):
        parts = divide(names, rule, fold)
        assert sorted(parts.train + parts.validation + parts.test) == names
        each = [patients(part) for part in (parts.train, parts.validation, parts.test)]
        assert sum(map(len, each)) == 14
        assert [len(part) for part in each] == [len(own) / 2 for own in vars(parts).values()]
        assert sorted(parts.test) == sorted(deal(names, rule)[fold])


def test_patients_are_what_is_counted_and_named():
    names, rule = frames(9)
    with pytest.raises(UsageError, match="9 patients are too few to split"):
        deal(names, rule)
    with pytest.raises(UsageError, match=r"'scan_1' names no patient: it does not match"):
        deal([*frames()[0], "scan_1"], rule)


# The paper's own split.

LENGTHS = {f"msd-task{n:02d}": count for n, count in enumerate(
    [484, 20, 131, 260, 32, 63, 281, 303, 41, 126], start=1)}  # fmt: skip


def test_the_ten_lists_are_shuffled_by_one_generator_in_turn():
    random.seed(1234)
    for name, count in LENGTHS.items():
        listed = [f"case_{number}" for number in range(count)]
        theirs = list(listed)
        random.shuffle(theirs)
        task = load_task(name)
        assert task.cases == count
        own = task.paper_split.model_copy(update={"digest": None, "first": None})
        parts = divide_as_published(task.model_copy(update={"paper_split": own}), tuple(listed))
        assert parts.train == tuple(theirs[: int(0.8 * count)])
        assert parts.validation == tuple(theirs[int(0.8 * count) : int(0.95 * count)])
        assert parts.test == tuple(theirs[int(0.95 * count) :])


def test_its_lists_of_patients():
    btcv = load_task("btcv")
    scans = [f"img{number:04d}" for number in (*range(1, 11), *range(21, 41))]
    parts = divide_as_published(btcv, tuple(scans))
    scored = {1, 2, 3, 4, 8, 22, 25, 29, 32, 35, 36, 38}
    assert {int(name[3:]) for name in parts.test} == scored
    assert len(parts.train) + len(parts.validation) == 18
    assert sorted(parts.train + parts.validation + parts.test) == scans
    require_digest(btcv, scans)
    with pytest.raises(UsageError, match="the paper scores 'img0001', which the data set"):
        divide_as_published(btcv, tuple(scans[1:]))
    # Cases that the paper does not score decide what is trained on.
    with pytest.raises(UsageError, match="its 30 case names give other folds"):
        divide_as_published(btcv, (*scans[:-1], "img0041"))
    for rule in (None, btcv.paper_split):
        chosen = chosen_by_test(parts, rule)
        assert chosen.validation == chosen.test == parts.test
        assert sorted(chosen.train) == sorted(parts.train + parts.validation)


def test_a_data_set_of_another_number_of_cases_is_refused():
    task = load_task("msd-task02")
    assert task.split.digest is None
    require_digest(task, [f"case_{number}" for number in range(20)])
    with pytest.raises(UsageError, match="it has 19 cases, not 20"):
        require_digest(task, [f"case_{number}" for number in range(19)])


def test_its_fifteen_percent_were_not_used():
    task = load_task("msd-task02")
    names = tuple(f"case_{number}" for number in range(20))
    parts = divide_as_published(task.model_copy(update={"cases": None}), names)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [16, 3, 1]
    chosen = chosen_by_test(parts, task.paper_split)
    assert (chosen.train, chosen.validation, chosen.test) == (parts.train, parts.test, parts.test)


def test_the_patients_of_acdc():
    acdc = load_task("acdc")
    assert len(acdc.paper_split.test) == 20
    names = [
        f"patient{number:03d}_frame{frame:02d}" for number in range(1, 101) for frame in (1, 5)
    ]
    task = acdc.model_copy(
        update={"paper_split": acdc.paper_split.model_copy(update={"digest": None})}
    )
    parts = divide_as_published(task, tuple(names))
    assert patients(parts.test) == set(acdc.paper_split.test)
    assert not patients(parts.test) & patients(parts.train + parts.validation)
    assert not patients(parts.validation) & patients(parts.train)
    with pytest.raises(UsageError, match="its 200 case names give other folds"):
        require_digest(acdc, names)


def test_a_task_without_a_split_of_the_paper():
    with pytest.raises(UsageError, match="has no split of the paper"):
        divide_as_published(load_task("hippocampus-mini"), ("a",))
    with pytest.raises(ValidationError, match="test belongs to rule 'list'"):
        PaperSplit(rule="shuffle", test=("a",))
    with pytest.raises(ValidationError, match="no regular expression"):
        Split(patient="(")


@task04
def test_another_order_than_the_published_one_is_refused():
    names, task = tuple(read_dataset(TASK04).listed), load_task("msd-task04")
    with pytest.raises(UsageError, match="not list the cases of 'msd-task04' in their published"):
        divide_as_published(task, names)
    published = ("hippocampus_367", *(name for name in names if name != "hippocampus_367"))
    parts = divide_as_published(task, published)
    assert [len(part) for part in vars(parts).values()] == [208, 39, 13]

"""Folds: the same for the same names, complete, disjoint."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inflate_zoo.bench.catalog import load_task
from inflate_zoo.bench.layouts import read_dataset
from inflate_zoo.bench.splits import deal, digest, require_digest, split
from inflate_zoo.errors import UsageError
from tests.support.datasets import ABSENT, TASK04

NAMES = st.lists(st.text(min_size=1), min_size=10, max_size=40, unique=True)
task04 = pytest.mark.skipif(not TASK04.is_dir(), reason=ABSENT)


@settings(deadline=None)
@given(names=NAMES, folds=st.integers(2, 10), data=st.data())
def test_folds_are_a_partition_that_the_order_of_names_does_not_change(names, folds, data):
    dealt = deal(names, folds)
    assert sorted(name for fold in dealt for name in fold) == sorted(names)
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    assert deal(data.draw(st.permutations(names)), folds) == dealt


@settings(deadline=None)
@given(names=NAMES, folds=st.integers(2, 10), data=st.data())
def test_parts_of_a_fold_are_disjoint_and_complete(names, folds, data):
    fold = data.draw(st.integers(0, folds - 1))
    parts = split(names, folds, fold)
    assert sorted(parts.train + parts.validation + parts.test) == sorted(names)
    assert list(parts.test) == deal(names, folds)[fold]
    rest = len(names) - len(parts.test)
    assert len(parts.validation) == -(-rest // 5)
    assert parts.train


def test_every_case_is_tested_once():
    names = [f"case_{number}" for number in range(23)]
    tested = [name for fold in range(5) for name in split(names, 5, fold).test]
    assert sorted(tested) == sorted(names)


def test_the_rule_written_out():
    names = [f"case_{number}" for number in range(12)]
    order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert deal(names, 5)[1] == [order[1], order[6], order[11]]
    rest = [name for name in order if name not in (order[1], order[6], order[11])]
    assert split(names, 5, 1).validation == (rest[0], rest[5])


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
        deal([str(number) for number in range(count)], folds)


def test_a_name_twice_and_a_fold_that_does_not_exist_are_refused():
    names = [str(number) for number in range(11)]
    with pytest.raises(UsageError, match=r"stand twice in the data set, e\.g\. '7'"):
        deal([*names, "7"], 5)
    with pytest.raises(UsageError, match="no fold 5"):
        split(names, 5, 5)


def test_names_that_are_no_text_are_dealt():
    names = [f"case\udcff{number}" for number in range(10)]  # bytes of a file name, not UTF-8
    assert len(digest(deal(names, 5))) == 64


@task04
def test_the_bundled_task_has_the_digest_of_the_real_data_set():
    names = [case.name for case in read_dataset(TASK04).cases]
    task = load_task("msd-task04")
    assert len(names) == 260
    require_digest(task, names)
    with pytest.raises(UsageError, match="its 259 case names give other folds"):
        require_digest(task, names[1:])

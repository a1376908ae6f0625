"""A data set with problems is refused, and they are told."""

from pathlib import Path

import pytest

from inflate_zoo.bench.definitions.datasets import Dataset, Finding, refuse_problems
from inflate_zoo.errors import UsageError


def dataset(*problems, warnings=()):
    return Dataset(
        folder=Path("boxes"), name="boxes", title="Boxes", modality="MRI", channels=("MRI",),
        labels={"background": 0, "box": 1}, regions={"box": (1,)}, cases=(), listed=(),
        license="unknown", citation="", problems=problems, warnings=warnings,
    )  # fmt: skip


def test_all_problems_are_told_with_the_case_where_it_is_one():
    problems = Finding("", "no label 0", "add one"), Finding("case_03", "missing", "copy it")
    with pytest.raises(UsageError, match=r"'boxes' has 2 problem\(s\)") as caught:
        refuse_problems(dataset(*problems))
    assert list(caught.value.details) == ["no label 0", "case_03: missing"]


def test_warnings_alone_are_no_problem():
    refuse_problems(dataset(warnings=(Finding("", "odd", "look"),)))

"""The labels of dataset.json, in either layout's form."""

import pytest

from inflate_zoo.bench.data.deriving import derive_task
from inflate_zoo.bench.data.layouts import read_dataset
from inflate_zoo.errors import UsageError
from tests.support.datasets import LABELS, change_table
from tests.support.layouts import changed, told


def test_nnunet_regions_give_labels_of_their_own(nnunet):
    # A set of 3 and 2 is in order by itself, one of 8 and 2 is not.
    labels = {"background": 0, "whole": [1, 2, 8], "core": [8, 2], "active": 8}
    dataset = read_dataset(change_table(nnunet, labels=labels))
    assert dict(dataset.labels) == {"background": 0, "label 1": 1, "label 2": 2, "active": 8}
    assert dict(dataset.regions) == {"whole": (1, 2, 8), "core": (2, 8), "active": (8,)}
    assert not dataset.problems


def test_a_value_of_regions_alone_takes_no_name_from_another(nnunet):
    change_table(nnunet, labels={"background": 0, "label 2": 1, "whole": [1, 2]})
    dataset = read_dataset(nnunet)
    assert sorted(dataset.labels.values()) == [0, 1, 2]
    assert dataset.labels["label 2"] == 1
    task = derive_task(dataset, ["case_00"], "boxes")
    assert dict(task.regions) == {"label 2": (1,), "whole": (1, 2)}


@pytest.mark.parametrize(
    "labels, expected",
    [
        ({"background": 0, "a": "1"}, "label 'a' is '1'"),
        ({"background": 0, "a": True}, "label 'a' is True"),
        ({"background": 0, "a": []}, r"label 'a' is \[\]"),
        ({"background": 0, "a": [0, 1]}, r"label 'a' is \[0, 1\]"),
        ({"background": 0, "a": 300}, "label 'a' is 300"),
        ({"background": 0, "a": 1, "b": 1}, "two labels have the same value"),
        ({"a": 1}, "no label 0"),
    ],
)
def test_malformed_nnunet_labels_are_collected(nnunet, labels, expected):
    lines = "\n".join(told(read_dataset(change_table(nnunet, labels=labels))))
    assert expected.replace("\\", "") in lines


def test_labels_in_the_other_layouts_form_are_read_and_told_once(decathlon, nnunet, tmp_path):
    numbered = {str(value): name for name, value in LABELS.items()}
    one = read_dataset(change_table(nnunet, labels=numbered))
    regions = LABELS | {"both": [1, 2]}
    other = changed(decathlon, tmp_path, labels=regions)
    assert dict(one.labels) == dict(other.labels) == LABELS
    assert other.regions["both"] == (1, 2)
    for dataset, form in ((one, '{"background": 0, "liver": 1}'), (other, '{"0": "background"')):
        assert not dataset.problems
        (warning,) = dataset.warnings
        assert "the other layout's form, and is read" in warning.what
        assert form in warning.hint
    with pytest.raises(UsageError, match="'ignore' label"):
        read_dataset(change_table(nnunet, labels=numbered | {"3": "ignore"}))


@pytest.mark.parametrize(
    "labels",
    [
        {"0": "background", "liver": 1, "tumour": 2},
        {"background": "0", "liver": "1"},
        {f"label{n}": {"value": n} for n in range(9)},
        ["background", "liver"],
        {"0": "background", "9" * 5000: "a"},
        {"0": "background", "1": "a", "01": "b"},
    ],
)
def test_labels_that_cannot_be_read_are_one_line(decathlon, nnunet, tmp_path, labels):
    for dataset in (
        changed(decathlon, tmp_path, labels=labels),
        read_dataset(change_table(nnunet, labels=labels)),
    ):
        assert len(dataset.problems) == 1
        assert dict(dataset.labels) == {}

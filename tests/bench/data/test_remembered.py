"""Findings that are kept: nothing that is known by the same bytes is read again."""

import numpy as np
import pytest

from inflate_zoo.bench.data import checking, deriving, remembered
from inflate_zoo.bench.data.checking import check
from inflate_zoo.bench.data.deriving import derive_task
from inflate_zoo.bench.data.layouts import read_dataset
from inflate_zoo.bench.data.remembered import Remembered
from tests.support.datasets import change_table, write_decathlon, write_nifti

SHAPE = (9, 8, 7)
NAMES = [f"case_{number:02d}" for number in range(10)]


@pytest.fixture
def folder(tmp_path):
    return write_decathlon(tmp_path / "Boxes", 10, SHAPE, ("CT",))


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def read(monkeypatch):
    """The files whose voxels are read, as they are read."""
    found = []
    for module in (checking, deriving):
        for name in ("read_volume", "read_channels"):
            monkeypatch.setattr(module, name, spied(getattr(module, name), found))
    return found


def spied(real, found):
    def reading(path, *others):
        found.append(path.name if hasattr(path, "name") else path[0].name)
        return real(path, *others)

    return reading


def anew(read):
    """What was read since this was asked last."""
    names = sorted(read)
    read.clear()
    return names


def test_a_good_case_is_read_once(folder, cache, read):
    first = check(read_dataset(folder), remembered=Remembered(cache))
    assert len(anew(read)) == 20
    counted = []
    again = check(
        read_dataset(folder), lambda *done: counted.append(done), remembered=Remembered(cache)
    )
    assert (anew(read), again, counted[-1]) == ([], first, (10, 10))
    check(read_dataset(folder))  # nothing is remembered unasked
    assert len(anew(read)) == 20


def test_warnings_are_kept_and_what_is_bad_is_read_again(folder, cache, read):
    write_nifti(folder / "labelsTr" / "case_03.nii.gz", np.zeros(SHAPE, np.uint8))
    write_nifti(folder / "imagesTr" / "case_05.nii.gz", np.full(SHAPE, np.nan))
    first = check(read_dataset(folder), remembered=Remembered(cache))
    anew(read)
    again = check(read_dataset(folder), remembered=Remembered(cache))
    assert anew(read) == ["case_05.nii.gz"] * 2
    assert first == again == check(read_dataset(folder))
    assert [finding.case for finding in again.warnings] == ["case_03"]
    assert {finding.case for finding in again.bad} == {"case_05"}


@pytest.mark.parametrize("what", ["imagesTr", "labelsTr"])
def test_another_file_under_the_name_is_read(folder, cache, read, what):
    check(read_dataset(folder), remembered=Remembered(cache))
    anew(read)
    write_nifti(folder / what / "case_02.nii.gz", np.full(SHAPE, 7, np.uint8))
    report = check(read_dataset(folder), remembered=Remembered(cache))
    assert anew(read) == ["case_02.nii.gz"] * 2
    assert {finding.case for finding in report.bad} == {"case_02"}


@pytest.mark.parametrize("change", ["labels", "channels", "release"])
def test_what_else_decides_is_asked_again(folder, cache, read, change, monkeypatch):
    check(read_dataset(folder), remembered=Remembered(cache))
    anew(read)
    bad = {"labels": 10, "channels": 10, "release": 0}[change]
    if change == "labels":
        change_table(folder, labels={"0": "background", "1": "front"})
    elif change == "channels":
        change_table(folder, modality={"0": "CT", "1": "CT"})
    else:
        monkeypatch.setattr(remembered, "__version__", "another")
    report = check(read_dataset(folder), remembered=Remembered(cache))
    assert (len(anew(read)), len(report.bad)) == (20, bad)


@pytest.mark.parametrize("kept", [[1], ["a"], [["a", 1]], {}, [-2, "x"], "x", 5, None])
def test_findings_of_another_form_are_found_anew(folder, cache, kept, monkeypatch):
    dataset = read_dataset(folder)
    expected = check(dataset), derive_task(dataset, NAMES, "x")
    other = Remembered(cache)
    monkeypatch.setattr(other, "find", lambda _: kept)
    found = check(dataset, remembered=other), derive_task(dataset, NAMES, "x", other)
    assert found == expected


def test_the_window_of_a_ct_is_kept_and_of_other_folds_no_case_is_read_twice(folder, cache, read):
    dataset, first = read_dataset(folder), Remembered(cache)
    folds = [NAMES[2:], NAMES[:8], NAMES[:2] + NAMES[4:]]
    plain = [derive_task(dataset, names, "x") for names in folds]
    anew(read)
    assert [derive_task(dataset, names, "x", first) for names in folds] == plain
    assert len({(task.intensity.low, task.intensity.high) for task in plain}) > 1
    assert len(anew(read)) == 20
    assert [derive_task(dataset, names, "x", Remembered(cache)) for names in folds] == plain
    assert anew(read) == []


def test_a_file_that_cannot_be_read_has_no_key(folder, cache):
    case = read_dataset(folder).cases[0]
    case.label.unlink()
    known = Remembered(cache)
    assert known.key("good", [case]) is None
    known.keep(None, 1)
    assert known.find(None) is None

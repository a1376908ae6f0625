"""What made a folder of predictions: its own work is known, all else is left alone."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from inflate_zoo.bench.prediction.done import (
    RECORD,
    Entry,
    image_digests,
    maker_of,
    open_folder,
)
from inflate_zoo.bench.prediction.images import CaseImages
from inflate_zoo.errors import OutputExistsError, UsageError
from inflate_zoo.files.digests import sha256
from tests.support.dicom import write_series


@pytest.fixture
def job(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"an image")
    return CaseImages("a", (tmp_path / "a.nii.gz",), None)


@pytest.fixture
def maker(run):
    return maker_of([run.trial()], mirror=False)


def opened(out, maker, job, *, probabilities=False, force=False):
    return open_folder(out, maker, [job], probabilities=probabilities, force=force)


def made(out, maker, job, text=b"labels", packed=None):
    """A folder in which the case was done."""
    out.mkdir(exist_ok=True)
    folder = opened(out, maker, job, probabilities=packed is not None)
    (out.parent / "new").write_bytes(text)
    entry = Entry(
        images=image_digests(job),
        prediction=sha256(out.parent / "new"),
        probabilities=None,
        volumes_ml={"front": 1.5},
    )
    if packed is not None:
        (out / job.probabilities_file).write_bytes(packed)
        digest = sha256(out / job.probabilities_file)
        (out / job.probabilities_file).unlink()
        entry = entry.model_copy(update={"probabilities": digest})
    folder.record(job, entry)
    (out / job.file).write_bytes(text)
    if packed is not None:
        (out / job.probabilities_file).write_bytes(packed)
    return entry


def test_what_was_done_is_known_until_its_image_or_its_file_changes(tmp_path, maker, job):
    out = tmp_path / "out"
    assert opened(out, maker, job).done(job) is None
    entry = made(out, maker, job)
    assert opened(out, maker, job).done(job) == entry
    job.images[0].write_bytes(b"another image")
    assert opened(out, maker, job).done(job) is None
    job.images[0].write_bytes(b"an image")
    (out / job.file).write_bytes(b"changed by hand")
    with pytest.raises(OutputExistsError, match="were changed since") as caught:
        opened(out, maker, job)
    assert caught.value.details == (job.file,)
    assert opened(out, maker, job, force=True).done(job) is None
    (out / job.file).unlink()
    assert opened(out, maker, job).done(job) is None


def test_a_network_whose_arm_is_called_otherwise_by_now_is_the_same(tmp_path, maker, job):
    """`bench` writes labels anew: of the same network the folder was of "inflate-zoo 0.2.0"."""
    out = tmp_path / "out"
    entry = made(out, maker, job)
    networks = tuple(n.model_copy(update={"arm": "another label"}) for n in maker.networks)
    renamed = maker.model_copy(update={"networks": networks})
    folder = opened(out, renamed, job)
    assert folder.done(job) == entry
    folder.record(job, entry)


def test_the_folder_that_one_is_in_is_called_by_its_name(tmp_path, maker, job, monkeypatch):
    made(tmp_path / "out", maker, job)
    monkeypatch.chdir(tmp_path / "out")
    with pytest.raises(OutputExistsError, match="'out' holds predictions made with"):
        opened(Path(), maker.model_copy(update={"mirror": True}), job)


def test_probabilities_are_part_of_it_where_they_are_asked_for(tmp_path, maker, job):
    out = tmp_path / "out"
    made(out, maker, job)
    assert opened(out, maker, job, probabilities=True).done(job) is None
    (out / job.probabilities_file).write_bytes(b"somebody else's")
    assert opened(out, maker, job).done(job)
    with pytest.raises(OutputExistsError, match="were not made so"):
        opened(out, maker, job, probabilities=True)
    (out / job.probabilities_file).unlink()
    entry = made(out, maker, job, packed=b"probabilities")
    assert opened(out, maker, job, probabilities=True).done(job) == entry
    (out / job.probabilities_file).unlink()
    assert opened(out, maker, job, probabilities=True).done(job) is None
    assert opened(out, maker, job).done(job) == entry


def test_probabilities_of_an_image_that_changed_do_not_stay(tmp_path, maker, job):
    out = tmp_path / "out"
    made(out, maker, job, packed=b"probabilities")
    job.images[0].write_bytes(b"another image")
    made(out, maker, job, b"other labels")
    assert not (out / job.probabilities_file).exists()


def test_another_maker_s_probabilities_do_not_stay_beside_a_new_label(tmp_path, maker, job):
    out, other = tmp_path / "out", maker.model_copy(update={"mirror": True})
    entry = made(out, maker, job, packed=b"probabilities")
    opened(out, other, job, force=True).record(
        job, entry.model_copy(update={"probabilities": None})
    )
    assert not (out / job.probabilities_file).exists()


def test_what_another_maker_made_of_other_cases_stays_and_is_told(tmp_path, maker, job):
    out, other = tmp_path / "out", maker.model_copy(update={"mirror": True})
    made(out, maker, job)
    with pytest.warns(UserWarning, match="will not name: a.nii.gz$") as told:
        open_folder(
            out, other, [replace(job, case="b")], probabilities=False, force=True
        )  # fmt: skip
    assert "'out' keeps predictions made without --mirror" in str(told[0].message)
    assert (out / job.file).exists()


def test_the_record_comes_before_the_files(tmp_path, maker, job):
    """Killed in between, the same command goes on."""
    out = tmp_path / "out"
    entry = made(out, maker, job)
    folder = opened(out, maker, job)
    folder.record(job, entry.model_copy(update={"prediction": "0" * 64}))
    again = opened(out, maker, job)
    assert again.done(job) is None
    assert again.told.cases[job.case].prediction == "0" * 64


def test_a_folder_of_another_maker_or_of_nobody(tmp_path, maker, job):
    out = tmp_path / "out"
    made(out, maker, job)
    other = maker.model_copy(update={"mirror": True})
    with pytest.raises(OutputExistsError, match="holds predictions made without --mirror"):
        opened(out, other, job)
    assert opened(out, other, job, force=True).told.cases == {}
    for text in ("", "[]", '{"made_by": 1}', "{" * 100):
        (out / RECORD).write_text(text)
        with pytest.raises(OutputExistsError, match="is not empty"):
            opened(out, maker, job)
        assert opened(out, maker, job, force=True).told.cases == {}


def test_it_says_what_differs(run, maker):
    flat = maker_of([run.trial("2d")], mirror=False)
    label = run.trial("2d").spec.arm.label
    assert maker.difference(flat) == f"of {label}, seed 0, fold 0"
    assert "with --mirror" in maker.difference(maker.model_copy(update={"mirror": True}))
    assert maker.difference(maker.model_copy(update={"release": "0.1"})) == "of inflate-zoo 0.1"


def test_other_weights_of_the_same_trial_are_another_maker(run, tmp_path, maker):
    """A training on a GPU gives others each time, under the same hash."""
    copy = tmp_path / run.trial().hash
    shutil.copytree(run.trial().folder, copy)
    trial = type(run.trial())(copy)
    assert maker_of([trial], mirror=False) == maker
    with (copy / "model.safetensors").open("ab") as file:
        file.write(b" ")
    assert maker_of([trial], mirror=False) != maker
    (copy / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        maker_of([trial], mirror=False)


def test_a_series_is_the_same_whatever_its_files_are_called(tmp_path):
    import numpy as np

    folder = write_series(tmp_path / "a", np.ones((2, 3, 3), np.int16), np.eye(4))
    job = CaseImages("a", (folder,), None)
    before = image_digests(job)
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"renamed-{9 - number}")
    assert image_digests(job) == before
    next(folder.iterdir()).unlink()
    assert image_digests(job) != before

"""inflate-zoo predict, as it is typed."""

import shutil

import numpy as np

from inflate_zoo.bench.prediction import predicting
from tests.support.prediction import predict, voxels


def test_lines_for_people_and_a_second_run(finished_run, tmp_path):
    trial, out, scans = finished_run.trial(), tmp_path / "out", tmp_path / "scans"
    scans.mkdir()
    for name in ("case_00", "case_01"):
        shutil.copy(finished_run.data / "imagesTr" / f"{name}.nii.gz", scans)
    (scans / "._case_00.nii.gz").write_bytes(b"left by macOS")
    (scans / "notes.txt").write_text("no image")
    result = predict(trial.folder, scans, "--out", out)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("case_00.nii.gz  ")
    assert "front" in lines[0]
    assert " ml" in lines[0]
    names = ["case_00.nii.gz", "case_01.nii.gz", "predictions.json"]
    assert sorted(path.name for path in out.iterdir()) == names
    before = voxels(out / "case_00.nii.gz")
    again = predict(trial.folder, scans, "--out", out)
    assert again.exit_code == 0
    assert again.stdout == result.stdout
    assert "2 of 2 cases had been predicted before" in again.stderr
    (out / "case_00.nii.gz").write_bytes(b"broken")
    refused = predict(trial.folder, scans, "--out", out)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    (out / "mine.txt").write_text("mine")
    (out / f".case_00.nii.gz.{'0' * 32}.partial").write_text("left by a kill")
    assert predict(trial.folder, scans, "--out", out, "--force").exit_code == 0
    np.testing.assert_array_equal(voxels(out / "case_00.nii.gz"), before)
    assert (out / "mine.txt").read_text() == "mine"
    assert len(list(out.iterdir())) == 4


def test_quiet_holds_advice_back_and_no_warning(finished_run, tmp_path, monkeypatch):
    monkeypatch.setattr(predicting, "predict", lambda *_: ([], None))
    image = finished_run.data / "imagesTr" / "case_00.nii.gz"
    told = predict(finished_run.trial().folder, image, "--out", tmp_path, "--mirror", "-q").stderr
    assert told == "warning: it was trained without flips, so mirrored images are new to it\n"


def test_where_memory_runs_out_it_says_what_takes_less_of_it(finished_run, tmp_path, monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(predicting, "predict", full)
    image = finished_run.data / "imagesTr" / "case_00.nii.gz"
    told = predict(finished_run.trial().folder, image, "--out", tmp_path).stderr
    assert "error: out of memory\n" in told
    assert "--arm" in told
    assert "--no-verify" not in told

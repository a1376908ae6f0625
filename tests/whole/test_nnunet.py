"""nnU-Net's own commands on real volumes: plan and preprocess, train, predict."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from inflate_zoo.nnunet.choice import choice_in, read_choice
from inflate_zoo.nnunet.instructions import EXTENSION, VARIABLE
from inflate_zoo.nnunet.options import PREFIX

pytest.importorskip("nnunetv2", reason="installed apart: see benchmarks/examples")
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "examples" / "train_nnunet.py"
CASES, HELD_OUT = 6, 1
OURS = ("nnUNet_", PREFIX)  # variables


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What the example printed, and its folder."""
    home = tmp_path_factory.mktemp("nnunet")
    options = ["--cases", CASES, "--held-out", HELD_OUT, "--epochs", 1, "--iterations", 2]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--out", str(home), *map(str, options)],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, home


def model(home):
    """The folder of a trained configuration."""
    (folder,) = home.glob("results/*/nnUNetTrainerInflated__nnUNetPlans__3d_fullres")
    return folder


def test_it_prints_the_dice_of_what_was_held_out(run):
    assert re.fullmatch(r"Dice anterior: [01]\.\d{3}\nDice posterior: [01]\.\d{3}\n", run[0])


def test_every_case_held_out_is_segmented_on_its_own_grid(run):
    _, home = run
    references = sorted(home.glob("raw/*/labelsTs/*.nii.gz"))
    assert len(references) == HELD_OUT
    for reference in references:
        found = nibabel.load(home / "predictions" / reference.name)
        assert found.shape == nibabel.load(reference).shape
        assert set(np.unique(np.asarray(found.dataobj))) <= {0, 1, 2}


def test_nnunets_own_validation_scored_both_labels(run):
    summary = json.loads((model(run[1]) / "fold_0" / "validation" / "summary.json").read_text())
    assert sorted(summary["mean"]) == ["1", "2"]


def test_the_choice_stands_with_the_fold_and_in_the_plans(run):
    _, home = run
    kept = read_choice(model(home) / "fold_0")
    assert choice_in(json.loads((model(home) / "plans.json").read_text())) == kept
    assert (kept.source, kept.folded, kept.network.decoder) == ("builtin-clip-3d", False, "unetr")
    (log,) = (model(home) / "fold_0").glob("training_log_*.txt")
    assert kept.weights_sha256 in log.read_text()
    assert "WARNING" not in log.read_text()


def test_predicting_needs_neither_the_file_nor_the_source(run, tmp_path):
    """As on another machine: what nnU-Net's folder of results holds is enough."""
    _, home = run
    shutil.copytree(home / "results", tmp_path / "results")
    (images,) = home.glob("raw/*/imagesTs")
    hidden = home.rename(home.with_name("hidden"))  # the source's path, the file, all of it
    try:
        command = [str(Path(sys.executable).with_name("nnUNetv2_predict_from_modelfolder"))]
        command += ["-i", str(hidden / images.relative_to(home)), "-o", str(tmp_path / "out")]
        command += ["-m", str(model(tmp_path)), "-f", "0", "-device", "cpu", "-npp", "1"]
        bare = {name: v for name, v in os.environ.items() if not name.startswith(OURS)}
        env = bare | {VARIABLE: str(EXTENSION), "OMP_NUM_THREADS": "1"}
        subprocess.run([*command, "-nps", "1"], env=env, capture_output=True, check=True)
    finally:
        hidden.rename(home)
    for first in home.glob("predictions/*.nii.gz"):
        again = nibabel.load(tmp_path / "out" / first.name)
        assert np.array_equal(again.dataobj, nibabel.load(first).dataobj)

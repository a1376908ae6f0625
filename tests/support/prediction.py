"""`inflate-zoo predict`, and networks that were trained for it."""

from pathlib import Path

import nibabel as nib
import numpy as np
from typer.testing import CliRunner

from inflate_zoo.bench.definitions.results import Run
from inflate_zoo.bench.training.building import build
from inflate_zoo.bench.training.devices import Resources
from inflate_zoo.bench.training.progress import Silent
from inflate_zoo.bench.trials.running import run_trial
from inflate_zoo.cli import app
from tests.support.checkpoints import randomize
from tests.support.trials import one_thread, result_of, tiny_run

CHANGES = ("train.validate_every=0", "train.learning_rate=1e-2", "data.spacing=[1.4, 0.8, 1.1]")
# Left-right and front-back swapped, axes permuted, 2 mm along one.
TURNED = np.array([[0, -1.0, 0, 5], [0, 0, 2.0, -7], [-1.0, 0, 0, 3], [0, 0, 0, 1]])


def trained(folder, **settings):
    with one_thread():
        made = tiny_run(folder, *CHANGES, "train.steps=8", **settings)
        for trial in made.trials:
            assert run_trial(trial, Resources("cpu", 0), Silent()) == "done"
    return made


def made_up(folder, *changes, **settings):
    """A run of networks that nobody trained, each with other random weights."""
    made = tiny_run(folder, *CHANGES, *changes, **settings)
    for number, trial in enumerate(made.trials):
        finish(trial, number)
    return made


def finish(trial, number=0):
    """Give a trial random weights, and call it done."""
    network = build(trial.spec, Path(trial.place.weights))
    randomize(network, number).save_pretrained(trial.folder)
    trial.finish(result_of(trial), Run())


def predict(*words):
    with one_thread():
        return CliRunner().invoke(app.app, ["predict", *map(str, words), "--device", "cpu"])


def voxels(path):
    return np.asarray(nib.load(path).dataobj)

"""nnU-Net finds the trainer by its name."""

import sys

import pytest

pytest.importorskip("nnunetv2", reason="installed apart: see benchmarks/examples")
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from inflate_zoo.nnunet import trainer
from inflate_zoo.nnunet.instructions import EXTENSION, TRAINER, VARIABLE


def test_nnunet_finds_the_trainer_in_the_folder_that_is_printed(monkeypatch):
    monkeypatch.setenv(VARIABLE, str(EXTENSION))
    before = list(sys.path)
    for module in list(sys.modules.values()):
        getattr(module, "__path__", None)  # some import more when they are looked at
    found = recursive_find_trainer_class_by_name(TRAINER)
    assert found is trainer.nnUNetTrainerInflated
    assert recursive_find_trainer_class_by_name(TRAINER) is found  # and again: it clears imports
    assert sys.path == before


def test_without_the_variable_it_says_which_is_missing(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(RuntimeError, match=VARIABLE):
        recursive_find_trainer_class_by_name(TRAINER)

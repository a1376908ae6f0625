"""nnU-Net finds the trainer by its name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nnunetv2", reason="installed apart: see benchmarks/examples")
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from inflate_zoo.nnunet.instructions import EXTENSION, TRAINER, VARIABLE

ROOT = Path(__file__).parents[3]
FOUND = f"""
import sys
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find

before = list(sys.path)
found = find({TRAINER!r})
from inflate_zoo.nnunet.trainer import nnUNetTrainerInflated

assert found is nnUNetTrainerInflated
assert find({TRAINER!r}) is found  # and again: it clears imports
assert sys.path == before
"""


def test_nnunet_finds_the_trainer_in_the_folder_that_is_printed():
    """In a process of its own: it looks at all modules, of which some then import others."""
    settings = {VARIABLE: str(EXTENSION), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", FOUND],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def test_without_the_variable_it_says_which_is_missing(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(RuntimeError, match=VARIABLE):
        recursive_find_trainer_class_by_name(TRAINER)

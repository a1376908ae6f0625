"""From options to what is planned."""

import os
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from inflate_zoo.cli.app import app
from inflate_zoo.cli.bench import asking
from inflate_zoo.cli.bench.asking import BEGUN, Asked, shown_command
from inflate_zoo.cli.bench.options import RAY, SLURM
from tests.support.bench_command import bench


def test_no_local_path_gets_into_the_command(here, monkeypatch):
    (here / "sub").mkdir(exist_ok=True)
    (here / "sub" / "vit").mkdir(exist_ok=True)
    words = ["bench", "--data", "/home/me/data", "--out=../runs/x", "--source", "facebook/dino",
             "--source", "sub/vit:2d", "--source", "~/vit", "--set", "train.steps=3",
             "--protocol", "./my.toml", "--cache", str(here)]  # fmt: skip
    assert shown_command(["/usr/bin/inflate-zoo", *words]) == (
        "inflate-zoo", "bench", "--data", "data", "--out=x", "--source", "facebook/dino",
        "--source", "vit:2d", "--source", "vit", "--set", "train.steps=3",
        "--protocol", "my.toml", "--cache", here.name,
    )  # fmt: skip


def test_nor_does_one_of_what_is_not_there_yet(here):
    words = ["--out", "patients/john/run1", "--cache=a/b/", "--data", "."]
    assert shown_command(["inflate-zoo", "bench", *words]) == (
        "inflate-zoo", "bench", "--out", "run1", "--cache=b", "--data", ".",
    )  # fmt: skip
    command = typer.main.get_command(app).commands["bench"]
    hints = get_type_hints(command.callback)
    of_paths = {p.opts[0] for p in command.params if Path in get_args(hints[p.name])}
    assert of_paths - {"--config"} == asking._PATHS  # what --config holds stands in its place


def test_a_folder_whose_name_is_no_text_is_refused_and_told_of(here):
    """It was "a bug of inflate-zoo", or weights that were damaged, once all was prepared."""
    for flag in ("--out", "--cache"):
        result = bench("--source", "random", flag, os.fsdecode(b"runs\xff"))
        assert result.exit_code == 2, result.output
        assert "runs\\udcff' is no UTF-8" in result.stderr
        assert f"choose another with {flag}" in result.stderr
    words = ["bench", "--data", os.fsdecode(b"a/da\xffta")]
    assert shown_command(["x", *words])[-1] == "da\\udcffta"


def test_where_and_when_trials_run_makes_no_other_command_of_it():
    command = typer.main.get_command(app).commands["bench"]
    own = {"--plan": False, "--on": True}
    for parameter in command.params:
        if parameter.rich_help_panel in (SLURM, RAY):
            own[parameter.opts[0]] = not parameter.is_flag
    assert own == BEGUN
    words = ["--on", "slurm", "--data", "data", "--jobs=16", "--setup", "--plan", "--detach"]
    words += ["--sbatch", "--nice=3", "--sbatch=--nice=3", "--seeds", "3", "--account", "secret"]
    assert shown_command(["inflate-zoo", "bench", *words]) == (
        "inflate-zoo", "bench", "--data", "data", "--seeds", "3",
    )  # fmt: skip


def test_folds_that_are_none_are_refused_before_a_data_set_is_fetched(here, monkeypatch):
    monkeypatch.setattr(asking, "find_data", lambda *_, **__: pytest.fail("looked for"))
    result = bench("--download", "--dataset", "msd-task04", "--folds", "a", data=None)
    assert result.exit_code == 2
    assert "'a' is no list of numbers" in result.stderr


@pytest.mark.parametrize("named", ["data", "dataset", "suite"])
def test_what_is_named_is_not_replaced_by_what_is_embedded(named):
    nothing = Asked(
        data=None, dataset=None, download=False, sources=(), schemes=(), mean=None, std=None,
        suite=None, protocol=None, changes=(), seeds=1, folds="0", rule="sum", out=None, cache=None,
    )  # fmt: skip
    embedded = nothing.completed()
    assert (embedded.dataset, embedded.suite, embedded.protocol) == (
        "hippocampus-mini", "builtin", "quick",
    )  # fmt: skip
    assert replace(nothing, protocol="probe").completed().protocol == "probe"
    for asked in (replace(nothing, **{named: "mine"}), replace(nothing, sources=("random",))):
        assert asked.completed() == asked


@pytest.mark.parametrize("source", ["randm", "builtin/dino:2D"])
def test_a_misspelt_source_is_told_before_data_are_looked_for(source):
    done = CliRunner().invoke(app, ["bench", "--source", source])
    assert done.exit_code == 2
    assert "did you mean" in done.stderr

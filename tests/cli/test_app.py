"""The command line: frozen flags, formats, help."""

import inspect
import re

import pytest
import typer

import inflate_zoo
from inflate_zoo.cli import app
from inflate_zoo.version import __version__
from tests.support.commands import run

FLAGS = {
    "convert": {"--out", "--scheme", "--patch-depth", "--patch-size", "--volume", "--channels",
                "--depth-window", "--merge-depth",
                "--fold-normalization", "--mean", "--std", "--revision", "--dtype", "--family",
                "--arch", "--weights", "--verify", "--no-verify", "--force", "--format", "--debug",
                "--help", "-h"},
    "pull": {"--out", "--force", "--format", "--debug", "--help", "-h"},
    "push": {"--private", "--dry-run", "--format", "--debug", "--help", "-h"},
    "export": {"--to", "--out", "--volume", "--batch", "--force", "--format", "--debug", "--help",
               "-h"},
    "zoo list": {"--filter", "--format", "--debug", "--help", "-h"},
    "zoo show": {"--format", "--debug", "--help", "-h"},
    "zoo build": {"--out", "--format", "--debug", "--help", "-h"},
    "verify": {"--source", "--revision", "--format", "--debug", "--help", "-h"},
    "inspect": {"--scheme", "--patch-depth", "--volume", "--channels", "--spacing", "--revision",
                "--patch-size",
                "--depth-window", "--merge-depth",
                "--family", "--arch", "--weights", "--format", "--debug", "--help", "-h"},
    "bench": {"--data", "--dataset", "--download", "--source", "--scheme", "--mean", "--std",
              "--suite", "--protocol", "--set", "--seeds", "--folds", "--channel-rule", "--device",
              "--workers", "--threads", "--at-once", "--per-gpu", "--compile", "--out", "--cache",
              "--tracker", "--config", "--plan", "--dry-run", "--format", "--debug", "--on",
              "--jobs", "--time",
              "--partition", "--account", "--qos", "--gpus-per-task", "--gres", "--cpus-per-task",
              "--mem", "--constraint", "--sbatch", "--setup", "--container", "--detach", "--cpus",
              "--gpus", "--resource",
              "--help", "-h"},
    "bench-trial": {"--from", "--no-wait", "--check", "--device", "--workers", "--threads",
                    "--compile", "--tracker", "--debug", "--help", "-h"},
    "status": {"--format", "--debug", "--help", "-h"},
    "report": {"--out", "--compare", "--format", "--debug", "--help", "-h"},
    "predict": {"--out", "--arm", "--seed", "--fold", "--mirror", "--save-probabilities",
                "--references", "--device", "--force", "--format", "--debug", "--help", "-h"},
    "data check": {"--format", "--debug", "--help", "-h"},
    "cache prune": {"--unused-for", "--kind", "--dry-run", "--cache", "--format", "--debug",
                    "--help", "-h"},
    "tasks": {"--format", "--debug", "--help", "-h"},
    "protocols": {"--format", "--debug", "--help", "-h"},
    "suites": {"--format", "--debug", "--help", "-h"},
    "families": {"--format", "--debug", "--help", "-h"},
    "nnunet": {"--dataset", "--configuration", "--fold", "--decoder", "--format", "--debug",
               "--help", "-h"},
    "schemes": {"--format", "--debug", "--help", "-h"},
}  # fmt: skip
TALKING = {"convert", "pull", "push", "zoo list", "zoo build", "bench", "bench-trial", "report",
           "predict", "nnunet", "data check", "cache prune", "verify", "inspect",
           "export"}  # fmt: skip
QUIET = {"--quiet", "-q"}


def commands(group, before=""):
    """All commands by what is typed, those of groups as well."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def test_commands_and_flags_are_frozen():
    found = dict(commands(typer.main.get_command(app.app)))
    assert set(found) == set(FLAGS)
    assert FLAGS.keys() >= TALKING
    for name, flags in FLAGS.items():
        expected = flags | QUIET if name in TALKING else flags
        shown = set(re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", run(*name.split(), "--help").output))
        options = {flag for flag in shown if flag in expected or flag.startswith("--")}
        assert expected <= options
        declared = set()
        for parameter in found[name].params:
            flags = [*parameter.opts, *parameter.secondary_opts]
            declared |= {flag for flag in flags if flag.startswith("-")}
        assert declared == expected - {"--help", "-h"}


@pytest.mark.parametrize("name", ["convert", "verify"])
def test_every_argument_of_the_function_is_a_flag_of_the_same_name(name):
    arguments = set(inspect.signature(getattr(inflate_zoo, name)).parameters)
    group = typer.main.get_command(app.app)
    assert arguments <= {parameter.name for parameter in group.commands[name].params}


def test_version_and_help():
    assert run("--version").output.strip() == __version__
    for name in FLAGS:
        result = run(*name.split(), "--help")
        assert result.exit_code == 0
        assert len(result.output.splitlines()) < (100 if name == "bench" else 50)
    assert "inflate-zoo convert facebook/dino-vitb16" in run("convert", "--help").output

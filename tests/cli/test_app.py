"""The command line: frozen flags, formats, help."""

import inspect
import json
import re
import tomllib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import inflate_zoo
from inflate_zoo.cli import app, common
from inflate_zoo.errors import UsageError
from inflate_zoo.version import __version__
from tests.support.checkpoints import save_transformers

FLAGS = {
    "convert": {"--out", "--scheme", "--patch-depth", "--volume", "--channels",
                "--depth-window", "--merge-depth",
                "--fold-normalization", "--mean", "--std", "--revision", "--dtype", "--family",
                "--arch", "--weights", "--verify", "--no-verify", "--force", "--format", "--debug",
                "--help", "-h"},
    "pull": {"--out", "--force", "--format", "--debug", "--help", "-h"},
    "push": {"--private", "--dry-run", "--format", "--debug", "--help", "-h"},
    "zoo list": {"--filter", "--format", "--debug", "--help", "-h"},
    "zoo show": {"--format", "--debug", "--help", "-h"},
    "zoo build": {"--out", "--format", "--debug", "--help", "-h"},
    "verify": {"--source", "--revision", "--format", "--debug", "--help", "-h"},
    "inspect": {"--scheme", "--patch-depth", "--volume", "--channels", "--spacing", "--revision",
                "--depth-window", "--merge-depth",
                "--family", "--arch", "--weights", "--format", "--debug", "--help", "-h"},
    "bench": {"--data", "--dataset", "--download", "--source", "--scheme", "--mean", "--std",
              "--suite", "--protocol", "--set", "--seeds", "--folds", "--channel-rule", "--device",
              "--workers", "--compile", "--out", "--cache", "--dry-run", "--format", "--debug",
              "--help", "-h"},
    "bench-trial": {"--device", "--workers", "--compile", "--debug", "--help", "-h"},
    "report": {"--out", "--format", "--debug", "--help", "-h"},
    "predict": {"--out", "--references", "--device", "--force", "--format", "--debug", "--help",
                "-h"},
    "data check": {"--format", "--debug", "--help", "-h"},
    "families": {"--format", "--debug", "--help", "-h"},
    "schemes": {"--format", "--debug", "--help", "-h"},
}  # fmt: skip


def run(*words):
    return CliRunner().invoke(app.app, [str(word) for word in words])


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return save_transformers("vit", tmp_path_factory.mktemp("s") / "my-vit")


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
    for name, expected in FLAGS.items():
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
        assert len(result.output.splitlines()) < 45
    assert "inflate-zoo convert facebook/dino-vitb16" in run("convert", "--help").output


def test_convert_reports_the_proof(vit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("convert", vit, "--volume", "32,32,48")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == "my-vit-3d-center"
    assert re.search(r"proof    passed: greatest error \d\.\de-0\d of the RMS", result.stdout)
    assert "transformers" in result.stdout
    assert "license" in result.stderr
    again = run("verify", "my-vit-3d-center", "--source", vit)
    assert again.exit_code == 0
    assert "equal slices" in again.stdout


def test_json_is_for_programs(vit, tmp_path):
    result = run("convert", vit, "--out", tmp_path / "out", "--format", "json", "--no-verify")
    value = json.loads(result.stdout)
    assert value["recipe"]["scheme"] == "center"
    assert value["verification"] is None
    words = ("verify", tmp_path / "out", "--source", vit, "--format", "json")
    verified = json.loads(run(*words).stdout)
    assert verified["passed"] is True
    assert isinstance(verified["max_error_over_rms"], float)
    names = [entry["name"] for entry in json.loads(run("families", "--format", "json").stdout)]
    assert names == sorted(names)
    assert {"hf_vit", "dino", "timm_vit"} <= set(names)
    assert len(json.loads(run("schemes", "--format", "json").stdout)) == 3


def test_a_failed_verification_exits_with_1(vit, tmp_path, monkeypatch):
    run("convert", vit, "--out", tmp_path / "out", "--no-verify")
    monkeypatch.setattr("inflate_zoo.conversion.proof.TOLERANCE", 1e-12)
    result = run("verify", tmp_path / "out", "--source", vit)
    assert result.exit_code == 1
    assert "failed" in result.stdout
    assert "bug" not in result.stderr
    result = run("convert", vit, "--out", tmp_path / "other")
    assert result.exit_code == 1
    assert "does not reproduce" in result.stderr
    assert not (tmp_path / "other").exists()


def test_inspect_tells_what_convert_would_do(vit):
    result = run("inspect", vit, "--volume", "16,32,48", "--spacing", "4,1,1")
    assert result.exit_code == 0, result.output
    assert "grid 2x4x6" in result.stdout
    assert "49 tokens" in result.stdout
    assert "--patch-depth 2" in result.stdout
    value = json.loads(run("inspect", vit, "--format", "json").stdout)
    assert value["family"] == "hf_vit"
    assert value["conversion"]["stem"] == [48, 1, 8, 8, 8]
    assert value["architecture"]["num_heads"] == 4


def test_errors_are_two_lines_and_debug_raises(vit, tmp_path):
    result = run("convert", vit, "--scheme", "centre", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "error: no scheme named 'centre'",
        "did you mean 'center'?",
    ]
    result = run("convert", vit, "--scheme", "centre", "--debug")
    assert result.exception is not None
    assert "UnknownNameError" in type(result.exception).__name__


def test_what_a_file_says_cannot_drive_the_terminal(capsys):
    common.say("a name \x1b[2Jwith \u202e marks\nand a second line")
    assert capsys.readouterr().err == "a name \\x1b[2Jwith \\u202e marks\nand a second line\n"


def test_the_ranking_asks_for_all_its_libraries(monkeypatch):
    with (Path(__file__).parents[2] / "pyproject.toml").open("rb") as file:
        extra = tomllib.load(file)["project"]["optional-dependencies"]["bench"]
    named = {re.match(r"[\w-]+", line).group().replace("-", "_") for line in extra}
    assert set(common.BENCH_LIBRARIES) == named
    common.needs_bench()
    monkeypatch.setattr(common, "BENCH_LIBRARIES", ("json", "no_such_library"))
    with pytest.raises(UsageError, match="this command needs no_such_library") as caught:
        common.needs_bench()
    assert caught.value.hint.startswith("pip install ")

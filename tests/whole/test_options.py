"""Nonsense for every option of convert, inspect and verify: exit 2, what, and the next step."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from inflate_zoo.cli.app import app
from tests.support.checkpoints import save_transformers
from tests.support.commands import refused


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_transformers("vit", tmp_path_factory.mktemp("vit") / "vit", num_hidden_layers=1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


SHARED = [
    (
        ["--volume", "32,32,33"],
        ["volume width 33 is not divisible by the patch's 8", "nearest: 32"],
    ),
    (["--volume", "3,32,32"], ["volume depth 3 is not divisible by the patch's 8", "nearest: 8"]),
    (["--volume", "1,2"], ["'1,2' is not three numbers D,H,W, e.g. 96,224,224"]),
    (["--volume", "a,b,c"], ["'a,b,c' is not three numbers"]),
    (["--volume", "8,8,8,8"], ["'8,8,8,8' is not three numbers"]),
    (["--volume", ""], ["'' is not three numbers"]),
    (["--volume", "nan,1,1"], ["'nan,1,1' is not three numbers"]),
    (["--volume", "1" * 5000 + ",8,8"], ["is not three numbers"]),
    (["--volume", "0,32,32"], ["volume 0,32,32 is not three positive numbers", "96,224,224"]),
    (["--volume=-8,32,32"], ["volume -8,32,32 is not three positive numbers"]),
    (["--volume", f"8,8,{8 << 30}"], ["is not three positive numbers"]),
    (["--patch-depth", "0"], ["patch depth 0 is not in 1 to 1024", "--patch-depth 16"]),
    (["--patch-depth", "-1"], ["patch depth -1 is not in"]),
    (["--patch-depth", "9" * 30], ["is not in 1 to 1024"]),
    (["--patch-depth", "1.5"], ["'--patch-depth'", "valid int"]),
    (["--patch-size", "8"], ["'8' is not two numbers H,W, e.g. 16,16"]),
    (["--patch-size", "8,8,8"], ["'8,8,8' is not two numbers"]),
    (["--patch-size", "a,b"], ["'a,b' is not two numbers"]),
    (["--patch-size", "0,8"], ["patch size 0,8 is not two positive numbers", "--patch-size 16,16"]),
    (["--patch-size=-8,8"], ["patch size -8,8 is not two positive numbers"]),
    (["--patch-size", "8,33"], ["patch size 8x33 is far from the source's 8x8", "4 times"]),
    (["--patch-size", "1,8"], ["patch size 1x8 is far from"]),
    (["--patch-size", "9" * 30 + ",8"], ["is far from the source's 8x8"]),
    (
        ["--patch-size", "6,6", "--volume", "6,32,32"],
        ["height 32 is not divisible by the patch's 6"],
    ),
    (["--channels", "0"], ["channels 0 is not in 1 to 1024", "--channels 1"]),
    (["--channels", "-3"], ["channels -3"]),
    (["--channels", "9" * 30], ["is not in 1 to 1024"]),
    (["--scheme", ""], ["no scheme named ''"]),
    (["--scheme", "Center"], ["did you mean 'center'?"]),
    (["--family", "hf_vlt"], ["no family named 'hf_vlt'", "did you mean 'hf_vit'?"]),
    (["--revision", "main"], ["'vit' is on this machine and has no revisions", "--revision"]),
    (["--arch", "vit_base_patch16_224"], ["leave out --arch"]),
    (["--format", "yaml"], ["'yaml'"]),
    (["--nonsense"], ["--nonsense"]),
]


@pytest.mark.parametrize("command", ["convert", "inspect"])
@pytest.mark.parametrize(("options", "told"), SHARED)
def test_nonsense_is_refused(
    vit: Path, home: Path, command: str, options: list[str], told: list[str]
) -> None:
    refused(home, *told, args=[command, str(vit), *options])


@pytest.mark.parametrize("dtype", ["float61", "int8", "", "FLOAT32"])
def test_an_unknown_dtype_is_refused(vit: Path, home: Path, dtype: str) -> None:
    refused(home, f"no dtype named '{dtype}'", args=["convert", str(vit), "--dtype", dtype])


@pytest.mark.parametrize("command", ["convert", "inspect"])
@pytest.mark.parametrize(
    "source",
    [
        "",
        "./missing",
        "/missing/vit",
        "~/missing-vit",
        "a//c",
        "a/b/../c",
        "-",
        "a b/c",
        ".",
        "x" * 300,
    ],
)
def test_a_source_that_is_none_is_refused(home: Path, command: str, source: str) -> None:
    refused(home, args=[command, "--", source])


@pytest.mark.parametrize("command", ["convert", "inspect", "verify"])
def test_a_command_without_its_argument_is_refused(home: Path, command: str) -> None:
    refused(home, "Missing argument", args=[command])


@pytest.mark.parametrize("out", ["", ".", "..", "/", "there/..", "/dev/null", "x" * 300])
def test_an_output_that_cannot_be_is_refused(vit: Path, home: Path, out: str) -> None:
    (home / "there").mkdir()
    refused(home, "output", "--out", args=["convert", str(vit), "--out", out, "--no-verify"])


@pytest.mark.parametrize("out", ["a/", "./a", "b/../a", "b/c/../../a", "a", "n" * 250])
def test_outputs_are_found_however_they_are_written(vit: Path, home: Path, out: str) -> None:
    args = ["convert", str(vit), "--out", out, "--no-verify"]
    if ".." in out:
        refused(home, "leads through folders that do not exist", args=args)
        (home / "b" / "c").mkdir(parents=True)
    assert CliRunner().invoke(app, args).exit_code == 0
    made = [path.parent for path in home.rglob("conversion.json")]
    assert made == [home / ("n" * 250 if out[0] == "n" else "a")]
    assert not list(home.rglob("*.partial"))


def test_the_current_folder_is_filled_and_stays_the_current_one(
    vit: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "empty").mkdir()
    monkeypatch.chdir(home / "empty")
    got = CliRunner().invoke(app, ["convert", str(vit), "--out", ".", "--no-verify"])
    assert got.exit_code == 0, got.output
    assert len(list((home / "empty").iterdir())) == 4
    assert [path.name for path in home.iterdir()] == ["empty"]


def test_the_current_folder_is_a_source(
    vit: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(vit)
    args = ["convert", ".", "--out", str(home / "out"), "--no-verify", "--format", "json"]
    got = CliRunner().invoke(app, args)
    assert got.exit_code == 0
    assert '"name": "vit"' in got.stdout


def test_failing_leaves_no_folder_above_the_output(vit: Path, home: Path) -> None:
    args = ["convert", str(vit), "--out", "a/b/c", "--volume", "9,9,9"]
    refused(home, "not divisible", args=args)

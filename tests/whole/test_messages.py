"""What people are told: names, paths, hints, and nothing that forges or betrays."""

import io
import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from inflate_zoo.bench.definitions.tasks import Task
from inflate_zoo.cli import app, common, convert
from inflate_zoo.cli.bench import data
from inflate_zoo.errors import ConfigError, UsageError, without_password
from inflate_zoo.naming.understanding import understand
from tests.support.checkpoints import save_transformers
from tests.support.recorded import case


def run(*words):
    return CliRunner().invoke(app.app, [str(word) for word in words])


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "here" / "file").parent.mkdir()
    (tmp_path / "here" / "file").touch()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


FOLDERS = {
    "verify": ("verify",),
    "report": ("report",),
    "push": ("push", "me/x"),
    "data": ("data", "check"),
    "bench": ("bench", "--source", "random", "--data"),
    "predict": ("predict", "--out", "p", "--"),
    "bench-trial": ("bench-trial",),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_commands_say_which_folder_is_wrong(name, here):
    def told(path):
        words = FOLDERS[name]
        after = ["x.nii.gz"] if name == "predict" else []
        first, rest = (words[:1], words[1:]) if name == "push" else (words, after)
        result = run(*first, path, *rest)
        assert result.exit_code == 2
        return result.stderr

    assert "error: 'here' " in told(".")
    assert "'gone/inner' " in told("gone/inner")
    assert "'here' holds no folder 'gone'" in told("gone/inner")
    assert str(here) not in told(here / "gone" / "inner")


def test_files_too(here):
    told = run("convert", "./gone/model.safetensors").stderr
    assert told.startswith("error: there is no file or folder 'gone/model.safetensors': 'here' ")
    told = run("bench", "--protocol", "gone/mine.toml").stderr
    assert "'mine.toml' cannot be read: No such file or directory: 'here' holds no folder " in told
    assert run("convert", ".").stderr.startswith("error: 'here' holds no weights")


@pytest.mark.parametrize(
    "address",
    [
        "https://me:secret@hub.org/org/name",
        "http://secret@hub.org",
        "https://me:se@cret@hub.org/a b",
        "s3://me:secret@hub.org?x=y",
    ],
)
def test_a_password_is_not_repeated(address, here, capsys):
    assert "ecret" not in without_password(address)
    assert "hub.org" in without_password(address)
    error = UsageError(f"no '{address}'", hint=f"get {address}", details=[address])
    for text in (error.message, error.hint, *error.details, str(error)):
        assert "ecret" not in text
    common.say(address)
    common.tell(address)
    assert "ecret" not in "".join(capsys.readouterr())
    for words in (["convert", address], ["inspect", address], ["push", here, address]):
        assert "ecret" not in run(*words).output


def test_a_task_with_a_password_is_refused():
    with pytest.raises(ValidationError, match="names a user or a password"):
        Task.model_validate({"address": "https://me:secret@host/x.tar"})


def test_no_command_shows_a_library_s_prefix():
    result = run("families", "--format", "xml")
    assert result.exit_code == 2
    assert "'xml' is not human or json" in result.stderr
    assert "Value error" not in result.stderr
    assert "[human|json]" in run("families", "--help").output


OFFERED = {
    "predict": (("predict", "a b", "x.nii.gz", "--out", "o"), "inflate-zoo bench-trial 'a b'"),
    "export": (("export", "a b", "--to", "onnx"), "inflate-zoo bench-trial 'a b'"),
    "nnunet": (("nnunet", "a b", "--dataset", "1"), "inflate-zoo convert 'a b'"),
    "bench": (("bench", "--config", "a b/a b.toml"), "inflate-zoo bench --config 'a b.toml'"),
}


@pytest.mark.parametrize("name", OFFERED)
def test_commands_that_are_offered_can_be_copied_whatever_a_folder_is_called(name, here):
    words, offered = OFFERED[name]
    folder = here / "a b"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "vit"}')
    (folder / "trial.json").write_text("{}")
    (folder / "a b.toml").write_text("plan = true")
    told = run(*words)
    assert told.exit_code == 2
    assert offered in told.stderr


HOSTILE = "a\x1b[31mb\u202ec\x9b2Jd"


def test_the_name_of_an_output_drives_neither_terminal_nor_card(here):
    save_transformers("vit", Path("vit"))
    result = run("convert", "vit", "--out", HOSTILE, "--no-verify")
    assert result.exit_code == 0, result.output
    shown = run("convert", "vit", "--out", f"{HOSTILE}2", "--no-verify", "--format", "json").stdout
    assert json.loads(shown)["folder"] == f"{HOSTILE}2"
    verified = run("verify", HOSTILE, "--source", "vit")
    card = Path(HOSTILE, "README.md").read_text()
    for text in (result.stdout, result.stderr, shown, verified.output, card):
        assert not {c for c in text if not c.isprintable()} - {"\n"}
    assert "  dropped  pooler.* (2)\n" in result.stdout


DISAGREE = {
    "--arch": ({}, "vit_small_patch16_224", "--arch vit_small_patch16_224 and the tensors"),
    "config.json": ({"architecture": "vit_small_patch16_224"}, None, "config.json and the tensors"),
}


@pytest.mark.parametrize("by", DISAGREE)
def test_what_disagrees_with_the_tensors_is_named(by):
    config, arch, told = DISAGREE[by]
    header = case("augreg_file").header
    with pytest.raises(ConfigError, match=told) as caught:
        understand(header, config or None, None, arch)
    assert ("config.json" in caught.value.message) == (by == "config.json")
    assert any("embed_dim is 384" in line for line in caught.value.details)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_no_amount_is_shown_before_there_is_one(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", screen := Terminal())
    with convert._progress() as progress:
        pass
    assert "loading libraries" in screen.getvalue()
    assert "bytes" not in screen.getvalue()
    with convert._progress() as progress:
        progress(500, 1000)
    assert "0.5/1.0 kB" in screen.getvalue()
    with data._progress() as _:
        pass
    assert "%" not in screen.getvalue().split("reading cases")[-1]

"""`inflate-zoo nnunet`: a script, or JSON; refusals; nothing heavy."""

import importlib.metadata
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import inflate_zoo
from inflate_zoo.nnunet.instructions import EXTENSION
from tests.support.commands import refused, run

ENTRY = "builtin-clip-3d-center"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"nnUNet_{name}", raising=False)
    return tmp_path


@pytest.fixture
def converted(home):
    return inflate_zoo.convert("builtin/clip", "clip-3d", verify=False)


@pytest.fixture
def installed(monkeypatch):
    """Set the release of nnU-Net that is said to be there; `None` for none."""

    def set_release(release):
        def version(name):
            if release is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return release

        monkeypatch.setattr(importlib.metadata, "version", version)

    return set_release


def test_the_script_names_the_folder_the_file_and_the_commands(converted, home, installed):
    installed("2.8.1")
    done = run("nnunet", "clip-3d", "--dataset", 104, "--fold", "all", "--decoder", "linear")
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"export nnUNet_extTrainer={shlex.quote(str(EXTENSION))}$" in done.stdout
    assert '"$nnUNet_preprocessed"/Dataset104_*)"/inflate_zoo.json' in done.stdout
    assert f'"source": "{home / "clip-3d"}"' in done.stdout
    assert '"decoder": "linear"' in done.stdout
    assert "nnUNetv2_train 104 3d_fullres all -tr nnUNetTrainerInflated" in done.stdout


def test_programs_get_the_same_as_json(converted, home, installed, monkeypatch):
    installed("2.8.1")
    (home / "raw" / "Dataset104_Hippocampus").mkdir(parents=True)
    monkeypatch.setenv("nnUNet_raw", str(home / "raw"))
    done = run("nnunet", "clip-3d", "--dataset", 104, "--format", "json")
    told = json.loads(done.stdout)
    assert told["environment"] == {"nnUNet_extTrainer": str(EXTENSION)}
    assert told["file"]["place"].endswith("Dataset104_Hippocampus/inflate_zoo.json")
    assert told["file"]["content"]["source"] == str(home / "clip-3d")
    assert list(told["commands"]) == ["prepare", "train", "predict"]


def test_what_nnunet_does_not_suit_is_said(home, installed):
    installed("2.8.1")
    done = run("nnunet", ENTRY, "--dataset", 1)
    assert done.exit_code == 0
    assert "intensities in [0, 1], nnU-Net gives z-scores" in done.stderr
    assert "--fold-normalization" in done.stderr


@pytest.mark.parametrize(
    ("release", "told"),
    [
        (None, "nnU-Net is not installed here"),
        ("2.7.0", "nnunetv2 2.7.0 finds no trainers outside itself"),
    ],
)
def test_a_missing_or_old_nnunet_is_said(converted, installed, release, told):
    installed(release)
    done = run("nnunet", "clip-3d", "--dataset", 1)
    assert done.exit_code == 0
    assert told in done.stderr
    assert 'pip install --no-deps "nnunetv2>=2.8.0"' in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--dataset", "0"], "--dataset"),
        ([], "--dataset"),
        (["--dataset", "1", "--configuration", "2d"], "configuration '2d' is 2D"),
        (["--dataset", "1", "--configuration", "3d_cascade_fullres"], "takes labels as channels"),
        (["--dataset", "1", "--fold", "first"], "'first' is no fold"),
        (["--dataset", "1", "--decoder", "upernet"], "decoder 'upernet' does not segment whole"),
    ],
)
def test_nonsense_is_refused(home, words, told):
    refused(home, told, args=["nnunet", ENTRY, *words])


def test_it_imports_nothing_heavy(converted):
    code = (
        "import sys, inflate_zoo.cli.app\n"
        "from typer.testing import CliRunner\n"
        f"for source in ({ENTRY!r}, 'clip-3d', 'org/weights'):\n"
        "    words = ['nnunet', source, '--dataset', '104']\n"
        "    done = CliRunner().invoke(inflate_zoo.cli.app.app, words)\n"
        "    assert done.exit_code == 0, done.output\n"
        "heavy = {'torch', 'timm', 'transformers', 'monai', 'nnunetv2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    root = Path(__file__).parents[2]
    env = {"PYTHONPATH": str(root), "PATH": ""}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)

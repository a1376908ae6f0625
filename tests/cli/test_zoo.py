"""`inflate-zoo zoo`: what it prints and how it ends."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import run
from tests.support.zoo_cards import CARD, write_card

NAME, REPO = CARD["name"], CARD["source"]


@pytest.mark.parametrize("words", [["zoo"], ["zoo", "list"]])
def test_the_list(work, words):
    result = run(*words)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "other-3d             88.4 M  337 MiB  meta-license (recipe only)  masked images      "
        "meta/other-vit",
        "small-vit-3d-center                   apache-2.0                  self-distillation  "
        "org/small-vit",
    ]
    found = json.loads(run(*words, "--format", "json").stdout)
    assert [entry["name"] for entry in found] == ["other-3d", NAME]
    assert {"name", "license", "source", "scheme", "redistribution", "sha256"} <= set(found[0])
    assert {key: found[1][key] for key in CARD} == CARD
    assert [
        e["name"]
        for e in json.loads(run(*words, "--filter", "META-LIC", "--format", "json").stdout)
    ] == ["other-3d"]
    assert run(*words, "--filter", "average").stdout.startswith("other-3d  88.4 M")


@pytest.mark.parametrize("words", [["zoo"], ["zoo", "list"]])
def test_a_list_of_nothing(work, words):
    result = run(*words, "--filter", "no such thing")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == ("no entry has 'no such thing' in it; see them all: inflate-zoo zoo\n")
    assert json.loads(run(*words, "--filter", "no such", "--format", "json").stdout) == []


@pytest.mark.parametrize("options", [["--filter", "x"], ["--format", "json"], ["--debug"]])
def test_options_in_front_of_a_subcommand_are_not_ignored(work, options):
    result = run("zoo", *options, "show", NAME)
    if "--debug" in options:
        assert "behind it" in str(result.exception)
        return
    assert (result.exit_code, result.stdout) == (2, "")
    assert "write them behind it: inflate-zoo zoo show" in result.stderr


def test_show(work):
    result = run("zoo", "show", "other-3d")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "name       other-3d",
        "source     meta/other-vit at main (a branch) (hf_vit)",
        "objective  masked images",
        "license    meta-license, https://example.org/license; weights not to be passed on: "
        "made on demand",
        "3D network average, patch depth 4, 1 channel(s), intensities in [0, 1]",
        "volume     8x32x32 voxels by default",
        "parameters 88,354,560",
        "size       337 MiB",
        f"SHA-256    {'d' * 64}",
        "reference  Somebody et al., 2021",
        "",
        "# Other",
        "",
        "A line\\x1b[2J that clears.",
    ]
    found = json.loads(run("zoo", "show", NAME, "--format", "json").stdout)
    assert {key: found[key] for key in CARD} == CARD
    assert found["text"] == "Some text."


@pytest.mark.parametrize(
    "words", [["zoo", "show"], ["pull"], ["zoo", "build", "--out", "out", NAME]]
)
def test_an_unknown_name(work, words):
    result = run(*words, "small-vit-3d-centre")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "error: no zoo entry named 'small-vit-3d-centre'",
        f"did you mean '{NAME}'?",
    ]
    assert list(work.iterdir()) == []


def test_a_malformed_card_is_named(work, tmp_path):
    write_card(tmp_path / "cards", name="bad", channels=0)
    result = run("zoo")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "error: model_cards/bad.md is no valid entry of the zoo",
        "  channels: Input should be greater than 0",
        "model_cards/README.md describes the fields",
    ]


def test_build(hub, work):
    result = run("zoo", "build", "--out", "zoo")
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first.startswith("other-3d: failed: 'meta/other-vit': not found")
    assert re.fullmatch(rf"{NAME}: built, \d+ MiB", second)
    assert result.stderr.startswith("other-3d: check the name")
    assert "Traceback" not in result.stderr
    again = run("zoo", "build", NAME, "--out", "zoo")
    assert (again.exit_code, again.stderr) == (0, "")
    assert re.fullmatch(rf"{NAME}: kept, \d+ MiB\n", again.stdout)
    told = json.loads(run("zoo", "build", "--out", "zoo", "--format", "json").stdout)
    assert [entry["outcome"] for entry in told] == ["failed", "kept"]
    assert told[1] == {"name": NAME, "outcome": "kept", "error": None} | {"size": told[1]["size"]}
    assert "not found" in told[0]["error"]
    assert [row["name"] for row in json.loads((work / "zoo" / "index.json").read_text())] == [NAME]


def test_listing_imports_nothing_heavy():
    code = (
        "import sys, time, inflate_zoo, inflate_zoo.cli.app\n"
        "from typer.testing import CliRunner\n"
        "for words in (['zoo'], ['zoo', 'list', '--format', 'json'], ['pull', '--help']):\n"
        "    assert CliRunner().invoke(inflate_zoo.cli.app.app, words).exit_code == 0, words\n"
        "assert isinstance(inflate_zoo.zoo(), tuple)\n"
        "heavy = {'torch', 'timm', 'transformers', 'huggingface_hub', 'numpy', 'monai'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])

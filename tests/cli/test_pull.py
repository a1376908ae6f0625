"""The command `pull`."""

import json
import re

from inflate_zoo.files.digests import sha256
from tests.support.commands import run
from tests.support.zoo_cards import CARD, write_card

NAME, REPO = CARD["name"], CARD["source"]


def test_pull(hub, work):
    result = run("pull", NAME)
    assert result.exit_code == 0, result.output
    assert result.stderr == (
        f"{NAME}: the zoo holds no prebuilt files of it; making it here from {REPO}\n"
    )
    digest = sha256(work / NAME / "model.safetensors")
    lines = result.stdout.splitlines()
    assert lines[0] == NAME
    assert lines[2:4] == [f"  SHA-256  {digest}", "  license  apache-2.0"]
    assert re.fullmatch(r"  weights  \d+ MiB", lines[1])
    assert lines[4].startswith("  proof    passed")
    again = run("pull", NAME)
    assert (again.exit_code, again.stdout) == (2, "")
    assert "is not empty" in again.stderr
    forced = run("pull", NAME, "--force", "--format", "json")
    told = json.loads(forced.stdout)
    assert (told["folder"], told["files"]["model.safetensors"]["sha256"]) == (NAME, digest)
    assert run("verify", NAME).exit_code == 0
    assert run("pull", NAME, "--out", "a/b").exit_code == 0
    assert (work / "a" / "b" / "conversion.json").is_file()


def test_weights_that_are_not_the_cards(hub, work, tmp_path):
    write_card(tmp_path / "cards", sha256="d" * 64)
    result = run("pull", NAME)
    assert (result.exit_code, result.stdout) == (1, "")
    told = result.stderr.splitlines()
    assert told[1].startswith(f"error: the model.safetensors made from '{REPO}' is not")
    assert told[3] == f"  expected: SHA-256 {'d' * 64}"
    assert list(work.iterdir()) == []


def test_a_source_that_cannot_be_had(hub, work):
    result = run("pull", "other-3d")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "its weights may not be passed on (license meta-license)" in result.stderr
    assert "'meta/other-vit': not found" in result.stderr
    assert list(work.iterdir()) == []

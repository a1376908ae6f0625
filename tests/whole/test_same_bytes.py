"""Conversions and trials are what they were, to the byte, whatever becomes of the inside.

What is meant to change is recorded anew with `python -m tests.same_bytes --record`; what changed
by mistake shows with `--write` before and `--compare` after.
"""

import json

import pytest
from typer.testing import CliRunner

from inflate_zoo.cli import app
from tests import same_bytes


def run(words):
    result = CliRunner().invoke(app.app, list(words))
    assert result.exit_code == 0, result.output


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with same_bytes.on_one_thread():
        yield


def recorded(*starts):
    digests = json.loads(same_bytes.RECORDED.read_text("utf-8"))
    found = {name: digest for name, digest in digests.items() if name.startswith(starts)}
    assert found
    return found


def require_same(start, artifacts, root):
    assert not [name for name, text in artifacts.items() if str(root) in text]  # no local path
    made = same_bytes.portable(artifacts)
    assert same_bytes.changed(recorded(start), made) == []


def test_entries_of_the_zoo(tmp_path):
    require_same("zoo/", same_bytes.builtin_entries(tmp_path, run), tmp_path)


def test_every_family_by_every_scheme(tmp_path):
    require_same("exact/", same_bytes.recorded_families(tmp_path), tmp_path)


def test_a_trial_of_every_protocol(tmp_path):
    require_same("trials/", same_bytes.trials(tmp_path, run, arms=("",)), tmp_path)

"""`inflate-zoo push`: what it prints, and how it ends."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from inflate_zoo.cli.app import app
from inflate_zoo.conversion.converting import convert
from inflate_zoo.files.digests import sha256
from inflate_zoo.hub import download as client
from inflate_zoo.registry import publishing
from tests.support.checkpoints import save_transformers
from tests.support.hub_standin import HubStandIn, use_hub

SOURCE, REPO, NAME = "org/small-vit", "me/small-vit-3d", "small-vit-3d-center"
FILES = ["conversion.json", "model.safetensors", "config.json", "README.md"]
UNKNOWN = "the source states no license"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_transformers("vit", tmp_path_factory.mktemp("source"), num_hidden_layers=1)


@pytest.fixture
def hub(source, tmp_path, monkeypatch):
    """A Hub with a source under a free license, and a conversion of it in the working folder."""
    monkeypatch.setattr(client, "_pause", lambda _: None)
    monkeypatch.chdir(tmp_path)
    with HubStandIn() as hub, use_hub(monkeypatch, hub, tmp_path / "home", token=hub.token):
        original = shutil.copytree(source, tmp_path / "original")
        (original / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
        hub.add_repo(SOURCE, original)
        convert(SOURCE, NAME, verify=False)
        hub.requests.clear()
        yield hub


def run(*words, code=0):
    result = CliRunner().invoke(app, ["push", *words])
    assert result.exit_code == code, result.output
    return result


def test_from_a_source_on_the_hub_to_a_repo_on_the_hub(hub, tmp_path):
    result = run(NAME, REPO)
    commit = hub.commits(REPO)[-1]
    lines = result.stdout.splitlines()
    assert lines[:3] == [REPO, "  repo     made, public", f"  commit   {commit}"]
    assert [line.split()[:2] for line in lines[3:]] == [["new", name] for name in FILES]
    assert result.stderr == ""
    again = run(NAME, REPO)
    assert f"  commit   {commit}" in again.stdout
    assert again.stdout.count("  same ") == 4
    assert again.stderr == "the repo holds just this already; no commit was made\n"


def test_that_cases_are_named_is_told_to_those_who_want_quiet_too(monkeypatch):
    pushed = publishing.Pushed(REPO, True, False, "c0ffee", (), 3)
    monkeypatch.setattr(publishing, "push", lambda *_, **__: pushed)
    told = run("trial", REPO, "-q", "--format", "json").stderr
    assert told.startswith("warning: the files name 3 cases of the data set")
    assert len(told.splitlines()) == 1


def test_a_dry_run(hub):
    result = run(NAME, REPO, "--private", "--dry-run")
    assert "  repo     would be made, private\n  commit   none\n" in result.stdout
    assert result.stderr == "nothing was sent; leave out --dry-run to send it\n"
    assert hub.writes() == []


def test_for_programs(hub, tmp_path):
    def get(*words):
        return json.loads(run(NAME, REPO, "--format", "json", *words).stdout)

    tried = get("--dry-run")
    made = get("--private")
    assert made == {
        "repo": REPO,
        "created": True,
        "private": True,
        "dry_run": False,
        "commit": hub.commits(REPO)[-1],
        "files": [
            {
                "name": name,
                "size": (tmp_path / NAME / name).stat().st_size,
                "sha256": sha256(tmp_path / NAME / name),
                "state": "new",
            }
            for name in FILES
        ],
    }
    assert tried == made | {"dry_run": True, "commit": None, "private": False}
    again = get()
    assert (again["created"], again["commit"]) == (False, made["commit"])
    assert {file["state"] for file in again["files"]} == {"same"}


def test_refusals_are_arguments_that_cannot_be_used(hub, source):
    with pytest.warns(UserWarning, match=UNKNOWN):
        convert(source, "no-license", verify=False)
    result = run("no-license", REPO, code=2)
    assert result.stdout == ""
    assert result.stderr.startswith("error: the license is 'unknown' (conversion.json)")
    hub.add_repo(REPO, {"paper.pdf": b""})
    result = run(NAME, REPO, code=2)
    assert "  its files: paper.pdf\n" in result.stderr
    for repo in ("name", "a/b/c", "me/name@main", "me/a b"):
        assert "organisation/name" in run(NAME, repo, code=2).stderr
    assert hub.writes() == []


@pytest.mark.parametrize("status", [401, 403, 409, 500])
def test_a_hub_that_refuses(hub, status):
    hub.fail(status, path_contains="/api/repos/create")
    result = run(NAME, REPO, code=1)
    assert result.stdout == ""
    assert f"status {status}" in result.stderr
    assert len(result.stderr.splitlines()) <= 3


def test_without_a_login(hub, monkeypatch, tmp_path):
    with use_hub(monkeypatch, hub, tmp_path / "home"):
        result = run(NAME, REPO, code=1)
        assert "needs a login\n`hf auth login`, or set HF_TOKEN" in result.stderr
        assert "would be made" in run(NAME, REPO, "--dry-run").stdout


@pytest.mark.parametrize("fault", [None, 401, 403, 500])
def test_the_token_is_in_no_output(hub, tmp_path, fault):
    if fault:
        hub.fail(fault, times=99, path_contains="/commit/")
    words = [sys.executable, "-m", "inflate_zoo", "push", NAME, REPO, "--debug"]
    env = {**os.environ, **hub.env(tmp_path / "home", token=hub.token)}
    for variable in ("HF_DEBUG", "HF_HUB_DISABLE_PROGRESS_BARS"):
        env.pop(variable, None)
    result = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert (result.returncode == 0) == (fault is None), result.stderr
    assert hub.token not in result.stdout + result.stderr
    assert any(request.authorization == f"Bearer {hub.token}" for request in hub.requests)
    if fault is None:
        assert result.stderr == ""
    assert not any(hub.token.encode() in content for content in hub.files(REPO).values())


def test_help_names_all_options():
    text = run("--help").stdout
    assert all(flag in text for flag in ("--private", "--dry-run", "--format"))

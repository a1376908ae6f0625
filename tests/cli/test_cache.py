"""`inflate-zoo cache`: what it shows and takes away."""

import json
import os
import time

import pytest

from inflate_zoo.files.writing.store import Store
from tests.support.commands import run


@pytest.fixture
def root(tmp_path, monkeypatch):
    root = tmp_path / "cache"
    monkeypatch.setenv("INFLATE_ZOO_CACHE", str(root))
    for name, days in (("cases/old", 40), ("cases/new", 0), ("weights/old", 40)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        with Store(root).made(root / name, ["a"]) as stage:
            (stage / "a").write_bytes(b"a" * (3 << 20))
        when = time.time() - days * 86400
        os.utime(root / name, (when, when))
    (root / "data" / "set").mkdir(parents=True)
    (root / "data" / "set" / "image").write_bytes(b"a" * (5 << 20))
    return root


def test_what_is_kept_is_shown_by_kind(root):
    result = run("cache")
    assert result.exit_code == 0
    first, *rest = result.stdout.splitlines()
    assert first == str(root)
    assert [line.split()[:4] for line in rest] == [
        ["cases", "2", "6", "MiB"],
        ["weights", "1", "3", "MiB"],
        ["features", "0", "0", "MiB"],
        ["zoo", "0", "0", "MiB"],
        ["data", "5", "MiB", "data"],
    ]
    assert "  today  " in rest[0]
    assert "  40 days ago  " in rest[1]
    assert "cache prune" in result.stderr
    quiet = run("cache", "-q")
    assert (quiet.stdout, quiet.stderr) == (result.stdout, "")
    refused = run("cache", "-q", "prune")
    assert (refused.exit_code, "would have no effect" in refused.stderr) == (2, True)
    found = json.loads(run("cache", "--format", "json").stdout)
    assert len(found["entries"]) == 3
    assert found["others"] == {"data": 5 << 20}
    assert found["bytes"] > 14 << 20


def test_pruning_tells_what_goes_and_what_stays_and_why(root):
    told = run("cache", "prune", "--dry-run")
    assert [line.split() for line in told.stdout.splitlines()] == [
        ["cases", "1", "3", "MiB", "would", "be", "removed"],
        ["weights", "1", "3", "MiB", "would", "be", "removed"],
        ["cases", "1", "3", "MiB", "kept:", "used", "in", "the", "last", "30", "days"],
    ]
    assert told.stderr == "6 MiB would be freed\n"
    assert (root / "cases" / "old").exists()
    store = Store(root)
    store.use(root / "weights" / "old")
    os.utime(root / "weights" / "old", (0, 0))
    done = json.loads(run("cache", "prune", "--format", "json").stdout)
    assert [entry["path"] for entry in done["removed"]] == ["cases/old"]
    assert done["freed_bytes"] > 3 << 20
    kept = {entry["path"]: entry for entry in done["kept"]}
    assert kept["cases/new"]["reason"] == "used lately"
    assert kept["weights/old"]["reason"] == "in use"
    assert kept["weights/old"]["who"].endswith(f":{os.getpid()}")
    shown = run("cache", "prune", "-q")
    assert f"kept: in use by {kept['weights/old']['who']}" in shown.stdout
    assert shown.stderr == ""
    assert (root / "data" / "set" / "image").exists()


def test_what_cannot_be_is_refused(root):
    result = run("cache", "prune", "--kind", "case")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "did you mean 'cases'?" in result.stderr
    result = run("cache", "--format", "json", "prune")
    assert result.exit_code == 2
    assert "write them behind it: inflate-zoo cache prune" in result.stderr
    assert run("cache", "prune", "--unused-for", "-1").exit_code == 2
    assert (root / "cases" / "old").exists()


def test_a_cache_that_is_not_there_is_empty(tmp_path):
    result = run("cache", "--cache", tmp_path / "none")
    assert result.exit_code == 0
    result = run("cache", "prune", "--cache", tmp_path / "none", "--unused-for", "0")
    assert (result.exit_code, result.stdout) == (0, "")
    assert not (tmp_path / "none").exists()

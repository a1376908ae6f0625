"""The Hub module against the stand-in: the real client, real faults, no network."""

import errno
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from huggingface_hub import constants, file_download

from inflate_zoo.errors import (
    CheckpointError,
    HubError,
    HubNotFoundError,
    InflateZooError,
    UsageError,
    WriteError,
)
from inflate_zoo.hub import download as ours
from tests.support.hub_standin import HubStandIn, use_hub

REPO = "facebook/dino-vitb16"


def safetensors(size=300_000, padding=0):
    header = {"weight": {"dtype": "U8", "shape": [2, size // 2], "data_offsets": [0, size]}}
    header["__metadata__"] = {"format": "pt", "padding": "x" * padding}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + os.urandom(size)


WEIGHTS = safetensors()
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "sub/notes.txt": b"n"}


@pytest.fixture
def hub():
    with HubStandIn() as hub:
        yield hub


@pytest.fixture
def pauses(monkeypatch):
    pauses = []
    monkeypatch.setattr(ours, "_pause", pauses.append)
    return pauses


@pytest.fixture
def waits(monkeypatch, hub, tmp_path, pauses):
    with use_hub(monkeypatch, hub, tmp_path) as waits:
        yield waits


@pytest.fixture
def commit(hub, waits):
    return hub.add_repo(REPO, FILES)


def says(caught, *texts):
    error = caught.value
    for text in texts:
        assert text in str(error)
    assert len(error.lines()) == 2
    assert "\n" not in error.message
    assert "`" in error.hint or "did you mean" in error.hint
    assert error.__suppress_context__


def paths_seen(hub):
    return [f"{request.method} {request.path.rpartition('/')[2]}" for request in hub.requests]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("org/name", ("org/name", None)),
        ("org/name@v1.0", ("org/name", "v1.0")),
        ("org/name@refs/pr/1", ("org/name", "refs/pr/1")),
        ("gpt2@" + "a" * 40, ("gpt2", "a" * 40)),
    ],
)
def test_a_repo_and_its_revision(source, expected):
    assert ours.parse_repo(source) == expected


NO_REPOS = [
    "",
    "a/b/c",
    "/abs/path",
    "../x",
    "a--b/c",
    "a/b.git",
    "a b/c",
    "a/b\n",
    "é/b",
    "x" * 97,
]
NO_REVISIONS = ["", "../x", "x y", "/x", "x/", "--help", "x\ny", "x" + "\x1b[2J"]


@pytest.mark.parametrize("source", [*NO_REPOS, *(f"a/b@{text}" for text in NO_REVISIONS)])
def test_what_is_no_repo(source):
    with pytest.raises(UsageError) as caught:
        ours.parse_repo(source)
    assert "organisation/name" in caught.value.hint
    assert len(caught.value.lines()) == 2
    assert "\n" not in caught.value.message


def test_importing_the_module_leaves_the_client_alone():
    code = "import sys, inflate_zoo.hub.download as _\n"
    code += "assert not {'huggingface_hub', 'rich'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_resolving_is_one_request(hub, commit, tmp_path):
    found = ours.resolve_revision(REPO)
    folder = tmp_path / "hub/models--facebook--dino-vitb16/snapshots" / commit
    assert found == ours.Snapshot(REPO, None, commit, folder, tuple(FILES))
    assert paths_seen(hub) == ["GET dino-vitb16"]
    assert not (tmp_path / "hub").exists()


def test_only_the_named_files_are_asked_for(hub, commit, capfd, caplog):
    found = ours.resolve_revision(REPO)
    names = ["sub/notes.txt", "model.safetensors"]
    paths = ours.fetch_files(found, names)
    assert paths == [found.folder / name for name in names]
    assert [path.read_bytes() for path in paths] == [FILES[name] for name in names]
    assert not any("config.json" in request.path for request in hub.requests)
    count = len(hub.requests)
    assert ours.fetch_files(found, names) == paths
    assert len(hub.requests) == count
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.parametrize("revision", ["v1", "refs/pr/1", "commit"])
def test_a_revision_is_fetched_and_found_again_offline(
    hub, commit, revision, monkeypatch, tmp_path
):
    other = hub.add_repo(REPO, {"config.json": b"[]"}, revision=revision)
    revision = other if revision == "commit" else revision
    found = ours.resolve_revision(REPO, revision)
    assert found.commit == other
    assert ours.fetch_files(found, ["config.json"])[0].read_bytes() == b"[]"
    with use_hub(monkeypatch, hub, tmp_path, offline=True):
        assert ours.resolve_revision(REPO, revision) == found


def test_offline_the_listing_is_what_was_fetched(hub, commit, monkeypatch, tmp_path, caplog):
    found = ours.resolve_revision(REPO)
    paths = ours.fetch_files(found, ["config.json", "sub/notes.txt"])
    hub.add_repo(REPO, {"config.json": b"new", "new.json": b""})
    count = len(hub.requests)
    with use_hub(monkeypatch, hub, tmp_path, offline=True):
        stale = ours.resolve_revision(REPO)
        assert (stale.commit, stale.files) == (commit, ("config.json", "sub/notes.txt"))
        assert ours.fetch_files(stale, list(stale.files)) == paths
        with pytest.raises(HubError) as caught:
            ours.fetch_files(stale, ["model.safetensors"])
        says(caught, "not cached", f"hf download {REPO} model.safetensors --revision {commit}")
        with pytest.raises(HubError, match="offline"):
            ours.read_remote_header(stale, "model.safetensors")
    assert len(hub.requests) == count
    assert not caplog.records
    fresh = ours.resolve_revision(REPO)
    assert fresh.commit != commit
    assert ours.fetch_files(fresh, ["config.json"])[0].read_bytes() == b"new"
    with use_hub(monkeypatch, hub, tmp_path, offline=True):
        assert ours.resolve_revision(REPO).commit == fresh.commit
        assert ours.resolve_revision(REPO, commit).commit == commit


@pytest.mark.parametrize("revision", [None, "v1", "a" * 40])
def test_offline_without_cache(hub, waits, monkeypatch, tmp_path, revision):
    with use_hub(monkeypatch, hub, tmp_path, offline=True), pytest.raises(HubError) as caught:
        ours.resolve_revision(REPO, revision)
    says(caught, "offline", f"HF_HUB_OFFLINE=0 hf download {REPO}")


def test_a_hub_out_of_order_is_replaced_by_the_cache(hub, commit, caplog, pauses):
    ours.fetch_files(ours.resolve_revision(REPO), ["config.json"])
    hub.fail(503, times=3)
    found = ours.resolve_revision(REPO)
    assert (found.commit, found.files) == (commit, ("config.json",))
    assert pauses == [1, 2]
    assert "503" in caplog.text
    assert commit[:12] in caplog.text


@pytest.mark.parametrize("login", [None, "hf_stranger"])
def test_what_is_missing(hub, commit, monkeypatch, tmp_path, login):
    hub.add_repo("org/private", FILES, private=True)
    with use_hub(monkeypatch, hub, tmp_path, token=login):
        found = ours.resolve_revision(REPO)
        for repo in ("org/private", "no/such"):
            with pytest.raises(HubNotFoundError) as caught:
                ours.resolve_revision(repo)
            says(caught, repo, "not found, or private and not visible", "hf auth login")
        with pytest.raises(HubNotFoundError) as caught:
            ours.resolve_revision(REPO, "nope")
        says(caught, REPO, "'nope'", f"git ls-remote {hub.url}/{REPO}")
        for call in (ours.read_remote_header, lambda found, name: ours.fetch_files(found, [name])):
            with pytest.raises(HubNotFoundError) as caught:
                call(found, "model.safetensor")
            says(caught, "'model.safetensor'", "did you mean 'model.safetensors'?")
            with pytest.raises(HubNotFoundError) as caught:
                call(found, "zzz")
            says(caught, "hf download facebook/dino-vitb16", "--dry-run")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "..\\x"])
def test_a_name_outside_the_repo_never_reaches_the_client(hub, commit, name):
    found, count = ours.resolve_revision(REPO), len(hub.requests)
    for call in (ours.read_remote_header, lambda found, name: ours.fetch_files(found, [name])):
        with pytest.raises(HubNotFoundError):
            call(found, name)
    assert len(hub.requests) == count


@pytest.mark.parametrize("login", [None, "hf_stranger"])
def test_a_gated_repo(hub, commit, monkeypatch, tmp_path, login):
    hub.add_repo(REPO, FILES, gated=True)
    with use_hub(monkeypatch, hub, tmp_path, token=login):
        found = ours.resolve_revision(REPO)
        for call in (ours.read_remote_header, lambda found, name: ours.fetch_files(found, [name])):
            with pytest.raises(HubError) as caught:
                call(found, "model.safetensors")
            says(caught, f"accept the terms at {hub.url}/{REPO}, then `hf auth login`")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_hub_is_asked_three_times(hub, commit, pauses, status):
    hub.fail(status, times=2)
    found = ours.resolve_revision(REPO)
    assert pauses == [1, 2]
    hub.fail(status, times=2)
    assert set(ours.read_remote_header(found, "model.safetensors")) == {"weight"}
    assert pauses == [1, 2] * 2
    hub.fail(status, times=3)
    with pytest.raises(HubError) as caught:
        ours.read_remote_header(found, "model.safetensors")
    says(caught, str(status))
    hub.fail(status, times=3)
    with pytest.raises(HubError) as caught:
        ours.resolve_revision(REPO)
    says(caught, str(status))


def test_the_hub_says_how_long_to_wait(hub, commit, pauses):
    hub.fail(429, retry_after=7)
    hub.fail(429, retry_after=999)
    ours.resolve_revision(REPO)
    assert pauses == [7, 30]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_login_is_not_tried_again(hub, commit, pauses, status):
    found = ours.resolve_revision(REPO)
    hub.fail(status, path_contains="/lfs/")
    with pytest.raises(HubError) as caught:
        ours.fetch_files(found, ["model.safetensors"])
    says(caught, "hf auth login")
    assert pauses == []


def test_a_broken_hub_during_a_download(hub, commit, pauses, waits):
    found = ours.resolve_revision(REPO)
    hub.fail(503, times=7, path_contains="config.json")
    with pytest.raises(HubError) as caught:
        ours.fetch_files(found, ["config.json"])
    says(caught, "503")
    assert pauses == []  # the client has waited already
    assert len(waits) == 5
    hub.fail(503, times=2, path_contains="/lfs/")
    assert ours.fetch_files(found, ["model.safetensors"])[0].read_bytes() == WEIGHTS
    assert pauses == [1, 2]


def test_a_cut_download_resumes(hub, commit, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    found = ours.resolve_revision(REPO)
    hub.cut_after("model.safetensors", 100_500)
    assert ours.fetch_files(found, ["model.safetensors"])[0].read_bytes() == WEIGHTS
    assert hub.requests[-1].range == "bytes=100000-"


def test_a_download_that_is_always_cut(hub, commit, pauses, tmp_path, capfd):
    found = ours.resolve_revision(REPO)
    hub.cut_after("model.safetensors", 0, times=6)
    assert ours.fetch_files(found, ["model.safetensors"])[0].read_bytes() == WEIGHTS
    assert pauses == [1]
    shutil.rmtree(tmp_path / "hub")
    hub.cut_after("model.safetensors", 0, times=12)
    with pytest.raises(HubError) as caught:
        ours.fetch_files(found, ["model.safetensors"])
    says(caught, "cut", "hf download")
    assert not list(tmp_path.rglob("*.incomplete"))
    assert capfd.readouterr() == ("", "")


def test_a_refused_connection(hub, commit, monkeypatch, pauses, tmp_path):
    found = ours.resolve_revision(REPO)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        hub.url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with use_hub(monkeypatch, hub, tmp_path):
        calls = [
            lambda: ours.resolve_revision(REPO),
            lambda: ours.read_remote_header(found, "model.safetensors"),
        ]
        for call in [*calls, lambda: ours.fetch_files(found, ["config.json"])]:
            with pytest.raises(HubError) as caught:
                call()
            says(caught, "no connection", hub.url)
    assert pauses == [1, 1]


def test_an_address_that_is_no_hub(hub, commit, monkeypatch):
    from huggingface_hub import HfApi

    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: json.loads("<html>"))
    with pytest.raises(HubError) as caught:
        ours.resolve_revision(REPO)
    says(caught, "does not answer like a Hub", "HF_ENDPOINT")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_disk_that_cannot_take_the_file(hub, commit, monkeypatch, code, tmp_path):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code), str(tmp_path))

    found = ours.resolve_revision(REPO)
    monkeypatch.setattr(file_download, "http_get", fail)
    with pytest.raises(WriteError, match="Hub cache") as caught:
        ours.fetch_files(found, ["config.json"])
    assert str(tmp_path) not in str(caught.value)


def test_an_error_that_is_no_fault_stays(hub, commit, monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError

    found = ours.resolve_revision(REPO)
    monkeypatch.setattr(file_download, "http_get", fail)
    with pytest.raises(ZeroDivisionError):
        ours.fetch_files(found, ["config.json"])


@pytest.mark.parametrize("padding", [0, 150_000])
def test_a_header_is_read_without_the_file(hub, waits, tmp_path, padding, monkeypatch):
    hub.add_repo(REPO, {"model.safetensors": safetensors(padding=padding)})
    found = ours.resolve_revision(REPO)
    expected = {"weight": ("U8", (2, 150_000))}
    assert ours.read_remote_header(found, "model.safetensors") == expected
    assert all(request.range for request in hub.requests[1:])
    assert not (tmp_path / "hub").exists()
    ours.fetch_files(found, ["model.safetensors"])
    with use_hub(monkeypatch, hub, tmp_path, offline=True):
        assert ours.read_remote_header(found, "model.safetensors") == expected


@pytest.mark.parametrize(
    "content", [b"", b"1234567", b"\xff" * 20, (2).to_bytes(8, "little") + b"[]", b"<html>" * 9]
)
def test_a_damaged_header(hub, waits, content):
    hub.add_repo(REPO, {"model.safetensors": content})
    found = ours.resolve_revision(REPO)
    for _ in range(2):  # first by range, then from the cache
        with pytest.raises(CheckpointError, match="no valid safetensors header"):
            ours.read_remote_header(found, "model.safetensors")
        if content:
            ours.fetch_files(found, ["model.safetensors"])


@contextmanager
def collect(told):
    try:
        yield
    except InflateZooError as error:
        told += [repr(error), str(error), *traceback.format_exception(error)]
        raise


def test_the_token_goes_to_the_hub_alone(hub, commit, monkeypatch, tmp_path, capfd, caplog):
    token, told = hub.token, []
    hub.add_repo("org/gated", FILES, gated=True)
    caplog.set_level("DEBUG")
    with use_hub(monkeypatch, hub, tmp_path, token=token):
        found = ours.resolve_revision("org/gated")
        ours.read_remote_header(found, "model.safetensors")
        ours.fetch_files(found, list(FILES))
        hub.cut_after("model.safetensors", 0, times=12)
        shutil.rmtree(tmp_path / "hub")
        hub.fail(503, times=3, path_contains="/api/")
        hub.fail(401, path_contains="sub/notes.txt")
        calls = [
            lambda: ours.resolve_revision("org/gated"),
            lambda: ours.resolve_revision("no/such"),
        ]
        calls += [lambda name=name: ours.fetch_files(found, [name]) for name in (*FILES, "zzz")]
        for call in calls:
            with suppress(InflateZooError), collect(told):
                call()
    assert told
    assert token not in "".join(told) + caplog.text + "".join(capfd.readouterr())
    to_hub = [request for request in hub.requests if request.host == hub.url[7:]]
    assert {request.authorization for request in to_hub} == {f"Bearer {token}"}
    assert {r.authorization for r in hub.requests if r not in to_hub} == {None}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_on_stderr(hub, commit, monkeypatch, capsys):
    screen = Terminal()
    found = ours.resolve_revision(REPO)
    monkeypatch.setattr(sys, "stderr", screen)
    module = sys.modules["huggingface_hub.utils.tqdm"]
    monkeypatch.setattr(module, "HF_HUB_DISABLE_PROGRESS_BARS", None)
    monkeypatch.setattr(module, "progress_bar_states", {"_global": True})
    paths = ours.fetch_files(found, ["model.safetensors"])
    assert isinstance(paths[0], Path)
    assert "model.safetensors" in screen.getvalue()
    assert "300." in screen.getvalue()
    assert capsys.readouterr().out == ""

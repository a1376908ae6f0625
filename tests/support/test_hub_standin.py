"""The stand-in against the real client: what the project's tests may rely on."""

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    HfApi,
    constants,
    hf_hub_download,
    model_info,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session

from tests.support.hub_standin import HubStandIn, use_hub

REPO = "facebook/dino-vitb16"
CONFIG = b'{"model_type": "vit"}'


def safetensors(size=300_000, padding=0):
    header = {"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    header["__metadata__"] = {"format": "pt", "padding": "x" * padding}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + os.urandom(size)


WEIGHTS = safetensors()
FILES = {"config.json": CONFIG, "model.safetensors": WEIGHTS}


@pytest.fixture
def hub():
    with HubStandIn() as hub:
        yield hub


@pytest.fixture
def waits(monkeypatch, hub, tmp_path):
    with use_hub(monkeypatch, hub, tmp_path) as waits:
        yield waits


@pytest.fixture
def commit(hub, waits):
    return hub.add_repo(REPO, FILES)


def content(*args, **kwargs):
    return Path(hf_hub_download(*args, **kwargs)).read_bytes()


def seen(hub):
    return [(request.method, request.path.rpartition("/")[2]) for request in hub.requests]


def test_download_by_branch_tag_and_commit(hub, commit):
    tagged = hub.add_repo(REPO, {"config.json": b"{}"}, revision="v1")
    pull = hub.add_repo(REPO, {"a b/ü.json": b"[]"}, revision="refs/pr/1")
    assert content(REPO, "config.json") == CONFIG
    assert content(REPO, "config.json", revision="v1") == b"{}"
    assert content(REPO, "config.json", revision=tagged) == b"{}"
    assert content(REPO, "model.safetensors", revision=commit) == WEIGHTS
    assert content(REPO, "a b/ü.json", revision="refs/pr/1") == b"[]"
    assert model_info(REPO, revision="refs/pr/1").sha == pull
    assert f"snapshots/{commit}/" in try_to_load_from_cache(REPO, "config.json")


def test_the_commit_follows_from_the_contents(hub, commit, tmp_path):
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    assert hub.add_repo("a/b", folder) == commit
    assert content("a/b", "model.safetensors") == WEIGHTS
    (folder / "sub" / "x.bin").write_bytes(b"1")
    assert hub.add_repo("a/b", folder) != commit
    assert hub.add_repo("c", FILES, sha="c" * 40) == "c" * 40
    assert content("c", "config.json") == CONFIG


def test_large_files_come_from_another_origin_that_never_gets_the_token(hub, commit):
    assert content(REPO, "model.safetensors", token=hub.token) == WEIGHTS
    head, get = hub.requests
    assert (head.method, head.authorization) == ("HEAD", f"Bearer {hub.token}")
    assert get.path.startswith("/lfs/")
    assert (get.method, get.authorization) == ("GET", None)
    assert (head.host, get.host) == (hub.url[7:], hub.lfs_url[7:])


def test_large_files_may_come_from_the_hub_itself(hub, commit):
    hub.lfs_url = hub.url
    assert content(REPO, "model.safetensors", token=hub.token) == WEIGHTS
    hub.lfs = False
    assert content(REPO, "model.safetensors", token=hub.token, force_download=True) == WEIGHTS
    assert [request.path[:5] for request in hub.requests[:3]] == ["/face", "/lfs/", "/lfs/"]
    assert [request.path[:5] for request in hub.requests[3:]] == ["/face", "/face"]


def test_files_over_the_threshold_are_large(hub, waits):
    hub.lfs_threshold = 10
    hub.add_repo(REPO, {"a.json": bytes(9), "b.json": bytes(10)})
    files = HfApi().model_info(REPO, files_metadata=True).siblings
    assert [(file.rfilename, file.size, bool(file.lfs)) for file in files] == [
        ("a.json", 9, False),
        ("b.json", 10, True),
    ]
    assert [content(REPO, file.rfilename) for file in files] == [bytes(9), bytes(10)]


def test_model_info_is_one_request(hub, commit):
    info = HfApi().model_info(REPO)
    assert (info.id, info.sha, info.gated, info.private) == (REPO, commit, False, False)
    assert [file.rfilename for file in info.siblings] == sorted(FILES)
    assert seen(hub) == [("GET", "dino-vitb16")]


def test_the_client_resumes_after_a_cut(hub, commit, waits, monkeypatch):
    # By itself the client resumes within one call only: its partial file has a random name and is
    # deleted when the call fails. It keeps whole chunks (10 MiB), so a smaller file starts anew.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cut_after("model.safetensors", 100_500)
    assert content(REPO, "model.safetensors") == WEIGHTS
    assert [request.range for request in hub.requests] == [None, None, "bytes=100000-"]
    assert waits == [1]


def test_a_cut_before_the_first_chunk_starts_anew(hub, commit):
    hub.cut_after("config.json", 5)
    assert content(REPO, "config.json") == CONFIG
    assert [request.range for request in hub.requests] == [None, None, None]


def test_the_client_gives_up_after_six_cuts_without_progress(hub, commit, waits, tmp_path):
    hub.cut_after("model.safetensors", 0, times=6)
    # An error of the HTTP library, not of huggingface_hub.errors.
    with pytest.raises(Exception, match="peer closed") as caught:
        hf_hub_download(REPO, "model.safetensors")
    assert type(caught.value).__name__ == "RemoteProtocolError"
    assert not isinstance(caught.value, (HfHubHTTPError, OSError))
    assert waits == [1] * 5
    assert not list(tmp_path.rglob("*.incomplete"))
    assert content(REPO, "model.safetensors") == WEIGHTS


@pytest.mark.parametrize("token", [None, "hf_stranger"])
def test_what_is_missing_is_named(hub, commit, token):
    with pytest.raises(RepositoryNotFoundError) as caught:
        hf_hub_download("no/such", "config.json", token=token)
    assert caught.value.response.status_code == (404 if token else 401)
    with pytest.raises(RepositoryNotFoundError):
        HfApi(token=token).model_info("no/such")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(REPO, "config.json", revision="nope", token=token)
    with pytest.raises(RevisionNotFoundError):
        HfApi(token=token).model_info(REPO, revision="nope")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(REPO, "nope.json", token=token)


@pytest.mark.parametrize("token", [None, "hf_stranger"])
def test_a_gated_repo_shows_its_metadata_only(hub, waits, token):
    commit = hub.add_repo(REPO, FILES, gated=True)
    info = HfApi(token=token).model_info(REPO)
    assert (info.sha, info.gated) == (commit, "auto")
    with pytest.raises(GatedRepoError) as caught:
        hf_hub_download(REPO, "config.json", token=token)
    assert caught.value.response.status_code == (403 if token else 401)
    assert content(REPO, "config.json", token=hub.token) == CONFIG


def test_a_private_repo_is_hidden(hub, waits, monkeypatch, tmp_path):
    hub.add_repo(REPO, FILES, private=True)
    with pytest.raises(RepositoryNotFoundError):
        HfApi().model_info(REPO)
    with pytest.raises(RepositoryNotFoundError) as caught:
        hf_hub_download(REPO, "config.json")
    assert not isinstance(caught.value, GatedRepoError)
    with use_hub(monkeypatch, hub, tmp_path, token=hub.token):
        assert HfApi().model_info(REPO).private
        assert content(REPO, "config.json") == CONFIG


def test_offline(hub, commit, monkeypatch, tmp_path):
    content(REPO, "config.json")
    count = len(hub.requests)
    with use_hub(monkeypatch, hub, tmp_path, offline=True):
        assert content(REPO, "config.json") == CONFIG
        assert content(REPO, "config.json", revision=commit) == CONFIG
        with pytest.raises(LocalEntryNotFoundError):
            hf_hub_download(REPO, "model.safetensors")
        with pytest.raises(OfflineModeIsEnabled):
            HfApi().model_info(REPO)
    assert len(hub.requests) == count
    assert content(REPO, "model.safetensors") == WEIGHTS


@pytest.mark.parametrize(("padding", "ranges"), [(0, 1), (150_000, 2)])
def test_a_header_is_read_by_range(hub, waits, tmp_path, padding, ranges):
    hub.add_repo(REPO, {"model.safetensors": safetensors(padding=padding)})
    found = HfApi().parse_safetensors_file_metadata(REPO, "model.safetensors", token=hub.token)
    assert found.tensors["weight"].shape == [300_000]
    # The range goes along with the redirect, the token does not.
    assert [request.method for request in hub.requests] == ["GET"] * 2 * ranges
    first, second = hub.requests[:2]
    assert first.range == second.range == "bytes=0-100000"
    assert (bool(first.authorization), second.authorization) == (True, None)
    if ranges == 2:
        assert hub.requests[3].range.startswith("bytes=8-150")
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [("bytes=2-5", 206, 2, 6), ("bytes=7-", 206, 7, 10), ("bytes=0-99", 206, 0, 10)],
)
@pytest.mark.parametrize("name", ["small.txt", "large.bin"])
def test_ranges(hub, waits, name, asked, status, start, end):
    hub.add_repo(REPO, {name: b"0123456789"})
    url = f"{hub.url}/{REPO}/resolve/main/{name}"
    answer = get_session().get(url, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (status, b"0123456789"[start:end])
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/10"
    assert answer.headers["ETag"]
    beyond = get_session().get(url, headers={"Range": "bytes=10-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, "bytes */10")


def test_a_busy_hub_is_tried_again(hub, commit, waits):
    # Without a local file: one try, then one with retries of its own, after Retry-After + 1 s.
    hub.fail(429, times=2, retry_after=3)
    assert content(REPO, "config.json") == CONFIG
    assert [method for method, _ in seen(hub)] == ["HEAD", "HEAD", "HEAD", "GET"]
    assert waits == [4]


def test_a_broken_hub_is_an_entry_not_found_locally(hub, commit, waits):
    hub.fail(503, times=7, path_contains="config.json")
    with pytest.raises(LocalEntryNotFoundError) as caught:
        hf_hub_download(REPO, "config.json")
    assert isinstance(caught.value.__cause__, HfHubHTTPError)
    assert caught.value.__cause__.response.status_code == 503
    assert waits == [1, 2, 4, 8, 8]
    assert content(REPO, "config.json") == CONFIG  # the seven are used up


def test_a_broken_hub_does_not_matter_to_a_cached_file(hub, commit, waits):
    content(REPO, "config.json")
    hub.fail(503)
    assert content(REPO, "config.json") == CONFIG
    assert waits == []


def test_a_broken_store_is_an_error_at_once_and_a_busy_one_is_tried_again(hub, commit, waits):
    hub.fail(503, path_contains="/lfs/")
    with pytest.raises(HfHubHTTPError, match="503"):
        hf_hub_download(REPO, "model.safetensors")
    assert waits == []
    hub.fail(429, path_contains="/lfs/")
    assert content(REPO, "model.safetensors") == WEIGHTS
    assert waits == [1]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_model_info_and_the_header_are_asked_for_once(hub, commit, waits, status):
    hub.fail(status, times=2)
    with pytest.raises(HfHubHTTPError) as caught:
        HfApi().model_info(REPO)
    assert caught.value.response.status_code == status
    with pytest.raises(HfHubHTTPError):
        HfApi().parse_safetensors_file_metadata(REPO, "model.safetensors")
    assert len(hub.requests) == 2
    assert waits == []


def test_a_child_process(hub, tmp_path):
    hub.add_repo(REPO, FILES, gated=True)
    code = "import huggingface_hub as h, sys; print(h.hf_hub_download(*sys.argv[1:]))"
    command = [sys.executable, "-c", code, REPO, "model.safetensors"]
    for offline in (False, True):
        env = os.environ | hub.env(tmp_path, token=hub.token, offline=offline)
        path = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
        assert Path(path.strip()).read_bytes() == WEIGHTS
        assert path.startswith(str(tmp_path / "hub"))
    assert len(hub.requests) == 2


def test_kept_alive_connections_end_with_the_stand_in(tmp_path):
    with HubStandIn() as hub:
        hub.add_repo(REPO, FILES)
        address = ("127.0.0.1", int(hub.url.rpartition(":")[2]))
        with socket.create_connection(address, timeout=5) as client:
            for _ in range(3):
                client.sendall(f"HEAD /{REPO}/resolve/main/config.json HTTP/1.1\r\n\r\n".encode())
                assert client.recv(65536).endswith(b"\r\n\r\n")
            hub.__exit__(None, None, None)
            assert client.recv(1) == b""
            hub.__enter__()


# Uploads. The client sends files in a way that its HTTP library would rather do without.
uploads = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def api(hub, waits, tmp_path):
    return HfApi(token=hub.token)


def add(**contents):
    return [CommitOperationAdd(name.replace("_", "."), data) for name, data in contents.items()]


@uploads
def test_an_upload_arrives_and_can_be_downloaded(hub, api, tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(WEIGHTS)
    assert api.create_repo(REPO, private=True).repo_id == REPO
    empty = api.model_info(REPO)
    assert (empty.private, [file.rfilename for file in empty.siblings]) == (
        True,
        [".gitattributes"],
    )
    operations = add(model_safetensors=weights, config_json=CONFIG)
    made = api.create_commit(REPO, operations, commit_message="m", parent_commit=empty.sha)
    assert hub.commits(REPO) == [empty.sha, made.oid]
    assert {name: hub.files(REPO)[name] for name in FILES} == FILES
    assert content(REPO, "model.safetensors", token=hub.token) == WEIGHTS
    folder = Path(snapshot_download(REPO, token=hub.token, local_dir=tmp_path / "all"))
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert hub.writes() == [
        "POST /api/repos/create",
        f"POST /api/models/{REPO}/preupload/main",
        f"POST /{REPO}.git/info/lfs/objects/batch",
        f"PUT /lfs/{hashlib.sha256(WEIGHTS).hexdigest()}",
        f"POST /{REPO}.git/info/lfs/objects/verify",
        f"POST /api/models/{REPO}/commit/main",
    ]
    put = next(request for request in hub.requests if request.method == "PUT")
    assert (put.authorization, put.host) == (None, hub.lfs_url[7:])


@uploads
def test_the_store_takes_a_large_file_once(hub, api):
    for repo in ("a/one", "a/two"):
        api.create_repo(repo)
        api.create_commit(repo, add(model_safetensors=WEIGHTS), commit_message="m")
    assert sum(line.startswith("PUT") for line in hub.writes()) == 1
    assert hub.files("a/one")["model.safetensors"] == hub.files("a/two")["model.safetensors"]


def test_digests_of_a_repos_files(hub, api):
    hub.add_repo(REPO, FILES)
    config, weights = api.model_info(REPO, files_metadata=True).siblings
    assert config.blob_id == hashlib.sha1(b"blob %d\0" % len(CONFIG) + CONFIG).hexdigest()
    assert (config.lfs, weights.lfs.sha256) == (None, hashlib.sha256(WEIGHTS).hexdigest())
    # What has not changed is not committed.
    made = api.create_commit(REPO, add(config_json=CONFIG), commit_message="m")
    assert [made.oid] == hub.commits(REPO)


def test_a_commit_needs_its_parent(hub, api, commit):
    hub.before_commit(lambda: hub.add_repo(REPO, {"other": b"1"}))
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_commit(REPO, add(a_txt=b"1"), commit_message="m", parent_commit=commit)
    assert caught.value.response.status_code == 412
    assert hub.files(REPO) == {"other": b"1"}


def test_who_may_write(hub, waits, commit):
    for token, status in ((None, 401), ("hf_stranger", 403)):
        api = HfApi(token=token)
        for call in (
            lambda api=api: api.create_repo("a/new"),
            lambda api=api: api.create_commit(REPO, add(a_txt=b"1"), commit_message="m"),
        ):
            with pytest.raises(HfHubHTTPError) as caught:
                call()
            assert caught.value.response.status_code == status
    with pytest.raises(HfHubHTTPError, match="409"):
        HfApi(token=hub.token).create_repo(REPO)
    assert hub.commits(REPO) == [commit]


def test_a_card_with_bad_metadata(hub, api, commit):
    for card in (b"---\nlicense: [\n---\n", b"---\n- mit\n---\n"):
        with pytest.raises(ValueError, match="Invalid metadata"):
            api.create_commit(REPO, add(README_md=card), commit_message="m")


@uploads
def test_a_failed_request_with_a_body_does_not_spoil_the_next(hub, api, commit, waits):
    hub.fail(503, path_contains="/lfs/")
    api.create_commit(REPO, add(new_bin=WEIGHTS), commit_message="m")
    assert hub.files(REPO)["new.bin"] == WEIGHTS
    assert waits == [1]

"""A stand-in for the Hugging Face Hub on 127.0.0.1, for tests that run the real huggingface_hub.

It gives the answers that a download needs (model info, tree, resolve) and an upload (create,
preupload, Git LFS with its basic transfer, commit), and faults on request. Large files are a
redirect to the same server under another host name (`localhost`), because the real store is another
origin: the client then takes the metadata from the redirect itself and must keep its token back. No
xet.
"""

import base64
import hashlib
import http.server
import io
import json
import re
import socket
import socketserver
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import pytest
import yaml
from huggingface_hub import close_session, constants, file_download, hf_api
from huggingface_hub.utils import _cache_manager, _http

__all__ = ["HubStandIn", "Request", "use_hub"]

_CHUNK = 1 << 20  # bytes read from a file at a time: a checkpoint never lies in memory whole
_LFS_NAMES = (".safetensors", ".bin", ".pth")
_NO_NAME = "(?:resolve|revision|tree|preupload|commit)/"
_REPO = rf"([^/]+(?:/(?!{_NO_NAME})[^/]+)?)"  # owner/name, or an old name alone
_WRITE = re.compile(f"/api/models/{_REPO}/(preupload|commit)/([^/]+)")
_BATCH = re.compile(f"/{_REPO}[.]git/info/lfs/objects/(batch|verify)")
_INFO = re.compile(f"/api/models/{_REPO}(?:/revision/([^/]+))?")
_TREE = re.compile(f"/api/models/{_REPO}/tree/([^/]+)")
_RESOLVE = re.compile(f"/{_REPO}/resolve/([^/]+)/(.+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True)
class Request:
    """One request as the server saw it; `path` is decoded and has no query."""

    method: str
    path: str
    query: str
    range: str | None
    authorization: str | None
    host: str


@dataclass(frozen=True)
class _File:
    content: bytes | Path

    @cached_property
    def size(self) -> int:
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)

    def open(self) -> BinaryIO:
        content = self.content
        return content.open("rb") if isinstance(content, Path) else io.BytesIO(content)

    @cached_property
    def sha256(self) -> str:
        with self.open() as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]

    def read(self) -> bytes:
        with self.open() as stream:
            return stream.read()

    @property
    def git_id(self) -> str:
        content = b"blob %d\0" % self.size + self.read()
        return hashlib.sha1(content, usedforsecurity=False).hexdigest()

    @property
    def pointer(self) -> "_File":
        """What git itself keeps of a large file."""
        lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{self.sha256}")
        return _File("".join(f"{line}\n" for line in (*lines, f"size {self.size}")).encode())


@dataclass
class _Repo:
    gated: bool = False
    private: bool = False
    refs: dict[str, str] = field(default_factory=dict)  # branch or tag -> commit
    commits: dict[str, dict[str, _File]] = field(default_factory=dict)


class HubStandIn:
    """The Hub as a context manager: `add_repo`, `fail`, `cut_after`, then look at `requests`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.errors: list[BaseException] = []  # bugs of the stand-in itself, raised at the end
        # May read and write everything; other tokens are strangers' logins.
        self.token = "hf_standin_token"
        self.lfs = True  # False: every file is answered directly
        self.lfs_threshold = 1 << 20  # bytes
        self._repos: dict[str, _Repo] = {}
        self._faults: list[tuple[str, int, int | None]] = []  # text in the path, status, seconds
        self._cuts: list[tuple[str, int]] = []  # file name, bytes
        self._lock = threading.Lock()
        self._stored: dict[str, _File] = {}  # uploaded large files by SHA-256
        self._before_commit: list[Callable[[], object]] = []

    def __enter__(self) -> "HubStandIn":
        self._store = tempfile.TemporaryDirectory(prefix="hub-standin-")
        self._server = _Server(self)
        port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{port}"
        self.lfs_url = f"http://localhost:{port}"  # set it to hub.url for a store on one origin
        # The interval, in seconds, is how long a stop may have to wait.
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._server.stop()
        self._store.cleanup()
        if self.errors and error is None:
            raise self.errors[0]

    def add_repo(
        self,
        repo_id: str,
        files: Path | Mapping[str, bytes],
        *,
        gated: bool = False,
        private: bool = False,
        revision: str = "main",
        sha: str | None = None,
    ) -> str:
        """Add a repo, or one more branch or tag (`revision`) to it, and return the commit.

        A folder's files are read from disk at every answer and must not change meanwhile.
        `gated`: the files need `hub.token`; `private`: everything does.
        """
        if isinstance(files, Path):
            found = sorted(path for path in files.rglob("*") if path.is_file())
            tree = {path.relative_to(files).as_posix(): _File(path) for path in found}
        else:
            tree = {name: _File(content) for name, content in sorted(files.items())}
        sha = sha or _commit_of(tree)
        repo = self._repos.setdefault(repo_id, _Repo())
        repo.gated, repo.private = gated, private
        repo.commits[sha] = tree
        repo.refs[revision] = sha
        return sha

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """What a repo holds."""
        repo = self._repos[repo_id]
        tree = repo.commits[repo.refs.get(revision, revision)]
        return {name: file.read() for name, file in tree.items()}

    def commits(self, repo_id: str) -> list[str]:
        """A repo's commits, in the order in which they were made."""
        return list(self._repos[repo_id].commits)

    def before_commit(self, change: Callable[[], object]) -> None:
        """Do this when the next commit arrives, before it is looked at."""
        self._before_commit.append(change)

    def writes(self) -> list[str]:
        """`METHOD path` of each request that was no mere question."""
        return [f"{r.method} {r.path}" for r in self.requests if r.method not in ("GET", "HEAD")]

    def cut_after(self, name: str, bytes: int, times: int = 1) -> None:  # noqa: A002
        """Close the connection after so many bytes of the next `times` GETs of that file."""
        self._cuts += [(name, bytes)] * times

    def fail(
        self,
        status: int,
        times: int = 1,
        *,
        path_contains: str = "",
        retry_after: int | None = None,
    ) -> None:
        """Give the next `times` requests with this text in their path an error status."""
        self._faults += [(path_contains, status, retry_after)] * times

    def env(
        self, cache: Path | None = None, *, token: str | None = None, offline: bool = False
    ) -> dict[str, str]:
        """Variables for a child process; `cache` becomes its HF_HOME, with the files in `hub/`."""
        variables = {
            "HF_ENDPOINT": self.url,
            "HF_HUB_OFFLINE": str(int(offline)),  # "0" wins over a TRANSFORMERS_OFFLINE
            "HF_TOKEN": token or "",  # empty is absent: a token of the developer stays out
            "HUGGING_FACE_HUB_TOKEN": "",
            "HF_OIDC_RESOURCE": "",
        }
        variables |= dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
        for feature in ("XET", "TELEMETRY", "UPDATE_CHECK", "PROGRESS_BARS"):
            variables[f"HF_HUB_DISABLE_{feature}"] = "1"
        home = {"HF_HOME": str(cache), "HF_HUB_CACHE": str(cache / "hub")} if cache else {}
        return variables | home


def _commit_of(tree: Mapping[str, _File], parent: str = "") -> str:
    listing = parent + "".join(f"{name}\0{file.sha256}\n" for name, file in tree.items())
    return hashlib.sha1(listing.encode(), usedforsecurity=False).hexdigest()


@dataclass
class _Refusal(Exception):
    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


class _Server(socketserver.ThreadingTCPServer):  # HTTPServer would look up its own host name
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hub: HubStandIn) -> None:
        self.hub = hub
        self.connections: list[Any] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if error and not isinstance(error, ConnectionError):  # a client may hang up
            self.hub.errors.append(error)

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in self.connections:  # a kept-alive one would go on being served
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two packets: else 40 ms an answer
    server: _Server

    def log_message(self, *args: object) -> None:
        """Stay silent: tests look at `hub.requests`."""

    def do_GET(self) -> None:
        self._serve(self._route)

    def do_POST(self) -> None:
        sent = self._receive()  # all of it, or the next request would begin in its middle
        self._serve(lambda path, _: self._accept(path, sent))

    do_HEAD, do_PUT = do_GET, do_POST

    def _serve(self, answer: Callable[[str, dict[str, str]], None]) -> None:
        self.hub, url, login = self.server.hub, urlsplit(self.path), self.headers["Authorization"]
        self.login, self.may_read = login, login == f"Bearer {self.hub.token}"
        seen = (self.headers["Range"], login, self.headers["Host"])
        self.hub.requests.append(Request(self.command, unquote(url.path), url.query, *seen))
        try:
            if fault := self._take(self.hub._faults, lambda text: text in unquote(url.path)):
                wait = {} if fault[2] is None else {"Retry-After": str(fault[2])}
                raise _Refusal(fault[1], "", f"failed on request with {fault[1]}", wait)
            answer(url.path, {key: values[0] for key, values in parse_qs(url.query).items()})
        except _Refusal as refusal:
            named = {"X-Error-Message": refusal.message, "X-Error-Code": refusal.code}
            self._answer(refusal.status, {"error": refusal.message}, {**named, **refusal.headers})

    def _route(self, path: str, query: dict[str, str]) -> None:
        if path.startswith("/lfs/"):
            file = self.hub._repos[query["repo"]].commits[query["commit"]][query["path"]]
            self._send(query["path"], file, query["commit"])
        elif found := _RESOLVE.fullmatch(path):
            self._resolve(*map(unquote, found.groups()))
        elif found := _INFO.fullmatch(path):
            self._describe(found[1], unquote(found[2] or "main"), blobs="blobs" in query)
        elif found := _TREE.fullmatch(path):
            self._list(*map(unquote, found.groups()))
        else:
            raise _Refusal(404, "", "not an address of the stand-in")

    def _take(self, queue: list[Any], fits: Callable[[str], bool]) -> Any:
        with self.hub._lock:  # an entry is for one request only
            index = next((i for i, entry in enumerate(queue) if fits(entry[0])), None)
            return None if index is None else queue.pop(index)

    def _find(self, repo_id: str, revision: str) -> tuple[_Repo, str]:
        repo = self.hub._repos.get(repo_id)
        if repo is None or (repo.private and not self.may_read):
            # The Hub hides from strangers whether a repo exists.
            raise _Refusal(404 if self.login else 401, "RepoNotFound", "Repository not found")
        commit = repo.refs.get(revision, revision)
        if commit not in repo.commits:
            raise _Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo, commit

    def _describe(self, repo_id: str, revision: str, *, blobs: bool) -> None:
        repo, commit = self._find(repo_id, revision)
        siblings: list[dict[str, object]] = []
        for name, file in repo.commits[commit].items():
            siblings.append({"rfilename": name, **(self._details(name, file) if blobs else {})})
        access = {"private": repo.private, "gated": "auto" if repo.gated else False}
        known = {"id": repo_id, "sha": commit, "tags": [], "siblings": siblings}
        self._answer(200, known | access, {})

    def _list(self, repo_id: str, revision: str) -> None:
        repo, commit = self._find(repo_id, revision)
        entries = []
        for name, file in repo.commits[commit].items():
            known = self._details(name, file)
            lfs = {"oid": file.sha256, "size": file.size, "pointerSize": file.pointer.size}
            entry = {"type": "file", "path": name, "size": file.size, "oid": known["blobId"]}
            entries.append(entry | ({"lfs": lfs} if "lfs" in known else {}))
        self._answer(200, entries, {})

    def _details(self, name: str, file: _File) -> dict[str, object]:
        if not self._is_large(name, file):
            return {"size": file.size, "blobId": file.git_id}
        lfs = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer.size}
        return {"size": file.size, "blobId": file.pointer.git_id, "lfs": lfs}

    def _is_large(self, name: str, file: _File) -> bool:
        large = name.endswith(_LFS_NAMES) or file.size >= self.hub.lfs_threshold
        return self.hub.lfs and large

    def _resolve(self, repo_id: str, revision: str, name: str) -> None:
        repo, commit = self._find(repo_id, revision)
        if repo.gated and not self.may_read:
            message = f"Access to model {repo_id} is restricted."
            raise _Refusal(403 if self.login else 401, "GatedRepo", message)
        file = repo.commits[commit].get(name)
        if file is None:
            raise _Refusal(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        if not self._is_large(name, file):
            return self._send(name, file, commit)
        where = urlencode({"repo": repo_id, "commit": commit, "path": name})
        location = f"{self.hub.lfs_url}/lfs/{file.sha256}?{where}"
        return self._answer(302, {}, {"Location": location, **_identity(file, commit)})

    def _send(self, name: str, file: _File, commit: str) -> None:
        wanted, headers = _RANGE.fullmatch(self.headers["Range"] or ""), _identity(file, commit)
        first, end = (int(wanted[1]), int(wanted[2] or file.size) + 1) if wanted else (0, file.size)
        end = min(end, file.size)
        if wanted:
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{file.size}"
            if first >= end:
                size = {"Content-Range": f"bytes */{file.size}"}
                raise _Refusal(416, "", "Range Not Satisfiable", size)
        self._head(206 if wanted else 200, end - first, headers)
        if self.command == "HEAD":
            return
        if cut := self._take(self.hub._cuts, name.__eq__):
            self.close_connection, end = True, min(end, first + cut[1])
        with file.open() as stream:
            stream.seek(first)
            while chunk := stream.read(min(end - stream.tell(), _CHUNK)):
                self.wfile.write(chunk)

    def _receive(self) -> Path:
        """What the client sends, as a file of the store."""
        left = int(self.headers["Content-Length"] or 0)
        with tempfile.NamedTemporaryFile(dir=self.server.hub._store.name, delete=False) as file:
            while left and (chunk := self.rfile.read(min(left, _CHUNK))):
                left -= len(chunk)
                file.write(chunk)
        return Path(file.name)

    def _accept(self, path: str, sent: Path) -> None:
        """What changes something, and the questions before it."""
        if path.startswith("/lfs/"):  # the address is the right to write there
            return self._store(path.rpartition("/")[2], sent)
        if path == "/api/validate-yaml":  # anybody may ask
            return self._validate(json.loads(sent.read_bytes())["content"])
        if not self.login:
            raise _Refusal(401, "", "Invalid username or password.")
        if not self.may_read:
            raise _Refusal(403, "", "You don't have the rights to write there")
        if path == "/api/repos/create":
            return self._create(json.loads(sent.read_bytes()))
        if found := _BATCH.fullmatch(path):
            asked = json.loads(sent.read_bytes())
            return self._answer(
                200, self._offers(found[1], asked) if "objects" in asked else {}, {}
            )
        if (found := _WRITE.fullmatch(path)) and found[2] == "preupload":
            return self._preupload(found[1], found[3], json.loads(sent.read_bytes())["files"])
        if found:
            return self._commit(found[1], found[3], sent.read_text().splitlines())
        raise _Refusal(404, "", "not an address of the stand-in")

    def _validate(self, card: str) -> None:
        found = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
        try:
            fields = yaml.safe_load(found[1]) if found else {}
            problem = None if isinstance(fields, dict) else "must be an object"
        except yaml.YAMLError:
            problem = "is no YAML"
        errors = [{"message": f"metadata {problem}"}] if problem else []
        self._answer(400 if problem else 200, {"errors": errors, "warnings": []}, {})

    def _create(self, asked: Mapping[str, str]) -> None:
        repo_id = f"{asked['organization']}/{asked['name']}"
        if repo_id in self.hub._repos:
            raise _Refusal(409, "", "You already created this model repo")
        private = asked.get("visibility") == "private"
        self.hub.add_repo(repo_id, {".gitattributes": b"*.safetensors lfs\n"}, private=private)
        self._answer(200, {"url": f"{self.hub.url}/{repo_id}", "name": repo_id}, {})

    def _preupload(self, repo_id: str, revision: str, files: list[dict[str, Any]]) -> None:
        repo, commit = self._find(repo_id, revision)
        answers = []
        for asked in files:
            name, old = asked["path"], repo.commits[commit].get(asked["path"])
            large = name.endswith(_LFS_NAMES) or asked["size"] >= self.hub.lfs_threshold
            mode = "lfs" if large and self.hub.lfs else "regular"
            known = (old.sha256 if self._is_large(name, old) else old.git_id) if old else None
            answers.append({"path": name, "uploadMode": mode, "shouldIgnore": False, "oid": known})
        self._answer(200, {"files": answers}, {})

    def _offers(self, repo_id: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Where to put each large file; nowhere if it is there already."""
        self._find(repo_id, "main")
        objects = [dict(entry) for entry in asked["objects"]]
        for entry in objects:
            if entry["oid"] not in self.hub._stored:
                verify = f"{self.hub.url}/{repo_id}.git/info/lfs/objects/verify"
                href = f"{self.hub.lfs_url}/lfs/{entry['oid']}"
                entry["actions"] = {"upload": {"href": href}, "verify": {"href": verify}}
        return {"transfer": "basic", "objects": objects}

    def _store(self, oid: str, sent: Path) -> None:
        file = _File(sent)
        if file.sha256 != oid:
            raise _Refusal(400, "", "not the content that was announced")
        self.hub._stored[oid] = file
        self._answer(200, {}, {})

    def _commit(self, repo_id: str, revision: str, lines: list[str]) -> None:
        header, *entries = [json.loads(line) for line in lines]
        while self.hub._before_commit:
            self.hub._before_commit.pop(0)()
        repo, parent = self._find(repo_id, revision)
        if header["value"].get("parentCommit", parent) != parent:
            raise _Refusal(412, "", "A commit has happened since. Please refresh and try again.")
        tree = dict(repo.commits[parent])
        for entry in entries:
            value = entry["value"]
            if entry["key"] == "file":
                tree[value["path"]] = _File(base64.b64decode(value["content"]))
            elif entry["key"] == "lfsFile":
                tree[value["path"]] = self.hub._stored[value["oid"]]
            else:
                raise _Refusal(400, "", f"the stand-in knows no {entry['key']}")
        commit = _commit_of(tree, parent)
        repo.commits[commit], repo.refs[revision] = dict(sorted(tree.items())), commit
        address = f"{self.hub.url}/{repo_id}/commit/{commit}"
        self._answer(200, {"success": True, "commitOid": commit, "commitUrl": address}, {})

    def _answer(self, status: int, content: object, headers: Mapping[str, str]) -> None:
        body = json.dumps(content).encode()
        self._head(status, len(body), {"Content-Type": "application/json", **headers})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, length: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()


def _identity(file: _File, commit: str) -> dict[str, str]:
    # The store gives it too: on one origin the client asks there for the metadata.
    etag, size = f'"{file.sha256}"', str(file.size)
    return {"ETag": etag, "X-Linked-Etag": etag, "X-Linked-Size": size, "X-Repo-Commit": commit}


@contextmanager
def use_hub(
    monkeypatch: pytest.MonkeyPatch,
    hub: HubStandIn,
    cache: Path,
    *,
    token: str | None = None,
    offline: bool = False,
) -> Iterator[list[float]]:
    """Point this process' huggingface_hub at the stand-in; may be nested, as for `offline`.

    Yields the seconds that the client wanted to sleep before its retries: it does not sleep.
    """
    waits: list[float] = []
    values: dict[str, object] = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(cache / "hub"),
        "HF_TOKEN_PATH": str(cache / "token"),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_OFFLINE": offline,
    }
    close_session()  # no connection or cookie comes in from outside, and none goes out
    with monkeypatch.context() as patch:
        for variable, text in hub.env(cache, token=token, offline=offline).items():
            patch.setenv(variable, text)
        for name, value in values.items():
            patch.setattr(constants, name, value)
        patch.setattr(_cache_manager, "HF_HUB_CACHE", values["HF_HUB_CACHE"])
        patch.setattr(hf_api.api, "endpoint", hub.url)
        for module in (_http, file_download):
            patch.setattr(module, "time", SimpleNamespace(sleep=waits.append))
        try:
            yield waits
        finally:
            close_session()

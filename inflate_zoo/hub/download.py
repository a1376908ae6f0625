"""The Hugging Face Hub: the commit behind a name, its files, and the header of a weight file.

Cache, login and address are the client's own (HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_HUB_OFFLINE,
HF_ENDPOINT). An error of the client holds the request, and so the token: ours never chain to one.
"""

import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from inflate_zoo.errors import CheckpointError, UsageError, WriteError
from inflate_zoo.files.foreign import parsing
from inflate_zoo.files.header import read_header as checked_header
from inflate_zoo.files.writing.whole_files import replace_text
from inflate_zoo.hub.faults import (
    Question,
    UnreachableError,
    fault_of,
    no_file,
    no_hub,
    no_safetensors,
)

__all__ = ["Snapshot", "fetch_files", "parse_repo", "read_remote_header", "resolve_revision"]

_LOG = logging.getLogger(__name__)
_COMMIT = re.compile("[0-9a-f]{40}")
_REPO = re.compile(r"[\w.-]+(?:/[\w.-]+)?", re.ASCII)  # older clients take "a/b\n" and "é/b"
_REVISION = re.compile(r"(?!.*(?:\.\.|//))[^/\s~^:?*\[\\-][^\s~^:?*\[\\]*(?<!/)")  # as git has it
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A repo at one commit.

    `files` is what the repo holds, or, where the Hub was not asked, what the cache holds.
    """

    repo: str
    revision: str | None
    commit: str  # 40 hexadecimal digits
    folder: Path  # in the Hub cache; need not exist yet
    files: tuple[str, ...]
    from_cache: bool = field(default=False, compare=False)  # files the repo has may be missing


def parse_repo(source: str) -> tuple[str, str | None]:
    """Split `organisation/name@revision` into repo and revision; UsageError where it is neither."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    repo, at, revision = source.partition("@")
    hint = "write it as organisation/name or organisation/name@revision"
    try:
        validate_repo_id(repo)
        is_repo = _REPO.fullmatch(repo) is not None
    except HFValidationError:
        is_repo = False
    if not is_repo:
        raise UsageError(f"{source!r} is not the id of a Hub repo", hint=hint)
    if at and not _REVISION.fullmatch(revision):
        raise UsageError(f"{revision!r} is not a branch, tag or commit", hint=hint)
    return repo, revision or None


def resolve_revision(repo: str, revision: str | None = None) -> Snapshot:
    """Find the commit and the file names, downloading nothing.

    Where the Hub gives no answer (offline, no connection, out of order) the cache has to know.
    """
    from huggingface_hub import HfApi, constants

    parse_repo(repo if revision is None else f"{repo}@{revision}")
    question = Question(repo, revision)
    seconds = constants.HF_HUB_ETAG_TIMEOUT
    describe = partial(HfApi().model_info, repo, revision=revision, timeout=seconds)
    folder = Path(constants.HF_HUB_CACHE, f"models--{repo.replace('/', '--')}")
    from_cache = False
    try:
        info = ask(question, describe)
    except UnreachableError as error:
        commit = _cached_commit(folder, revision)
        files = _cached_files(folder / "snapshots" / commit) if commit else ()
        if not commit or not files:
            raise
        if not constants.HF_HUB_OFFLINE:
            _LOG.warning("%s: using commit %s from the cache", error.message, commit[:12])
        from_cache = True
    else:
        commit = info.sha or ""
        files = tuple(sorted(sibling.rfilename for sibling in info.siblings or ()))
        if not _COMMIT.fullmatch(commit):
            raise no_hub(question)
    return Snapshot(repo, revision, commit, folder / "snapshots" / commit, files, from_cache)


def fetch_files(snapshot: Snapshot, names: Sequence[str]) -> list[Path]:
    """Download the named files, unless cached, and return their paths in the same order."""
    from huggingface_hub import hf_hub_download

    paths = []
    with _progress() as bar:
        for name in names:
            question = _file_question(snapshot, name)
            get = partial(hf_hub_download, snapshot.repo, name, revision=snapshot.commit)
            paths.append(Path(ask(question, partial(get, tqdm_class=bar))))
            _remember_revision(snapshot)
    return paths


def read_remote_header(snapshot: Snapshot, name: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Read dtype and shape of every tensor of a safetensors file, by range where not cached."""
    from huggingface_hub import HfApi

    question = _file_question(snapshot, name)
    cached = snapshot.folder / name
    read = partial(HfApi().parse_safetensors_file_metadata, snapshot.repo, name)
    try:
        if cached.is_file():
            header = checked_header(cached)
            return {name: (info.dtype, info.shape) for name, info in header.items()}
        # The client expects JSON of one shape; its errors hold the request, see above.
        with parsing(lambda _: no_safetensors(question)):
            found = ask(question, partial(read, revision=snapshot.commit))
            return {key: (info.dtype, tuple(info.shape)) for key, info in found.tensors.items()}
    except CheckpointError:
        raise no_safetensors(question) from None


def _file_question(snapshot: Snapshot, name: str) -> Question:
    question = Question(snapshot.repo, snapshot.commit, name, snapshot.files)
    if "\\" in name or name.startswith("/") or ".." in PurePosixPath(name).parts:
        raise no_file(question)  # from an index.json, say: it never reaches the client
    return question


def _cached_commit(folder: Path, revision: str | None) -> str | None:
    if revision and _COMMIT.fullmatch(revision):
        return revision
    try:
        commit = (folder / "refs" / (revision or "main")).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def _cached_files(folder: Path) -> tuple[str, ...]:
    paths = folder.rglob("*")
    return tuple(sorted(p.relative_to(folder).as_posix() for p in paths if p.is_file()))


def _remember_revision(snapshot: Snapshot) -> None:
    """Note the branch's commit: the client does it only for what it downloads by branch."""
    revision = snapshot.revision or "main"
    ref = snapshot.folder.parent.parent / "refs" / revision
    known = _cached_commit(ref.parents[revision.count("/") + 1], revision)
    if known != snapshot.commit and not _COMMIT.fullmatch(revision):
        with suppress(OSError, WriteError):  # a shared cache may be read-only
            ref.parent.mkdir(parents=True, exist_ok=True)
            replace_text(ref, snapshot.commit)


def ask(question: Question, call: Callable[[], _Answer]) -> _Answer:
    """Call the Hub, again where it was not reached, and turn what goes wrong into our errors."""
    for attempt in count(1):
        try:
            with _quiet():
                return call()
        except Exception as error:
            fault = fault_of(error, question)
            if fault is None:
                raise
            if not isinstance(fault, UnreachableError) or attempt >= fault.tries:
                raise fault from (error if isinstance(fault, WriteError) else None)
            wait = fault.wait or 2.0 ** (attempt - 1)
        _pause(wait)
    raise AssertionError  # the loop has no end


def _pause(seconds: float) -> None:
    time.sleep(seconds)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the client's warnings, addresses and all, unless HF_HUB_VERBOSITY asks for more."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    if level == logging.WARNING:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _progress() -> Iterator[type[Any]]:
    """Yield a tqdm class that prints nothing itself, but feeds a Rich bar on a terminal."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, tqdm
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    shown = sys.stderr.isatty() and not are_progress_bars_disabled()
    progress = Progress(*columns, console=Console(stderr=True)) if shown else None

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]
            title = str(options.get("desc") or "").removesuffix(": downloading bytes")
            self.task = progress.add_task(title, total=self.total) if progress else None

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if progress is not None and self.task is not None:
                progress.update(self.task, completed=self.n, total=self.total)

    with progress or nullcontext():
        yield Bar

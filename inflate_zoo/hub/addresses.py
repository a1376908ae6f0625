"""How people write where a Hub repo is, and the part of it that is meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from inflate_zoo.errors import HubNotFoundError, UsageError
from inflate_zoo.hub import download
from inflate_zoo.hub.faults import Question, no_file

_CLIENT = "hf://"  # how the Hub's own client writes paths
_SCHEMES = ("hf-hub:", "hf_hub:", _CLIENT)  # timm's and OpenCLIP's first
_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_VIEWS = frozenset({"tree", "blob", "resolve", "raw"})
_FORMS = "write it as organisation/name, organisation/name/folder or organisation/name@revision"
BUILTIN = "builtin/"


@dataclass(frozen=True, slots=True)
class Address:
    """A repo, or a part of it.

    Attributes:
        repo: Repo id.
        revision: Branch, tag or commit, or `None`.
        inside: A folder or a file of the repo; empty for all of it.
    """

    repo: str
    revision: str | None
    inside: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in a repo at one commit.

    Attributes:
        snapshot: The repo.
        inside: As it was asked for.
        start: What the names of the folder's files begin with: empty, or up to its last slash.
        file: The one file that was asked for, or `None`.
    """

    snapshot: download.Snapshot
    inside: str
    start: str
    file: str | None

    @property
    def folder(self) -> Path:
        """Where its files are once they are fetched."""
        return self.snapshot.folder / self.start if self.start else self.snapshot.folder

    @property
    def address(self) -> str:
        """Of the folder at its commit, whatever is pushed meanwhile."""
        parts = (self.snapshot.repo, self.start.rstrip("/"))
        return f"{'/'.join(filter(None, parts))}@{self.snapshot.commit}"

    @property
    def files(self) -> tuple[str, ...]:
        """Names of its files."""
        known = self.snapshot.files
        return tuple(name[len(self.start) :] for name in known if name.startswith(self.start))

    @property
    def card(self) -> str | None:
        """The model card: the folder's own, or else the repo's; its name in the repo."""
        names = dict.fromkeys((f"{self.start}README.md", "README.md"))
        return next((name for name in names if name in self.snapshot.files), None)

    def fetch(self, names: Sequence[str]) -> None:
        """Download files of it, unless cached; see `hub.fetch`."""
        download.fetch_files(self.snapshot, [self.start + name for name in names])


def is_address(source: str) -> bool:
    """Whether a source is written as an address, and so is no path."""
    return source.startswith((*_SCHEMES, "https://", "http://")) or _host(source) in _HOSTS


def _host(source: str) -> str:
    return source.partition("/")[0].lower()


def parse_address(source: str) -> Address:
    """Read an address in any of its forms.

    Args:
        source: `org/name`, `org/name/folder`, `org/name@revision`, these after `hf-hub:`, a path
            of the Hub's client, e.g. `hf://org/name@revision/folder`, or a page of the Hub, e.g.
            `https://huggingface.co/org/name/tree/main/folder`.

    Raises:
        UsageError: It is none of these.
    """
    if source.startswith(("https://", "http://")) or _host(source) in _HOSTS:
        return _of_page(source)
    plain = next((source[len(s) :] for s in _SCHEMES if source.startswith(s)), source)
    path, at, revision = plain.partition("@")
    parts = path.split("/")
    if source.startswith(_CLIENT) and at and len(parts) == 2:
        revision, behind = _revision_and_rest(revision.split("/"))
        repo, found = download.parse_repo(path + at + unquote(revision))
        return Address(repo, found, _inside(source, behind))
    if len(parts) <= 2:
        return Address(*download.parse_repo(plain))
    repo, found = download.parse_repo("/".join(parts[:2]) + at + revision)
    return Address(repo, found, _inside(source, parts[2:]))


def _of_page(source: str) -> Address:
    split = urlsplit(source if "://" in source else f"https://{source}")
    endpoint = _endpoint_host()
    if split.hostname not in _HOSTS | {endpoint}:
        raise UsageError(
            f"'{split.hostname}' is not the Hub: files from elsewhere are not fetched",
            hint="download the file, and name it",
        )
    parts = [unquote(part) for part in split.path.split("/") if part]
    if parts[:1] in (["datasets"], ["spaces"]):
        raise UsageError(f"the address is one of the Hub's {parts[0]}, not of a model", hint=_FORMS)
    if len(parts) <= 3 or parts[2] not in _VIEWS:
        extra = parts[2:] if parts[2:3] not in ([view] for view in _VIEWS) else []
        return Address(download.parse_repo("/".join(parts[:2]))[0], None, _inside(source, extra))
    revision, behind = _revision_and_rest(parts[3:])
    repo, found = download.parse_repo(f"{'/'.join(parts[:2])}@{revision}")
    return Address(repo, found, _inside(source, behind))


def _revision_and_rest(parts: Sequence[str]) -> tuple[str, Sequence[str]]:
    """A revision, and what stands behind it; slashes of other branches than refs/pr/3 are %2F."""
    length = 3 if parts[0] == "refs" else 1
    return "/".join(parts[:length]), parts[length:]


def _endpoint_host() -> str | None:
    from huggingface_hub import constants

    return urlsplit(constants.ENDPOINT).hostname


def _inside(source: str, parts: Sequence[str]) -> str:
    parts = [*parts[:-1], *filter(None, parts[-1:])]  # a slash at the end is none of a name
    if any(re.fullmatch(r"\.{0,2}", part) or not part.isprintable() for part in parts):
        raise UsageError(f"{source!r} names no folder or file of a Hub repo", hint=_FORMS)
    return "/".join(parts)


def locate(address: Address) -> Place:
    """Find the commit of a repo and the folder in it that is meant, downloading nothing.

    Raises:
        HubNotFoundError: There is no such repo, revision, folder or file.
        HubError: The Hub could not be reached, or refused.
    """
    snapshot = download.resolve_revision(address.repo, address.revision)
    inside = address.inside
    if not inside:
        return Place(snapshot, "", "", None)
    if any(name.startswith(f"{inside}/") for name in snapshot.files):
        return Place(snapshot, inside, f"{inside}/", None)
    if inside in snapshot.files:
        folder, _, file = inside.rpartition("/")
        return Place(snapshot, inside, f"{folder}/" if folder else "", file)
    folders = sorted({name.rpartition("/")[0] for name in snapshot.files} - {""})
    if snapshot.from_cache or not folders:
        raise no_file(Question(snapshot.repo, snapshot.revision, inside, snapshot.files))
    raise HubNotFoundError(
        f"'{snapshot.repo}' has no folder or file '{inside}'",
        details=[f"it has the folders {', '.join(folders)}"],
        hint=f"name one of them, e.g. {snapshot.repo}/{folders[0]}",
    )


def is_local(source: str) -> bool:
    """Whether a source is on this machine, rather than a Hub repo."""
    if not source:  # to pathlib the current folder
        return False
    if is_address(source):
        return False
    on_disk = is_on_disk(Path(source)) or source.startswith((".", "/", "~")) or "\\" in source
    return on_disk or source.startswith(BUILTIN)


def is_on_disk(path: Path) -> bool:
    """Whether there is such a file or folder."""
    try:
        return path.exists()
    except OSError:  # a name too long, or a folder that may not be looked into
        return False

"""Uploads to the Hugging Face Hub: what a repo holds, making a repo, one commit into it.

Login and address are the client's own, as in `hub`; like there, our errors never chain to one of
the client's, which holds the token.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from inflate_zoo.errors import HubNotFoundError
from inflate_zoo.files.digests import sha256
from inflate_zoo.files.reading import reading
from inflate_zoo.hub.download import ask
from inflate_zoo.hub.faults import Step, Upload, no_hub, no_login


@dataclass(frozen=True, slots=True)
class Part:
    """A file to upload.

    Attributes:
        name: In the repo.
        content: A large one stays on disk.
        size: In bytes.
        sha256: Hexadecimal.
    """

    name: str
    content: bytes | Path
    size: int
    sha256: str

    @classmethod
    def of(cls, name: str, content: bytes | Path) -> Part:
        """The file, hashed.

        Raises:
            UsageError: It cannot be read.
        """
        if isinstance(content, bytes):
            return cls(name, content, len(content), hashlib.sha256(content).hexdigest())
        with reading(content):
            return cls(name, content, content.stat().st_size, sha256(content))

    def matches(self, digest: str) -> bool:
        """Whether a repo's file with this digest (see `Remote`) is the same."""
        if len(digest) == 64:
            return digest == self.sha256
        git = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        if isinstance(self.content, bytes):
            git.update(self.content)
        else:
            with reading(self.content), self.content.open("rb") as file:
                hashlib.file_digest(file, lambda: git)
        return digest == git.hexdigest()


@dataclass(frozen=True, slots=True)
class Remote:
    """What a repo holds.

    Attributes:
        commit: Of its main branch, 40 hexadecimal digits.
        private: Whether only its owners see it.
        files: Name to digest: SHA-256 of a large file, git's object id of others.
    """

    commit: str
    private: bool
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Target:
    """A repo that a folder is pushed to.

    Attributes:
        repo: Its id, `organisation/name`.
        folder: The folder's name, for the next command in a message.
        writing: Whether a login is needed.
    """

    repo: str
    folder: str
    writing: bool

    def login(self) -> str | None:
        """The token, if there is one.

        Raises:
            HubError: There is none, and one is needed.
        """
        from huggingface_hub import get_token

        question = self._question("look")
        token = ask(question, get_token)
        if not token and self.writing:
            raise no_login(question)
        return token

    def look(self) -> Remote | None:
        """Ask what the repo holds; `None` where there is none that this login sees.

        Raises:
            HubError: The Hub could not be reached, or refused.
        """
        from huggingface_hub import HfApi

        question = self._question("look")
        describe = partial(HfApi(token=self._token).model_info, self.repo, files_metadata=True)
        try:
            info = ask(question, describe)
        except HubNotFoundError:
            return None
        files = {
            file.rfilename: (file.lfs.sha256 if file.lfs else file.blob_id) or ""
            for file in info.siblings or ()
        }
        if not info.sha or not all(files.values()):
            raise no_hub(question)
        return Remote(info.sha, bool(info.private), files)

    def create(self, *, private: bool) -> None:
        """Make the repo; where it is not to be private, as the owner's settings have it.

        Raises:
            HubError: The Hub could not be reached, or refused.
        """
        from huggingface_hub import HfApi

        make = HfApi(token=self._token).create_repo
        ask(self._question("create"), partial(make, self.repo, private=private or None))

    def commit(self, parts: Sequence[Part], parent: str, message: str) -> str:
        """Upload files in one commit, and return it.

        Args:
            parts: The files.
            parent: The commit that it must come after.
            message: What it does, in one line.

        Raises:
            HubError: The Hub could not be reached, or refused, or has another commit by now.
            UsageError: The Hub found the front matter of README.md malformed.
        """
        from huggingface_hub import CommitOperationAdd, HfApi

        send = HfApi(token=self._token).create_commit

        def upload() -> str:
            files = [CommitOperationAdd(part.name, _plain(part.content)) for part in parts]
            made = send(self.repo, files, commit_message=message, parent_commit=parent)
            return made.oid

        with _bars(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its HTTP library, and on fields of the card
            return ask(self._question("commit"), upload)

    @property
    def _token(self) -> bool | None:
        return True if self.writing else None

    def _question(self, step: Step) -> Upload:
        return Upload(self.repo, None, folder=self.folder, step=step)


def _plain(content: bytes | Path) -> bytes | str:
    """As the client takes it: it would expand a `~` at the start."""
    return content if isinstance(content, bytes) else str(content.absolute())


@contextmanager
def _bars() -> Iterator[None]:
    """The client's progress bars on a terminal only, unless its own variable says otherwise."""
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    chosen = constants.HF_HUB_DISABLE_PROGRESS_BARS is not None
    if chosen or sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()

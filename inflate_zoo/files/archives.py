"""Unpacking archives of strangers: looked through first, then whole or not at all."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Self, cast

from inflate_zoo.errors import UsageError, WriteError
from inflate_zoo.files.budgets import ARCHIVE_MEMBERS
from inflate_zoo.files.foreign import BudgetError, parsing, reason_of
from inflate_zoo.files.reading import reading

ENDINGS = (".tar", ".tar.gz", ".tgz", ".zip")
_PIECE = 1 << 20  # bytes
_BLOCK = 512  # bytes; one of zeros ends a tar's list of files
_RATIO, _SMALL = 200, 1 << 30  # medical volumes shrink tenfold; a mask of zeros alone more
_MARGIN = 1 << 28  # bytes that stay free
_JUNK = ("__MACOSX", ".DS_Store")
_AGAIN = "download it again"
Opener = Callable[[], IO[bytes] | None]


class DamagedArchiveError(UsageError):
    """An archive is cut off or was changed: another copy may be good."""


@dataclass(frozen=True, slots=True)
class _Member:
    """A file of an archive: where it goes, its bytes as promised, and how to read them."""

    path: PurePosixPath
    size: int
    open: Opener


def extract(
    archive: Path, target: Path, progress: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Unpack an archive into a new folder.

    Where all lies in one folder of the archive, that becomes the target.

    Args:
        archive: A `.tar`, `.tar.gz`, `.tgz` or `.zip` file.
        target: The folder, which must not exist.
        progress: Told bytes unpacked and bytes in all.

    Raises:
        DamagedArchiveError: It is cut off, or a checksum is wrong.
        UsageError: A member leads out of the target, is a link or a device, stands twice, or there
            is far more of them than such an archive can hold. Nothing was written.
        WriteError: Disk full, read-only folder.
    """
    with reading(archive), _readable(archive), _members(archive) as members:
        total = sum(member.size for member in members)
        _require_sane(archive, members, total)
        _require_room(target, total)
        try:
            stage = Path(tempfile.mkdtemp(prefix=f".{target.name[:200]}.", dir=target.parent))
        except OSError as error:
            raise _unwritable(target, error) from error
        try:
            done = 0
            for member in members:
                _write(member, stage.joinpath(*member.path.parts), archive)
                done += member.size
                progress(done, total)
            _publish(stage, target)
        except OSError as error:
            raise _unwritable(target, error) from error
        finally:
            shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    def refused(error: Exception) -> UsageError:
        if isinstance(error, NotImplementedError):  # a method of compression zipfile lacks
            return _damaged(archive, f"cannot be unpacked: {reason_of(error)}")
        return _damaged(archive, f"is damaged: {reason_of(error)}")

    with reading(archive), parsing(refused):
        yield


def _damaged(archive: Path, what: str) -> DamagedArchiveError:
    return DamagedArchiveError(f"'{archive.name}' {what}", hint=_AGAIN)


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as file:
            _require_few(archive, len(file.infolist()), 0)
            yield [
                _Member(_safe(archive, info.filename), info.file_size, partial(file.open, info))
                for info in file.infolist()
                if not info.is_dir() and not _is_junk(info.filename) and _plain_entry(archive, info)
            ]
        return
    last = b""

    class Header(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
            nonlocal last
            last = bytes(buf)
            return super().frombuf(buf, encoding, errors)

    with (
        _unpacked(archive) as content,
        tarfile.TarFile(fileobj=_Bounded(content), tarinfo=Header) as tar,
    ):
        members = list(_listed(archive, tar))
        if last != bytes(_BLOCK):  # tarfile takes a broken header for the end
            raise _damaged(archive, "is damaged: it is cut off, or the list of its files is broken")
        _read_on(archive, tar)
        yield members


def _listed(archive: Path, tar: tarfile.TarFile) -> Iterator[_Member]:
    """The members, until they are more than an archive of that size can honestly hold."""
    total = 0
    for number, info in enumerate(tar):
        total += info.size
        _require_few(archive, number + 1, total)  # before it is unpacked to be passed over
        if not info.isdir() and not _is_junk(info.name) and _plain_member(archive, info):
            opener = partial(tar.extractfile, info)
            yield _Member(_safe(archive, info.name), info.size, opener)


def _read_on(archive: Path, tar: tarfile.TarFile) -> None:
    """Read to the end of what was compressed: its checksum comes last."""
    stream, left = cast("IO[bytes]", tar.fileobj), _most_bytes(archive)
    while piece := stream.read(_PIECE):
        left -= len(piece)
        if left < 0:
            raise _bomb(archive, tar.offset, 0)


@contextmanager
def _unpacked(archive: Path) -> Iterator[IO[bytes]]:
    with archive.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as content:
            yield cast("IO[bytes]", content)


class _Bounded(io.RawIOBase):
    """A tar's bytes, of which tarfile takes names and fields at one go, however long they are."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, place: int, whence: int = 0) -> int:
        return self._file.seek(place, whence)

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= _PIECE:
            raise BudgetError(f"a name or field of it has {count:,} bytes")
        return self._file.read(count)


def _plain_entry(archive: Path, info: zipfile.ZipInfo) -> bool:
    kind = info.external_attr >> 16 & 0o170000
    if kind not in (0, 0o100000):
        raise _refused(archive, info.filename, "is a link or a device")
    if info.flag_bits & 1:
        raise _refused(archive, info.filename, "needs a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _refused(archive, info.filename, "is compressed in a way that is not read")
    return True


def _plain_member(archive: Path, info: tarfile.TarInfo) -> bool:
    if not info.isreg() or info.issparse():
        raise _refused(archive, info.name, "is a link, a device or no plain file")
    return True


def _safe(archive: Path, name: str) -> PurePosixPath:
    """The path of a member, unless it leads out of the folder by the rules of any system."""
    path = PureWindowsPath(name)
    if path.anchor or path.drive or ".." in path.parts or "\\" in name or not name.isprintable():
        raise _refused(archive, name, "leads out of the folder or has an unprintable name")
    if ":" in name or not path.parts:
        raise _refused(archive, name, "has a name that not every system takes")
    return PurePosixPath(name)


def _is_junk(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return any(part in _JUNK or part.startswith("._") for part in parts)


def _refused(archive: Path, name: str, what: str) -> UsageError:
    return UsageError(
        f"'{archive.name}' is not unpacked: its member '{name[:200]}' {what}",
        hint="take the archive from where its makers publish it",
    )


def _require_sane(archive: Path, members: list[_Member], total: int) -> None:
    seen: set[str] = set()
    for member in members:
        name = unicodedata.normalize("NFC", str(member.path)).casefold()
        if name in seen:
            raise _refused(archive, str(member.path), "stands there twice")
        seen.add(name)
    _require_few(archive, len(members), total)


def _require_few(archive: Path, members: int, total: int) -> None:
    """Refuse more members, or more bytes in all of them, than are taken."""
    if total > _most_bytes(archive) or members > ARCHIVE_MEMBERS:
        raise _bomb(archive, total, members)


def _most_bytes(archive: Path) -> int:
    return max(_SMALL, _RATIO * archive.stat().st_size)


def _bomb(archive: Path, total: int, count: int) -> UsageError:
    packed = archive.stat().st_size
    return UsageError(
        f"'{archive.name}' is not unpacked: its {packed:,} bytes would become {total:,} or more, "
        f"in {count:,} files or more",
        hint="take the archive from where its makers publish it",
    )


def _require_room(target: Path, total: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < total + _MARGIN:
        raise WriteError(
            f"unpacking '{target.name}' takes {total / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
            hint="free space, or choose another folder with --data",
        )


def _write(member: _Member, path: Path, archive: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    left = member.size
    with path.open("xb") as file:
        for piece in _pieces(member, archive):
            left -= len(piece)
            if left < 0:
                break
            file.write(piece)
    if left:
        what = f"its member '{member.path}' is not as long as it promises"
        raise _damaged(archive, f"is damaged: {what}")


def _pieces(member: _Member, archive: Path) -> Iterator[bytes]:
    """A member's content; what goes wrong in here is the archive's fault, not the disk's."""
    with _readable(archive):
        source = member.open()
        if source is None:
            raise _refused(archive, str(member.path), "is no plain file")
        with source:
            while piece := source.read(_PIECE):
                yield piece


def _publish(stage: Path, target: Path) -> None:
    tops = list(stage.iterdir())
    whole = tops[0] if len(tops) == 1 and tops[0].is_dir() else stage
    whole.chmod(0o755)
    whole.rename(target)


def _unwritable(target: Path, error: OSError) -> WriteError:
    return WriteError(
        f"'{target.name}' cannot be written: {error.strerror or type(error).__name__}",
        hint="free space, or choose another folder with --data",
    )

"""Reading files that somebody else wrote: regular ones only, never more than expected."""

import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from inflate_zoo.errors import CheckpointError, ConfigError, UsageError
from inflate_zoo.files.budgets import JSON_BYTES, MB, Kind
from inflate_zoo.files.foreign import json_value, parsing, reason_of

_REPAIRS: Mapping[Kind, str] = MappingProxyType(
    {
        "config": "correct {name}, or take it from where its folder came from",
        "index": "take {name} from the repo the weights came from",
        "dataset": "correct it; 'python -m json.tool {name}' shows where",
        "record": "make the folder anew with the command that wrote it",
        "note": "remove it: the command that wrote it makes it anew",
    }
)
_LFS = b"version https://git-lfs.github.com/spec/"


def called(path: Path) -> str:
    """What to call a path in a message: as it was typed, of an absolute one the last part."""
    if path.name in ("", ".."):
        return path.resolve().name or str(path)
    return path.name if path.is_absolute() else str(path)


def lacking(path: Path) -> str:
    """What to add to a message on a path that is not there, where its last part is not at fault."""
    missing, above = path, path.absolute()
    try:  # from the end of the path upwards, to what is there
        while not above.exists():
            missing, above = above, above.parent
    except OSError:
        return ""
    if above in (path.absolute(), path.absolute().parent):
        return ""
    if above.is_dir():
        return f": '{above.name or above}' holds no folder '{missing.name}'"
    return f": '{above.name}' is a file"


def require_folder(path: Path, hint: str = "check the path") -> None:
    """Refuse what is no folder.

    Raises:
        UsageError: It is not there, or is something else.
    """
    if not path.is_dir():
        raise UsageError(f"'{called(path)}' is no folder{lacking(path)}", hint=hint)


def require_files(folder: Path, names: Iterable[str], hint: str) -> None:
    """Refuse a folder that lacks files.

    Args:
        folder: Where they are to be.
        names: Of the files.
        hint: What to do instead.

    Raises:
        UsageError: Names the folder, and what it lacks.
    """
    if missing := [name for name in names if not (folder / name).exists()]:
        raise UsageError(f"'{called(folder)}' holds no {' and no '.join(missing)}", hint=hint)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say which file it was where the system refuses to read one.

    Raises:
        UsageError: No permission, I/O error.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(
            f"'{path.name}' cannot be read: {reason}{lacking(path)}",
            hint="check the path and its permissions",
        ) from error


def _no_name(path: Path) -> UsageError:
    return UsageError(f"'{path.name}' is no name of a file", hint="check the path")


def require_regular(path: Path, inside: Path | None = None) -> None:
    """Refuse what is no regular file, or leads out of its folder.

    Args:
        path: The file.
        inside: Folder the file must really lie in; links into the `blobs` of a Hub cache are fine.

    Raises:
        UsageError: Missing, a folder, FIFO or device, a link that leads outside.
    """
    with reading(path), parsing(lambda _: _no_name(path)):  # ValueError: a zero byte in the name
        mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device, pipe or socket"
        raise UsageError(f"'{path.name}' is {kind}, not a file", hint="name a regular file")
    if inside is not None:
        with reading(path):
            real, home = path.resolve(), inside.resolve()
        in_cache = real.parent.name == "blobs" and home.is_relative_to(real.parent.parent)
        if not real.is_relative_to(home) and not in_cache:
            raise UsageError(
                f"'{path.name}' is a link that leads out of its folder",
                hint="copy the file into the folder",
            )


@dataclass(frozen=True, slots=True)
class Disguise:
    """What a file really is, and what to do."""

    what: str
    step: str


def disguise(start: bytes) -> Disguise | None:
    """What a file really is that is neither safetensors nor a checkpoint, from its first bytes."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(_LFS):
        return Disguise("a Git LFS pointer", "run 'git lfs pull' in the repo")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        step = "the download was redirected; download it again"
        return Disguise("an HTML page", step)
    # The length before a safetensors header may read " {", but no text holds zero bytes.
    if text.startswith((b"{", b"[")) and b"\0" not in start:
        step = "perhaps an error page of a server; download it again"
        return Disguise("a JSON text", step)
    return None


def read_json(path: Path, kind: Kind = "config") -> Mapping[str, Any]:
    """Read a JSON object.

    Args:
        path: The file.
        kind: How much of it is taken: see `budgets`.

    Raises:
        ConfigError: Not JSON, not an object, too large or nested too deeply.
    """
    hint = _REPAIRS[kind].format(name=path.name)

    def refused(error: Exception) -> ConfigError:
        return ConfigError(f"{path.name}: {reason_of(error)}", hint=hint)

    content = read_bytes(path, JSON_BYTES[kind], hint)
    if content.startswith(_LFS) and (found := disguise(content)):
        raise ConfigError(
            f"{path.name} is {found.what}: {found.step}", hint="then run the same command again"
        )
    value = json_value(content, refused)
    if not isinstance(value, dict):
        raise ConfigError(f"{path.name} must be an object, found {type(value).__name__}", hint=hint)
    return value


def read_bytes(path: Path, limit: int, hint: str) -> bytes:
    """Read a small file whole.

    Raises:
        ConfigError: It is larger than the limit, in bytes.
        UsageError: No regular file, or it cannot be read.
    """
    require_regular(path)
    with reading(path), path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        shown = f"{limit // MB} MB" if limit >= MB else f"{limit // 1024} KB"
        raise ConfigError(f"{path.name} is larger than {shown}", hint=hint)
    return content


def refuse_disguise(path: Path, start: bytes) -> None:
    """Raise where a weight file is really a pointer, a page or a text.

    Raises:
        CheckpointError: Says which, and what to do.
    """
    if found := disguise(start):
        raise CheckpointError(f"'{path.name}' is {found.what}, not weights", hint=found.step)

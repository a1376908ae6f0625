"""The zoo: recipes by name, whose weights are fetched where that is allowed, and made where not."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from inflate_zoo.conversion.converting import Request, convert_source
from inflate_zoo.conversion.record import FILES, ConversionRecord, read_conversion, read_record
from inflate_zoo.errors import HubCacheError, HubError, OutputExistsError, UsageError, WriteError
from inflate_zoo.files.digests import sha256
from inflate_zoo.files.header import read_header
from inflate_zoo.files.locations import default_cache
from inflate_zoo.files.writing.contents import json_text
from inflate_zoo.files.writing.staging import MARKER, check_target, staged
from inflate_zoo.files.writing.store import store_of
from inflate_zoo.hub import download
from inflate_zoo.inflation.recipe import checked_options
from inflate_zoo.registry.entries import ZooEntry
from inflate_zoo.registry.listing import find_card
from inflate_zoo.version import __version__

Say = Callable[[str], None]

_LOG = logging.getLogger(__name__)
_WEIGHTS, _RECORD = FILES[0], FILES[-1]
_DETERMINING = {"source", "revision", "family", "scheme", "patch_depth", "volume", "channels",
                "fold_normalization", "sha256"}  # fmt: skip


def pull(name: str, out: str | Path | None = None, *, force: bool = False, say: Say) -> Path:
    """Put an entry of the zoo into a folder: prebuilt where there is such a file, else made here.

    Args:
        name: The entry.
        out: Output folder; the entry's name in the current one by default.
        force: Replace our own files in a folder that holds something.
        say: Told whether the weights are fetched or made, and why.

    Returns:
        The folder.

    Raises:
        UnknownNameError: No such entry.
        UsageError: The output or the source cannot be used.
        HubError: The Hub could not be reached, or refused.
        WriteError: The output could not be written.
        VerificationError: The 3D network does not reproduce the 2D one, or the weights are not
            those of the card; nothing is left behind.
    """
    entry, _ = find_card(name)
    target = Path(entry.name if out is None else out)
    check_target(target, force=force)
    _obtain(entry, target, force=force, say=say)
    return target


def kept(entry: ZooEntry, say: Say) -> Path:
    """The entry's folder in the user's cache, fetched or made at its first use.

    Args:
        entry: The entry.
        say: Told whether the weights are fetched or made, and why.

    Raises:
        WorkError: It could not be fetched or made.
        UsageError: Its source cannot be used.
    """
    recipe = json_text([__version__, entry.model_dump(mode="json", include=_DETERMINING)])
    key = hashlib.sha256(recipe.encode()).hexdigest()[:16]
    cache = default_cache()
    folder = cache / "zoo" / key / entry.name
    try:
        store_of(cache).keep(folder, FILES, lambda: _obtain(entry, folder, force=False, say=say))
    except HubCacheError:
        raise
    except (OutputExistsError, WriteError) as error:
        raise type(error)(
            f"'{entry.name}' cannot be kept in the cache: {error.message}",
            hint="free space, or name another folder with the variable INFLATE_ZOO_CACHE",
        ) from error
    return folder


def record_in(folder: Path, entry: ZooEntry, *, thorough: bool = False) -> ConversionRecord | None:
    """The conversion.json of a folder that holds an entry; `None` where it does not, or not whole.

    Args:
        folder: Need not exist.
        entry: The entry.
        thorough: Compare the digests of all files, not just the weights' length.
    """
    try:
        if (folder / MARKER).exists() or not all((folder / name).is_file() for name in FILES):
            return None
        if thorough:
            record = read_record(folder)
        else:
            read_header(folder / _WEIGHTS)
            record = read_conversion(folder)
    except (UsageError, OSError):
        return None
    return record if entry.describes(record) else None


def _obtain(entry: ZooEntry, target: Path, *, force: bool, say: Say) -> None:
    why = "the zoo holds no prebuilt files of it"
    if not entry.redistribution:
        why = f"its weights may not be passed on (license {entry.license_name or entry.license})"
    if entry.prebuilt:
        try:
            folder = _prebuilt(entry, entry.prebuilt)
        except (HubError, UsageError) as error:
            why = f"the prebuilt files cannot be used: {error.message}"
        else:
            with staged(target, FILES, force=force) as stage:
                for name in FILES:
                    shutil.copyfile(folder / name, stage / name)
            say(f"{entry.name}: prebuilt files of {entry.prebuilt}, digest as on the card")
            return
    say(f"{entry.name}: {why}; making it here from {entry.source}")
    make(entry, target, force=force)


def _prebuilt(entry: ZooEntry, place: str) -> Path:
    """Fetch the prebuilt files into the Hub's cache, and prove that they are the entry's.

    Raises:
        HubError: The Hub could not be reached, or refused.
        UsageError: They are not there, or not those of the card.
    """
    repo, commit = place.split("@")
    hint = "the weights are made here instead"
    snapshot = download.resolve_revision(repo, commit)
    folder = snapshot.folder
    download.fetch_files(snapshot, FILES[1:])
    record = read_conversion(folder, repo)
    if not entry.model_copy(update={"sha256": None}).describes(record):
        raise UsageError(f"{repo} holds another recipe than the card", hint=hint)
    digest = record.weights_sha256
    if digest == entry.sha256:  # else nothing large needs to be fetched
        download.fetch_files(snapshot, [_WEIGHTS])
        digest = sha256(folder / _WEIGHTS)
    if digest != entry.sha256:
        raise UsageError(
            f"{_WEIGHTS} of {repo} has SHA-256 {digest}, the card says {entry.sha256}", hint=hint
        )
    for name in FILES[1:-1]:
        if record.files[name].sha256 != sha256(folder / name):
            raise UsageError(f"{name} of {repo} is not the one its {_RECORD} lists", hint=hint)
    return folder


def make(entry: ZooEntry, target: Path, *, force: bool) -> None:
    """Make an entry by its recipe, proven; the errors are those of `pull`."""
    if Path(entry.source).exists():
        raise UsageError(
            f"a local '{entry.source}' hides the zoo's source of that name",
            hint="run the same command in another folder",
        )
    options = checked_options(
        entry.scheme,
        entry.patch_depth,
        entry.volume,
        entry.channels,
        None,
        fold_normalization=entry.fold_normalization,
    )
    request = Request(
        options,
        entry.family,
        force=force,
        required=entry.sha256,
        license=entry.license_fields or None,
    )
    convert_source(entry.source, target, request, revision=entry.revision)

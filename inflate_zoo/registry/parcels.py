"""What of a folder is sent to the Hub: whole, loadable, nothing private in it.

A folder is a conversion (`conversion.json`), a trial of the ranking (`trial.json`, `record.json`),
or just a network that was saved.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inflate_zoo.conversion.record import (
    ConversionRecord,
    RecordedFile,
    read_conversion,
    record_in,
)
from inflate_zoo.errors import UsageError
from inflate_zoo.files.foreign import json_value
from inflate_zoo.files.reading import (
    called,
    lacking,
    read_json,
    reading,
    require_files,
    require_regular,
)
from inflate_zoo.hub.upload import Part
from inflate_zoo.inflation.schemes import scheme_text
from inflate_zoo.texts import validated

Kind = Literal["conversion", "trial", "network"]
Believe = Callable[[str, Mapping[str, Any], bytes], bytes]
"""From the name of a trial's folder, its trial.json and the content of its record.json to that
content as others may see it; refuses a record that is not to be believed."""

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
CONVERSION, TRIAL, RECORD = "conversion.json", "trial.json", "record.json"
FILES: Mapping[Kind, tuple[str, ...]] = {  # the one that says what it is comes first
    "conversion": (CONVERSION, WEIGHTS, CONFIG, CARD),
    "trial": (TRIAL, RECORD, WEIGHTS, CONFIG, CARD),
    "network": (WEIGHTS, CONFIG, CARD),
}
_ADDRESS = re.compile(r"\b(?:https?|ftp|hf)://\S*", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w.])(?:~?/[^\s/'\"]+/|~/|[A-Za-z]:[\\/]|\\\\\w|file:)|^/\S")
_HOME = re.compile(r"(?:/home/|/Users/|[A-Za-z]:\\Users\\)[^\s/\\'\"]+[/\\]")
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}")


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class _Arm(_Told):
    label: str


class _Task(_Told):
    name: str


class TrialFile(_Told):
    """What of a trial.json tells which trial it is; all else is the ranking's.

    Attributes:
        hash: Of the trial.
        arm: Its source.
        task: What it was trained on.
        entries: The cases of the data set that it names.
    """

    hash: str = Field(min_length=1)
    arm: _Arm
    task: _Task
    entries: Mapping[str, Any] = Field(default_factory=dict)


def trial_in(table: Mapping[str, Any]) -> TrialFile | None:
    """What a trial.json tells; `None` where it is none."""
    try:
        return validated(TrialFile, table)
    except ValidationError:
        return None


@dataclass(frozen=True, slots=True)
class Upload:
    """What is sent.

    Attributes:
        kind: Which of the three.
        identity: See `identity_of`; `None` for a network, which is known by its weights alone.
        title: What it is, in one line.
        parts: The files, the one that says what it is first.
        cases: How many cases of a data set they name.
    """

    kind: Kind
    identity: object
    title: str
    parts: tuple[Part, ...]
    cases: int


def kind_of(names: Collection[str]) -> Kind | None:
    """What files with these names are; `None` for nothing of ours."""
    if CONVERSION in names:
        return "conversion"
    if TRIAL in names or RECORD in names:
        return "trial"
    return "network" if WEIGHTS in names and CONFIG in names else None


def identity_of(kind: Kind, table: Mapping[str, Any]) -> object:
    """What two parcels must have in common for one to replace the other.

    Args:
        kind: `conversion` or `trial`.
        table: Content of the file that says what it is, whatever it holds.

    Returns:
        Recipe and digests of the source, or the trial's hash; `None` where they are not there.
    """
    if kind == "trial":
        trial = trial_in(table)
        return trial.hash if trial else None
    record = record_in(table)
    return (record.recipe, record.source.sha256) if record else None


def title_of(kind: Kind, table: Mapping[str, Any]) -> str:
    """Which conversion or trial it is, in one line; the arguments are those of `identity_of`."""
    if kind == "conversion":
        if (record := record_in(table)) is None:
            return kind
        source = record.source
        text = f"conversion of {source.repo or source.name} ({scheme_text(record.recipe.scheme)})"
    else:
        if (trial := trial_in(table)) is None:
            return kind
        text = f"trial {trial.hash}: {trial.arm.label} on {trial.task.name}"
    return "".join(char if char.isprintable() else " " for char in text)[:200]


def find_kind(folder: Path) -> Kind:
    """What a folder holds, with all its files but the card.

    Raises:
        UsageError: No folder, nothing of ours in it, or not all of it.
    """
    if not folder.is_dir():
        raise UsageError(
            f"'{called(folder)}' is no folder{lacking(folder)}",
            hint="name one that 'inflate-zoo convert' wrote, or one with a trained network",
        )
    kind = kind_of([name for names in FILES.values() for name in names if (folder / name).exists()])
    if kind is None:
        raise UsageError(
            f"'{called(folder)}' holds no conversion and no trained network",
            hint=f"a trained one has {CONFIG} and {WEIGHTS}, as save_pretrained writes them",
        )
    hint = (
        "convert the source again, with --force"
        if kind == "conversion"
        else "let the trial end first: 'inflate-zoo bench' goes on with what is not done"
    )
    require_files(folder, [name for name in FILES[kind] if name != CARD], hint)
    return kind


def read_parcel(folder: Path, kind: Kind, token: str | None, believe: Believe) -> Upload:
    """Read and check what is sent.

    Args:
        folder: With all files of its kind.
        kind: What it is.
        token: The Hub's, which must not be in any file.
        believe: Called for a trial.

    Raises:
        UsageError: A file is damaged, is not the one that was written, or holds something private.
    """
    contents, tables = {}, {}
    for name in FILES[kind]:
        require_regular(folder / name, folder)
        if name.endswith(".json"):
            tables[name] = read_json(folder / name, "record")
        if name != WEIGHTS:
            with reading(folder / name):
                contents[name] = (folder / name).read_bytes()
    first = FILES[kind][0]
    table = tables.get(first, {})
    record = read_conversion(folder) if kind == "conversion" else None
    trial = trial_in(table) if kind == "trial" else None
    if kind == "trial":
        if trial is None:
            raise _incomplete(folder, first)
        contents[RECORD] = believe(called(folder), table, contents[RECORD])
    parts = {name: Part.of(name, content) for name, content in contents.items()}
    parts[WEIGHTS] = Part.of(WEIGHTS, folder / WEIGHTS)
    if record is not None:
        parts[CONVERSION] = _matching_record(folder, record, parts)
    for name, content in contents.items():
        _require_public(name, content, token)
    _require_loadable(folder)
    title = title_of(kind, table) if kind != "network" else "trained network"
    identity = identity_of(kind, table) if kind != "network" else None
    count = len(trial.entries) if trial else 0
    return Upload(kind, identity, title, tuple(parts[name] for name in FILES[kind]), count)


def _incomplete(folder: Path, name: str) -> UsageError:
    return UsageError(
        f"'{called(folder)}': {name} is incomplete",
        hint="make the folder anew with the command that wrote it",
    )


def _matching_record(folder: Path, record: ConversionRecord, parts: Mapping[str, Part]) -> Part:
    """conversion.json, for just these files: the card may have been edited, nothing else."""
    listed = FILES["conversion"][1:]
    changed = [name for name in listed if parts[name].sha256 != record.files[name].sha256]
    if set(changed) - {CARD}:
        raise UsageError(
            f"files in '{called(folder)}' are not the ones that were written",
            details=changed,
            hint="convert the source again, with --force; push a trained network without "
            f"{CONVERSION}",
        )
    if not changed:
        return parts[CONVERSION]
    files = {**record.files, CARD: RecordedFile(sha256=parts[CARD].sha256)}
    return Part.of(CONVERSION, record.model_copy(update={"files": files}).text().encode())


def _require_loadable(folder: Path) -> None:
    """Load the network as `load` does, without reading its weights."""
    from inflate_zoo.registry.loading import load_network

    load_network(folder, device="meta")


def _require_public(name: str, content: bytes, token: str | None) -> None:
    """Refuse what nobody else should see.

    Raises:
        UsageError: A token, or a path on this machine; names the file, and the field if it has any.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{name} is no text in UTF-8", hint="save it as UTF-8") from None
    if _TOKEN.search(text) or (token and token in text):
        raise UsageError(
            f"{name} holds an access token of the Hub; nothing was sent",
            hint="take it out, and revoke it in the Hub's settings",
        )
    if name.endswith(".json"):
        value = json_value(content, lambda _: _incomplete(Path(name).parent, name))
        texts = _texts(value, "")
        found = [place for place, value in texts if _PATH.search(_ADDRESS.sub("", value))]
    else:
        home = f"{Path.home()}/"
        plain = [_ADDRESS.sub("", line) for line in text.splitlines()]
        found = [
            f"line {number}"
            for number, line in enumerate(plain, 1)
            if _HOME.search(line) or (len(home) > 2 and home in line)
        ]
    if found:
        raise UsageError(
            f"{name} names folders of this machine; nothing was sent",
            details=found,
            hint="write there what others may read, then push again",
        )


def _texts(value: object, place: str) -> Iterator[tuple[str, str]]:
    """Every text in a JSON value, names of fields too, with its place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            inside = f"{place}.{key}" if place else key
            yield inside, key
            yield from _texts(inner, inside)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{place}[{index}]")
    elif isinstance(value, str):
        yield place, value

"""Layouts of a data set on disk: the Decathlon's, nnU-Net's raw ones, and those of `published`.

nnU-Net's first version has the Decathlon's dataset.json, but one file per channel: `a.nii.gz` there
is `a_0000.nii.gz`, `a_0001.nii.gz`, ... on disk.

What is wrong with single cases or fields is collected, not raised: people want the whole list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from types import MappingProxyType
from typing import Any

from inflate_zoo.bench.data.label_table import Form, LabelTable, read_labels
from inflate_zoo.bench.data.published import read_published
from inflate_zoo.bench.definitions.datasets import Case, Dataset, Finding
from inflate_zoo.errors import UsageError
from inflate_zoo.files.budgets import MOST_LETTERS
from inflate_zoo.files.reading import called, lacking, read_json
from inflate_zoo.texts import is_text

_ENDINGS = (".nii.gz", ".nii")
_TEXTS = ("name", "licence", "license", "reference", "citation")
_MR = re.compile(r"(mri?|t1|t2|flair|dwi|adc|pd|swi|dce)\w*([ _-].*)?", re.IGNORECASE)
_LAYOUTS = (
    "these layouts are understood: the Decathlon's (dataset.json with 'training' and 'labels') and "
    "nnU-Net's raw one (dataset.json with 'channel_names' and 'file_ending', imagesTr, labelsTr); "
    "the folders of ACDC and BTCV are read as published"
)


@dataclass
class _Reader:
    """What is gathered while a dataset.json is read."""

    folder: Path
    table: Mapping[str, Any]
    labels: LabelTable = field(default_factory=LabelTable)
    channels: tuple[str, ...] = ()
    cases: dict[str, Case] = field(default_factory=dict)
    problems: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    def complain(self, what: str, hint: str, case: str = "") -> None:
        self.problems.append(Finding(case, what, hint))

    def text(self, *keys: str) -> str:
        return next((v for key in keys if isinstance(v := self.table.get(key), str) and v), "")

    def mapping(self, key: str, example: str) -> Mapping[str, Any]:
        value = self.table.get(key)
        if isinstance(value, dict) and value:
            return value
        self.complain(f"dataset.json: '{key}' is no object with entries", f"write {example}")
        return {}

    def read_labels(self, layout: Form) -> None:
        self.labels = read_labels(self.table.get("labels"), layout)
        self.problems += self.labels.problems
        self.warnings += self.labels.warnings

    def read_channels(self, key: str) -> None:
        example = '{"0": "CT"}'
        names = self.mapping(key, example)
        expected = [str(place) for place in range(len(names))]
        if not names:
            return
        if set(names) != set(expected) or not all(isinstance(v, str) for v in names.values()):
            what = f"dataset.json: '{key}' is no object from 0, 1, ... to names"
            self.complain(what, f"write {example}")
            return
        self.channels = tuple(names[place] for place in expected)

    def add(self, case: Case) -> None:
        """Take a case in, unless a file is missing, it is there already, or has no name in text."""
        if not is_text(case.name):
            what = "has a name that is no UTF-8, as another system wrote it"
            self.complain(what, "rename its files", case.name)
            return
        if case.name in self.cases:
            self.complain("stands twice in the data set", "remove one of them", case.name)
            return
        missing = [path for path in (*case.images, case.label) if not _is_there(path)]
        if missing:
            names = ", ".join(f"{path.parent.name}/{path.name}" for path in missing)
            self.complain(f"missing: {names}", "put it there or take the case out", case.name)
            return
        self.cases[case.name] = case


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # such as a name longer than the file system takes
        return False


def read_dataset(folder: Path) -> Dataset:
    """Read what a data set consists of; no volume is opened.

    Args:
        folder: Folder with a dataset.json, or as `read_published` takes it.

    Raises:
        UsageError: No folder, no dataset.json, neither layout, or something no part of which can
            be used; all else stands in `problems`.
    """
    path = folder / "dataset.json"
    if not _is_there(path):
        if folder.is_dir() and (published := read_published(folder)) is not None:
            return published
        raise _no_data_set(folder)
    reader = _Reader(folder, read_json(path, "dataset"))
    _read_layout(reader)
    _tell_odd_texts(reader)
    _warn_of_unread(reader)
    name = folder.resolve().name.encode("utf-8", "replace").decode()
    return Dataset(
        folder=folder,
        name=name,
        title=reader.text("name") or name,
        modality=_modality(reader.channels),
        channels=reader.channels,
        labels=MappingProxyType(dict(reader.labels.labels)),
        regions=MappingProxyType(dict(reader.labels.regions)),
        cases=tuple(reader.cases[case] for case in sorted(reader.cases)),
        listed=tuple(reader.cases),
        license=reader.text("licence", "license") or "unknown",
        citation=reader.text("reference", "citation"),
        problems=tuple(reader.problems),
        warnings=tuple(reader.warnings),
    )


def _no_data_set(folder: Path) -> UsageError:
    """Nothing to read; a data set one folder below, or a list of another name, is named."""
    if not folder.is_dir():
        return UsageError(f"'{called(folder)}' is no folder{lacking(folder)}", hint=_LAYOUTS)
    what = f"'{called(folder)}' has no dataset.json"
    if below := sorted(path.parent.name for path in folder.glob("*/dataset.json")):
        more = f" and {len(below) - 1} more" if len(below) > 1 else ""
        return UsageError(f"{what}, but '{below[0]}' in it has{more}", hint="name that folder")
    if others := sorted(path.name for path in folder.glob("dataset*.json")):
        hint = "rename it if it is the list of the cases"
        return UsageError(f"{what}, but '{others[0]}'", hint=hint)
    return UsageError(what, hint=_LAYOUTS)


def _read_layout(reader: _Reader) -> None:
    keys = reader.table.keys()
    if {"channel_names", "file_ending"} <= keys:
        _read_nnunet(reader)
    elif {"training", "labels"} <= keys:
        _read_decathlon(reader)
    else:
        nnunet = bool(keys & {"channel_names", "file_ending"})
        needed = ("channel_names", "file_ending") if nnunet else ("training", "labels")
        lacks = " and ".join(f"'{key}'" for key in needed if key not in keys)
        raise UsageError(
            f"dataset.json of '{called(reader.folder)}' fits no known layout: it lacks {lacks}",
            hint=_LAYOUTS,
        )


def _modality(channels: tuple[str, ...]) -> str:
    distinct = list(dict.fromkeys(channels))
    if all(name.upper() == "CT" for name in distinct) and distinct:
        return "CT"
    if all(_MR.fullmatch(name) for name in distinct) and distinct:
        return "MRI"
    return " + ".join(distinct) or "unknown"


def _read_decathlon(reader: _Reader) -> None:
    reader.read_labels("decathlon")
    reader.read_channels("modality")
    entries = reader.table["training"]
    if not isinstance(entries, list):
        reader.complain("dataset.json: 'training' is no list", "list image and label of each case")
        return
    named = {f"training[{place}]": entry for place, entry in enumerate(entries)}
    listed = _listed(reader.folder, named, "image")
    labels = {label for _, label in listed.values()}
    alike = len({label.name for label in labels}) < len(labels)  # as in `case_1/segmentation.nii`
    singles = {images[0] for images, _ in listed.values() if len(images) == 1}
    for images, label in listed.values():
        alone = len(images) == 1
        files = _channel_files(images[0], len(reader.channels), singles) if alone else images
        name = _stem(label.name)
        case = Case(f"{label.parent.name}_{name}" if alike else name, files, label)
        reader.add(case)
        if images[0] not in files:  # a name that stands for those of the channels
            _tell_further(reader, case)
    example = '{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}'
    _tell_others(reader, [place for place in named if place not in listed], len(named), example)


def _listed(
    folder: Path, entries: Mapping[str, object], key: str
) -> dict[str, tuple[tuple[Path, ...], Path]]:
    """Images, which are channels, and label of each entry that names them inside the folder."""
    found = {}
    for place, entry in entries.items():
        table = entry if isinstance(entry, dict) else {}
        images, labels = (_paths(folder, table.get(part)) for part in (key, "label"))
        if images and len(labels) == 1:
            found[place] = images, labels[0]
    return found


def _tell_others(reader: _Reader, places: Sequence[str], count: int, example: str) -> None:
    """Tell of entries that cannot be used, in one line where all are so."""
    what = "does not name image and label inside the folder"
    hint = f"write {example}; several images are channels, of a label there is one file"
    if 1 < len(places) == count:
        places, what = places[:1], f"{what}, nor does any other of {count} entries"
    for place in places:
        reader.complain(f"dataset.json: {place} {what}", hint)


def _paths(folder: Path, value: object) -> tuple[Path, ...]:
    """One path or a list of them; none where one of them cannot be used."""
    paths = [_inside(folder, text) for text in (value if isinstance(value, list) else [value])]
    good = tuple(path for path in paths if path is not None)
    return good if len(good) == len(paths) else ()


def _inside(folder: Path, text: object) -> Path | None:
    r"""A path of dataset.json, unless it leads out of the folder by the rules of any system.

    One that was written on Windows has `\\` between its parts.
    """
    if not isinstance(text, str) or not text or "\0" in text:
        return None
    path = PureWindowsPath(text)
    if path.anchor or ".." in path.parts or not path.name:
        return None
    as_it_stands = folder / text
    return as_it_stands if _is_there(as_it_stands) else folder / path.as_posix()


def _channel_files(image: Path, channels: int, singles: Set[Path]) -> tuple[Path, ...]:
    """The file itself, or those that nnU-Net's first version makes of it, one per channel.

    Among `singles`, which are listed as images by themselves, none is a channel of another.
    """
    stem = _stem(image.name)
    ending = image.name.removeprefix(stem)
    if _is_there(image):
        stem = stem.removesuffix("_0000")
        second = image.with_name(f"{stem}_0001{ending}")
        alone = not _is_there(second) or second in singles
        if alone or stem + ending == image.name:
            return (image,)
    elif not _is_there(image.with_name(f"{stem}_0000{ending}")):
        return (image,)
    return tuple(image.with_name(f"{stem}_{c:04d}{ending}") for c in range(max(1, channels)))


def _tell_further(reader: _Reader, case: Case) -> None:
    """Tell of a channel that is there and has no name, as nnU-Net does: nobody would see it."""
    count, last = len(reader.channels), case.images[-1]
    stem = _stem(last.name)
    further = last.with_name(f"{stem[:-5]}_{count:04d}{last.name.removeprefix(stem)}")
    if count and _is_there(further):
        what = f"{further.parent.name}/{further.name} is a channel more than the {count} named"
        reader.complain(what, "name it in dataset.json, or take the file out", case.name)


def _stem(name: str) -> str:
    return next((name.removesuffix(end) for end in _ENDINGS if name.endswith(end)), name)


def _tell_odd_texts(reader: _Reader) -> None:
    """Tell of fields that no task takes: too long, or with lone surrogates, as JSON may escape."""
    for key in (*_TEXTS, "modality", "channel_names", "labels"):
        value = reader.table.get(key)
        texts = [value] if isinstance(value, str) else []
        if isinstance(value, dict):
            texts = [text for text in (*value, *value.values()) if isinstance(text, str)]
        if any(len(text) > MOST_LETTERS for text in texts):
            what = f"dataset.json: '{key}' holds a text of more than {MOST_LETTERS:,} letters"
            reader.complain(what, "write it shorter")
        if not all(map(is_text, texts)):
            what = f"dataset.json: '{key}' holds half a character, which is no text"
            reader.complain(what, "write it anew, without \\ud800 to \\udfff standing alone")


def _warn_of_unread(reader: _Reader) -> None:
    """Labelled cases under another name than 'training', such as MONAI's 'validation'."""
    used = {case.label for case in reader.cases.values()}
    for key, entries in reader.table.items():
        if key == "training" or not isinstance(entries, list):
            continue
        tables = [entry for entry in entries if isinstance(entry, dict) and "image" in entry]
        labels = [_paths(reader.folder, table.get("label")) for table in tables]
        if unread := sum(bool(paths) and not used.issuperset(paths) for paths in labels):
            what = f"dataset.json: {unread} labelled cases under '{key}' are not used"
            hint = "folds are dealt from all cases: move them to where the others are listed"
            reader.warnings.append(Finding("", what, hint))


def _read_nnunet(reader: _Reader) -> None:
    images, labels = reader.folder / "imagesTr", reader.folder / "labelsTr"
    ending = _file_ending(reader, labels)
    reader.read_labels("nnunet")
    reader.read_channels("channel_names")
    if "dataset" in reader.table:
        _read_nnunet_list(reader)
        return
    names = set(_names(labels, ending))
    names |= {name[:-5] for name in _names(images, ending) if re.search(r"_\d{4}$", name)}
    for name in sorted(names):
        channels = range(max(1, len(reader.channels)))
        files = tuple(images / f"{name}_{c:04d}{ending}" for c in channels)
        case = Case(name, files, labels / f"{name}{ending}")
        reader.add(case)
        _tell_further(reader, case)
    told = reader.table.get("numTraining", len(names))
    if told != len(names):
        reader.complain(
            f"dataset.json: 'numTraining' is {told!r}, the folders hold {len(names)} cases",
            "add what is missing, or correct the number",
        )


def _file_ending(reader: _Reader, labels: Path) -> str:
    """What the files end in: as stated, its dot forgiven, unless no label ends so."""
    stated = reader.table["file_ending"]
    ending = f".{stated.removeprefix('.')}" if isinstance(stated, str) else stated
    if ending not in _ENDINGS:
        raise UsageError(
            f"the data set's files end in {stated!r}, which is not read",
            hint="convert them to NIfTI: .nii or .nii.gz",
        )
    real = [other for other in _ENDINGS if any(_names(labels, other))]
    if real and ending not in real:
        what = f"dataset.json: 'file_ending' is {stated!r}, the labels end in '{real[0]}'"
        reader.complain(what, f'write "file_ending": "{real[0]}"')
        return real[0]
    return str(ending)


def _read_nnunet_list(reader: _Reader) -> None:
    """The cases that 'dataset' lists, wherever in the folder their files are."""
    example = '{"images": ["imagesTr/a_0000.nii.gz"], "label": "labelsTr/a.nii.gz"}'
    entries = reader.mapping("dataset", f'{{"a": {example}}}')
    listed = _listed(reader.folder, entries, "images")
    for name, (images, label) in listed.items():
        if name == PureWindowsPath(name).name:
            reader.add(Case(name, images, label))
        else:
            reader.complain("has a name that no file can have", "rename it in dataset.json", name)
    others = [f"dataset['{name}']" for name in entries if name not in listed]
    _tell_others(reader, others, len(entries), example)


def _names(folder: Path, ending: str) -> Iterator[str]:
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name.endswith(ending) and not path.name.startswith("."):  # macOS leaves ._x
                yield path.name.removesuffix(ending)

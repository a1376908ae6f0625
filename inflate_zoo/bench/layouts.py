"""Layouts of a data set on disk: the Decathlon's, nnU-Net's raw one, and those of `published`.

What is wrong with single cases or fields is collected, not raised: people want the whole list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from types import MappingProxyType
from typing import Any

from inflate_zoo.bench.dataset import Case, Dataset, Finding, refuse_problems
from inflate_zoo.bench.published import read_published
from inflate_zoo.errors import UsageError
from inflate_zoo.files import called, read_json, require_folder

__all__ = ["Case", "Dataset", "Finding", "read_dataset", "refuse_problems"]

_ENDINGS = (".nii.gz", ".nii")
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
    labels: dict[str, int] = field(default_factory=dict)
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    cases: dict[str, Case] = field(default_factory=dict)
    problems: list[Finding] = field(default_factory=list)

    def complain(self, what: str, hint: str, case: str = "") -> None:
        self.problems.append(Finding(case, what, hint))

    def text(self, *keys: str) -> str:
        return next((v for key in keys if isinstance(v := self.table.get(key), str) and v), "")

    def mapping(self, key: str) -> Mapping[str, Any]:
        value = self.table.get(key)
        if isinstance(value, dict) and value:
            return value
        self.complain(f"dataset.json: '{key}' is no object with entries", "write it as an object")
        return {}

    def add(self, case: Case) -> None:
        """Take a case in, unless a file is missing or it is there already."""
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
        require_folder(folder, _LAYOUTS)
        raise UsageError(f"'{called(folder)}' has no dataset.json", hint=_LAYOUTS)
    table = read_json(path, "dataset")
    reader = _Reader(folder, table)
    if {"channel_names", "file_ending"} <= table.keys():
        channels = _read_nnunet(reader)
    elif {"training", "labels"} <= table.keys():
        channels = _read_decathlon(reader)
    else:
        raise UsageError(f"dataset.json of '{called(folder)}' fits no known layout", hint=_LAYOUTS)
    if not reader.regions:
        reader.complain("dataset.json: 'labels' names nothing besides the background", "name it")
    name = folder.resolve().name
    return Dataset(
        folder=folder,
        name=name,
        title=reader.text("name") or name,
        modality=_modality(channels),
        channels=channels,
        labels=MappingProxyType(reader.labels),
        regions=MappingProxyType(reader.regions),
        cases=tuple(reader.cases[case] for case in sorted(reader.cases)),
        listed=tuple(reader.cases),
        license=reader.text("licence", "license") or "unknown",
        citation=reader.text("reference", "citation"),
        problems=tuple(reader.problems),
    )


def _channels(reader: _Reader, key: str) -> tuple[str, ...]:
    names = reader.mapping(key)
    expected = [str(place) for place in range(len(names))]
    if set(names) != set(expected) or not all(isinstance(name, str) for name in names.values()):
        reader.complain(f"dataset.json: '{key}' is no object from 0, 1, ... to names", "number it")
        return tuple(str(name) for name in names.values())
    return tuple(names[place] for place in expected)


def _modality(channels: tuple[str, ...]) -> str:
    distinct = list(dict.fromkeys(channels))
    if all(name.upper() == "CT" for name in distinct) and distinct:
        return "CT"
    if all(_MR.fullmatch(name) for name in distinct) and distinct:
        return "MRI"
    return " + ".join(distinct) or "unknown"


def _read_decathlon(reader: _Reader) -> tuple[str, ...]:
    for value, name in reader.mapping("labels").items():
        if not (value.isascii() and value.isdecimal() and isinstance(name, str)):
            reader.complain(
                f"dataset.json: label '{value}': {name!r} is not from a number to a name",
                'write labels as "1": "liver"',
            )
        elif int(value) > 255 or name in reader.labels:
            what = "above 255" if int(value) > 255 else f"named '{name}' like another"
            reader.complain(f"dataset.json: label {value} is {what}", "change it")
        else:
            reader.labels[name] = int(value)
    if 0 not in reader.labels.values():
        reader.complain("dataset.json: no label 0", "name the background, 0")
    reader.regions.update({name: (value,) for name, value in reader.labels.items() if value})
    entries = reader.table["training"]
    if not isinstance(entries, list):
        reader.complain("dataset.json: 'training' is no list", "list image and label of each case")
        entries = []
    for place, entry in enumerate(entries):
        paths = [
            _inside(reader.folder, entry.get(key) if isinstance(entry, dict) else None)
            for key in ("image", "label")
        ]
        image, label = paths
        if image is None or label is None:
            reader.complain(
                f"dataset.json: training[{place}] does not name image and label inside the folder",
                'write {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}',
            )
        else:
            reader.add(Case(_stem(label.name), (image,), label))
    return _channels(reader, "modality")


def _inside(folder: Path, text: object) -> Path | None:
    """A path of dataset.json, unless it leads out of the folder by the rules of any system."""
    if not isinstance(text, str) or not text or "\0" in text:
        return None
    path = PureWindowsPath(text)
    return None if path.anchor or ".." in path.parts else folder / text


def _stem(name: str) -> str:
    return next((name.removesuffix(end) for end in _ENDINGS if name.endswith(end)), name)


def _read_nnunet(reader: _Reader) -> tuple[str, ...]:
    ending = reader.table["file_ending"]
    if ending not in _ENDINGS:
        raise UsageError(
            f"the data set's files end in {ending!r}, which is not read",
            hint="convert them to NIfTI: .nii or .nii.gz",
        )
    if "dataset" in reader.table:
        raise UsageError(
            "dataset.json lists files under 'dataset', which is not read",
            hint="put the files into imagesTr and labelsTr and remove 'dataset'",
        )
    _read_nnunet_labels(reader)
    channels = _channels(reader, "channel_names")
    images, labels = reader.folder / "imagesTr", reader.folder / "labelsTr"
    names = set(_names(labels, ending))
    names |= {name[:-5] for name in _names(images, ending) if re.search(r"_\d{4}$", name)}
    for name in sorted(names):
        files = tuple(images / f"{name}_{c:04d}{ending}" for c in range(len(channels)))
        reader.add(Case(name, files, labels / f"{name}{ending}"))
    told = reader.table.get("numTraining", len(names))
    if told != len(names):
        reader.complain(
            f"dataset.json: 'numTraining' is {told!r}, the folders hold {len(names)} cases",
            "add what is missing, or correct the number",
        )
    return channels


def _names(folder: Path, ending: str) -> Iterator[str]:
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name.endswith(ending) and not path.name.startswith("."):  # macOS leaves ._x
                yield path.name.removesuffix(ending)


def _read_nnunet_labels(reader: _Reader) -> None:
    groups: dict[str, tuple[int, ...]] = {}
    for name, value in reader.mapping("labels").items():
        if name == "ignore":
            raise UsageError(
                "the data set has an 'ignore' label: voxels nobody labelled cannot be scored",
                hint="give these voxels a label and remove 'ignore' from dataset.json",
            )
        members = value if isinstance(value, list) else [value]
        whole = all(type(member) is int and 0 <= member <= 255 for member in members)
        if not whole or not members or (0 in members and len(members) > 1):
            reader.complain(
                f"dataset.json: label '{name}' is {value!r}",
                "write a value from 0 to 255, or several",
            )
        else:
            groups[name] = tuple(sorted(set(members)))
    singles = {members[0]: name for name, members in groups.items() if len(members) == 1}
    if len(singles) < sum(len(members) == 1 for members in groups.values()):
        reader.complain("dataset.json: two labels have the same value", "keep one of them")
    for value in sorted({value for members in groups.values() for value in members}):
        reader.labels[singles.get(value, f"label {value}")] = value
    if 0 not in reader.labels.values():
        reader.complain("dataset.json: no label 0", 'add "background": 0')
    reader.regions.update({name: members for name, members in groups.items() if members != (0,)})

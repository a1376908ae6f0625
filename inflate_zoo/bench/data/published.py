"""Data sets in folders as their makers publish them, without a dataset.json.

ACDC: `training/patient001/patient001_frame01.nii.gz` and `..._frame01_gt.nii.gz`, or the same in
`database/training`. BTCV: `RawData/Training/img/img0001.nii.gz` and `label/label0001.nii.gz`. What
the labels mean is written in the tasks `acdc` and `btcv`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType

from inflate_zoo.bench.definitions.catalog import load_task
from inflate_zoo.bench.definitions.datasets import Case, Dataset, Finding

_FRAME = re.compile(r"(patient\d+_frame\d+)(_gt)?\.nii(\.gz)?")
_SCAN = re.compile(r"(img|label)(\d{4})\.nii(\.gz)?")
Pairs = dict[str, dict[str, Path]]


def read_published(folder: Path) -> Dataset | None:
    """The data set in a folder, or `None` where it is laid out in none of these ways.

    Args:
        folder: The folder that was unpacked, or one of those inside on the way to the cases.
    """
    for name, home, pairs in (("acdc", _acdc_home, _acdc), ("btcv", _btcv_home, _btcv)):
        if (found := home(folder)) is not None:
            return _dataset(name, folder, pairs(found))
    return None


def _first(folder: Path, inner: tuple[str, ...], fits: Callable[[Path], bool]) -> Path | None:
    return next((place for part in inner if fits(place := folder / part)), None)


def _acdc_home(folder: Path) -> Path | None:
    def fits(place: Path) -> bool:
        return any(place.glob("patient*/patient*_frame*.nii*"))

    return _first(folder, ("", "training", "database/training", "ACDC/database/training"), fits)


def _acdc(home: Path) -> Pairs:
    found: Pairs = {}
    for path in _files(home, "patient*/patient*"):
        if match := _FRAME.fullmatch(path.name):
            found.setdefault(match[1], {})["label" if match[2] else "image"] = path
    return found


def _btcv_home(folder: Path) -> Path | None:
    def fits(place: Path) -> bool:
        return any((place / "label").glob("label*.nii*"))

    inner = ("", "Training", "RawData/Training", "Abdomen/RawData/Training")
    return _first(folder, inner, fits)


def _btcv(home: Path) -> Pairs:
    found: Pairs = {}
    for path in [*_files(home, "img/img*"), *_files(home, "label/label*")]:
        if match := _SCAN.fullmatch(path.name):
            found.setdefault(f"img{match[2]}", {})["image" if match[1] == "img" else "label"] = path
    return found


def _files(home: Path, pattern: str) -> Iterator[Path]:
    return (path for path in sorted(home.glob(pattern)) if not path.is_dir())


def _dataset(name: str, folder: Path, pairs: Pairs) -> Dataset:
    task = load_task(name)
    problems = [
        Finding(case, f"missing: its {part}", "put it there or take the case out")
        for case, files in sorted(pairs.items())
        for part in ("image", "label")
        if part not in files
    ]
    return Dataset(
        folder=folder,
        name=folder.resolve().name,
        title=task.title,
        modality=task.modality,
        channels=task.channels,
        labels=MappingProxyType(dict(task.labels)),
        regions=MappingProxyType(dict(task.regions)),
        cases=tuple(
            Case(case, (files["image"],), files["label"])
            for case, files in sorted(pairs.items())
            if len(files) == 2
        ),
        listed=tuple(sorted(case for case, files in pairs.items() if len(files) == 2)),
        license=task.license,
        citation=task.citation,
        problems=tuple(problems),
        task=name,
    )

"""Features of a frozen backbone, computed once for windows drawn once.

The windows of a seed are the same for every arm; runs share the features of the same weights.
They are kept in float16: a probe may read 100 GB of them otherwise.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from inflate_zoo.bench.data.cases import open_case
from inflate_zoo.bench.definitions.trials import TrialSpec, window_of
from inflate_zoo.bench.training.sampling import WindowRule, draw
from inflate_zoo.bench.training.seeding import derive_seed
from inflate_zoo.errors import OutputExistsError, UsageError
from inflate_zoo.files.budgets import JSON_BYTES
from inflate_zoo.files.foreign import json_value, mapped_array, parsing
from inflate_zoo.files.reading import read_bytes, reading
from inflate_zoo.files.writing.contents import write_text
from inflate_zoo.files.writing.store import Store, store_of
from inflate_zoo.segmentation.segmenter import Segmenter

_LARGEST = float(np.finfo(np.float16).max)  # a few tokens of large networks lie beyond
FILES = ("features.npy", "labels.npy", "cases.json")


class Encoded(NamedTuple):
    """One window as the frozen backbone sees it.

    Attributes:
        features: Shape [slices or 1, dim, grid depth, grid height, grid width], float32.
        label: Class indices, shape [D, H, W], uint8.
        case: Where it comes from.
    """

    features: Tensor
    label: Tensor
    case: str


class FeatureWindows(Dataset[Encoded]):
    """All windows of a training on frozen features, by their number.

    Args:
        folder: What `encode_windows` made.
        seed: The trial's seed.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._features, self._labels, self._cases = _opened(folder)
        self._seed = seed

    def _row(self, index: int) -> int:
        """All are visited once, in a new order, before any comes again."""
        count = len(self._cases)
        turn, place = divmod(index, count)
        order = np.random.default_rng(derive_seed(self._seed, "cases", turn)).permutation(count)
        return int(order[place])

    def key(self, index: int) -> str:
        """The name of a window's case."""
        return self._cases[self._row(index)]

    def __getitem__(self, index: int) -> Encoded:
        """Window number `index`."""
        row = self._row(index)
        return Encoded(
            torch.from_numpy(self._features[row].astype(np.float32)),
            torch.from_numpy(self._labels[row].copy()),
            self._cases[row],
        )


def _opened(folder: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features, labels and names of cases, one of each a window."""

    def refused(_: Exception) -> UsageError:
        return UsageError(
            f"the kept features {folder.name[:16]} are damaged",
            hint="run the 'inflate-zoo bench' command again: they are made anew",
        )

    with reading(folder):
        features = mapped_array(folder / "features.npy", "float16", 6, refused)
        labels = mapped_array(folder / "labels.npy", "uint8", 4, refused)
    content = read_bytes(folder / "cases.json", JSON_BYTES["dataset"], "")
    names = json_value(content, refused)
    with parsing(refused):
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("no names of cases")
        if not len(features) == len(labels) == len(names) > 0:
            raise ValueError("unlike numbers of windows")
    return features, labels, names


def _usable(folder: Path, store: Store) -> bool:
    """Whether kept features are there, and are what they are to be."""
    if not store.whole(folder, FILES):
        return False
    try:
        _opened(folder)
    except UsageError:
        store.distrust(folder)
        return False
    return True


def identity(spec: TrialSpec) -> list[Any]:
    """What of a trial determines its features, as JSON values."""
    arm = spec.arm.model_dump(mode="json", exclude={"label", "source", "scheme"})
    train, names = spec.protocol.train, spec.cases.train
    drawn = [list(window_of(spec)), train.foreground, train.windows_per_case, spec.seed]
    return [1, arm, drawn, [spec.entries[name] for name in names]]


def encode_windows(
    spec: TrialSpec,
    network: Segmenter,
    cache: Path,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[Any]],
    progress: Callable[[int, int], None],
) -> Path:
    """Compute and keep the features of the training windows, unless they are there.

    Args:
        spec: The trial.
        network: Its network, on `device`.
        cache: Cache folder.
        device: Where the network is.
        autocast: Context of the precision the network is trained and scored in.
        progress: Told windows done and windows in all.

    Returns:
        The folder for `FeatureWindows`.

    Raises:
        WriteError: Disk full, read-only folder, I/O error.
    """
    with autocast():
        narrow = torch.is_autocast_enabled(device.type)
        precision = str(torch.get_autocast_dtype(device.type)) if narrow else "torch.float32"
    text = json.dumps([identity(spec), device.type, precision])
    key = hashlib.sha256(text.encode()).hexdigest()[:32]
    folder = cache / "features" / key
    store = store_of(cache)
    if _usable(folder, store):
        return folder
    store.discard(folder, FILES)
    rule = WindowRule(window_of(spec), spec.protocol.train.foreground, None)
    windows = [
        (spec.entries[name], derive_seed(spec.seed, "probe", name, index))
        for name in spec.cases.train
        for index in range(spec.protocol.train.windows_per_case)
    ]
    digests: dict[str, str] = {}
    with suppress(OutputExistsError), store.made(folder, FILES, digests) as stage:
        digests |= _fill(stage, network, rule, windows, cache, device, autocast, progress)
    return folder  # where it exists by now, another run was faster


def _fill(
    stage: Path,
    network: Segmenter,
    rule: WindowRule,
    windows: Sequence[tuple[str, int]],
    cache: Path,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[Any]],
    progress: Callable[[int, int], None],
) -> dict[str, str]:
    """Write features and labels; returns their SHA-256: reading 100 GB again takes minutes."""
    names = []
    network.eval()
    with (
        (stage / "features.npy").open("wb") as first,
        (stage / "labels.npy").open("wb") as second,
    ):
        features, labels = _Array(first, len(windows)), _Array(second, len(windows))
        for row, (key, seed) in enumerate(windows):
            case = open_case(cache, key)
            window = draw(case, rule, seed)
            with torch.no_grad(), autocast():
                (maps,) = network.encode(window.image.unsqueeze(0).to(device))
            narrow = maps.float().clamp(-_LARGEST, _LARGEST).cpu().numpy().astype(np.float16)
            features.append(narrow)
            labels.append(window.label.numpy())
            names.append(case.name)
            progress(row + 1, len(windows))
    write_text(stage / "cases.json", json.dumps(names))
    return {"features.npy": features.digest, "labels.npy": labels.digest}


class _Array:
    """A .npy file, written row by row; a full disk is an error here, in a map a signal.

    Args:
        file: Empty.
        rows: How many arrays are appended.
    """

    def __init__(self, file: BinaryIO, rows: int) -> None:
        self._file, self._rows, self._hash = file, rows, hashlib.sha256()

    def append(self, array: np.ndarray) -> None:
        """Add one of the arrays, all of one shape and type."""
        if self._file.tell() == 0:
            header = io.BytesIO()
            form = {
                "descr": np.lib.format.dtype_to_descr(array.dtype),
                "fortran_order": False,
                "shape": (self._rows, *array.shape),
            }
            np.lib.format.write_array_header_1_0(header, form)
            self._write(header.getvalue())
        self._write(np.ascontiguousarray(array).tobytes())

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._hash.update(content)

    @property
    def digest(self) -> str:
        """SHA-256 of what was written, hexadecimal."""
        return self._hash.hexdigest()

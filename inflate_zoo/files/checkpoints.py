"""Reading checkpoints lazily: which files, what header, one tensor at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from inflate_zoo.errors import CheckpointError, UsageError
from inflate_zoo.files.dtypes import dtype_name
from inflate_zoo.files.foreign import parsing, reason_of
from inflate_zoo.files.header import Header, TensorInfo, read_header
from inflate_zoo.files.pickles import load_pickle
from inflate_zoo.files.reading import called, read_json, reading, require_regular

if TYPE_CHECKING:
    from torch import Tensor


# In this order: safetensors before pickles, one file before shards; OpenCLIP's last, since beside
# the others they hold the same weights in another form.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)
SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".tar")  # .tar: model_best.pth.tar
_OLDER = "with transformers 4 load it by {}=True and save_pretrained it; release 5 cannot"
# Ending of a file that other libraries keep weights in, to what makes one of ours of it.
_STEPS = {
    ".distcp": "pieces of torch.distributed become one file, if you trust them: "
    "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER weights.pth",
    "zero_to_fp32.py": "DeepSpeed's pieces become one file by the script that lies beside them: "
    "python zero_to_fp32.py FOLDER OUT",
    ".npz": "timm reads JAX arrays of vision transformers, timm.create_model(NAME, "
    "checkpoint_path=FILE): torch.save its state_dict() as a .pth",
    ".msgpack": f"it is of Flax: {_OLDER.format('from_flax')}",
    ".h5": f"it is of TensorFlow: {_OLDER.format('from_tf')}",
}


class Checkpoint(Protocol):
    """An opened checkpoint."""

    header: Header

    def read(self, name: str) -> Tensor:
        """One tensor, as stored; mapped from the file where possible."""


class SafetensorsCheckpoint:
    """One or several safetensors files; with the index that names them, checked against it."""

    def __init__(self, paths: Sequence[Path], index: Path | None = None) -> None:
        headers = {path: read_header(path) for path in paths}
        if index is not None:
            _check_index(index, headers)
        self._file_of = {name: path for path, header in headers.items() for name in header}
        self.header: Header = {
            name: info for header in headers.values() for name, info in header.items()
        }
        self._open: dict[Path, Any] = {}

    def read(self, name: str) -> Tensor:
        """One tensor, mapped from its file."""
        from safetensors import safe_open

        path = self._file_of[name]

        def refused(error: Exception) -> CheckpointError:
            return CheckpointError(
                f"'{path.name}' is damaged, or of a kind that safetensors cannot read",
                details=[f"tensor '{name}': {reason_of(error)}"],
                hint="download the file again and compare its size with the repo's",
            )

        with reading(path), parsing(refused):
            if path not in self._open:
                self._open[path] = safe_open(path, framework="pt")
            return self._open[path].get_tensor(name)  # type: ignore[no-any-return]


class PickleCheckpoint:
    """One or several pickle files; with the index that names them, checked against it."""

    def __init__(self, paths: Sequence[Path], index: Path | None = None) -> None:
        loaded = {path: load_pickle(path) for path in paths}
        if index is not None:
            _check_index(index, loaded)
        self._tensors = {name: t for tensors in loaded.values() for name, t in tensors.items()}
        self.header: Header = {
            name: TensorInfo(dtype_name(tensor), tuple(tensor.shape))
            for name, tensor in self._tensors.items()
        }

    def read(self, name: str) -> Tensor:
        """One tensor."""
        return self._tensors[name].detach().contiguous()


def find_weights(folder: Path, names: Sequence[str]) -> str:
    """Which of a folder's or repo's files holds the weights, or the index of its shards.

    Args:
        folder: For messages.
        names: Names of all files.

    Raises:
        UsageError: None, or several equally good ones.
    """
    for name in WEIGHT_FILES:
        if name in names:
            return name
    for suffix in SUFFIXES:
        found = sorted(name for name in names if name.endswith(suffix) and "/" not in name)
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"'{called(folder)}' holds several weight files",
                details=found,
                hint="name the file itself",
            )
    raise UsageError(
        f"'{called(folder)}' holds no weights",
        details=[f"looked for: {', '.join(WEIGHT_FILES)}, or one *{', *'.join(SUFFIXES)}"],
        hint=_step(names) or "name a folder, file or Hub repo with weights",
    )


def _step(names: Iterable[str]) -> str | None:
    """What makes a checkpoint that is read here of files of other libraries, if any are there."""
    names = tuple(names)
    steps = (step for ending, step in _STEPS.items() if any(n.endswith(ending) for n in names))
    return next(steps, None)


def shard_names(index: Mapping[str, Any], index_name: str) -> list[str]:
    """The shards an index names, checked before any is touched.

    Raises:
        CheckpointError: All entries that lead outside the folder or are of another kind.
    """
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(
            f"'{index_name}' has no weight_map", hint="take the index from the repo again"
        )
    suffix = ".safetensors" if "safetensors" in index_name else ".bin"
    shards = sorted({str(shard) for shard in weight_map.values()})
    odd = re.compile(r"[/\\:]|^\.|[\x00-\x1f]|.{250}")  # file systems take 255 bytes
    bad = [s for s in shards if odd.search(s) or not s.endswith(suffix)]
    if bad:
        raise CheckpointError(
            f"'{index_name}' names files that are no {suffix} beside it; nothing was read",
            details=[repr(shard)[:200] for shard in bad],
            hint="take the index from the repo again",
        )
    return shards


def weight_paths(path: Path, inside: Path | None = None) -> list[Path]:
    """The weight files behind a file or an index.

    Args:
        path: A weight file, or the index of a sharded one.
        inside: Folder that nothing may lead out of.

    Raises:
        CheckpointError: The index is bad, or shards are missing; lists all.
    """
    require_regular(path, inside)
    if not path.name.endswith(".index.json"):
        return [path]
    shards = shard_names(read_json(path, "index"), path.name)
    with reading(path):
        missing = [shard for shard in shards if not (path.parent / shard).exists()]
    if missing:
        raise CheckpointError(
            f"'{path.name}' names shards that are not there",
            details=missing,
            hint="download the missing files into the folder",
        )
    paths = [path.parent / shard for shard in shards]
    for shard in paths:
        require_regular(shard, path.parent)
    return paths


def open_checkpoint(path: Path, inside: Path | None = None) -> Checkpoint:
    """Open a weight file or the index of a sharded one.

    Args:
        path: The file.
        inside: Folder that nothing may lead out of.

    Raises:
        CheckpointError: Damaged, unsafe or inconsistent.
        UsageError: No regular file, or of an unknown kind.
    """
    paths = weight_paths(path, inside)
    index = path if path.name.endswith(".index.json") else None
    if paths[0].suffix == ".safetensors":
        return SafetensorsCheckpoint(paths, index)
    if paths[0].suffix in SUFFIXES:
        return PickleCheckpoint(paths, index)
    raise UsageError(
        f"'{path.name}' is of no known kind",
        details=[f"known endings: {', '.join(SUFFIXES)}"],
        hint=_step([path.name]) or "name a file of such an ending, or its folder",
    )


def _check_index(path: Path, shards: Mapping[Path, Iterable[str]]) -> None:
    weight_map = read_json(path, "index")["weight_map"]
    problems, seen = [], dict[str, str]()
    for shard, names in shards.items():
        for name in names:
            if name in seen:
                problems.append(f"'{name}' is in both '{seen[name]}' and '{shard.name}'")
            elif weight_map.get(name) != shard.name:
                told = weight_map.get(name)
                problems.append(f"'{name}' is in '{shard.name}', the index says {told!r}")
            seen[name] = shard.name
    problems += [
        f"'{n}' is in no shard; the index says {s!r}"
        for n, s in weight_map.items()
        if n not in seen
    ]
    if problems:
        raise CheckpointError(
            f"'{path.name}' and its shards disagree",
            details=problems,
            hint="download index and shards from the same revision",
        )

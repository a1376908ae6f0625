"""NIfTI files that somebody else wrote: header first, then exactly the bytes it promises.

nibabel reads a wrong checksum, a flipped byte, spacing 0 and a zero affine without a word, and
allocates what a header asks for. Here the stream is counted and its checksum verified.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from inflate_zoo.bench.data.grids import Grid, checked_grid, damaged, to_file_grid, to_our_axes
from inflate_zoo.bench.definitions.tasks import Slices
from inflate_zoo.errors import UsageError
from inflate_zoo.files.foreign import parsing, reason_of
from inflate_zoo.files.reading import disguise, reading, require_regular
from inflate_zoo.files.writing.whole_files import replacing

SUPPORTED = (".nii.gz", ".nii")
_MEMORY = "check it on a machine with more memory, or take the case out"
_PIECE = 1 << 20  # bytes
_FIRST = 1 << 12  # bytes that hold a header: of most files that is all that is read
_EXPANSION = 1040  # deflate cannot do better than 1032:1
_LARGEST_OFFSET = 64 << 20  # bytes before the voxels: header and extensions


@dataclass(frozen=True, eq=False)
class Volume:
    """A file's voxels in (depth, height, width) order.

    Attributes:
        array: [channels, depth, height, width], of the file's type, or float32 where it scales.
        grid: What is needed to put a result back onto the file's own grid.
    """

    array: NDArray[Any]
    grid: Grid


def _pieces(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """The content in pieces, unpacked if need be; checks each gzip member's checksum and length."""
    data = file.read(_FIRST)
    if not path.name.lower().endswith(".gz"):
        while data:
            yield data
            data = file.read(_PIECE)
        return
    unpacker = zlib.decompressobj(wbits=31)
    while data:
        if piece := unpacker.decompress(data, _PIECE):
            yield piece
        if not unpacker.eof:
            data = unpacker.unconsumed_tail or file.read(_PIECE)
        elif data := unpacker.unused_data or file.read(_PIECE):
            if data[:1] != b"\x1f":
                raise damaged(path, "has junk after its compressed data")
            unpacker = zlib.decompressobj(wbits=31)  # bgzip writes many members
    if not unpacker.eof:
        raise damaged(path, "is cut off: its compressed data ends early")


def _broken(path: Path, error: Exception) -> UsageError:
    return damaged(path, f"is damaged: {reason_of(error)}")


class _Stream:
    """Counted reading of one file's content."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._rest = path, memoryview(b"")
        self._pieces = _pieces(path, file)

    def fill(self, buffer: memoryview) -> int:
        """Fill a buffer of bytes; returns how many there were."""
        position = 0
        wrong = "is damaged: its compressed data or their checksum is wrong"
        with parsing(lambda _: damaged(self._path, wrong)):
            while position < len(buffer):
                if not self._rest:
                    self._rest = memoryview(next(self._pieces, b""))
                    if not self._rest:
                        break
                count = min(len(self._rest), len(buffer) - position)
                buffer[position : position + count] = self._rest[:count]
                self._rest, position = self._rest[count:], position + count
        return position

    def take(self, count: int) -> bytes:
        """As many bytes as there are, up to `count`."""
        buffer = bytearray(count)
        return bytes(buffer[: self.fill(memoryview(buffer))])


def _parse(path: Path, stream: _Stream) -> tuple[Any, int]:
    """Header, and how many bytes of the stream it took."""
    start = stream.take(348)
    if len(start) < 348:
        raise damaged(path, f"holds {len(start)} bytes, less than a NIfTI header")
    sizes = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")}
    kind, magic = nib.Nifti1Header, start[344:348]
    if 540 in sizes:
        kind, magic = nib.Nifti2Header, start[4:8]
        start += stream.take(540 - 348)
    whole = len(start) == kind.template_dtype.itemsize
    if magic not in (b"n+1\0", b"n+2\0") or not sizes & {348, 540} or not whole:
        raise damaged(path, "is no NIfTI file", "only single NIfTI files (.nii, .nii.gz) are read")
    with parsing(partial(_broken, path)):
        return kind(start, check=False), len(start)


def _open(path: Path, file: BinaryIO) -> tuple[_Stream, Grid, int]:
    """Stream after the header, grid, bytes still to skip before the voxels."""
    start = file.read(4096)
    file.seek(0)
    packed, wanted = start[:2] == b"\x1f\x8b", path.name.lower().endswith(".gz")
    if found := disguise(start):
        raise damaged(path, f"is {found.what}, not a volume")
    if start and packed != wanted:
        named = "is no gzip file" if wanted else "is a gzip file"
        raise damaged(path, f"{named}, unlike its name says", "rename it, or download it again")
    stream = _Stream(path, file)
    header, position = _parse(path, stream)
    grid = checked_grid(path, header)
    offset = float(header["vox_offset"])
    if not (position <= offset <= _LARGEST_OFFSET and offset == int(offset)):
        raise damaged(path, f"says that its voxels begin at byte {offset:g}")
    return stream, grid, int(offset) - position


def _require_supported(path: Path) -> None:
    if not path.name.lower().endswith(SUPPORTED):
        raise damaged(path, "has an unknown format", "convert it to NIfTI: .nii or .nii.gz")
    if not path.exists():
        raise damaged(path, "is missing", "put the file there, or take the case out")
    require_regular(path)


def read_grid(path: Path) -> Grid:
    """Shape and geometry of a NIfTI file, from its header alone.

    Raises:
        UsageError: Missing, of another format, or its header is no honest one.
    """
    with reading(path):
        _require_supported(path)
        with path.open("rb") as file:
            return _open(path, file)[1]


def read_volume(path: Path, slices: Slices, like: Grid | None = None) -> Volume:
    """Read a NIfTI file whole; memory is bounded by the size of the voxels it really holds.

    Args:
        path: A `.nii` or `.nii.gz` file.
        slices: Plane of a slice, which decides the order of the axes.
        like: Grid of the image that it belongs to, whose axes it then has; see `to_our_axes`.

    Raises:
        UsageError: Missing, of another format, damaged, or its header promises other data.
    """
    with reading(path):
        _require_supported(path)
        with path.open("rb") as file:
            raw, grid = _read_voxels(path, file)
    with parsing(partial(_broken, path)):
        slope, inter = grid.header.get_slope_inter()
    if slope is not None and (slope, inter) != (1.0, 0.0):
        raw = raw.astype(np.float32)
        raw *= np.float32(slope)
        raw += np.float32(inter)
    return Volume(array=to_our_axes(raw, like or grid, slices), grid=grid)


def _read_voxels(path: Path, file: BinaryIO) -> tuple[NDArray[Any], Grid]:
    """Voxels as they stand in the file, [x, y, z, channels], in the machine's byte order."""
    stream, grid, skip = _open(path, file)
    dtype = grid.header.get_data_dtype()
    voxels = prod(grid.shape) * grid.channels
    promised, size = voxels * dtype.itemsize, path.stat().st_size
    claim = f"its header promises {promised:,} bytes of voxels"
    room = size * _EXPANSION if path.name.lower().endswith(".gz") else size
    if promised > room:
        raise damaged(path, f"is too small: {claim}, the file has {size:,} bytes")
    stream.take(skip)
    with parsing(lambda _: damaged(path, f"does not fit into memory: {claim}", _MEMORY)):
        buffer = np.empty(promised, np.uint8)
    found = stream.fill(buffer.data)
    if found < promised:
        raise damaged(path, f"is cut off: {claim}, it holds {found:,}")
    if stream.take(1):
        raise damaged(path, f"holds more than it should: {claim}, and more follows")
    raw = buffer.view(dtype)
    if not dtype.isnative:
        raw = raw.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return raw.reshape((*grid.shape, grid.channels), order="F"), grid


def read_channels(
    images: Sequence[Path],
    slices: Slices,
    read: Callable[[Path, Slices, Grid | None], Volume] = read_volume,
) -> Iterator[Volume]:
    """The channels of an image one by one, each [1, depth, height, width].

    Args:
        images: One file with all channels, or one file per channel; all have the axes of the first.
        slices: Plane of a slice.
        read: Reads one of them.

    Raises:
        UsageError: See `read_volume`.
    """
    first: Grid | None = None
    for path in images:
        volume = read(path, slices, first)
        first = first or volume.grid
        for channel in range(volume.grid.channels):
            yield Volume(volume.array[channel : channel + 1], volume.grid)


def value_text(value: float) -> str:
    """A label's value in few digits, unless they hide that it is no whole number."""
    short = f"{value:g}"
    hidden = float(short).is_integer() and float(short) != value
    return repr(value).removesuffix(".0") if hidden else short


def describe_channels(label: Volume) -> tuple[str, str]:
    """What a label of several channels is, and what to write in its place."""
    count, array = label.grid.channels, label.array
    if not all(((plane == 0) | (plane == 1)).all() for channel in array for plane in channel):
        return f"is 4-D with {count} channels, 3-D is expected", "write one value per voxel"
    what = f"{count} channels of 0 and 1, one value per voxel is expected"
    together = array.sum(axis=0, dtype=np.uint32)
    if (together == 1).all():
        return f"is one-hot: {what}", "write np.argmax(label, axis=-1)"
    if (together <= 1).all():
        return (
            f"is one-hot without the background: {what}",
            "write np.where(label.any(-1), label.argmax(-1) + 1, 0)",
        )
    if any((array.sum(axis=axis, dtype=np.uint32) == 1).all() for axis in (1, 2, 3)):
        return (
            f"is one-hot along another axis than the last: {what}",
            "write np.argmax(label, axis=0), or along whichever axis holds the classes",
        )
    return (
        f"holds masks that overlap: {what}",
        'write one value per voxel, and name in dataset.json what a region unites: "whole": [1, 2]',
    )


def write_like(path: Path, labels: NDArray[np.uint8], like: Grid, slices: Slices) -> None:
    """Write label values onto an image's own grid, with its geometry in its own unit.

    Args:
        path: A `.nii` or `.nii.gz` file; replaced if it exists.
        labels: Values, uint8 [depth, height, width].
        like: Grid of the image they belong to.
        slices: Plane of a slice the image was read with.

    Raises:
        WriteError: Disk full, read-only folder, I/O error.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(label_file(path.name, labels, like, slices))


def label_file(name: str, labels: NDArray[np.uint8], like: Grid, slices: Slices) -> bytes:
    """What `write_like` writes, the same bytes for the same labels.

    Args:
        name: Of the file: `.nii.gz` is compressed.
        labels: Values, uint8 [depth, height, width].
        like: Grid of the image they belong to.
        slices: Plane of a slice the image was read with.
    """
    array = np.ascontiguousarray(to_file_grid(labels, like, slices))
    header = like.header.copy()
    header.set_data_shape(array.shape)
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_max"] = header["cal_min"] = 0
    kind = nib.Nifti2Image if header["sizeof_hdr"] == 540 else nib.Nifti1Image
    content = io.BytesIO()
    kind(array, header.get_best_affine(), header).to_stream(content)
    packed = name.lower().endswith(".gz")
    return gzip.compress(content.getvalue(), 6, mtime=0) if packed else content.getvalue()

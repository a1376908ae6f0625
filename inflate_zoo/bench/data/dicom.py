"""A DICOM series as a volume: files of one slice each, put in order by where the slices lie.

SimpleITK reads each file by itself: it undoes the compression and applies the file's own slope and
intercept. Its reader of whole series gives all slices the type of the first, which cuts fractions
off, and takes slices that are missing or not above one another with a warning; so order, spacing
and direction are found here.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from inflate_zoo.bench.data.grids import (
    Grid,
    checked_grid,
    damaged,
    short_name,
    times,
    to_our_axes,
)
from inflate_zoo.bench.data.volumes import Volume
from inflate_zoo.bench.definitions.tasks import Slices
from inflate_zoo.errors import UsageError
from inflate_zoo.extras import install_hint
from inflate_zoo.files.budgets import MOST_PIXELS
from inflate_zoo.files.foreign import parsing
from inflate_zoo.files.reading import reading

_NEARLY = 0.1  # voxels that a slice may lie off the even grid: headers round
_SAME_DIRECTION = 1e-3  # of the cosines
_CONVERT = "convert it to NIfTI, e.g. with dcm2niix, and name that file"
_TAGS = {
    "0020|0032": "where its slices lie (ImagePositionPatient)",
    "0020|0037": "how its slices are turned (ImageOrientationPatient)",
    "0028|0030": "the size of its pixels (PixelSpacing)",
}
_SERIES, _DESCRIPTION, _COLOURS = "0020|000e", "0008|103e", "0028|0004"
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, slots=True, eq=False)
class _Slice:
    """What the header of one file says.

    Attributes:
        path: The file.
        series: UID of its series, and what people call that.
        size: Columns and rows.
        spacing: Between columns and between rows, in mm.
        axes: Directions of growing column, row and slice (LPS), [3, 3] by columns.
        position: Centre of the first pixel (LPS), in mm.
        dtype: Of the pixels once they are rescaled.
    """

    path: Path
    series: tuple[str, str]
    size: tuple[int, int]
    spacing: tuple[float, float]
    axes: NDArray[np.float64]
    position: NDArray[np.float64]
    dtype: np.dtype[Any]


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do; the list of a disc's files is none."""
    if _is_beside(path):
        return False
    with suppress(OSError):  # what cannot be read is told where it is needed
        if stat.S_ISREG(path.stat().st_mode):
            with path.open("rb") as file:
                return file.read(132)[128:] == b"DICM"
    return False


def _is_beside(path: Path) -> bool:
    return path.name.startswith(".") or path.name.upper() == "DICOMDIR"


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files that lie in a folder itself, sorted by name."""
    with reading(folder):
        return [path for path in sorted(folder.iterdir()) if is_dicom(path)]


def holds_dicom(folder: Path) -> bool:
    """Whether a DICOM file lies in a folder itself."""
    with reading(folder):
        return any(is_dicom(path) for path in folder.iterdir())


def read_series(folder: Path, slices: Slices, like: Grid | None = None) -> Volume:
    """Read the DICOM series that a folder holds, rescaled as each of its files says.

    Args:
        folder: Holds the files of one series, whatever they are called, one slice in each.
        slices: Plane of a slice, which decides the order of the axes.
        like: Grid of the image that it belongs to, whose axes it then has; see `to_our_axes`.

    Returns:
        On the grid that the same series has as NIfTI: columns, rows, then slices along the
        direction that is perpendicular to both.

    Raises:
        UsageError: SimpleITK is missing; there is no series, or several; a file cannot be read, or
            is called as the others and is no DICOM file; slices are missing, doubled, unlike or not
            above one another; colours, or several slices in a file.
    """
    _require_library()
    files = dicom_files(folder)
    _require_whole(folder, files)
    found = [_header(path) for path in files]
    ordered = _in_order(folder, found)
    affine = _affine(ordered)
    columns, rows = ordered[0].size
    kind = np.result_type(*{each.dtype for each in ordered})
    dtype = np.dtype(np.float32) if kind.kind == "f" else kind
    shape = (columns, rows, len(ordered))
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header.set_xyzt_units("mm")
    with parsing(lambda _: damaged(folder, "has a geometry that is none", _CONVERT)):
        header.set_qform(affine, code="scanner")
        header.set_sform(affine, code="scanner")
    grid = checked_grid(folder, header)
    raw = np.empty(shape[::-1], dtype)
    for plane, each in zip(raw, ordered, strict=True):
        plane[...] = _pixels(each)
    array = to_our_axes(raw.transpose(2, 1, 0)[..., None], like or grid, slices)
    return Volume(array=array, grid=grid)


def _require_library() -> None:
    if find_spec("SimpleITK") is None:
        raise UsageError(
            "DICOM is read with SimpleITK, which is not installed: it comes with the extra 'dicom'",
            hint=install_hint(["SimpleITK"]),
        )


def _require_whole(folder: Path, files: Sequence[Path]) -> None:
    """Refuse what is called as the slices and is none: a copy that broke off leaves empty files.

    At the end of the stack nothing else tells that they are missing.
    """
    endings = {".dcm", *map(_ending, files)}
    with reading(folder):
        odd = [
            path
            for path in sorted(folder.iterdir())
            if _ending(path) in endings
            and not (_is_beside(path) or path.is_dir() or is_dicom(path))
        ]
    if odd:
        more = f", and {len(odd) - 1} more like it" if len(odd) > 1 else ""
        hint = "copy the series again, or take out what is none of it"
        raise damaged(odd[0], f"is called as a DICOM file and is none, or empty{more}", hint)


def _ending(path: Path) -> str:
    """What a file's name ends in; nothing where that is a number, as in a UID."""
    ending = path.suffix.lower()
    return "" if ending[1:].isdigit() else ending


def _reader(path: Path) -> Any:
    """A reader of one file; what the library would print of it goes nowhere."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return reader


def _unreadable(path: Path) -> UsageError:
    return damaged(path, "is damaged, or no image", "copy the series again without other objects")


def _header(path: Path) -> _Slice:
    import SimpleITK

    reader = _reader(path)
    with parsing(lambda _: _unreadable(path)):
        reader.ReadImageInformation()
        size, spacing = reader.GetSize(), reader.GetSpacing()
        position = np.array(reader.GetOrigin(), np.float64)
        axes = np.array(reader.GetDirection(), np.float64).reshape(len(position), -1)
        known = set(reader.GetMetaDataKeys())
        told = {
            key: reader.GetMetaData(key).strip(" \0")
            for key in (_SERIES, _DESCRIPTION, _COLOURS)
            if key in known
        }
        dtype = _dtypes(SimpleITK).get(reader.GetPixelID())
    if (reader.GetNumberOfComponents() != 1) or told.get(_COLOURS) != "MONOCHROME2":
        shown = told.get(_COLOURS) or "unknown"
        raise damaged(path, f"holds colours, or is inverted ({shown})", _CONVERT)
    if len(size) > 2 and max(size[2:]) > 1:
        raise damaged(path, f"holds {max(size[2:])} slices in one file", _CONVERT)
    for tag, what in _TAGS.items():
        if tag not in known:
            raise damaged(path, f"does not say {what}", _CONVERT)
    if dtype is None or len(position) != 3 or max(size[:2]) > MOST_PIXELS:
        raise _unreadable(path)
    series = told.get(_SERIES, ""), told.get(_DESCRIPTION, "")
    return _Slice(path, series, size[:2], spacing[:2], axes, position, dtype)


def _dtypes(library: Any) -> dict[int, np.dtype[Any]]:
    names = ("UInt8", "Int8", "UInt16", "Int16", "UInt32", "Int32", "Float32", "Float64")
    return {getattr(library, f"sitk{name}"): np.dtype(name.lower()) for name in names}


def _pixels(each: _Slice) -> NDArray[Any]:
    """[rows, columns], rescaled."""
    import SimpleITK

    with parsing(lambda _: _unreadable(each.path)):
        pixels = SimpleITK.GetArrayFromImage(_reader(each.path).Execute())
        return np.asarray(pixels).reshape(each.size[::-1])


def _in_order(folder: Path, found: Sequence[_Slice]) -> list[_Slice]:
    """The slices of the one series along the direction that is perpendicular to them."""
    if not found:
        raise UsageError(f"'{short_name(folder)}' holds no DICOM file", hint="name another")
    _require_one_series(folder, found)
    if len(found) < 2:
        raise damaged(folder, "is a DICOM series of one slice", "two or more are needed")
    first = found[0]
    for each in found:
        if each.size != first.size:
            sizes = f"{times(first.size)} pixels and others of {times(each.size)}"
            raise damaged(folder, f"holds slices of {sizes}", _CONVERT)
        spacings = np.allclose(each.spacing, first.spacing, rtol=1e-3)
        if not spacings or np.abs(each.axes - first.axes).max() > _SAME_DIRECTION:
            raise damaged(folder, "holds slices of other spacings or directions", _CONVERT)
    normal = first.axes[:, 2]
    return sorted(found, key=lambda each: float(each.position @ normal))


def _require_one_series(folder: Path, found: Iterable[_Slice]) -> None:
    counts = Counter(each.series[0] for each in found)
    if len(counts) == 1:
        return
    called = dict(each.series for each in found)
    raise UsageError(
        f"'{short_name(folder)}' holds {len(counts)} DICOM series",
        details=[f"{called[uid] or uid}: {count} files" for uid, count in counts.items()],
        hint="put the files of each series into a folder of its own",
    )


def _affine(ordered: Sequence[_Slice]) -> NDArray[np.float64]:
    """Voxel (column, row, slice) to world (RAS, mm), where slices are even and above one another.

    Raises:
        UsageError: Slices are missing, doubled, or shifted against one another.
    """
    first, last, folder = ordered[0], ordered[-1], ordered[0].path.parent
    step = (last.position - first.position) / (len(ordered) - 1)
    normal, height = first.axes[:, 2], float(np.linalg.norm(step))
    for below, above in pairwise(ordered):
        if float((above.position - below.position) @ normal) <= _NEARLY * height:
            names = f"'{below.path.name}' and '{above.path.name}'"
            raise damaged(
                folder,
                f"holds two slices at one place: {names}",
                "keep one point in time, one echo, one reconstruction",
            )
    for number, each in enumerate(ordered):
        off = each.position - first.position - number * step
        if float(np.linalg.norm(off)) > _NEARLY * height:
            raise damaged(
                folder,
                f"lacks slices, or they are not evenly spaced: '{each.path.name}' lies "
                f"{np.linalg.norm(off):.3g} mm off",
                "copy the whole series, or resample it",
            )
    shift = float(np.linalg.norm(np.cross(last.position - first.position, normal)))
    if shift > min(first.spacing):
        raise damaged(folder, "has slices that are shifted: its gantry was tilted", _CONVERT)
    affine = np.eye(4)
    affine[:3, 0] = _LPS_TO_RAS @ first.axes[:, 0] * first.spacing[0]
    affine[:3, 1] = _LPS_TO_RAS @ first.axes[:, 1] * first.spacing[1]
    affine[:3, 2] = _LPS_TO_RAS @ step
    affine[:3, 3] = _LPS_TO_RAS @ first.position
    return affine

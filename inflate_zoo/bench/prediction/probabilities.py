"""Class probabilities in the form of nnU-Net's `--save_probabilities`, written class by class."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NAME = "probabilities"
_LEVEL = 1  # of compression: higher ones take several times as long for a few per cent


def write_npz(path: Path, classes: Iterable[NDArray[np.float32]], shape: Sequence[int]) -> None:
    """Write an .npz whose one array is `probabilities`; the same bytes for the same values.

    Args:
        path: The file.
        classes: One after the other, each [z, y, x].
        shape: Of the whole array: (classes, z, y, x).

    Raises:
        OSError: It cannot be written.
    """
    header = io.BytesIO()
    told = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(header, told)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive,
        archive.open(f"{NAME}.npy", "w", force_zip64=True) as file,  # of no date
    ):
        file.write(header.getvalue())
        for each in classes:
            file.write(np.ascontiguousarray(each, "<f4").data.cast("B"))

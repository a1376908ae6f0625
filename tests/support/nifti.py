"""Volumes as files, and files with another header."""

import nibabel as nib
import numpy as np

SHAPE = (6, 5, 4)
SPACED = np.diag([0.5, 0.7, 3.0, 1.0])
ARRAY = np.random.default_rng(0).integers(0, 100, SHAPE).astype(np.int16)


def content(array=ARRAY, affine=SPACED):
    return nib.Nifti1Image(array, affine).to_bytes()


def with_header(change, array=ARRAY):
    """A file's bytes with a header field changed behind nibabel's back."""
    raw = bytearray(content(array))
    header = nib.Nifti1Header(bytes(raw[:348]), check=False)
    change(header)
    raw[:348] = header.binaryblock
    return bytes(raw)


def setting(**fields):
    def change(header):
        for name, value in fields.items():
            header[name] = value

    return change


def pixdim(*sizes):
    def change(header):
        header["pixdim"][1:4] = sizes

    return change


def write_in(path, unit, per_mm, array=ARRAY, kind=nib.Nifti1Image):
    """The same volume in another unit: `per_mm` of it make one mm."""
    affine = SPACED.copy()
    affine[:3, 3] = 7, -8, 9
    affine[:3] *= per_mm
    image = kind(array, affine)
    image.header["xyzt_units"] = unit
    path.parent.mkdir(exist_ok=True)
    nib.save(image, path)
    return path

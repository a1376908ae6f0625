"""DICOM series, written with pydicom from a volume and its affine."""

from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid
from pydicom.valuerep import DSfloat

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def texts(values):
    """Decimal texts of at most 16 characters, as DICOM has them."""
    return [DSfloat(float(value), auto_format=True) for value in values]


def write_series(folder, stored, affine, *, slopes=None, intercept=0, change=None, packed=False):
    """Write each slice of an int16 volume [x, y, z] as a file.

    Args:
        folder: Made if need be.
        stored: What stands in the files: the values before slope and intercept.
        affine: Voxel to world (RAS, mm).
        slopes: Of each slice; without, they state none.
        intercept: Of all slices, where there are slopes.
        change: Called with each data set and its number, before it is written.
        packed: Whether pixels are compressed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    to_lps = LPS @ affine
    sizes = np.linalg.norm(to_lps[:3, :3], axis=0)
    series, study = generate_uid(), generate_uid()
    count = stored.shape[2]
    for number in range(count):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        data.SeriesInstanceUID, data.StudyInstanceUID = series, study
        data.Modality, data.SeriesDescription = "CT", "thin slices"
        data.InstanceNumber = count - number  # the other way round: places count
        data.ImageOrientationPatient = texts((to_lps[:3, :2] / sizes[:2]).T.ravel())
        data.ImagePositionPatient = texts((to_lps @ [0, 0, number, 1])[:3])
        data.PixelSpacing = texts([sizes[1], sizes[0]])  # between rows first
        data.SliceThickness = texts([sizes[2]])[0]
        data.Columns, data.Rows = stored.shape[:2]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation = 1
        if slopes is not None:
            data.RescaleSlope, data.RescaleIntercept = texts([slopes[number], intercept])
        data.PixelData = np.ascontiguousarray(stored[:, :, number].T).astype("<i2").tobytes()
        if change is not None:
            change(data, number)
        if packed:
            data.compress(RLELossless)
        # Names in no order at all.
        data.save_as(folder / f"{(number * 7) % 97:02d}-{number}", enforce_file_format=True)
    return folder

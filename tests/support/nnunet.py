"""What nnU-Net writes before it trains, as small as it takes it."""

import json
from pathlib import Path
from typing import Any

from inflate_zoo.nnunet.choice import Demand

NAME = "Dataset104_Hippocampus"
VOLUME, PATCH = (4, 16, 16), (4, 13, 16)


def demand(**changes: Any) -> Demand:
    """What nnU-Net asks of a network of the plans below."""
    fields: dict[str, Any] = {
        "configuration": "3d_fullres",
        "patch_size": PATCH,
        "previous_stage": None,
        "channels": 1,
        "outputs": 3,
        "normalization": ("ZScoreNormalization",),
    }
    return Demand(**fields | changes)


def dataset_table(**changes: Any) -> dict[str, Any]:
    """A dataset.json of nnU-Net's."""
    return {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "anterior": 1, "posterior": 2},
        "numTraining": 5,
        "file_ending": ".nii.gz",
        **changes,
    }


def plans_table(**changes: Any) -> dict[str, Any]:
    """Plans of nnU-Net's with three configurations; `changes` are of `3d_fullres`."""
    full: dict[str, Any] = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(PATCH),
        "median_image_size_in_voxels": [8.0, 16.0, 16.0],
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "batch_dice": False,
        "architecture": {
            "network_class_name": "none",
            "arch_kwargs": {},
            "_kw_requires_import": [],
        },
        **changes,
    }
    flat = {**full, "patch_size": [16, 16], "data_identifier": "nnUNetPlans_2d"}
    cascade = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    return {
        "dataset_name": NAME,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"2d": flat, "3d_fullres": full, "3d_cascade_fullres": cascade},
    }


def prepare(home: Path, **changes: Any) -> dict[str, str]:
    """Write what a trainer reads of a prepared data set; returns nnU-Net's variables."""
    places = {f"nnUNet_{name}": home / name for name in ("raw", "preprocessed", "results")}
    folder = places["nnUNet_preprocessed"] / NAME
    data = folder / "nnUNetPlans_3d_fullres"
    data.mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps(dataset_table()))
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans_table(**changes)))
    (folder / "dataset_fingerprint.json").write_text("{}")
    (data / "case_0.npz").write_bytes(b"")  # of its name alone the kind of file is told
    return {name: str(place) for name, place in places.items()}

"""What stands in a MONAI bundle beside the weights: its configs and texts, from a trial alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from inflate_zoo.bench.definitions.results import Result
from inflate_zoo.bench.definitions.tasks import Task
from inflate_zoo.bench.definitions.trials import TrialSpec, window_of
from inflate_zoo.errors import UsageError, visible

METADATA, INFERENCE = "configs/metadata.json", "configs/inference.json"
_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
_CODE = re.compile(r"^\s*[$@%]|[@%]#")  # what MONAI's parser of configs runs, follows or opens
_MODALITIES = {"MRI": "MR"}  # a bundle's word for ours
_VERSION = "0.1.0"
_IGNITE = "0.4.11"  # the least that MONAI's evaluator takes
_FIRE = "0.7.1"  # which reads the command line of monai.bundle; the release that was tried


def metadata(spec: TrialSpec, result: Result, versions: Mapping[str, str]) -> dict[str, Any]:
    """The content of metadata.json: every field that MONAI's specification requires, and others.

    Args:
        spec: The trial.
        result: What it scored.
        versions: Package to version; of torch, numpy, monai and what a bundle needs beside them.

    Raises:
        UsageError: A name of the task would be run as code.
    """
    task = spec.task
    regions = ", ".join(task.regions)
    own = {
        "schema": _SCHEMA,
        "version": _VERSION,
        "changelog": {_VERSION: f"exported from trial {spec.hash}"},
        "monai_version": versions["monai"],
        "pytorch_version": versions["torch"],
        "numpy_version": versions["numpy"],
        "required_packages_version": {
            **{name: versions[name] for name in ("inflate-zoo", "nibabel", "scipy")},
            "pytorch-ignite": _IGNITE,
            "fire": _FIRE,
        },
        "name": task.title or task.name,
        "task": f"segmentation of {regions} in {task.modality or 'images'}",
        "description": (
            f"{spec.arm.architecture}, {spec.arm.kind}, with decoder "
            f"{spec.protocol.network.decoder}; weights from {spec.arm.source}; trained on "
            f"{task.title or task.name} by protocol {spec.protocol.name}, fold {spec.fold}, "
            f"seed {spec.seed}"
        ),
        "authors": "not recorded",
        "copyright": "not recorded; see docs/license.txt",
        "data_source": task.address or "not recorded",
        "data_type": "nibabel",
        "image_classes": f"{len(task.channels)} channel(s), intensities in [0, 1]",
        "label_classes": ", ".join(f"{value} {name}" for name, value in task.labels.items()),
        "pred_classes": f"{len(task.labels)} channels of logits, one for each class",
        "eval_metrics": _scores(result),
        "intended_use": "research; not for diagnosis",
        "references": [task.citation] if task.citation else [],
        "network_data_format": _data_format(spec),
    }
    for text in _texts(own):
        if _CODE.search(text):
            raise UsageError(
                f"MONAI would run '{visible(text)}' as code, where it stands in a bundle",
                hint="rename it in the task or the data set, and train again",
            )
    return own


def _scores(result: Result) -> dict[str, float]:
    values = [case.mean_dice for case in result.cases if case.mean_dice is not None]
    return {"mean_dice": round(sum(values) / len(values), 4)} if values else {}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _data_format(spec: TrialSpec) -> dict[str, Any]:
    task, window = spec.task, list(window_of(spec))
    told = window if not spec.protocol.network.centre_slice else [1, *window[1:]]
    modality = _MODALITIES.get(task.modality, task.modality) or "n/a"
    names = {value: name for name, value in task.labels.items()}
    common = {"type": "image", "modality": modality, "dtype": "float32", "is_patch_data": True}
    return {
        "inputs": {
            "image": {
                **common,
                "format": "magnitude",
                "num_channels": len(task.channels),
                "spatial_shape": window,
                "value_range": [0, 1],
                "channel_def": {str(i): name for i, name in enumerate(task.channels)},
            }
        },
        "outputs": {
            "pred": {
                **common,
                "format": "labels",
                "num_channels": len(task.values),
                "spatial_shape": told,
                "value_range": [],
                "channel_def": {str(i): names[value] for i, value in enumerate(task.values)},
            }
        },
    }


def inference(spec: TrialSpec) -> dict[str, Any]:
    """The content of inference.json: the steps of `predict`, on any folder of images."""
    task, evaluation = spec.task, spec.protocol.evaluation
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "datalist": {
            "_target_": "inflate_zoo.monai.find_images",
            "folder": "@dataset_dir",
            "channels": len(task.channels),
        },
        "network_def": {"_target_": "inflate_zoo.load", "source": "$@bundle_root + '/models'"},
        "network": "$@network_def.to(@device)",
        "preprocessing": _composed([_prepared(task)]),
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": _inferer(spec, evaluation.batch),
        "postprocessing": _composed(
            [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {
                    "_target_": "inflate_zoo.monai.RestoreLabelsd",
                    "keys": "pred",
                    "image_key": "image",
                    "values": list(task.values),
                    "slices": task.slices,
                },
                {
                    "_target_": "inflate_zoo.monai.SaveLabelsd",
                    "keys": "pred",
                    "image_key": "image",
                    "output_dir": "@output_dir",
                },
            ]
        ),
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "amp": False,
        },
        "run": ["$@evaluator.run()"],
    }


def _composed(transforms: list[dict[str, Any]]) -> dict[str, Any]:
    return {"_target_": "Compose", "transforms": transforms}


def _prepared(task: Task) -> dict[str, Any]:
    return {
        "_target_": "inflate_zoo.monai.PrepareImaged",
        "keys": "image",
        "channels": len(task.channels),
        "spacing": list(task.spacing),
        "intensity": task.intensity.model_dump(mode="json"),
        "slices": task.slices,
        "slice_size": task.slice_size if task.whole_slices else None,
    }


def _inferer(spec: TrialSpec, at_once: int) -> dict[str, Any]:
    common = {"roi_size": list(window_of(spec)), "sw_batch_size": at_once}
    if spec.protocol.network.centre_slice:
        return {"_target_": "inflate_zoo.monai.CentreSliceInferer", **common}
    return {
        "_target_": "SlidingWindowInferer",
        **common,
        "overlap": spec.protocol.evaluation.overlap,
        "mode": "gaussian",
        "sw_device": "@device",
        "device": "cpu",
    }


def readme(spec: TrialSpec) -> str:
    """The content of README.md."""
    name = visible(spec.task.title or spec.task.name)
    return f"""# {name}

A network that `inflate-zoo bench` trained, as a MONAI bundle. It needs `inflate-zoo[bench]`,
`pytorch-ignite` and `fire`. In this folder (or with `--bundle_root`),

    python -m monai.bundle run --config_file configs/inference.json \\
      --dataset_dir IMAGES --output_dir LABELS

segments NIfTI files (`_0000`, `_0001` for channels) and DICOM series as `inflate-zoo predict` does,
voxel by voxel: its transforms are those of `inflate_zoo.monai`.

The weights are `models/model.safetensors`, which `inflate_zoo.load("models")` reads; there is no
pickled `model.pt`. `export.json` holds versions, digests and the error that was measured.
"""


def license_text(spec: TrialSpec) -> str:
    """The content of license.txt: what is known of licences."""
    return (
        "The weights descend from two things, whose licences hold for them:\n"
        f"- the weights they were trained from: {visible(spec.arm.source)}\n"
        f"- the data they were trained on: {visible(spec.task.title or spec.task.name)}, licence "
        f"{visible(spec.task.license)}\n"
    )

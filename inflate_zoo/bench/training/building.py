"""From a trial's specification to a network ready to train."""

from __future__ import annotations

from pathlib import Path

import torch

from inflate_zoo.bench.definitions.trials import TrialSpec, window_of
from inflate_zoo.bench.training.seeding import derive_seed
from inflate_zoo.errors import UsageError
from inflate_zoo.files.digests import sha256
from inflate_zoo.inflation.channels import to_channels
from inflate_zoo.networks.backbone import Backbone, assemble
from inflate_zoo.segmentation.segmenter import Segmenter, segmenter


def build(spec: TrialSpec, weights: Path | None) -> Segmenter:
    """Build a trial's network: the arm's backbone, a new decoder.

    Args:
        spec: The trial.
        weights: Folder of the backbone's weights; `None` for random weights.

    Raises:
        UsageError: The weights are not those the trial was planned with.
    """
    backbone = _backbone(spec, weights)
    settings = spec.protocol.network
    backbone.set_drop_path(settings.drop_path)
    backbone.requires_grad_(not settings.freeze)
    torch.manual_seed(derive_seed(spec.seed, "decoder"))
    return segmenter(
        backbone,
        classes=len(spec.task.values),
        decoder=settings.decoder,
        features=settings.features,
        norm=settings.norm,
        image_path=settings.image_path,
        slice_wise=spec.arm.kind == "2d",
    )


def _backbone(spec: TrialSpec, weights: Path | None) -> Backbone:
    window = window_of(spec)
    volume = (1, *window[1:]) if spec.arm.kind == "2d" else window
    if spec.arm.kind == "random":
        torch.manual_seed(derive_seed(spec.seed, "backbone"))
        backbone = Backbone(spec.arm.config.for_volume(volume))  # type: ignore[abstract]
    else:
        if weights is None or not (weights / "model.safetensors").exists():
            raise UsageError(
                f"the weights of '{spec.arm.label}' are gone from the cache",
                hint="run the 'inflate-zoo bench' command again: it converts them anew",
            )
        if sha256(weights / "model.safetensors") != spec.arm.weights:
            raise UsageError(
                f"the weights of '{spec.arm.label}' changed since the trial was planned",
                hint="run the 'inflate-zoo bench' command again",
            )
        backbone = Backbone.from_pretrained(weights, volume=volume)
        backbone.file = None  # a trial's files hold the very tables that were scored
    return with_channels(backbone, len(spec.task.channels))


def with_channels(backbone: Backbone, channels: int) -> Backbone:
    """The backbone for another number of channels: the one kernel spread evenly over them."""
    if backbone.config.in_channels == channels:
        return backbone
    tensors = dict(backbone.state_dict())
    kernel = tensors[backbone.config.stem]
    tensors[backbone.config.stem] = to_channels(kernel.double(), channels).to(kernel.dtype)
    config = backbone.config.model_copy(update={"in_channels": channels})
    return assemble(Backbone, config, tensors)

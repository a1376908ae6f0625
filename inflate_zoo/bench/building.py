"""From a trial's specification to a network ready to train."""

from __future__ import annotations

from pathlib import Path

import torch

from inflate_zoo.backbones import Backbone, assemble, fitted_config
from inflate_zoo.bench.definitions import Voxels
from inflate_zoo.bench.records import TrialSpec
from inflate_zoo.bench.seeding import derived
from inflate_zoo.channels import to_channels
from inflate_zoo.errors import UsageError
from inflate_zoo.files import sha256
from inflate_zoo.segmentation import Segmenter, segmenter


def window_of(spec: TrialSpec) -> Voxels:
    """The window a trial's network sees: the protocol's, rounded up to whole patches."""
    config = spec.arm.config
    patch = (config.patch_depth, *config.patch_size)
    depth, height, width = (
        -(-extent // step) * step
        for extent, step in zip(spec.protocol.network.window, patch, strict=True)
    )
    return depth, height, width


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
    torch.manual_seed(derived(spec.seed, "decoder"))
    network = segmenter(
        backbone,
        classes=len(spec.task.values),
        decoder=settings.decoder,
        features=settings.features,
        slice_wise=spec.arm.kind == "2d",
    )
    backbone.requires_grad_(not settings.freeze)
    # Processes that share a training wait for every gradient: these parts get none.
    backbone.fc_norm.requires_grad_(False)
    if settings.decoder == "unetr":
        backbone.norm.requires_grad_(False)
    return network


def _backbone(spec: TrialSpec, weights: Path | None) -> Backbone:
    window = window_of(spec)
    volume = (1, *window[1:]) if spec.arm.kind == "2d" else window
    if spec.arm.kind == "random":
        torch.manual_seed(derived(spec.seed, "backbone"))
        backbone = Backbone(fitted_config(spec.arm.config, volume))
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
    return widened(backbone, len(spec.task.channels))


def widened(backbone: Backbone, channels: int) -> Backbone:
    """The backbone for another number of channels: the one kernel spread evenly over them."""
    if backbone.config.in_channels == channels:
        return backbone
    tensors = dict(backbone.state_dict())
    kernel = tensors["patch_embed.weight"]
    tensors["patch_embed.weight"] = to_channels(kernel.double(), channels).to(kernel.dtype)
    config = backbone.config.model_copy(update={"in_channels": channels})
    return assemble(Backbone, config, tensors)

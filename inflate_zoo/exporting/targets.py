"""The targets, by the name that a user types."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from inflate_zoo.exporting.exported_program import TorchExport
from inflate_zoo.exporting.monai_bundle import MonaiBundleExport
from inflate_zoo.exporting.monai_vit import MonaiVitExport
from inflate_zoo.exporting.onnx_model import OnnxExport
from inflate_zoo.exporting.target import Export

TARGETS: Mapping[str, type[Export]] = MappingProxyType(
    {
        "onnx": OnnxExport,
        "torch-export": TorchExport,
        "monai-vit": MonaiVitExport,
        "monai-bundle": MonaiBundleExport,
    }
)
"""Each says what it needs, translates, writes and proves."""

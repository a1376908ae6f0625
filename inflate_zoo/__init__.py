"""Inflate pre-trained 2D vision transformers to 3D, and prove that the conversion is right."""

from __future__ import annotations

from importlib import import_module

from inflate_zoo.version import __version__ as __version__

TYPE_CHECKING = False  # that of typing takes long to import, for a signal that comes meanwhile
if TYPE_CHECKING:
    from inflate_zoo.conversion.converting import convert, verify
    from inflate_zoo.inflation.schemes import SCHEMES
    from inflate_zoo.naming.catalog import families
    from inflate_zoo.networks.backbone import Backbone
    from inflate_zoo.registry.listing import zoo
    from inflate_zoo.registry.loading import load
    from inflate_zoo.segmentation.optimization import param_groups
    from inflate_zoo.segmentation.segmenter import segmenter

__all__ = [
    "SCHEMES",
    "Backbone",
    "convert",
    "families",
    "load",
    "param_groups",
    "segmenter",
    "verify",
    "zoo",
]

# Loaded at first use: importing the package imports no torch.
_HOMES = {
    "SCHEMES": "inflation.schemes",
    "Backbone": "networks.backbone",
    "convert": "conversion.converting",
    "families": "naming.catalog",
    "load": "registry.loading",
    "param_groups": "segmentation.optimization",
    "segmenter": "segmentation.segmenter",
    "verify": "conversion.converting",
    "zoo": "registry.listing",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

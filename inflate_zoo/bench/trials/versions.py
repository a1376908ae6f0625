"""Versions of what decides a result: a record tells them, and the places of a run share them."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from inflate_zoo.extras import version_of
from inflate_zoo.version import __version__

VERSIONS = ("torch", "monai", "accelerate", "numpy", "scipy", "surface-distance")


def versions() -> dict[str, str]:
    """Name to version of what runs here."""
    return {
        "python": sys.version.split()[0],
        "inflate-zoo": __version__,  # a checkout need not be installed
        **{name: version_of(name) for name in VERSIONS},
    }


def unlike(planned: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """What has another version than planned, each in words.

    Args:
        planned: Name to version; what is not in it may have any.
        found: Those here.
    """
    return [
        f"{name} {found.get(name, 'absent')} instead of {wanted}"
        for name, wanted in planned.items()
        if found.get(name) != wanted
    ]

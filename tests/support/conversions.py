"""A record of a conversion as it stands in conversion.json, for tests that need no network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

COMMIT, DIGEST = "c" * 40, "d" * 64
_RECORD: dict[str, Any] = {
    "format_version": 1,
    "source": {
        "name": "small-vit",
        "repo": "org/small-vit",
        "inside": "",
        "revision": "main",
        "commit": COMMIT,
        "weights": "model.safetensors",
        "taken": "",
        "copies": [],
        "sha256": {"model.safetensors": DIGEST},
        "license": {"license": "mit"},
        "family": "hf_vit",
        "arch": None,
    },
    "recipe": {
        "scheme": "center",
        "patch_depth": 4,
        "volume": [4, 32, 32],
        "channels": 1,
        "dtype": None,
        "fold_normalization": True,
        "normalization": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        "normalization_from": "preprocessor_config.json",
        "normalization_basis": "stated",
    },
    "dropped": [],
    "notes": [],
    "files": {
        name: {"sha256": DIGEST} for name in ("model.safetensors", "config.json", "README.md")
    },
    "versions": {"inflate-zoo": "0.2.0", "torch": "2.9.0"},
    "verification": {
        "passed": True,
        "max_error_over_rms": 1e-6,
        "tolerance": 1e-4,
        "errors": {"equal slices": 1e-6},
        "reference": "transformers 5 ViTModel",
        "grid": [3, 8, 8],
        "tables_equal": True,
        "rounding_error_over_rms": None,
        "rounded_exactly": None,
        "normalization": "stated",
        "fed_by": None,
        "replayed": "no library feeds it",
    },
}
# What records of release 0.2 do not say.
LATER = {
    "source": ("inside", "taken", "copies"),
    "recipe": ("normalization_basis",),
    "verification": ("normalization", "fed_by", "replayed"),
}


def conversion_table() -> dict[str, Any]:
    """The content of a conversion.json, to change."""
    return copy.deepcopy(_RECORD)


def early_table() -> dict[str, Any]:
    """The same as release 0.2 wrote it."""
    table = conversion_table()
    for part, names in LATER.items():
        for name in names:
            del table[part][name]
    return table


# Records that no reader may take: what is wrong, and what it is told by.
WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "nothing": (lambda table: table.clear(), "format_version: Field required"),
    "no channels": (lambda table: table["recipe"].pop("channels"), "recipe.channels"),
    "no depth": (lambda table: table["recipe"].pop("patch_depth"), "recipe.patch_depth"),
    "no fold": (
        lambda table: table["recipe"].pop("fold_normalization"),
        "recipe.fold_normalization",
    ),
    "a scheme": (
        lambda table: table["recipe"].update(scheme="centre"),
        "no scheme named 'centre'; known: average, center, repeat",
    ),
    "a type": (lambda table: table["recipe"].update(dtype="int8"), "no dtype named 'int8'"),
    "a mean": (
        lambda table: table["recipe"].update(normalization={"mean": ["x"], "std": [1.0]}),
        "recipe.normalization.mean",
    ),
    "no mean": (
        lambda table: table["recipe"].update(normalization=None, normalization_basis="given"),
        "is given by the user, but is not there",
    ),
    "no weights": (
        lambda table: table["files"].pop("model.safetensors"),
        "files lists no model.safetensors",
    ),
    "a digest": (lambda table: table["source"]["sha256"].update(x="0"), "source.sha256.x"),
    "a license": (lambda table: table["source"].update(license="mit"), "source.license"),
    "a proof": (lambda table: table["verification"].update(passed="yes"), "verification.passed"),
}

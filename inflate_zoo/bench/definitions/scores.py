"""Scores of segmentations: which there are, between which bounds, and their means over cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import GetPydanticSchema
from pydantic_core import CoreSchema, core_schema

COUNTS = ("intersection", "prediction_voxels", "reference_voxels")
SURFACE_METRICS = MappingProxyType({f"surface_dice_{mm}mm": float(mm) for mm in (1, 2, 3, 5, 7)})
"""Surface Dice scored on every task: metric to tolerance in mm."""
SHARES = ("dice", "surface_dice", *SURFACE_METRICS)  # 0 to 1
AMOUNTS = ("hd95_mm", "volume_mm3", "reference_volume_mm3")  # 0 or more


def _bounded(*_: object) -> CoreSchema:
    share = core_schema.float_schema(ge=0, le=1, strict=True)
    amount = core_schema.float_schema(ge=0, allow_inf_nan=False, strict=True)
    count = core_schema.int_schema(ge=0, strict=True)
    forms: dict[str, CoreSchema] = dict.fromkeys(SHARES, share)
    forms |= dict.fromkeys(AMOUNTS, amount) | dict.fromkeys(COUNTS, count)
    fields = {
        name: core_schema.typed_dict_field(core_schema.nullable_schema(form), required=False)
        for name, form in forms.items()
    }
    return core_schema.typed_dict_schema(fields, extra_behavior="forbid")


Metrics = Annotated[dict[str, float | None], GetPydanticSchema(_bounded)]
"""Metric to value, known ones within their bounds; None where the metric is not defined."""
Scores = dict[str, Metrics]
"""Region to metric to value."""


def dice(intersection: float, predicted: float, true: float) -> float:
    """Dice of two masks, not both empty, from counts of voxels."""
    return 2 * intersection / (predicted + true)


def pooled(cases: Iterable[Mapping[str, Mapping[str, float | None]]]) -> Scores:
    """Dice over the voxels of all cases together, as if they were one volume.

    Args:
        cases: Scores of each case.

    Returns:
        Region to `dice`; None where no case has the region in reference or prediction.
    """
    totals: dict[str, list[float]] = {}
    for case in cases:
        for region, scores in case.items():
            total = totals.setdefault(region, [0] * len(COUNTS))
            for place, name in enumerate(COUNTS):
                total[place] += scores[name] or 0
    return {
        region: {"dice": dice(*total) if total[1] + total[2] else None}
        for region, total in totals.items()
    }


def means(cases: Iterable[Mapping[str, Mapping[str, float | None]]]) -> Scores:
    """Mean of every metric over the cases that have it.

    Args:
        cases: Scores of each case.

    Returns:
        Region to metric to mean; None where no case has it. Voxel counts are left out.
    """
    values: dict[str, dict[str, list[float]]] = {}
    for case in cases:
        for region, scores in case.items():
            for metric, value in scores.items():
                if metric not in COUNTS:
                    found = values.setdefault(region, {}).setdefault(metric, [])
                    found += [] if value is None else [value]
    return {
        region: {name: sum(found) / len(found) if found else None for name, found in metric.items()}
        for region, metric in values.items()
    }

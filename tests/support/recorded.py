"""The recorded headers of tests/keys, as the core takes them."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.detection import choose_family, section_of
from inflate_zoo.naming.plan import Plan, make_plan

KEYS = Path(__file__).parents[1] / "keys"


@dataclass(frozen=True)
class Case:
    """One recorded file: who wrote what; the dicts are fresh copies, free to be changed."""

    definition: str
    kind: str
    config: dict[str, Any] | None
    header: dict[str, TensorInfo]

    @property
    def family(self) -> str | None:
        """What a user has to say by hand."""
        return self.definition if self.config is None else None


@cache
def _text(definition: str) -> str:
    return (KEYS / f"{definition}.json").read_text(encoding="utf-8")


def definitions() -> list[str]:
    """Names of all recordings."""
    return sorted(path.stem for path in KEYS.glob("*.json"))


def cases(definition: str) -> list[Case]:
    """All cases of one recording, read afresh."""
    return [
        Case(
            definition,
            case["kind"],
            case["config"],
            {n: TensorInfo(v["dtype"], tuple(v["shape"])) for n, v in case["tensors"].items()},
        )
        for case in json.loads(_text(definition))["cases"]
    ]


def case(kind: str) -> Case:
    """One case by its kind, read afresh."""
    return next(c for name in definitions() for c in cases(name) if c.kind == kind)


def plan_of(case: Case) -> Plan:
    """Detect and plan, as a conversion does."""
    scheme = choose_family(families_by_name(), case.header, case.config, family=case.family)
    raw, section = section_of(scheme, case.config or {})
    return make_plan(scheme, case.header, raw, section)


PLANNED = [
    c for name in definitions() if families_by_name()[name].library != "timm" for c in cases(name)
]


def vision(case: Case) -> dict[str, Any]:
    """The part of the config that describes the image tower, to be changed."""
    return section_of(families_by_name()[case.definition], case.config)[0]


def refused(case: Case, error: type[Exception]) -> str:
    """What the plan of a case is refused with, message and details."""
    with pytest.raises(error) as caught:
        plan_of(case)
    return "\n".join([caught.value.message, *caught.value.details])

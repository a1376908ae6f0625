"""What 'labels' of a dataset.json means, in either layout's form.

The Decathlon and nnU-Net's first version write `{"1": "liver"}`, its second `{"liver": 1}`, with
regions as `{"whole": [1, 2]}`. A table of either form is read in either layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from inflate_zoo.bench.definitions.datasets import Finding
from inflate_zoo.errors import UsageError

Form = Literal["decathlon", "nnunet"]
_EXAMPLES: Mapping[Form, str] = {
    "decathlon": '{"0": "background", "1": "liver"}',
    "nnunet": '{"background": 0, "liver": 1}',
}
_LARGEST = 255


@dataclass(frozen=True)
class LabelTable:
    """Labels of a data set.

    Attributes:
        labels: Label name to its value in the files; empty where the table has problems.
        regions: Region name to the label values it unites, likewise.
        problems: What is wrong with the table.
        warnings: What deserves a look.
    """

    labels: Mapping[str, int] = field(default_factory=dict)
    regions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    problems: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()


def read_labels(table: object, layout: Form) -> LabelTable:
    """Read 'labels' of a dataset.json.

    Args:
        table: The entry, as JSON has it.
        layout: Whose layout the data set has, which decides where the form does not.

    Raises:
        UsageError: It has nnU-Net's `ignore` label.
    """
    hint = f"write {_EXAMPLES[layout]}"
    if not isinstance(table, dict) or not table:
        what = "dataset.json: 'labels' is no object with entries"
        return LabelTable(problems=(Finding("", what, hint),))
    form = _form(table) or layout
    if "nnunet" in (form, layout) and "ignore" in _names(table, form):
        raise UsageError(
            "the data set has an 'ignore' label: voxels nobody labelled cannot be scored",
            hint="give these voxels a label and remove 'ignore' from dataset.json",
        )
    read = _decathlon if form == "decathlon" else _nnunet
    labels, regions, odd = read(table)
    if odd:
        more = f", and {len(odd) - 1} more like it" if len(odd) > 1 else ""
        what = f"dataset.json: {odd[0]}{more}"
        return LabelTable(problems=(Finding("", what, hint),))
    problems, warnings = [], []
    if 0 not in labels.values():
        problems.append(Finding("", "dataset.json: no label 0", hint))
    if not regions:
        what = "dataset.json: 'labels' names nothing besides the background"
        problems.append(Finding("", what, "name it"))
    if form != layout:
        what = "dataset.json: 'labels' has the other layout's form, and is read as such"
        warnings.append(Finding("", what, f"for other programs {hint}"))
    if problems:
        return LabelTable(problems=tuple(problems))
    return LabelTable(labels, regions, warnings=tuple(warnings))


def _form(table: Mapping[str, Any]) -> Form | None:
    """The form all entries fit, if any."""
    texts = [isinstance(value, str) for value in table.values()]
    if all(texts) and all(_is_number(key) for key in table):
        return "decathlon"
    return None if any(texts) else "nnunet"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _names(table: Mapping[str, Any], form: Form) -> Iterator[object]:
    return iter(table) if form == "nnunet" else iter(table.values())


Read = tuple[dict[str, int], dict[str, tuple[int, ...]], list[str]]  # labels, regions, faults


def _decathlon(table: Mapping[str, Any]) -> Read:
    labels: dict[str, int] = {}
    odd = []
    for value, name in table.items():
        if not _is_number(value) or not isinstance(name, str):
            odd.append(f"label '{value}': {name!r} is not from a number to a name")
        elif len(value.lstrip("0")) > 3 or int(value) > _LARGEST:
            odd.append(f"label {value[:9]} is above {_LARGEST}")
        elif name in labels or int(value) in labels.values():
            what = f"named '{name}' like another" if name in labels else "written twice"
            odd.append(f"label {value} is {what}")
        else:
            labels[name] = int(value)
    return labels, {name: (value,) for name, value in labels.items() if value}, odd


def _nnunet(table: Mapping[str, Any]) -> Read:
    groups: dict[str, tuple[int, ...]] = {}
    odd = []
    for name, value in table.items():
        members = value if isinstance(value, list) else [value]
        whole = all(type(member) is int and 0 <= member <= _LARGEST for member in members)
        if not whole or not members or (0 in members and len(members) > 1):
            odd.append(f"label '{name}' is {value!r}, no value from 0 to {_LARGEST}, or several")
        else:
            groups[name] = tuple(sorted(set(members)))
    singles = {members[0]: name for name, members in groups.items() if len(members) == 1}
    if len(singles) < sum(len(members) == 1 for members in groups.values()):
        odd.append("two labels have the same value")
    values = sorted({value for members in groups.values() for value in members})
    labels: dict[str, int] = {}
    for value in values:
        name = singles.get(value, f"label {value}")
        while value not in singles and name in singles.values():  # another value is called so
            name += "_"
        labels[name] = value
    return labels, {name: members for name, members in groups.items() if members != (0,)}, odd

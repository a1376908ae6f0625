"""Typed, frozen forms of what a task is, as files under benchmarks/tasks say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from inflate_zoo.errors import without_password
from inflate_zoo.files import budgets
from inflate_zoo.files.foreign import pattern, reason_of

Value = TypeVar("Value")


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


# Lists count as tuples, as TOML and JSON have no others. pydantic.Strict(False) would say so, too,
# but 2.10 does not listen to it inside unions.
Listed = Annotated[Value, BeforeValidator(_as_tuple)]
Length = Annotated[float, Field(ge=budgets.LEAST_MM, le=budgets.MOST_MM)]
Millimetres = Listed[tuple[Length, Length, Length]]


def _pattern(text: str) -> str:
    pattern(text, lambda error: ValueError(f"is no regular expression: {reason_of(error)}"))
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]
Intensities = Annotated[float, Field(ge=-budgets.MOST_INTENSITY, le=budgets.MOST_INTENSITY)]
Count = Annotated[int, Field(gt=0, le=budgets.MOST_CASES)]
Pixels = Annotated[int, Field(gt=0, le=budgets.MOST_PIXELS)]
Slices = Literal["axial", "coronal", "sagittal"]


class Strict(BaseModel):
    """Unknown fields are errors, and so are numbers that are not finite, `true` and "50"."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        str_max_length=budgets.MOST_LETTERS,
    )


class Intensity(Strict):
    """How raw intensities become [0, 1]: what is at or below `low` is 0, at or above `high` is 1.

    Attributes:
        rule: `window`: low and high are intensities (HU for CT); `percentiles`: they are
            percentiles of each volume and channel.
        low: Lower end.
        high: Upper end.
    """

    rule: Literal["window", "percentiles"]
    low: Intensities
    high: Intensities

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.rule == "percentiles" and not (self.low >= 0 and self.high <= 100):
            raise ValueError("percentiles lie in 0 to 100")
        return self


class Split(Strict):
    """How cases are dealt into folds.

    Attributes:
        rule: `hash`: patients sorted by the SHA-256 of their names and dealt in turn.
        folds: Number of folds.
        patient: Regular expression that finds the patient in a case's name; without it every case
            is a patient of its own.
        digest: SHA-256 of the folds (see `splits.digest`); another data set's is
            refused.
    """

    rule: Literal["hash"] = "hash"
    folds: int = Field(ge=2, le=budgets.MOST_CASES, default=5)
    patient: Pattern | None = None
    digest: str | None = None


class PaperSplit(Strict):
    """The split of Zhang et al., 2022, from their public code.

    Attributes:
        rule: `shuffle`: the cases as dataset.json lists them, shuffled, 80 % to train on, 15 % to
            choose a checkpoint by, 5 % to score. `list`: the patients of `test` are scored.
        before: Lengths of the lists that the one generator, seeded 1234, shuffled before.
        first: The case that the published list begins with: another order is another split.
        test: Patients that are scored.
        digest: SHA-256 of the three parts.
    """

    rule: Literal["shuffle", "list"]
    before: Listed[tuple[Count, ...]] = ()
    first: str | None = None
    test: Listed[tuple[str, ...]] = ()
    digest: str | None = None

    @model_validator(mode="after")
    def _test_fits(self) -> Self:
        if bool(self.test) != (self.rule == "list"):
            raise ValueError("test belongs to rule 'list', and to no other")
        return self


class Task(Strict):
    """A segmentation data set as the ranking sees it.

    Attributes:
        name: File name of the definition, or the data set's own name.
        title: What people call it.
        modality: `CT`, `MRI`, ...
        channels: Names of the input channels, in file order.
        labels: Label name to its value in the files; `background` is 0.
        regions: Region name to the label values it unites; what is scored.
        intensity: How intensities become [0, 1].
        spacing: Target spacing (depth, height, width) in mm.
        slices: Anatomical plane of a slice, which decides the depth axis.
        slice_size: Side in pixels of whole slices.
        whole_slices: Every slice is resized to `slice_size`, and none is made between slices, in
            place of the spacing. Protocols set it.
        surface_tolerance_mm: Tolerance of the surface Dice that is ranked, in mm.
        cases: How many cases the whole data set has.
        split: How cases are dealt into folds.
        paper_split: The split of Zhang et al., 2022, where they used the data set.
        license: SPDX name, or as stated.
        citation: Whom to cite.
        address: Where the data can be had; `builtin/<name>` ships with the package.
        checksum: Digest of the archive at `address`, `md5:...` or `sha256:...`.
        access: How to get the data where nobody may fetch them for the user.
    """

    name: str
    title: str
    modality: str
    channels: Listed[tuple[str, ...]] = Field(min_length=1)
    labels: Mapping[str, int]
    regions: Mapping[str, Listed[tuple[int, ...]]] = Field(min_length=1)
    intensity: Intensity
    spacing: Millimetres
    slices: Slices = "axial"
    slice_size: Pixels = 512
    whole_slices: bool = False
    surface_tolerance_mm: Length = 1.0
    cases: Count | None = None
    split: Split = Split()
    paper_split: PaperSplit | None = None
    license: str = "unknown"
    citation: str = ""
    address: str = ""
    checksum: str = ""
    access: str = ""

    @field_validator("address")
    @classmethod
    def _address_is_public(cls, address: str) -> str:
        if without_password(address) != address:
            raise ValueError("it names a user or a password, and stands in every record")
        return address

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        values = set(self.labels.values())
        if 0 not in values or len(values) != len(self.labels) or min(values) < 0:
            raise ValueError("labels are distinct values from 0, which is the background")
        if max(values) > 255 or len(values) < 2:
            raise ValueError("labels need a value besides 0, none above 255")
        for name, members in self.regions.items():
            if not members or 0 in members or not set(members) <= values:
                raise ValueError(f"region '{name}' unites {list(members)}, labels are {values}")
        return self

    @property
    def values(self) -> tuple[int, ...]:
        """Label values in ascending order; a class of the network is a place in this tuple."""
        return tuple(sorted(self.labels.values()))


def class_regions(task: Task) -> dict[str, tuple[int, ...]]:
    """Regions in class indices instead of label values."""
    place = {value: index for index, value in enumerate(task.values)}
    return {
        name: tuple(place[value] for value in members) for name, members in task.regions.items()
    }

"""What the readers of a conversion.json rely on, whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inflate_zoo.errors import UsageError
from inflate_zoo.files import called, read_json
from inflate_zoo.validation import problems_of

RECORD = "conversion.json"
Count = Annotated[int, Field(ge=1, le=1 << 20)]


class _Stated(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class _Source(_Stated):
    name: str
    repo: str | None
    commit: str | None
    arch: str | None
    family: str
    sha256: dict[str, str]


class _Recipe(_Stated):
    scheme: str
    patch_depth: Count
    volume: tuple[Count, Count, Count] = Field(strict=False)
    channels: Count
    fold_normalization: bool
    dtype: str | None


class _File(_Stated):
    sha256: str


class _Record(_Stated):
    format_version: Literal[1]
    source: _Source
    recipe: _Recipe
    files: dict[str, _File]


def read_conversion(folder: Path) -> Mapping[str, Any]:
    """Read a folder's conversion.json, all that is used of it there and of its type.

    Raises:
        UsageError: It is no record of a conversion; names the first field that is wrong.
    """
    record = read_json(folder / RECORD)
    try:
        _Record.model_validate(record)
    except ValidationError as error:
        raise UsageError(
            f"'{called(folder)}': {RECORD} is incomplete: {problems_of(error)[0]}",
            hint="convert the source again",
        ) from error
    return record

"""Entries of the zoo: the front matter of the files in model_cards, checked strictly."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    model_validator,
)

from inflate_zoo.errors import ConfigError
from inflate_zoo.files.budgets import JSON_BYTES
from inflate_zoo.files.foreign import front_matter, parsing, reason_of
from inflate_zoo.files.reading import read_bytes
from inflate_zoo.hub.addresses import BUILTIN
from inflate_zoo.texts import problems_of, validated

if TYPE_CHECKING:
    from inflate_zoo.conversion.record import ConversionRecord

_HELP = "model_cards/README.md describes the fields"
_FRONT = re.compile(r"---\n(.*?)^---\n(.*)", re.DOTALL | re.MULTILINE)
_KEY = re.compile(r"^(\w+)[ \t]*:", re.MULTILINE)  # what goes on below is indented


def _line(text: str) -> str:
    if not text.isprintable() or text != text.strip() or not text:
        raise ValueError("must be one line of text, without space around it")
    return text


Line = Annotated[str, AfterValidator(_line)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+([.-][a-z0-9]+)*$", max_length=96)]
RepoId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Pinned = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*@[0-9a-f]{40}$")]


class ZooEntry(BaseModel):
    """A recipe of the zoo, and what is known of the weights it makes.

    Attributes:
        name: Stem of its file; also names the folder it is put into.
        source: The 2D checkpoint: a Hub repo, or `builtin/<name>`.
        revision: Commit or branch of the repo; `None` for a builtin one.
        family: Family of the source's tensors.
        scheme: How the stem gains depth.
        patch_depth: Patch size along depth, in voxels.
        volume: Default volume (depth, height, width) in voxels.
        channels: Input channels of the 3D network.
        fold_normalization: Whether the network takes intensities in [0, 1].
        objective: What the 2D weights were trained for, one line.
        license: Identifier as the Hub has it, `other` or `unknown`.
        license_name: Name of an `other` license.
        license_link: Address of an `other` license.
        redistribution: Whether the weights may be passed on.
        parameters: Of the 3D network.
        size: Of `model.safetensors`, in bytes.
        sha256: Of `model.safetensors`, hexadecimal.
        prebuilt: Hub repo and commit that hold the files, `org/name@commit`.
        reference: The publication.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Name
    source: RepoId
    revision: Line | None
    family: Line
    scheme: Line
    patch_depth: PositiveInt
    volume: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(strict=False)
    channels: PositiveInt
    fold_normalization: bool
    objective: Line
    license: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]*$")]
    license_name: Line | None = None
    license_link: Line | None = None
    redistribution: bool
    parameters: PositiveInt | None = None
    size: PositiveInt | None = None
    sha256: Digest | None = None
    prebuilt: Pinned | None = None
    reference: Line

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.revision is None) != self.source.startswith(BUILTIN):
            raise ValueError("revision must be null for a builtin source, and only there")
        if self.volume[0] % self.patch_depth:
            raise ValueError(
                f"volume depth {self.volume[0]} is not divisible by patch_depth {self.patch_depth}"
            )
        if self.license == "other" and not (self.license_name and self.license_link):
            raise ValueError("license 'other' needs license_name and license_link")
        if self.prebuilt and not (self.sha256 and self.redistribution):
            raise ValueError("prebuilt needs sha256, and redistribution must be true")
        return self

    @property
    def license_fields(self) -> dict[str, str]:
        """The license as a card's front matter states it; empty where it is unknown."""
        if self.license == "unknown":
            return {}
        fields = {
            "license": self.license,
            "license_name": self.license_name,
            "license_link": self.license_link,
        }
        return {name: value for name, value in fields.items() if value}

    def describes(self, record: ConversionRecord) -> bool:
        """Whether a conversion with this conversion.json was made by this recipe."""
        source, recipe = record.source, record.recipe
        builtin = self.source.startswith(BUILTIN)
        named = self.source.replace("/", "-") if builtin else self.source  # as `find_source` does
        return (
            source.family == self.family
            and all(getattr(recipe, name) == getattr(self, name) for name in _RECIPE)
            and recipe.dtype is None
            and recipe.given is None  # an entry takes the source's
            and recipe.patch_size is None
            and (source.repo or source.name) == named
            and self.revision in (source.revision, source.commit)
            and self.sha256 in (None, record.weights_sha256)
        )


_RECIPE = ("scheme", "patch_depth", "volume", "channels", "fold_normalization")


def read_card(path: Path) -> tuple[ZooEntry, str]:
    """Read one card of the zoo.

    Args:
        path: A Markdown file with front matter; its stem is the entry's name.

    Returns:
        The entry, and the Markdown text below it.

    Raises:
        ConfigError: The file has no front matter, or its content does not fit; names the field.
    """

    def refused(error: Exception) -> ConfigError:
        return _invalid(path, [f"front matter: {reason_of(error)}"])

    content = read_bytes(path, JSON_BYTES["config"], _HELP)
    with parsing(refused):
        found = _FRONT.fullmatch(content.decode("utf-8").replace("\r\n", "\n"))
    if found is None:
        raise _invalid(path, ["no front matter between two lines '---'"])
    _require_once(path, found.group(1))
    fields = front_matter(found.group(1), refused)
    try:
        entry = validated(ZooEntry, fields)
    except ValidationError as error:
        raise _invalid(path, problems_of(error, "entry")) from error
    if entry.name != path.stem:
        raise _invalid(path, [f"name: '{entry.name}' is not the file's, '{path.stem}'"])
    return entry, found.group(2).strip()


def _require_once(path: Path, matter: str) -> None:
    keys = _KEY.findall(matter)
    if repeated := sorted({key for key in keys if keys.count(key) > 1}):
        # YAML would take the last one without a word.
        raise _invalid(path, [f"{key}: stands there twice" for key in repeated])


def _invalid(path: Path, problems: list[str]) -> ConfigError:
    return ConfigError(
        f"model_cards/{path.name} is no valid entry of the zoo",
        details=problems,
        hint=_HELP,
    )

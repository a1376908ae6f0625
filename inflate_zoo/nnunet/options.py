"""What a user may choose, in a file in the data set's folder or in variables; without torch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inflate_zoo.errors import ConfigError, UsageError
from inflate_zoo.files import budgets
from inflate_zoo.files.foreign import BudgetError, json_value
from inflate_zoo.files.reading import read_json
from inflate_zoo.texts import problems_of, validated

FILE: Final = "inflate_zoo.json"
PREFIX: Final = "INFLATE_ZOO_NNUNET_"
_TEXTS = ("source", "decoder")  # what stands in a variable as it is; all else as in JSON
_LONGEST = 4096  # characters of a variable

Count = Annotated[int, Field(ge=1, le=budgets.MOST_STEPS)]


class Settings(BaseModel):
    """How a network is made and trained; protocol `volume`'s values, where it has them.

    Attributes:
        decoder: `unetr` or `linear`: `upernet` segments one slice of a volume.
        features: Channels of `unetr` at full resolution.
        image_path: Of `unetr`: whether it has convolutions on the volume itself.
        drop_path: Stochastic depth of the backbone while training.
        learning_rate: Of the decoder.
        layer_decay: What each block learns slower than the one above it.
        weight_decay: AdamW's.
        warmup_ratio: Share of the epochs in which the rate rises; then it falls as a cosine does.
        grad_checkpointing: Recompute blocks in the backward pass, for memory.
        epochs: `None` leaves it to nnU-Net, or to a class derived from the trainer.
        iterations: Of an epoch, likewise.
        validation_iterations: Of an epoch, likewise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    decoder: Literal["unetr", "linear"] = "unetr"
    features: int = Field(default=16, ge=1, le=budgets.MOST_WIDTH)
    image_path: bool = True
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    learning_rate: float = Field(default=3e-4, gt=0, le=budgets.MOST_FACTOR)
    layer_decay: float = Field(default=0.85, gt=0, le=1)
    weight_decay: float = Field(default=0.05, ge=0, le=budgets.MOST_FACTOR)
    warmup_ratio: float = Field(default=0.025, ge=0, lt=1)
    grad_checkpointing: bool = False
    epochs: Count | None = None
    iterations: Count | None = None
    validation_iterations: Count | None = None


class Options(Settings):
    """The content of `inflate_zoo.json`.

    Attributes:
        source: Folder that `convert` wrote, Hub repo of such weights, or name of a zoo entry.
    """

    source: str = Field(min_length=1, max_length=_LONGEST)

    @property
    def settings(self) -> Settings:
        """All but the source."""
        return Settings(**self.model_dump(exclude={"source"}))


def read_options(folder: Path | None, environment: Mapping[str, str]) -> Options:
    """What is chosen for a data set; a variable goes before the same field of the file.

    Args:
        folder: The data set's in `nnUNet_preprocessed`; `None` where that is not known.
        environment: Its variables `INFLATE_ZOO_NNUNET_SOURCE`, `..._EPOCHS` and so on are read.

    Raises:
        UsageError: Nothing is chosen, or a variable names no field.
        ConfigError: A value is wrong, or the file is no JSON object.
    """
    chosen: dict[str, Any] = {}
    if folder is not None and (folder / FILE).exists():
        chosen |= read_json(folder / FILE)
    chosen |= _of_variables(environment)
    if "source" not in chosen:
        where = f"in '{folder.name}'" if folder is not None else "to read"
        raise UsageError(
            f"no backbone is chosen: no source in {FILE} {where}, none in {PREFIX}SOURCE",
            hint="'inflate-zoo nnunet SOURCE --dataset ID' prints the file and where it goes",
        )
    try:
        return validated(Options, chosen)
    except ValidationError as error:
        raise ConfigError(
            f"the choice of a backbone in {FILE} or {PREFIX}... is not valid",
            details=problems_of(error),
            hint="correct it; 'inflate-zoo nnunet SOURCE' prints a whole one",
        ) from error


def _of_variables(environment: Mapping[str, str]) -> dict[str, Any]:
    fields = {f"{PREFIX}{name.upper()}": name for name in Options.model_fields}
    found: dict[str, Any] = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX):
            continue
        if variable not in fields:
            close = difflib.get_close_matches(variable, fields, n=1, cutoff=0)
            raise UsageError(
                f"the variable {variable} sets nothing", hint=f"did you mean {close[0]}?"
            )
        name = fields[variable]
        found[name] = text if name in _TEXTS else _value(variable, text)
    return found


def _value(variable: str, text: str) -> Any:
    def refused(error: Exception) -> ConfigError:  # noqa: ARG001 - the text itself says enough
        return ConfigError(
            f"the variable {variable} holds {text[:40]!r}, no value as in JSON",
            hint="write a number, true, false or null",
        )

    if len(text) > _LONGEST:
        raise refused(BudgetError())
    return json_value(text, refused)

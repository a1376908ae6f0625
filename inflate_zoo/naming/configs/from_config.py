"""Values of config.json and their types, whatever network they describe."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from inflate_zoo.errors import ConfigError

LARGEST = 1 << 20  # above any real width, grid or depth; keeps products small

ACTIVATION_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "gelu": "gelu",
        "gelu_python": "gelu",
        "gelu_new": "gelu_tanh",
        "gelu_fast": "gelu_tanh",
        "gelu_pytorch_tanh": "gelu_tanh",
        "gelu_tanh": "gelu_tanh",
        "quick_gelu": "quick_gelu",
        "relu": "relu",
        "silu": "silu",
        "swish": "silu",
    }
)


@dataclass(frozen=True, slots=True)
class Statement:
    """What states the claims.

    Attributes:
        name: What to call it in a message.
        hint: What to do where it and the tensors disagree.
    """

    name: str
    hint: str


CONFIG_FILE = Statement("config.json", "take both files from the same repo and revision")


@dataclass(frozen=True, slots=True)
class FromConfig:
    """The values claimed, by field of the architecture, and what to call each in a message."""

    values: Mapping[str, Any]
    labels: Mapping[str, str]


Raw = Mapping[str, Any]


def stated_flag(raw: Raw, path: str, default: bool) -> bool:
    """What a config says under a path, true or false.

    Raises:
        ConfigError: It says something else.
    """
    value = raw.get(path, default)
    if not isinstance(value, bool):
        raise wrong(path, value, "true or false")
    return value


def stated_number(raw: Raw, path: str, default: float) -> float:
    """What a config says under a path, a positive number.

    Raises:
        ConfigError: It says something else.
    """
    value = raw.get(path, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LARGEST:
        raise wrong(path, value, "a positive number")
    return value


def wrong(path: str, value: Any, expected: str) -> ConfigError:
    """What to raise for a value under a path that is not as it is expected."""
    return ConfigError(
        f"config.json: {path} must be {expected}, found {short(value)}",
        hint="correct config.json, or take it from the repo the weights came from",
    )


def short(value: Any) -> str:
    """A stranger's value for a message, at most 60 characters."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # ValueError: a whole number of thousands of digits
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True, slots=True)
class ConfigRule:
    """A named function for what is no plain field.

    Attributes:
        compute: From the config and the width that the tensors have.
        label: What a message calls the value.
    """

    compute: Callable[[Raw, int], Any]
    label: str


FieldType = Callable[[str, Any], Any]
"""From what to call a field in a message, and its value, to the typed value."""


def _is_whole(value: Any, least: int) -> bool:
    return type(value) is int and least <= value <= LARGEST


def whole(label: str, value: Any) -> int:
    """A positive whole number.

    Raises:
        ConfigError: It is none; likewise in the functions below.
    """
    if not _is_whole(value, 1):
        raise wrong(label, value, "a positive whole number")
    return int(value)


def count(label: str, value: Any) -> int:
    """A whole number from 0."""
    if not _is_whole(value, 0):
        raise wrong(label, value, "a whole number from 0")
    return int(value)


def indices(label: str, value: Any) -> tuple[int, ...]:
    """Indices of blocks, ascending, each once."""
    if not isinstance(value, list | tuple):
        raise wrong(label, value, "a list of block indices")
    return tuple(sorted({count(label, each) for each in value}))


def flag(label: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong(label, value, "true or false")
    return value


def pair(label: str, value: Any) -> tuple[int, int]:
    """One positive whole number for both sides, or height and width."""
    sides = value if isinstance(value, list | tuple) else (value, value)
    if len(sides) != 2 or not all(_is_whole(side, 1) for side in sides):
        raise wrong(label, value, "a positive whole number or [height, width]")
    return (sides[0], sides[1])


def small(label: str, value: Any) -> float:
    """A number between 0 and 1."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < 1:
        raise wrong(label, value, "a small positive number")
    return float(value)


def positive(label: str, value: Any) -> float:
    """A number above 0."""
    return float(stated_number({label: value}, label, 0))


def activation(label: str, value: Any) -> str:
    """An activation, under our name."""
    if not isinstance(value, str) or value not in ACTIVATION_NAMES:
        raise wrong(label, value, f"one of {', '.join(sorted(ACTIVATION_NAMES))}")
    return ACTIVATION_NAMES[value]


def as_it_is(_: str, value: Any) -> Any:
    """Anything: what the form itself checks."""
    return value


def plain(value: Any) -> str:
    """A value as a message shows it: sides as 224x224."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)

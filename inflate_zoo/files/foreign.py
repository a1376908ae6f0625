"""The one place where parsers that others wrote meet files that others wrote.

What such a parser raises on a hostile file is no promise of its makers: RecursionError, KeyError,
OverflowError, struct.error... So no reader lists exceptions. `parsing` turns all of them into our
error, and the budgets are held before a parser sees the first byte.
"""

from __future__ import annotations

import json
import logging
import math
import re
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from inflate_zoo.errors import InflateZooError, visible
from inflate_zoo.files import budgets
from inflate_zoo.texts import problems_of, validated

Refuse = Callable[[Exception], Exception]
Form = TypeVar("Form", bound=BaseModel)
_LONGEST = 200  # characters of a reason
_BARE = (LookupError, AttributeError, TypeError, AssertionError)  # their text is no sentence


class BudgetError(ValueError):
    """More than is taken from strangers."""


@contextmanager
def parsing(refuse: Refuse) -> Iterator[None]:
    """Turn whatever a foreign parser raises on its input into the error that `refuse` makes.

    Our own errors pass, and so do those of the system, which `files.reading` tells. Running out of
    memory is an answer to the input here: what is read was bounded before.

    Args:
        refuse: Makes our error, with the file's name and the next step; see `reason_of`.
    """
    try:
        yield
    except InflateZooError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if (told := refuse(error)) is error:
            raise
        raise told from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings and log lines that are no errors; for a library's work, not for ours."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def reason_of(error: Exception) -> str:
    """What a parser complained of, in one line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    if isinstance(error, UnicodeError):
        return "it is no text in UTF-8"
    if isinstance(error, EOFError):
        return "it ends too early"
    if isinstance(error, ValidationError):
        return reason_of(ValueError(problems_of(error, "it")[0]))
    words = [word for word in str(error).split() if word != "^"]  # below what YAML points at
    text = visible(" ".join(words)[: _LONGEST + 1])
    if isinstance(error, _BARE) or not text:
        return f"its content makes no sense ({type(error).__name__})"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def json_value(content: bytes | str, refuse: Refuse, *, unique: bool = False) -> Any:
    """Parse JSON.

    Args:
        content: Its size was bounded by the reader.
        refuse: Makes our error.
        unique: Whether a name that stands twice in one object is refused.
    """
    with parsing(refuse):
        require_few_values(content)
        with parsing(_no_json):
            value = json.loads(content, object_pairs_hook=_unique if unique else None)
        _require_shallow(value)
    return value


def json_form(form: type[Form], content: bytes, refuse: Refuse) -> Form:
    """Parse JSON of a form; the other arguments are those of `json_value`."""
    value = json_value(content, refuse)
    with parsing(refuse):
        return validated(form, value)


def mapped_array(path: Path, dtype: str, ndim: int, refuse: Refuse) -> Any:
    """Map an array of a .npy file into memory, read-only; its header is text that is parsed.

    Args:
        path: The file.
        dtype: What it must hold.
        ndim: Of how many dimensions.
        refuse: Makes our error.
    """
    import numpy as np

    with parsing(refuse):
        array = np.lib.format.open_memmap(path, mode="r")
        if array.dtype != dtype or array.ndim != ndim:
            raise ValueError(f"it holds {array.dtype} in {array.ndim} dimensions")
    return array


def _no_json(error: Exception) -> Exception:
    told = isinstance(error, BudgetError)
    return error if told else ValueError(f"it is no valid JSON: {reason_of(error)}")


def require_few_values(content: bytes | str) -> None:
    """Refuse JSON that would take memory out of proportion to its size.

    Raises:
        BudgetError: It may hold more values than are taken.
    """
    # Each sign makes at most one value; those inside texts are counted too, which does no harm.
    count = (
        sum(content.count(sign) for sign in ",[{")
        if isinstance(content, str)
        else sum(content.count(sign) for sign in (b",", b"[", b"{"))
    )
    if count > budgets.JSON_VALUES:
        raise BudgetError(f"it holds more than {budgets.JSON_VALUES:,} values")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for name, value in pairs:
        if name in seen:
            raise BudgetError(f"'{name}' occurs twice")
        seen[name] = value
    return seen


def _require_shallow(value: Any) -> None:
    level, depth = [[value]], 0
    while level := [inner for outer in level for inner in _children(outer)]:
        depth += 1
        if depth > budgets.JSON_DEPTH:
            raise BudgetError(f"it is nested too deeply, more than {budgets.JSON_DEPTH} levels")


def _children(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value
    return [v for v in inner if isinstance(v, dict | list)] if inner else []


def toml_table(content: bytes, refuse: Refuse) -> dict[str, Any]:
    """Parse TOML whose numbers are all finite."""
    with parsing(refuse):
        if len(content) > budgets.TOML_BYTES:
            raise BudgetError(f"it is larger than {budgets.TOML_BYTES // 1024} KB")
        if content.count(b".") > budgets.TOML_DOTS:
            raise BudgetError(f"it has more than {budgets.TOML_DOTS:,} dots")
        table = tomllib.loads(content.decode("utf-8"))
        if (place := _endless(table, "")) is not None:
            raise BudgetError(f"{place} is no finite number")
    return table


def _endless(value: Any, place: str) -> str | None:
    """Where the first number stands that is infinite or none."""
    if isinstance(value, float):
        return None if math.isfinite(value) else place
    inner: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, dict):
        inner = iter(value.items())
    elif isinstance(value, list):
        inner = iter(enumerate(value))
    found = (_endless(v, f"{place}.{key}".lstrip(".")) for key, v in inner)
    return next((where for where in found if where is not None), None)


class _PlainLoader(yaml.SafeLoader):
    """No merged maps: a few of them, one in the other, become any number of fields."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise ValueError("it merges maps with '<<'")


def front_matter(text: str, refuse: Refuse) -> Mapping[str, Any]:
    """Parse the fields above a Markdown text, which are YAML."""
    with parsing(refuse):
        if len(text.encode("utf-8", "surrogatepass")) > budgets.FRONT_MATTER_BYTES:
            raise BudgetError(f"it is larger than {budgets.FRONT_MATTER_BYTES // 1024} KB")
        fields = yaml.load(text, _PlainLoader)  # noqa: S506 - a SafeLoader
    if not isinstance(fields, dict):
        raise refuse(ValueError("it must be fields, one 'name: value' a line"))
    return fields


def pattern(text: str, refuse: Refuse) -> re.Pattern[str]:
    """Compile a regular expression that cannot take for ever on a short text."""
    with parsing(refuse):
        if len(text) > budgets.PATTERN_CHARACTERS:
            raise BudgetError(f"has more than {budgets.PATTERN_CHARACTERS} characters")
        bare = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", text, flags=re.DOTALL)
        repeats = re.findall(r"\*|\+|\{\d*,?\d*\}|(?<!\()\?", bare)
        unbounded = [sign for sign in repeats if sign in "*+" or sign.endswith(",}")]
        if re.search(r"\)(?:[*+]|\{\d*,?\d*\})", bare):
            raise BudgetError("repeats a group, which can take for ever")
        if len(repeats) > budgets.PATTERN_REPEATS or len(unbounded) > budgets.PATTERN_UNBOUNDED:
            raise BudgetError(
                f"has more than {budgets.PATTERN_REPEATS} repetitions, or more than "
                f"{budgets.PATTERN_UNBOUNDED} without end"
            )
        return re.compile(text)

"""Texts for people: times and sizes, plurals, what pydantic found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

Form = TypeVar("Form", bound="BaseModel")


def is_text(name: str) -> bool:
    """Whether records and reports can hold a name; Python keeps other bytes as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_text(name: str) -> str:
    """A name with what records and reports cannot hold shown escaped."""
    return name.encode(errors="backslashreplace").decode()


def duration(seconds: float) -> str:
    """Seconds, minutes, hours or days: `4.2 s`, `90 s`, `3.5 min`, `2.5 h`, `2.0 days`."""
    if seconds < 120:
        return f"{_short(seconds)} s"
    if seconds >= 2 * 86400:
        return f"{_short(seconds / 86400)} days"
    return f"{_short(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes as MiB or GiB: `512 MiB`, `1.0 GiB`."""
    return f"{count / 2**20:,.0f} MiB" if count < 2**30 else f"{count / 2**30:,.1f} GiB"


def millions(count: int) -> str:
    """A number of parameters: `1.6 M`, `304 M`, `1,136 M`."""
    value = count / 1e6
    return f"{value:.1f} M" if value < 99.95 else f"{value:,.0f} M"


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def message_of(entry: Mapping[str, Any]) -> str:
    """The sentence of one finding; of our own validators just what they said."""
    own = entry.get("ctx", {}).get("error")
    return str(own) if isinstance(own, Exception) else str(entry["msg"])


def validated(form: type[Form], value: object) -> Form:
    """A form of what was parsed.

    Raises:
        ValidationError: It is none. Where a check of ours quotes a lone surrogate, which JSON may
            hold as an escape, pydantic itself says UnicodeEncodeError.
    """
    try:
        return form.model_validate(value)
    except UnicodeEncodeError as error:
        from pydantic import ValidationError
        from pydantic_core import InitErrorDetails, PydanticCustomError

        wrong = PydanticCustomError("unicode", "Strings should be valid Unicode")
        entry = InitErrorDetails(type=wrong, loc=(), input="")
        raise ValidationError.from_exception_data(form.__name__, [entry]) from error


def problems_of(error: ValidationError, whole: str = "config") -> list[str]:
    """A line for each field that is wrong; `whole` is what a finding on no field is about."""
    return [
        f"{'.'.join(map(str, entry['loc'])) or whole}: {message_of(entry)}"
        for entry in error.errors(include_url=False, include_input=False)
    ]


def plural(count: int, what: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"

"""What a model of pydantic found wrong, in words for people."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError


def message_of(entry: Mapping[str, Any]) -> str:
    """The sentence of one finding; of our own validators just what they said."""
    own = entry.get("ctx", {}).get("error")
    return str(own) if isinstance(own, Exception) else str(entry["msg"])


def problems_of(error: ValidationError, whole: str = "config") -> list[str]:
    """A line for each field that is wrong; `whole` is what a finding on no field is about."""
    return [
        f"{'.'.join(map(str, entry['loc'])) or whole}: {message_of(entry)}"
        for entry in error.errors(include_url=False, include_input=False)
    ]

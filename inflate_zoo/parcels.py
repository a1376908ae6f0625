"""What of a folder is sent to the Hub, checked: whole, under a license that lets it, nothing private.

A folder is a conversion (`conversion.json`), a trial of the ranking (`trial.json`, `record.json`),
or just a network that was saved.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from inflate_zoo.errors import CheckpointError, ConfigError, UsageError
from inflate_zoo.files import read_json, reading, require_regular
from inflate_zoo.hub_upload import Part
from inflate_zoo.licenses import may_pass_on, non_commercial
from inflate_zoo.sources import license_fields
from inflate_zoo.writing import json_text

Kind = Literal["conversion", "trial", "network"]

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
CONVERSION, TRIAL, RECORD = "conversion.json", "trial.json", "record.json"
# The file that says what it is comes first.
FILES: Mapping[Kind, tuple[str, ...]] = {
    "conversion": (CONVERSION, WEIGHTS, CONFIG, CARD),
    "trial": (TRIAL, RECORD, WEIGHTS, CONFIG, CARD),
    "network": (WEIGHTS, CONFIG, CARD),
}


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is sent.

    Attributes:
        kind: Which of the three.
        parts: The files, the one that says what it is first.
        title: What it is, in one line.
        cases: How many cases of a data set the files name.
    """

    kind: Kind
    parts: tuple[Part, ...]
    title: str
    cases: int = 0

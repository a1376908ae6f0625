"""What is asked of whoever reads a network off a header and a config."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inflate_zoo.files.header import Header
from inflate_zoo.naming.configs.from_config import ConfigRule, FieldType, FromConfig, Statement
from inflate_zoo.naming.definition import Family
from inflate_zoo.naming.from_header import FromHeader
from inflate_zoo.naming.patterns import Matching
from inflate_zoo.networks.base import Form2D


def no_remark(_: FromConfig) -> str:
    """Nothing."""
    return ""


@dataclass(frozen=True, slots=True)
class Reader:
    """How one network is read.

    Attributes:
        fields: What a definition may take from a config: name to type.
        required: Those of them that no tensor tells.
        rules: Named functions for what is no plain field.
        width: Name of the field that is the stem's width, by which towers are told apart.
        gather: Facts of the header, under the names of the fields.
        settled: The facts that claims are held against: some need a claim to be read.
        check: Raises ConfigError for claims that contradict each other; told the claims, the width
            as the tensors have it, and what made the claims.
        make_form: Facts and claims together.
        note: What to say where the form pools otherwise than its kind; empty where it does not.
        remark: What else a user should know of what is claimed; empty for nothing.
    """

    fields: Mapping[str, FieldType]
    required: tuple[str, ...]
    rules: Mapping[str, ConfigRule]
    width: str
    gather: Callable[[Family, Matching, Header], FromHeader]
    settled: Callable[[FromHeader, FromConfig], Mapping[str, Any]]
    check: Callable[[FromConfig, int, Statement], None]
    make_form: Callable[[FromHeader, FromConfig, Statement], Form2D]
    note: Callable[[Family, Form2D], str]
    remark: Callable[[FromConfig], str] = no_remark

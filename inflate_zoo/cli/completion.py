"""What the shell offers for a value: names of what ships with the package, arms of a run.

It is asked at every press of the tab key: names come from files' names, and nothing imports torch.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from textwrap import shorten
from typing import ParamSpec

import typer

from inflate_zoo.errors import InflateZooError

Offered = list[tuple[str, str]]
"""Values, each with what it is, for shells that show that; it may be empty."""
Parameters = ParamSpec("Parameters")
_LONGEST = 60  # characters of a summary
_SPECIAL = re.compile(r"[^\w@%+=:,./-]")  # what bash may take for something else
_MOST_TRIALS = 500  # of a run that are asked for their arms


def _quietly(offer: Callable[Parameters, Offered]) -> Callable[Parameters, Offered]:
    """Offer nothing where something is wrong: the command itself says what."""

    @functools.wraps(offer)
    def offered(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Offered:
        try:
            return offer(*args, **kwargs)
        except (InflateZooError, OSError):
            return []

    return offered


def formats() -> Offered:
    """Forms of output."""
    return [("human", "for people"), ("json", "for programs")]


def dtypes() -> Offered:
    """Types of weights."""
    from inflate_zoo.files.dtypes import DTYPES

    return [(name, "") for name in DTYPES]


def devices() -> Offered:
    """Kinds of devices; whether this machine has them is told when they are used."""
    return [(name, "") for name in ("cpu", "cuda", "mps")]


def schemes() -> Offered:
    """Inflation schemes."""
    from inflate_zoo.inflation.schemes import SCHEMES

    return [(name, _brief(scheme.summary)) for name, scheme in SCHEMES.items()]


@_quietly
def families() -> Offered:
    """Families of 2D checkpoints."""
    from inflate_zoo.naming.catalog import family_names

    return [(name, "") for name in family_names()]


@_quietly
def zoo_entries() -> Offered:
    """Entries of the zoo."""
    from inflate_zoo.registry.listing import names

    return [(name, "") for name in names()]


@_quietly
def sources() -> Offered:
    """The 2D checkpoints that ship with the package; files and Hub repos are typed."""
    from inflate_zoo.conversion.sources import builtin_sources

    return [(name, "") for name in builtin_sources()]


def compared() -> Offered:
    """What can be compared without a file or the Hub, and entries of the zoo."""
    return [*sources(), ("random", "random weights"), *zoo_entries()]


@_quietly
def tasks() -> Offered:
    """Tasks that ship with the package."""
    from inflate_zoo.bench.definitions.catalog import bundled, load_task

    return [(name, _brief(load_task(name).title)) for name in bundled("task")]


@_quietly
def protocols() -> Offered:
    """Protocols that ship with the package."""
    from inflate_zoo.bench.definitions.catalog import bundled, load_protocol

    return [(name, _brief(load_protocol(name).summary)) for name in bundled("protocol")]


@_quietly
def suites() -> Offered:
    """Suites that ship with the package."""
    from inflate_zoo.bench.definitions.catalog import bundled, load_suite

    return [(name, _brief(load_suite(name).summary)) for name in bundled("suite")]


@_quietly
def changes() -> Offered:
    """Fields of a protocol, for `--set`."""
    from inflate_zoo.bench.definitions.catalog import protocol_fields

    return [(f"{field}=", "") for field in protocol_fields()]


def export_targets() -> Offered:
    """Forms that networks are exported to."""
    return [("onnx", ""), ("torch-export", ""), ("monai-vit", ""), ("monai-bundle", "")]


def cache_kinds() -> Offered:
    """Kinds of entries in the cache."""
    from inflate_zoo.files.locations import CACHE_KINDS

    return list(CACHE_KINDS.items())


def trackers() -> Offered:
    """Trackers of experiments."""
    return [("mlflow", "MLflow"), ("wandb", "Weights & Biases")]


def channel_rules() -> Offered:
    """How a stem takes several channels."""
    return [("sum", "the grey kernel, shared evenly"), ("rgb", "three channels that are colours")]


@_quietly
def arms(context: typer.Context) -> Offered:
    """Arms of the run folders that stand on the command line."""
    # Where the option that is typed lacks values still, arguments were not given their names.
    stated = context.params.get("folders") or [context.params.get("trial")]
    named = [folder for folder in stated if folder] or context.args
    found = dict.fromkeys(arm for folder in named for arm in _arms_of(Path(folder)))
    return [(_one_word(arm), "") for arm in found]


def _arms_of(folder: Path) -> list[str]:
    from inflate_zoo.bench.definitions.trials import labels_of
    from inflate_zoo.bench.trials.folder import trials_of

    specs = []
    for trial in islice(trials_of(folder.expanduser()), _MOST_TRIALS):
        with suppress(InflateZooError):  # commands leave it out, too
            specs.append(trial.spec)
    return sorted({*labels_of(specs)})


def _brief(text: str) -> str:
    """The start of a summary: Typer breaks longer ones into lines, which shells take for values."""
    return shorten(text.partition(":")[0], _LONGEST, placeholder=" ...")


def _one_word(text: str) -> str:
    """As the shell takes it for one word; zsh and fish see to that themselves."""
    bash = os.environ.get("_INFLATE_ZOO_COMPLETE") == "complete_bash"
    return _SPECIAL.sub(r"\\\g<0>", text) if bash else text

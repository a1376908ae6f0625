"""A run as a file: what `bench` is asked for in TOML, under the names of its flags.

Paths in such a file start at its own folder, so that `--config` finds them from anywhere.
"""

from __future__ import annotations

import difflib
import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from enum import Enum
from pathlib import Path
from shlex import quote
from typing import Any, ParamSpec, get_args, get_type_hints

import typer

from inflate_zoo.cli.bench.options import On
from inflate_zoo.errors import ConfigError

Parameters = ParamSpec("Parameters")
Value = bool | int | float | str | list[str] | list[float]
RUN_FILE = "run.toml"
_HEADER = """\
# What this run was asked for, under the names of the flags of 'inflate-zoo bench'; paths start at
# this file's folder. To repeat it, or to go on: inflate-zoo bench --config run.toml
"""
_HELP = "compare it with: inflate-zoo bench --help"
# How a run is begun and told of makes no other one of it.
_NO_FIELDS = {"config", "plan", "dry_run", "detach", "format", "quiet", "debug", "help", "context"}
_READ = "inflate_zoo.run_file"  # where a context says what was read
_FILES = {"dataset", "suite", "protocol"}  # paths where they end in .toml, else names
_COMPARED = ("source", "suite")  # one of them
_PLACES = {"source", *_FILES}  # texts that may be paths


def from_file(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Take what the command line leaves open from the file behind `--config`."""

    @functools.wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        context: Any = kwargs["context"]
        context.params |= {name: kwargs[name] for name in context.params}  # not as typer read them
        if isinstance(path := kwargs["config"], Path):
            read = _read(path, context)
            context.meta[_READ] = frozenset(read)
            context.params.update(read)
            kwargs.update(read)
        command(*args, **kwargs)

    return run


def flags_of(context: typer.Context) -> dict[str, Any]:
    """The parameters of the command that a file may state, by the flag without its dashes."""
    return {
        max(parameter.opts, key=len).removeprefix("--"): parameter
        for parameter in context.command.params
        if parameter.name not in _NO_FIELDS
    }


def typed(context: typer.Context) -> set[str]:
    """Names of the parameters that stand on the command line itself."""
    names = {str(parameter.name) for parameter in context.command.params}
    found = {name: context.get_parameter_source(name) for name in names}
    return {name for name, source in found.items() if source and source.name == "COMMANDLINE"}


def _read(path: Path, context: typer.Context) -> dict[str, Any]:
    """Values of the command's parameters that the file states, those typed aside.

    Raises:
        ConfigError: It is no TOML, or says what cannot be; names the fields.
    """
    table, flags, before = _table(path), flags_of(context), typed(context)
    before |= _excluded(before, context)
    hints = get_type_hints(context.command.callback)
    wrong, read = [], {}
    for key, value in table.items():
        if key not in flags:
            raise _no_field(path, key, flags)
        parameter = flags[key]
        fault = _fault(value, hints[parameter.name])
        if fault:
            wrong.append(f"{key}: {fault}")
        elif parameter.name not in before:
            read[parameter.name] = (parameter, _placed(parameter.name, value, path.parent, hints))
    if wrong:
        raise ConfigError(
            f"'{path.name}' says what bench cannot be asked", details=wrong, hint=_HELP
        )
    return {
        name: _as_taken(_coerced(path, *both, context), hints[name]) for name, both in read.items()
    }


def _excluded(before: set[str], context: typer.Context) -> set[str]:
    """Names of parameters that cannot stand beside those that are typed: these go first."""
    from inflate_zoo.bench.engines.flags import HereFlags, RayFlags, SlurmFlags

    names = {other for one, other in (_COMPARED, _COMPARED[::-1]) if one in before}
    if "on" in before:
        asked = {On.here: HereFlags, On.slurm: SlurmFlags, On.ray: RayFlags}
        del asked[context.params["on"]]
        names |= {field.name for flags in asked.values() for field in fields(flags)}
    return names - before  # two that are typed are told of


def _table(path: Path) -> dict[str, Any]:
    from inflate_zoo.files.budgets import TOML_BYTES
    from inflate_zoo.files.foreign import reason_of, toml_table
    from inflate_zoo.files.reading import read_bytes

    def refused(error: Exception) -> ConfigError:
        return ConfigError(f"'{path.name}' is no valid TOML: {reason_of(error)}", hint=_HELP)

    return toml_table(read_bytes(path, TOML_BYTES, _HELP), refused)


def _no_field(path: Path, key: str, flags: Mapping[str, Any]) -> ConfigError:
    if key.replace("-", "_") in _NO_FIELDS:
        begun = f"inflate-zoo bench --config {quote(path.name)} --{key}"
        hint = f"say it where the run is begun: {begun}"
    else:
        close = difflib.get_close_matches(key.replace("_", "-"), flags, n=1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(flags)}"
    return ConfigError(f"'{path.name}': a run has no field '{key}'", hint=hint)


def _fault(value: Any, hint: Any) -> str | None:
    """What is wrong with a value in TOML for a parameter of a type; `None` where nothing is."""
    kinds = _kinds(hint)
    if bool in kinds:
        return None if isinstance(value, bool) else "must be true or false"
    if isinstance(value, bool):
        return "must be a value, not true or false"
    if any(kind == list[str] for kind in kinds):
        listed = isinstance(value, list) and all(isinstance(each, str) for each in value)
        return None if listed else 'must be a list of texts, e.g. ["one", "two"]'
    if int in kinds:
        return None if isinstance(value, int) else "must be a whole number"
    if Path in kinds:
        return None if isinstance(value, str) else "must be a path, as text"
    parts = value if isinstance(value, list) and value else [value]
    plain = all(isinstance(p, str | int | float) and not isinstance(p, bool) for p in parts)
    return None if plain else "must be a text, a number or a list of numbers"


def _kinds(hint: Any) -> set[Any]:
    """What a type says a value may be, `None` aside."""
    return set(get_args(hint)) - {type(None)} or {hint}


def _placed(name: str, value: Value, base: Path, hints: Mapping[str, Any]) -> Value:
    """A value whose paths start where the command runs, not at the file's folder."""
    if isinstance(value, str) and Path in _kinds(hints[name]):
        return _below(base, value)
    if name not in _PLACES:
        return value
    if isinstance(value, list):
        return [_place(name, str(each), base) for each in value]
    return _place(name, str(value), base)


def _place(name: str, text: str, base: Path) -> str:
    path = _path_in(name, text, base)
    return _below(base, path) + text[len(path) :] if path else text


def _path_in(name: str, text: str, base: Path) -> str:
    """The path that a text begins with, or nothing where it is a name, as the command takes it.

    Args:
        name: Of the parameter.
        text: Its value, or one of them.
        base: Where relative paths start.
    """
    if name in _FILES:
        return text if text.endswith(".toml") else ""
    from inflate_zoo.bench.arms.arm_sources import RANDOM
    from inflate_zoo.hub.addresses import is_address, is_on_disk

    plain = _source_of(text)
    if not plain or plain == RANDOM or is_address(plain):
        return ""
    return plain if plain.startswith((".", "/", "~")) or is_on_disk(base / plain) else ""


def _source_of(text: str) -> str:
    """The source in what may be an arm: `SOURCE:2d`."""
    from inflate_zoo.bench.arms.arm_sources import parse_arm

    return parse_arm(text).plain


def _below(base: Path, text: str) -> str:
    return _as_path(os.path.normpath(base / Path(text).expanduser()))


def _coerced(path: Path, parameter: Any, value: Value, context: typer.Context) -> Any:
    """A value as the command gets it where it is typed."""
    told: Any = value
    if parameter.multiple:
        told = [str(each) for each in value] if isinstance(value, list) else [str(value)]
    elif not isinstance(value, bool):
        told = _text(value)
    try:
        return parameter.process_value(context, told)
    except typer.BadParameter as error:
        flag = max(parameter.opts, key=len).removeprefix("--")
        raise ConfigError(f"'{path.name}': {flag}: {error.message}", hint=_HELP) from error


def _as_taken(value: Any, hint: Any) -> Any:
    """As the command takes it: typer 0.27 leaves paths, lists and choices to who calls it."""
    for kind in _kinds(hint) if value is not None else ():
        if kind == list[str]:
            return list(value)
        if isinstance(kind, type) and issubclass(kind, Path | Enum):
            return kind(value)
    return value


def _text(value: Value) -> str:
    """As it is typed behind a flag."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def expanded(words: Sequence[str], context: typer.Context) -> list[str]:
    """A command line with what the file behind its `--config` says, in place of that."""
    read = context.meta.get(_READ, ())
    told = list(_without_config(words))
    for key, parameter in flags_of(context).items():
        if parameter.name in read:
            told += _typed_words(key, context.params[parameter.name])
    return told


def _without_config(words: Sequence[str]) -> Iterator[str]:
    skipped = False
    for word in words:
        if not (skipped or word == "--config" or word.startswith("--config=")):
            yield word
        skipped = word == "--config" and not skipped


def _typed_words(key: str, value: Any) -> list[str]:
    plain = _plain(value)
    if isinstance(plain, bool):
        return [f"--{key}"] if plain else []
    if isinstance(value, list):
        return [word for each in value for word in (f"--{key}", str(each))]
    return [f"--{key}", _text(plain)]


def asked_for(context: typer.Context, settled: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was asked for, by flag: to be written.

    Args:
        context: Of the command.
        settled: What determines trials, given or not, by the parameter's name.
    """
    given = typed(context) | set(context.meta.get(_READ, ()))
    told = {name: value for name, value in context.params.items() if name in given}
    told |= settled
    return {
        key: told[parameter.name]
        for key, parameter in flags_of(context).items()
        if not _is_nothing(told.get(parameter.name))
    }


def _is_nothing(value: Any) -> bool:
    """Whether a value says the same as leaving its flag out; 0, which equals `False`, does not."""
    return value is None or value is False or value in ([], ())


def write_run_file(out: Path, fields: Mapping[str, Any]) -> None:
    """Write what a run was asked for into its folder, unless a path in it is no text.

    Args:
        out: The run folder.
        fields: By flag; see `asked_for`.

    Raises:
        WriteError: It cannot be written.
    """
    from inflate_zoo.files.writing.whole_files import replace_text

    told = {key: _portable(key, value, out) for key, value in fields.items() if key != "out"}
    text = _HEADER + "".join(f"{key} = {_toml(value)}\n" for key, value in told.items())
    text += 'out = "."\n'
    with suppress(UnicodeEncodeError):
        replace_text(out / RUN_FILE, text)


def _portable(key: str, value: Any, out: Path) -> Value:
    """A value as it may stand in a run folder: paths start there, where both are in one place."""
    if isinstance(value, Path):
        return _from(out, value)
    if key in _PLACES:
        listed = [_place_from(out, key, str(each)) for each in _listed(value)]
        return listed if isinstance(value, list) else listed[0]
    return _plain(value)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _place_from(out: Path, name: str, text: str) -> str:
    path = _path_in(name, text, Path())
    return _from(out, Path(path)) + text[len(path) :] if path else text


def _from(out: Path, path: Path) -> str:
    here, home = Path.cwd(), Path(os.path.abspath(out))  # noqa: PTH100 - links stay as they are
    there = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100
    inside = home.is_relative_to(here) and there.is_relative_to(here)
    if not inside or home.resolve() != home:
        return str(there)
    return _as_path(os.path.relpath(there, home))


def _as_path(text: str) -> str:
    """A path that is plainly one, and no name of something else."""
    return text if text.startswith(".") or Path(text).is_absolute() else os.path.join(".", text)  # noqa: PTH118


def _plain(value: Any) -> Value:
    if isinstance(value, Enum):
        return str(value.value)
    plain: Value = list(value) if isinstance(value, tuple) else value
    return plain


def _toml(value: Value) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):  # JSON leaves one sign as it is that TOML does not take
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)

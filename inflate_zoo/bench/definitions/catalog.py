"""Finds and reads tasks, protocols and suites: bundled ones by name, others by path."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from inflate_zoo.bench.definitions.protocols import Protocol, Suite
from inflate_zoo.bench.definitions.tasks import Task
from inflate_zoo.errors import ConfigError, UnknownNameError, UsageError
from inflate_zoo.files.budgets import TOML_BYTES
from inflate_zoo.files.foreign import reason_of, toml_table
from inflate_zoo.files.locations import data_folder
from inflate_zoo.files.reading import read_bytes, reading
from inflate_zoo.texts import message_of, validated

Form = TypeVar("Form", bound=BaseModel)
Kind = Literal["task", "protocol", "suite"]


class _NoTomlError(ValueError):
    """What was written after `--set key=` is a text of its own."""


# What is set for all tasks, and where a protocol says it of single ones.
_OF_TASKS = {"train.steps": "task_steps", "network.window": "task_window"}
_HELP = "compare it with the files under benchmarks"


def load_task(name_or_path: str) -> Task:
    """Read a task.

    Args:
        name_or_path: Name of a bundled one, or a path that ends in `.toml`.

    Raises:
        UnknownNameError: No such task.
        ConfigError: The file is malformed; names the fields.
    """
    path = _find("task", name_or_path)
    return _fit(Task, path, _read(path))


def load_suite(name_or_path: str) -> Suite:
    """Read a suite; see `load_task`."""
    path = _find("suite", name_or_path)
    return _fit(Suite, path, _read(path))


def load_protocol(name_or_path: str, overrides: Sequence[str] = ()) -> Protocol:
    """Read a protocol; what it extends is merged in, table by table.

    Args:
        name_or_path: Name of a bundled one, or a path that ends in `.toml`.
        overrides: `key=value` with a dotted key and a TOML value, e.g. `train.steps=500`; a bare
            word is a text (`True` and `.5` are `true` and `0.5`), a list replaces the whole list.

    Returns:
        The protocol. A changed one is named `<name>+<digest of its values>` and says what was
        changed, so that results of different settings are never taken together.

    Raises:
        UnknownNameError: No such protocol.
        ConfigError: The file is malformed or extends itself.
        UsageError: An override names no field, or its value does not fit.
    """
    path = _find("protocol", name_or_path)
    table = _extended(path, ())
    protocol = _fit(Protocol, path, table)
    if not overrides:
        return protocol
    changed: Mapping[str, Any] = protocol.model_dump(mode="python")
    for override in overrides:
        changed = _laid_over(changed, _parse_override(override))
    try:
        valid = validated(Protocol, changed)
    except ValidationError as error:
        raise UsageError(
            f"protocol '{protocol.name}' cannot be changed that way",
            details=_problems(error),
            hint="correct --set; a value is written as in TOML, e.g. --set train.steps=500",
        ) from error
    if valid == protocol:
        return protocol
    if valid.data.whole_slices and valid.network.window[1:] != protocol.network.window[1:]:
        raise UsageError(
            f"protocol '{valid.name}' sees whole slices, as large as the task says: of "
            "network.window the depth alone counts",
            hint="write slice_size into a copy of the task's file, and give it with --dataset",
        )
    values = valid.model_copy(update={"deviations": ()})  # words, which change no result
    told = values.model_dump_json(exclude={"name", "summary"})
    digest = hashlib.sha256(told.encode()).hexdigest()
    name = f"{protocol.name}+{digest[:6]}"
    return valid.model_copy(update={"name": name, "overrides": tuple(overrides)})


def _find(kind: Kind, name_or_path: str) -> Path:
    if name_or_path.endswith(".toml"):
        return Path(name_or_path)
    known = bundled(kind)
    if name_or_path not in known:
        raise UnknownNameError(kind, name_or_path, known)
    return known[name_or_path]


def bundled(kind: Kind) -> Mapping[str, Path]:
    """Name to file of the tasks, protocols or suites that ship with the package, sorted."""
    paths = data_folder(f"benchmarks/{kind}s").glob("*.toml")
    return {path.stem: path for path in sorted(paths)}


def _read(path: Path) -> dict[str, Any]:
    def refused(error: Exception) -> ConfigError:
        return ConfigError(f"'{path.name}' is no valid TOML: {reason_of(error)}", hint=_HELP)

    return toml_table(read_bytes(path, TOML_BYTES, _HELP), refused)


def _fit(form: type[Form], path: Path, table: Mapping[str, Any]) -> Form:
    if "name" in table:
        raise ConfigError(f"'{path.name}' states a name", hint="remove it: the file name is it")
    try:
        return validated(form, {"name": path.stem, **table})
    except ValidationError as error:
        raise ConfigError(
            f"'{path.name}' is no valid {form.__name__.lower()}",
            details=_problems(error),
            hint=_HELP,
        ) from error


def _problems(error: ValidationError) -> list[str]:
    """One line per field, however many forms of a union it did not fit."""
    told: dict[str, list[str]] = {}
    for entry in error.errors(include_url=False):
        path = [str(part) for part in entry["loc"]]
        # Members of a union stand in the path, under their type's name.
        field = ".".join(part for part in path if part.isidentifier() or part.isdigit())
        field = field.removesuffix(".Intensity").replace(".Intensity.", ".")
        told.setdefault(field or "file", []).append(message_of(entry))
    # Where a part of a value is told to be wrong, its other possible forms only distract.
    whole = {field for field in told if any(other.startswith(f"{field}.") for other in told)}
    return [
        f"{field}: {', or '.join(dict.fromkeys(said))}"
        for field, said in told.items()
        if field not in whole
    ]


def _extended(path: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    """The file's table, merged over what it extends."""
    if path.resolve() in below:
        chain = " > ".join(step.stem for step in (*below, path))
        raise ConfigError(f"protocols extend each other in a circle: {chain}", hint="break it")
    table = _read(path)
    if "extends" not in table:
        return table
    base = table.pop("extends")
    if not isinstance(base, str):
        raise ConfigError(f"'{path.name}': extends is no name", hint='write extends = "volume"')
    base = base.removesuffix(".toml")
    beside = path.parent / f"{base}.toml"
    with reading(beside):  # a name may be longer than the file system takes
        own = base != path.stem and Path(base).name == base and beside.is_file()
    parent = beside if own else _find("protocol", base)
    return _laid_over(_extended(parent, (*below, path.resolve())), table)


def _laid_over(base: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """What is stated on top of a protocol; for every task, also those that it names."""
    less = {of_tasks for key, of_tasks in _OF_TASKS.items() if _states(stated, key)}
    return _merge({key: value for key, value in base.items() if key not in less}, stated)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`: tables are merged, all else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        ours = merged.get(key)
        if isinstance(ours, Mapping) and isinstance(value, Mapping):
            value = _merge(ours, value)
        merged[key] = value
    return merged


def _parse_override(text: str) -> dict[str, Any]:
    """A table that holds one value, from `train.steps=500`."""
    key, equals, written = text.partition("=")
    key, written = key.strip(), written.strip()
    known = protocol_fields()
    if not equals or not written:
        raise UsageError(f"'{text}' is no key=value", hint="write e.g. --set train.steps=500")
    if key not in known:
        close = [name for name in known if name.endswith(f".{key}")]
        close = close or difflib.get_close_matches(key, known, n=1, cutoff=0.4)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known[:12])}, ..."
        raise UsageError(f"a protocol has no field '{key}'", hint=hint)
    try:
        value = toml_table(f"value = {written}".encode("utf-8", "surrogatepass"), _NoTomlError)
    except _NoTomlError:
        value = {"value": _bare(written)}
    nested: Any = value["value"] if value.keys() == {"value"} else written
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return dict(nested)


def _bare(written: str) -> object:
    """What TOML takes only otherwise written: `True`, `.5`; else a word."""
    if written in ("True", "False"):
        return written == "True"
    try:
        return float(written) if written[0] in "+-.0123456789" else written
    except ValueError:
        return written


def _states(table: Any, key: str) -> bool:
    """Whether a table has a value under a dotted key."""
    first, _, rest = key.partition(".")
    if not isinstance(table, Mapping) or first not in table:
        return False
    return not rest or _states(table[first], rest)


def protocol_fields() -> tuple[str, ...]:
    """What `--set` can change, dotted, sorted."""
    return tuple(sorted(set(_keys(Protocol)) - {"name", "overrides"}))


def _keys(form: type[BaseModel]) -> Iterator[str]:
    """All dotted keys of a form, tables and their fields."""
    for name, field in form.model_fields.items():
        yield name
        for inner in _forms(field.annotation):
            yield from (f"{name}.{key}" for key in _keys(inner))


def _forms(annotation: Any) -> list[type[BaseModel]]:
    if parts := get_args(annotation):
        return [form for part in parts for form in _forms(part)]
    is_form = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return [annotation] if is_form else []

"""`inflate-zoo tasks`, `inflate-zoo protocols` and `inflate-zoo suites`: what `bench` knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from inflate_zoo.cli.common import (
    Debug,
    Format,
    OutputFormat,
    guarded,
    print_json,
    tell_table,
)
from inflate_zoo.cli.tables import Column

if TYPE_CHECKING:
    from pydantic import BaseModel

    from inflate_zoo.bench.definitions.protocols import Protocol, Suite
    from inflate_zoo.bench.definitions.tasks import Task

TASKS_NAME, PROTOCOLS_NAME, SUITES_NAME = "tasks", "protocols", "suites"

Form = TypeVar("Form", bound="BaseModel")
_TASK = (
    Column("task"),
    Column("cases", right=True),
    Column("data"),
    Column("licence"),
    Column("what", least=22),
    Column("spacing, mm", least=14),
)
_PROTOCOL = (
    Column("protocol"),
    Column("steps x windows", right=True),
    Column("decoder"),
    Column("what", least=20),
)
_SUITE = (
    Column("suite"),
    Column("sources", right=True),
    Column("what", least=20),
    Column("schemes", least=10),
    Column("baselines", least=10),
)


@guarded
def tasks_command(
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """List the published data sets that bench knows by name.

    inflate-zoo bench --dataset msd-task04 --download
    """
    from inflate_zoo.bench.definitions.catalog import bundled, load_task

    _tell([load_task(name) for name in bundled("task")], _TASK, _task_cells, format)


@guarded
def protocols_command(
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """List the ways in which bench trains and scores; its --set changes any field.

    inflate-zoo bench --protocol quick --set train.steps=500
    """
    from inflate_zoo.bench.definitions.catalog import bundled, load_protocol

    found = [load_protocol(name) for name in bundled("protocol")]
    _tell(found, _PROTOCOL, _protocol_cells, format)


@guarded
def suites_command(
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """List the comparisons that bench knows by name.

    inflate-zoo bench --suite schemes --data Task04_Hippocampus
    """
    from inflate_zoo.bench.definitions.catalog import bundled, load_suite

    _tell([load_suite(name) for name in bundled("suite")], _SUITE, _suite_cells, format)


def _tell(
    found: Sequence[Form],
    columns: Sequence[Column],
    cells: Callable[[Form], Sequence[str]],
    format: OutputFormat,  # noqa: A002 - the flag's name
) -> None:
    if format is OutputFormat.json:
        print_json([each.model_dump(mode="json") for each in found])
    else:
        tell_table(columns, [cells(each) for each in found])


def _task_cells(task: Task) -> tuple[str, ...]:
    data = "register" if task.access else "--download"
    if task.address.startswith("builtin/"):
        data = "shipped"
    spacing = "x".join(f"{step:g}" for step in task.spacing)
    cases = "" if task.cases is None else str(task.cases)
    return task.name, cases, data, task.license, f"{task.title}, {task.modality}", spacing


def _protocol_cells(protocol: Protocol) -> tuple[str, ...]:
    train = protocol.train
    amount = f"{train.steps} x {train.batch}"
    return protocol.name, amount, protocol.network.decoder, protocol.summary


def _suite_cells(suite: Suite) -> tuple[str, ...]:
    schemes, baselines = ", ".join(suite.schemes), ", ".join(suite.baselines)
    return suite.name, str(len(suite.sources)), suite.summary, schemes, baselines

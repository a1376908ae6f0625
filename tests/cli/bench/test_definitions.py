"""`inflate-zoo tasks`, `protocols` and `suites`."""

import json

import pytest

from inflate_zoo.bench.definitions.catalog import bundled, load_protocol, load_suite, load_task
from tests.support.commands import run

KINDS = {"task": load_task, "protocol": load_protocol, "suite": load_suite}


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_listed_and_told_whole_to_programs(kind):
    names = list(bundled(kind))
    assert len(names) > 3
    shown = run(f"{kind}s")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert [line.split()[0] for line in shown.stdout.splitlines()] == names
    told = json.loads(run(f"{kind}s", "--format", "json").stdout)
    assert told == [KINDS[kind](name).model_dump(mode="json") for name in names]


def test_how_data_are_had_is_told():
    lines = {line.split()[0]: line for line in run("tasks").stdout.splitlines()}
    assert "shipped" in lines["hippocampus-mini"]
    assert "--download" in lines["msd-task04"]
    assert "  register  " in lines["acdc"]
    assert "  260  --download  CC-BY-SA-4.0 " in lines["msd-task04"]
    assert lines["msd-task04"].endswith(" 1x1x1")


def test_how_long_a_protocol_trains_is_told():
    lines = {line.split()[0]: line for line in run("protocols").stdout.splitlines()}
    train = load_protocol("quick").train
    assert f"{train.steps} x {train.batch}  linear" in lines["quick"]

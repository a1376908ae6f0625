"""Reports, made once and not to be changed, and reports without drawings."""

import pytest

from inflate_zoo.bench.report import content
from inflate_zoo.bench.report.writing import write_report
from tests.support import records

ARMS = [arm for arm in records.arms_of() if arm.scheme != "center"]
HOSTILE = [
    "<img src=x onerror=alert(1)>", "a|b", "=1+1", "first\nsecond", "x" * 255, "left\u202eright",
    "`code` **bold** [a](http://b.example)", "$x^{$ $", "中文 \U0001f600", "]]>--><script>",
    "[red]markup[/red]", "\x1b[31mred", "tab\tbed", "&amp;", '" onload="x',
]  # fmt: skip


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A run with a failed and a pending trial, its report, and what was printed."""
    base = tmp_path_factory.mktemp("report")
    run = records.save_run(base / "run", arms=ARMS)
    return run, base / "out", write_report([run], base / "out")


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the drawings out, which take most of the time."""
    monkeypatch.setattr(content.plots, "of_study", lambda study, **_: {})
    monkeypatch.setattr(content.overlays, "of_study", lambda study: {})


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """A report in which every name that a stranger chooses is hostile."""
    out = tmp_path_factory.mktemp("hostile")
    arms = [
        records.Arm(name, "random" if place == 1 else "inflated", name, name, 0.8)
        for place, name in enumerate(HOSTILE)
        if place in (0, 1, 2, 5, 7, 11)
    ]
    task = records.task(HOSTILE[0], regions=(HOSTILE[0], HOSTILE[7]))
    task |= {"title": HOSTILE[4], "license": HOSTILE[0], "citation": HOSTILE[6]}
    protocol = records.protocol(HOSTILE[9])
    protocol["deviations"] = HOSTILE
    for arm in arms:
        for seed in range(2):
            names = [*HOSTILE[:-3], "+2", "@x"]
            made = records.record(arm, seed, task=task, protocol=protocol, cases_named=names)
            made["run"]["command"] = HOSTILE
            made["run"]["versions"] = {HOSTILE[0]: HOSTILE[1]}
            if seed and arm in arms[:3]:
                records.save_failed(out, made, HOSTILE[0], HOSTILE[3])
            else:
                records.save(out, made, overlays=not seed and arm in arms[:3])
    return out, write_report([out], out)

"""Where and when trials ran, and what of it was mixed."""

import pytest

from inflate_zoo.bench.report.collect import collect
from inflate_zoo.bench.report.conditions import conditions, mixed
from inflate_zoo.bench.report.results import rank_trials
from tests.support import records

ARM = records.arms_of()[0]
SAME = {
    "threads": 1, "processor": "A Processor", "capability": "AVX2", "device": "cpu",
    "host": "workbench", "versions": {"torch": "2.10.0", "inflate-zoo": "0.3.0"},
    "started": "2026-01-02T03:04:05Z", "finished": "2026-01-02T03:06:05Z",
}  # fmt: skip


def trials(folder, *runs):
    for seed, run in enumerate(runs):
        made = records.record(ARM, seed, 4)
        made["run"] = run
        records.save(folder, made, overlays=False)
    return collect([folder]).trials


def test_the_conditions_are_told_in_a_line(tmp_path):
    found = conditions(trials(tmp_path, SAME, SAME))
    assert found.sentence == (
        "Ran on workbench, A Processor, AVX2, device cpu, 1 thread a trial, 2026-01-02, "
        "inflate-zoo 0.3.0, torch 2.10.0."
    )


def test_what_differs_is_told_with_all_its_values(tmp_path):
    other = SAME | {
        "threads": 2, "processor": "B", "host": "other", "finished": "2026-01-03T00:00:00Z",
        "versions": {"torch": "2.11.0", "inflate-zoo": "0.3.0"},
    }  # fmt: skip
    found = trials(tmp_path, SAME, SAME, other)
    assert conditions(found).sentence == (
        "Ran on 2 hosts (workbench, other), 2 processors (A Processor, B), AVX2, device cpu, "
        "1 or 2 threads a trial, 2026-01-02 to 2026-01-03, inflate-zoo 0.3.0, "
        "torch 2.10.0 or 2.11.0."
    )
    versions, bits = mixed(found)
    assert versions == "the trials ran with different versions: torch (2.10.0, 2.11.0)"
    assert bits.startswith(
        "the trials ran under mixed conditions: threads (1: 2 trials, 2: 1 trial); processor "
        "(A Processor: 2 trials, B: 1 trial); each sums"
    )


@pytest.mark.parametrize("name, value", [
    ("threads", 2), ("processor", "B"), ("capability", "AVX512"), ("device", "mps"),
])  # fmt: skip
def test_mixed_conditions_are_a_note_on_the_ranking(tmp_path, name, value):
    trials(tmp_path, SAME, SAME | {name: value})
    (study,) = rank_trials(collect([tmp_path])).studies
    (told,) = [c for c in study.caveats if "mixed conditions" in c.text]
    assert told.weight == "note"
    assert name in told.text


def test_the_same_conditions_and_records_that_know_none_are_not_mixed(tmp_path):
    assert not list(mixed(trials(tmp_path / "same", SAME, SAME | {"host": "other"})))
    old = trials(tmp_path / "old", {"device": "cpu"}, {"device": "cpu", "threads": 2})
    assert not list(mixed(old))
    assert conditions(old).sentence == "Ran on device cpu, 2 threads a trial."
    assert conditions(trials(tmp_path / "none", {})).sentence == ""

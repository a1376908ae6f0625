"""`results.json`: one form to write and to read, with what the first screen says."""

import json

import pytest

from inflate_zoo.bench.report import results_json
from inflate_zoo.bench.report.answers import answer_of
from inflate_zoo.bench.report.collect import collect
from inflate_zoo.bench.report.results import rank_trials
from inflate_zoo.bench.report.results_json import ReportForm, report_form
from inflate_zoo.files.writing.contents import form_text
from tests.support import records

ARMS = records.arms_of(("made-up/vit-one", "made-up/vit-two"), ("center",))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    base = tmp_path_factory.mktemp("run")
    for name in ("first", "second"):
        records.save_run(base, arms=ARMS, seeds=3, task=records.task(name), overlays=False)
    return rank_trials(collect([base]))


def form(results):
    return report_form(results, "a title", {t.hash: f"trials/{t.hash}" for t in results.trials})


def test_what_is_written_reads_back_the_same(results):
    made = form(results)
    again = ReportForm.model_validate_json(form_text(made))
    assert again == made
    assert form_text(again) == form_text(made)
    assert made.format == 1
    for task, study in zip(made.tasks, results.studies, strict=True):
        assert task.answer == answer_of(study)
        assert task.comparisons == study.ranking.comparisons
        assert task.caveats == study.caveats
        assert [each.arm for each in task.standings] == [s.arm for s in study.ranking.standings]


def test_every_trial_is_named_with_its_state_and_its_folder(results):
    made = form(results)
    assert len(made.trials) == len(results.trials) == 2 * 3 * len(ARMS)
    states = [each.state for each in made.trials]
    assert (states.count("failed"), states.count("not run")) == (2, 2)
    for each in made.trials:
        assert (each.dice is None) == (each.state != "done")
        assert each.folder == f"trials/{each.hash}"


def test_it_is_plain_json_and_every_field_of_the_first_level_is_described(results):
    plain = json.loads(form_text(form(results)), parse_constant=pytest.fail)
    for name in plain:
        assert f"| `{name}` |" in results_json.__doc__, name
    ranks = {each["arm"]: each["rank"] for each in plain["tasks"][0]["standings"]}
    assert ranks["vit-one 2d"] is None
    assert None not in (ranks["vit-one center"], ranks["vit-two center"])
    assert plain["answer"]["sources"] == form(results).answer.sources

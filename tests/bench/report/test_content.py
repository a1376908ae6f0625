"""What a report says of doubts: on the page, in Markdown, JSON and the terminal."""

import json

from inflate_zoo.bench.ranking.types import Caveat
from inflate_zoo.bench.report import content, results, tables, terminal
from inflate_zoo.bench.report.collect import collect
from inflate_zoo.bench.report.output import markdown, page
from inflate_zoo.bench.report.output.document import Picture
from inflate_zoo.cli.bench.report import as_json
from tests.support import records
from tests.support.reports import ARMS

FED = {"vit-one center": "guessed", "vit-two center": "stated", "vit-one 2d": "guessed"}


def test_an_arm_whose_normalisation_is_a_guess_is_marked(tmp_path):
    """In the terminal's table, on the page, in the Markdown and in JSON."""
    run = records.save_run(tmp_path, arms=ARMS, seeds=1, cases=2, incomplete=False, overlays=False)
    for path in run.glob("trials/*/trial.json"):
        told = json.loads(path.read_text())
        told["arm"]["normalization"] = FED.get(told["arm"]["label"])
        path.write_text(json.dumps(told))
    made = results.rank_trials(collect([run]))
    study = made.studies[0]
    shown = tables.standings(study)
    place = shown.columns.index("normalisation")
    marks = {row[0]: row[place] for row in shown.rows}
    guessed = {arm for arm, fed in FED.items() if fed == "guessed"}
    assert {arm for arm, mark in marks.items() if mark == "GUESSED"} == guessed
    assert marks["vit-two center"] == "stated"
    assert {shown.rows[i][0] for i in shown.marked} == guessed
    told = "the input normalisation of 'vit-one 2d', 'vit-one center' is a guess"
    assert any(caveat.sentence.startswith(told) for caveat in study.caveats)
    assert "GUESSED" in terminal.table(made)
    blocks = content.compose(made).blocks
    for shown in (
        page.render("t", blocks, NoPictures()),
        markdown.render("t", blocks, NoPictures()),
    ):
        assert "GUESSED" in shown
        assert "-mean" in shown
    fed = {s["arm"]: s["normalization"] for s in as_json(made)["tasks"][0]["standings"]}
    assert fed == {arm: FED.get(arm) for arm in fed}
    assert tables.arms(study).columns[4] == "normalisation"


class NoPictures(dict):
    """Stands for any drawing."""

    def __missing__(self, name):
        return Picture(name, "<svg ></svg>", b"")


def test_the_weight_of_a_caveat_decides_and_not_its_words():
    note = Caveat("note", "not a ranking: so a class is called")
    doubt, few = Caveat("not a ranking", "one seed"), Caveat("provisional", "5 seeds tell more")
    assert content.parted((note, doubt, few)) == ([doubt], [note])
    (told,) = content._notice("title", [doubt])
    assert told.sentences == ("not a ranking: one seed",)

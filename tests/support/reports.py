"""Studies and reports of made-up records, and how they are read."""

import copy
import json
from html.parser import HTMLParser

from inflate_zoo.bench.report import results
from inflate_zoo.bench.report.collect import collect
from tests.support import records

ARMS = records.arms_of(("made-up/vit-one", "made-up/vit-two"), ("center",))


class Page(HTMLParser):
    """Tags, attributes and rows of cells of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.rows, self._cell = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.rows.append([])
        self._cell = tag in ("td", "th")
        if self._cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._cell:
            self.rows[-1][-1] += data


def loaded(run):
    paths = sorted(run.glob("trials/*/record.json"))
    return [json.loads(path.read_text()) for path in paths]


def study_of(folder, **settings):
    run = records.save_run(folder, arms=ARMS, incomplete=False, overlays=False, **settings)
    return results.rank_trials(collect([run])).studies[0]


def folds_of(folder, change=lambda made, fold, arm: None):
    """Two folds, each of a task that was derived from other training cases."""
    for fold, (high, depth, key) in enumerate(((250.0, 2.5, "ab"), (270.0, 3.0, "cd"))):
        task = records.task()
        task["intensity"] = {"rule": "window", "low": -100.0, "high": high}
        task["spacing"] = [depth, 1.0, 1.0]
        names = [f"case_{fold}{place}" for place in range(6)]
        for arm in ARMS[:2]:
            for seed in range(2):
                made = records.record(
                    arm, seed, fold=fold, cases_named=names, task=copy.deepcopy(task)
                )
                made["trial"]["entries"] = {f"case_{n:02d}": key * 8 for n in range(16)}
                change(made, fold, arm)
                records.save(folder, made, overlays=False)
    return results.rank_trials(collect([folder]))

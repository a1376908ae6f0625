"""Where a report's numbers come from."""

import pytest

from inflate_zoo.bench.report import results
from inflate_zoo.bench.report.collect import collect
from inflate_zoo.bench.report.origins import origins
from inflate_zoo.bench.report.output.document import Bullets, Fold
from tests.support import records
from tests.support.reports import ARMS, folds_of


def test_what_is_measured_may_differ_between_folds(tmp_path):
    found = folds_of(tmp_path)
    (study,) = found.studies
    assert study.caveats == study.ranking.caveats
    assert not [caveat for caveat in study.caveats if "differ" in caveat.text]
    (shown,) = [
        block
        for block in origins(found)
        if isinstance(block, Fold) and block.title.startswith("Task")
    ]
    assert shown.blocks[0].columns == ("setting", "fold 0", "fold 1")
    assert set(shown.blocks[0].rows[:2]) == {
        ("intensity.high", "250.0", "270.0"), ("spacing", "[2.5, 1.0, 1.0]", "[3.0, 1.0, 1.0]")
    }  # fmt: skip


@pytest.mark.parametrize("decay, freeze, told", [
    (0.85, False, True), (1.0, False, False), (0.85, True, False)
])  # fmt: skip
def test_that_random_has_the_learning_rates_of_all_is_told(tmp_path, decay, freeze, told):
    protocol = records.protocol()
    protocol["train"]["layer_decay"] = decay
    protocol["network"] |= {"decoder": "linear", "freeze": freeze}
    records.save(tmp_path, records.record(ARMS[0], 0, 4, protocol=protocol), overlays=False)
    found = results.rank_trials(collect([tmp_path]))
    bullets = [block for block in origins(found) if isinstance(block, Bullets)]
    shown = dict(bullets[0].items).get("Learning rates:", "")
    assert ("times 0.85 per block" in shown and "for random as well" in shown) == told

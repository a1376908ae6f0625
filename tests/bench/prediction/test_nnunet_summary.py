"""summary.json as nnU-Net writes it."""

import numpy as np
import pytest

from inflate_zoo.bench.prediction.nnunet_summary import overlap, score, summarize


def test_scores_agree_with_the_definition():
    random = np.random.default_rng(0)
    found, true = random.random((2, 5, 6, 7)) < 0.4
    got = overlap(found, true)
    counts = [int((found == f)[true == t].sum()) for f in (1, 0) for t in (1, 0)]
    both, extra, lacking, neither = counts
    assert [got[key] for key in ("TP", "FP", "FN", "TN")] == counts
    assert got["Dice"] == pytest.approx(2 * both / (2 * both + extra + lacking))
    assert got["IoU"] == pytest.approx(both / (both + extra + lacking))
    assert (got["n_pred"], got["n_ref"]) == (both + extra, both + lacking)
    nothing = np.zeros((2, 2, 2), bool)
    assert overlap(nothing, nothing)["Dice"] is None
    assert overlap(~nothing, nothing)["Dice"] == 0
    assert neither == got["TN"]


def test_the_summary_has_nnunets_form(run):
    task = run.trial().spec.task.model_copy(update={"regions": {"all": (2, 5), "front": (2,)}})
    random = np.random.default_rng(1)
    scored = [
        {"metrics": score(*random.integers(0, 3, (2, 4, 4, 4)).astype(np.uint8), task)}
        for _ in range(3)
    ]
    assert list(scored[0]["metrics"]) == ["(2, 5)", "2"]
    table = summarize(scored)
    assert set(table) == {"foreground_mean", "mean", "metric_per_case"}
    values = [entry["metrics"]["2"]["Dice"] for entry in scored]
    assert table["mean"]["2"]["Dice"] == pytest.approx(np.mean(values))
    means = [table["mean"][key]["n_ref"] for key in table["mean"]]
    assert table["foreground_mean"]["n_ref"] == pytest.approx(np.mean(means))
    empty = np.zeros((4, 4, 4), np.uint8)
    scored.append({"metrics": score(empty, empty, task)})
    assert summarize(scored)["mean"]["2"]["Dice"] == pytest.approx(np.mean(values))
    alone = summarize(scored[-1:])
    assert alone["mean"]["2"]["Dice"] is None
    assert alone["foreground_mean"]["Dice"] is None
    assert alone["foreground_mean"]["TN"] == 64

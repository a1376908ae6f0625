"""Which records are believed: those that agree with their trial, their bounds and themselves."""

import copy
import json

import pytest

from inflate_zoo.bench.definitions import results
from inflate_zoo.bench.definitions.results import (
    Result,
    Run,
    UnbelievedError,
    new_record,
    read_record,
)
from inflate_zoo.bench.definitions.scores import COUNTS, means, pooled
from inflate_zoo.bench.definitions.trials import trial_hash
from inflate_zoo.files.writing.contents import json_text
from tests.support import records


@pytest.fixture(scope="module")
def spec():
    return records.record(records.arms_of()[0], cases=3)["trial"]


@pytest.fixture(scope="module")
def made(spec):
    """A record as it is written, its scores from counts."""
    cases = []
    for place, name in enumerate(spec["cases"]["test"]):
        counts = dict(zip(COUNTS, (90 - place, 100, 110 + place), strict=True))
        share = 2 * counts["intersection"] / (100 + counts["reference_voxels"])
        scores = {"dice": share, "surface_dice": 1.0, "hd95_mm": 1.5, "volume_mm3": 100.0, **counts}
        lacking = dict.fromkeys(scores) | {"volume_mm3": 0.0} | dict.fromkeys(COUNTS, 0)
        regions = {"anterior": scores, "posterior": lacking}
        cases.append({"case": name, "regions": regions, "mean_dice": share, "slice": place})
    tables = [case["regions"] for case in cases]
    result = {
        "cases": cases, "mean": means(tables), "pooled": pooled(tables), "selected_step": 9,
        "curves": {"loss": [(1, 0.5)], "validation_dice": [(1, 0.25)]}, "window": (4, 8, 8),
        "parameters": 5, "trained_parameters": 4, "flops": 3, "encoder_flops": 2,
    }  # fmt: skip
    run = Run(device="cpu", host="here")
    return new_record(spec, Result(**result), run).model_dump(mode="json")


def read(spec, record, write=json_text):
    return read_record(spec, trial_hash(spec), write(record).encode(), "folder")


def without_digest(record):
    return {name: value for name, value in record.items() if name != "digest"}


@pytest.mark.parametrize("form", [dict, without_digest])
def test_what_was_written_is_believed(spec, made, form):
    read_back = read(spec, form(made))
    assert read_back.hash == trial_hash(spec)
    assert json.loads(json.dumps(read_back.result.model_dump())) == made["result"]
    assert read_back.run.model_dump()["host"] == "here"
    words = {**spec, "arm": {**spec["arm"], "label": "renamed"}}
    assert read(words, form(made)).hash == read_back.hash


def first(record):
    return record["result"]["cases"][0]["regions"]["anterior"]


ALWAYS = {
    "a Dice of 7.5": lambda r: first(r).update(dice=7.5),
    "a Dice below 0": lambda r: first(r).update(dice=-0.1),
    "a surface Dice above 1": lambda r: first(r).update(surface_dice=1.0001),
    "a distance below 0": lambda r: first(r).update(hd95_mm=-1.0),
    "an infinite volume": lambda r: first(r).update(volume_mm3=float("inf")),
    "NaN": lambda r: first(r).update(dice=float("nan")),
    "half a voxel": lambda r: first(r).update(intersection=0.5),
    "a text": lambda r: first(r).update(dice="0.5"),
    "a truth": lambda r: first(r).update(dice=True),
    "an unknown metric": lambda r: first(r).update(diec=0.5),
    "a mean of 7.5": lambda r: r["result"]["mean"]["anterior"].update(dice=7.5),
    "a pooled Dice of 7.5": lambda r: r["result"]["pooled"]["anterior"].update(dice=7.5),
    "a mean_dice of 7.5": lambda r: r["result"]["cases"][0].update(mean_dice=7.5),
    "a validation Dice of 2": lambda r: r["result"]["curves"].update(validation_dice=[[1, 2.0]]),
    "a case too few": lambda r: r["result"]["cases"].pop(),
    "no case": lambda r: r["result"].update(cases=[]),
    "a case twice": lambda r: r["result"]["cases"].__setitem__(1, r["result"]["cases"][0]),
    "another case": lambda r: r["result"]["cases"][0].update(case="other"),
    "a region too few": lambda r: r["result"]["cases"][0]["regions"].pop("posterior"),
    "another region": lambda r: r["result"]["mean"].update(liver={}),
    "a step that was not": lambda r: r["result"].update(selected_step=10**6),
    "another hash": lambda r: r.update(hash="0" * 16),
    "another seed": lambda r: r["trial"].update(seed=7),
    "another split": lambda r: r["trial"]["cases"].update(test=[]),
    "no result": lambda r: r.pop("result"),
    "a newer form": lambda r: r.update(format=2),
    "an unknown part": lambda r: r.update(extra=1),
    "edited cases": lambda r: first(r).update(dice=0.999),
    "an edited mean": lambda r: r["result"]["mean"]["anterior"].update(dice=0.999),
    "an edited pooled Dice": lambda r: r["result"]["pooled"]["anterior"].update(dice=0.999),
    "a value gone": lambda r: first(r).update(dice=None),
    "counts gone": lambda r: first(r).pop("reference_voxels"),
}
WITH_DIGEST = {
    "edited counts": lambda r: first(r).update(volume_mm3=101.0, hd95_mm=1.5),
    "an edited curve": lambda r: r["result"]["curves"].update(loss=[[1, 0.4]]),
    "an edited size": lambda r: r["result"].update(parameters=6),
    "another digest": lambda r: r.update(digest="0" * 64),
}


@pytest.mark.parametrize("form", [dict, without_digest])
@pytest.mark.parametrize("spoil", ALWAYS.values(), ids=ALWAYS)
def test_what_cannot_be_is_not_believed(spec, made, form, spoil):
    record = form(copy.deepcopy(made))
    spoil(record)
    with pytest.raises(UnbelievedError, match="trial 'folder' is not to be believed: ") as caught:
        read(spec, record, json.dumps)  # NaN too
    assert "inflate-zoo bench" in caught.value.hint


# No digest can be worked out over what JSON does not have.
POSSIBLE = ("edited", "an edited", "a value", "counts gone", "NaN", "an infinite")
IMPOSSIBLE = [name for name in ALWAYS if not name.startswith(POSSIBLE)]


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_right_digest_makes_nothing_possible(spec, made, name):
    record = copy.deepcopy(made)
    ALWAYS[name](record)
    text = results._text(record.get("result"))
    record["digest"] = results._digest(record["hash"], text)
    with pytest.raises(UnbelievedError):
        read(spec, record, json.dumps)


@pytest.mark.parametrize("spoil", WITH_DIGEST.values(), ids=WITH_DIGEST)
def test_a_digest_notices_any_change_of_the_result(spec, made, spoil):
    record = copy.deepcopy(made)
    spoil(record)
    with pytest.raises(UnbelievedError, match="not the one that was written"):
        read(spec, record)


@pytest.mark.parametrize("write", [json_text, json.dumps, lambda r: json.dumps(r, indent=1)])
def test_how_a_record_is_laid_out_changes_nothing(spec, made, write):
    assert read(spec, made, write).digest == made["digest"]
    edited = copy.deepcopy(made)
    first(edited).update(volume_mm3=101.0)
    with pytest.raises(UnbelievedError, match="not the one that was written"):
        read(spec, edited, write)


def test_two_results_in_one_file_are_noticed(spec, made):
    edited = copy.deepcopy(made)
    first(edited).update(volume_mm3=101.0)
    _, _, second = json_text(edited)[1:].partition('"result"')
    both = json_text(made).rstrip()[:-1].rstrip() + ',\n  "result"' + second
    with pytest.raises(UnbelievedError, match="not the one that was written"):
        read_record(spec, trial_hash(spec), both.encode(), "folder")


def test_the_result_of_another_trial_is_noticed_by_its_digest(spec, made):
    other = {**spec, "seed": 5}
    theirs = new_record(other, Result(**made["result"]), Run()).model_dump(mode="json")
    mixed = {**made, "result": theirs["result"], "digest": theirs["digest"]}
    with pytest.raises(UnbelievedError):
        read(spec, mixed)
    assert read(other, theirs)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b"[" * 9999, b'{"hash": "\\ud800"}']
)
def test_what_is_no_record_is_not_believed(spec, content):
    with pytest.raises(UnbelievedError):
        read_record(spec, trial_hash(spec), content, "folder")


@pytest.mark.parametrize("other", [{}, {"task": 1}, {"cases": {"test": 3}}])
def test_a_specification_that_is_not_whole_has_no_record(made, other):
    record = {**made, "trial": other, "hash": trial_hash(other)}
    with pytest.raises(UnbelievedError, match="not whole"):
        read(other, record)

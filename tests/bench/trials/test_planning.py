"""From what was asked for to trials."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inflate_zoo.bench.arms.making import ArmRequest
from inflate_zoo.bench.data.remembered import Remembered
from inflate_zoo.bench.trials.planning import Request, _checked, plan, plan_resolved, resolve
from inflate_zoo.errors import ConfigError, UsageError
from tests.support.checkpoints import save_transformers
from tests.support.datasets import change_table, write_decathlon, write_nifti, write_nnunet
from tests.support.said import Said, unsaid
from tests.support.trials import SHAPE, VIT, tiny_protocol

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license")
TASK = """
title = "Boxes"
modality = "MRI"
channels = ["MRI"]
labels = {{ background = 0, front = 1, back = {back} }}
regions = {{ both = [1, {back}] }}
intensity = {{ rule = "percentiles", low = 1, high = 99 }}
spacing = [1.0, 1.0, 2.0]
[split]
folds = {folds}
"""


@pytest.fixture(scope="module")
def request_(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    data = write_decathlon(home / "Task99 Böxes!", 12, SHAPE)
    save_transformers("vit", home / "vit", **VIT)
    wanted = ArmRequest((str(home / "vit"), "random"), ("center",))
    return Request(
        data=data, dataset=None, wanted=wanted, protocol=tiny_protocol(), seeds=2, folds=(0,),
        rule="sum", out=None, cache=home / "cache", command=("inflate-zoo",),
    )  # fmt: skip


def go(request):
    counted = []
    return plan(request, unsaid, lambda *numbers: counted.append(numbers)), counted


def test_trials_are_balanced_from_the_start(request_):
    planned, counted = go(replace(request_, folds=(3, 1)))
    shown = [(s.seed, s.fold, s.arm.label) for s, _ in planned.trials]
    arms = ("vit center", "random")
    assert shown == [(s, f, arm) for s in (0, 1) for f in (3, 1) for arm in arms]
    assert ("cases checked", 12, 12) in counted
    assert ("cases prepared", 12, 12) in counted
    name = planned.trials[0][0].protocol.name
    assert planned.out == Path("runs") / f"task99-b-xes-{name}"
    assert planned.trials[0][0].task.name == "task99-b-xes"


def test_many_warnings_are_counted_those_of_the_whole_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_decathlon(Path("my data/Boxes"), 12, SHAPE)
    for path in (folder / "labelsTr").iterdir():
        write_nifti(path, np.zeros(SHAPE, np.uint8))
    change_table(folder, validation=[{"image": "a.nii", "label": "b.nii"}])
    said = Said()
    _checked(folder, Remembered(tmp_path), said.say, lambda *_: None)
    assert len(said) == 9
    assert said.urgent == said
    assert said[0].startswith("warning: data set: dataset.json: 1 labelled cases")
    assert (
        said[-1] == "... and 5 more warnings; see all with: inflate-zoo data check 'my data/Boxes'"
    )


def test_what_keeps_data_from_being_used_comes_with_the_command_that_lists_it(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = write_decathlon(Path("sub/Boxes"), 12, SHAPE)
    (folder / "labelsTr/case_09.nii.gz").unlink()
    with pytest.raises(UsageError) as caught:
        _checked(folder, Remembered(tmp_path), Said().say, lambda *_: None)
    assert caught.value.message == "'sub/Boxes' has 1 problem"
    assert caught.value.hint == "see all with: inflate-zoo data check sub/Boxes"
    change_table(folder, labels={"1": "front", "2": "back"})
    with pytest.raises(UsageError) as caught:
        _checked(folder, Remembered(tmp_path), Said().say, lambda *_: None)
    assert any(line.startswith("data set: dataset.json: ") for line in caught.value.details)


def test_all_folds_test_every_case_once(request_):
    planned, _ = go(replace(request_, folds=None, seeds=1))
    tested = []
    for spec, place in planned.trials:
        parts = [spec.cases.train, spec.cases.validation, spec.cases.test]
        names = [name for part in parts for name in part]
        assert len(names) == len(set(names)) == 12
        assert set(spec.entries) == set(names)
        assert Path(place.cache).is_absolute()
        if spec.arm.kind == "random":
            assert place.weights is None
            tested += spec.cases.test
    assert sorted(tested) == sorted(names)


def test_no_scored_case_has_a_say_in_a_derived_task(request_, tmp_path):
    """Not where the scored cases choose the checkpoint, either: no other case is trained on."""
    data, tasks = write_decathlon(tmp_path / "scans", 12, SHAPE, ("CT",)), []
    for select_on in ("validation", "test"):
        protocol = tiny_protocol(f"data.select_on={select_on}")
        planned, _ = go(replace(request_, data=data, protocol=protocol, seeds=1))
        spec = planned.trials[0][0]
        assert (spec.cases.validation == spec.cases.test) == (select_on == "test")
        tasks.append(spec.task)
    assert tasks[0] == tasks[1]


def test_both_layouts_give_the_same_trials_but_for_names(request_, tmp_path):
    other = write_nnunet(tmp_path / request_.data.name, 12, SHAPE)
    ours, theirs = (go(replace(request_, data=data))[0] for data in (request_.data, other))
    for (one, _), (two, _) in zip(ours.trials, theirs.trials, strict=True):
        assert one.cases == two.cases
        assert one.task.spacing == two.task.spacing
        assert set(one.task.regions) == set(two.task.regions)


def test_a_task_file_decides(request_, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(TASK.format(back=2, folds=3))
    planned, _ = go(replace(request_, dataset=str(file), folds=None, seeds=1, out=tmp_path / "o"))
    assert {spec.fold for spec, _ in planned.trials} == {0, 1, 2}
    assert planned.trials[0][0].task.regions == {"both": (1, 2)}
    assert planned.out == tmp_path / "o"
    file.write_text(TASK.format(back=3, folds=3))
    with pytest.raises(ConfigError, match="is not the data set of task 'mine'"):
        go(replace(request_, dataset=str(file)))


def test_a_protocol_changes_the_task(request_):
    protocol = tiny_protocol("data.spacing=[2.0, 1.0, 1.5]")
    planned, _ = go(replace(request_, protocol=protocol))
    assert planned.trials[0][0].task.spacing == (2.0, 1.0, 1.5)


@pytest.mark.parametrize(
    "own, told",
    [
        ({"task_steps": {"task99-boexes": 3}}, "task99-boexes"),
        ({"task_window": {"task99-b-xe": (8, 16, 16)}}, "task99-b-xe"),
        ({"task_steps": {"task99-b-xe": 3, "task99-b-xes": 3}}, None),
        ({"task_steps": {"my-tumours": 3}}, None),
    ],
)
def test_a_misspelt_task_of_a_protocol_is_told(own, told, request_):
    said = Said()
    protocol = request_.protocol.model_copy(update=own)
    plan(replace(request_, protocol=protocol, folds=(0, 1)), said.say, lambda *_: None)
    warnings = [line for line in said.urgent if "are not taken" in line]
    assert len(warnings) == (told is not None)
    assert all(f"for a task '{told}'" in line and "is 'task99-b-xes'" in line for line in warnings)


def test_bundled_tasks_that_look_alike_are_not_told(request_, tmp_path):
    protocol = request_.protocol.model_copy(update={"task_steps": {"msd-task03": 3}})
    data = write_decathlon(tmp_path / "msd Task05", 12, SHAPE)
    said = Said()
    plan(replace(request_, protocol=protocol, data=data), said.say, lambda *_: None)
    assert not [line for line in said.urgent if "are not taken" in line]


@pytest.mark.parametrize(
    "window, patch_depth, told",
    [
        (24, 16, "windows 32 voxels deep as 2 tokens over depth: .* SOURCE:patch_depth=5"),
        (8, 8, "windows 8 voxels deep as 1 token over depth: .* SOURCE:patch_depth=1"),
        (9, 4, None),  # three
        (2, 1, None),  # no patch is less deep
    ],
)
def test_patches_that_leave_hardly_any_depth_are_told(window, patch_depth, told, request_):
    own = {"window": (window, 8, 8), "patch_depth": patch_depth}
    network = request_.protocol.network.model_copy(update=own)
    protocol = request_.protocol.model_copy(update={"network": network})
    wanted = replace(request_.wanted, schemes=("center", "average"), slices=True)
    said = Said()
    asked = replace(request_, protocol=protocol, wanted=wanted, folds=(0, 1))
    plan(asked, said.say, lambda *_: None)
    shown = [line for line in said if "over depth" in line]
    assert [line.split("'")[1] for line in shown] == (["vit center", "vit average"] if told else [])
    assert all(re.search(told, line) for line in shown)
    assert not set(shown) & set(said.urgent)


def test_windows_of_a_centre_slice_are_as_deep_as_they_are_wanted(request_):
    own = {"window": (5, 8, 8), "patch_depth": 5, "decoder": "upernet"}
    network = request_.protocol.network.model_copy(update=own)
    said = Said()
    data = request_.protocol.data.model_copy(update={"whole_slices": True})
    protocol = request_.protocol.model_copy(update={"network": network, "data": data})
    plan(replace(request_, protocol=protocol), said.say, lambda *_: None)
    assert not [line for line in said if "over depth" in line]


def test_a_trial_of_random_weights_holds_the_rate_it_trains_with(request_):
    def planned(*changes):
        found, _ = go(replace(request_, protocol=tiny_protocol(*changes), seeds=1))
        return {spec.arm.kind: spec for spec, _ in found.trials}

    plain = planned("train.learning_rate=2e-3")
    both = planned("train.learning_rate=2e-3", "train.random_learning_rate=5e-4")
    rates = {kind: spec.protocol.train.learning_rate for kind, spec in both.items()}
    assert rates == {"inflated": 2e-3, "random": 5e-4}
    for kind, spec in both.items():
        assert "random_learning_rate" not in spec.plain()["protocol"]["train"]
        train = spec.protocol.train.model_copy(update={"learning_rate": 2e-3})
        assert train == plain[kind].protocol.train


@pytest.mark.parametrize("folds", [(5,), (-1,), (0, 9)])
def test_folds_that_do_not_exist(request_, folds):
    with pytest.raises(UsageError, match="no fold") as caught:
        go(replace(request_, folds=folds))
    assert caught.value.hint == "choose from 0 to 4"


def test_what_is_wrong_is_found_before_data_are_read(request_, tmp_path, monkeypatch):
    def read(*_):
        pytest.fail("data were read")

    monkeypatch.setattr("inflate_zoo.bench.trials.planning.read_dataset", read)
    text = tmp_path / "text"
    text.mkdir()
    (text / "config.json").write_text('{"model_type": "bert"}')
    for source in ("/nowhere/vit", str(text)):
        wrong = replace(request_, wanted=ArmRequest((source, "random"), ("center",)))
        with pytest.raises(UsageError):
            plan(wrong, unsaid, lambda *_: None)
    for changes in (
        {"folds": (7,)},
        {"dataset": "msd-task99"},
        {"wanted": replace(request_.wanted, schemes=("centre",))},
        {"wanted": ArmRequest((), ())},
    ):
        with pytest.raises(UsageError):
            resolve(replace(request_, **changes))


@pytest.mark.parametrize(
    "wanted, count",
    [
        ({}, 2),
        ({"schemes": ("center", "average"), "slices": True}, 4),
        ({"sources": ("vit:2d", "vit:average")}, 2),
        ({"sources": ("vit", "vit:2d"), "slices": True}, 2),
        ({"sources": ("vit", "small", "random")}, 4),  # one of random weights for each network
        ({"sources": ("vit",), "random": True}, 2),
        ({"sources": ("vit", "vit:patch_depth=4", "random")}, 4),  # at this spacing another's is 2
        ({"sources": ("vit:patch_depth=1", "vit:patch_depth=8:average", "random")}, 4),
        ({"sources": ("vit:2d", "vit:patch_depth=4", "small:2d", "random")}, 4),
    ],
)
def test_arms_are_counted_before_they_are_made(request_, wanted, count):
    home = request_.data.parent
    if not (home / "small").exists():
        save_transformers("vit", home / "small", **VIT | {"num_hidden_layers": 4})
    wanted = dict(wanted)
    if sources := wanted.pop("sources", None):
        wanted["sources"] = tuple(s if s == "random" else str(home / s) for s in sources)
    asked = replace(request_, wanted=replace(request_.wanted, **wanted), folds=(0, 1))
    resolved = resolve(asked)
    assert resolved.arms.count == count
    assert resolved.trials == count * 2 * 2
    planned = plan_resolved(resolved, asked.data, lambda _: None, lambda *_: None)
    assert len(planned.trials) == resolved.trials
    assert planned.out == resolved.out(asked.data)


def test_arms_are_counted_with_the_depth_that_a_protocol_says(request_):
    network = request_.protocol.network.model_copy(update={"patch_depth": 3})
    protocol = request_.protocol.model_copy(update={"network": network})
    vit = str(request_.data.parent / "vit")
    sources = (vit, f"{vit}:average:patch_depth=3", f"{vit}:patch_depth=2", "random")
    wanted = ArmRequest(sources, ("center",))
    resolved = resolve(replace(request_, protocol=protocol, wanted=wanted))
    assert [config.patch_depth for config in resolved.arms.backbones] == [3, 3, 2]
    assert resolved.arms.count == 5
    planned = plan_resolved(resolved, request_.data, lambda _: None, lambda *_: None)
    assert len(planned.trials) == resolved.trials


def test_a_source_is_understood_once_for_all_folds(request_, monkeypatch):
    from inflate_zoo.bench.arms import resolving

    found = []
    monkeypatch.setattr(
        resolving,
        "find_any",
        lambda name, real=resolving.find_any: found.append(name) or real(name),
    )
    go(replace(request_, folds=(0, 1, 2)))
    assert len(found) == 1

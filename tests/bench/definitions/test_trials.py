"""What determines a trial, what names it, and the window that its network sees."""

import json

import pytest
import torch

from inflate_zoo.bench.definitions.trials import TrialSpec, labels_of, window_of
from inflate_zoo.bench.training.building import build
from tests.support.trials import one_thread, tiny_run


@pytest.fixture(autouse=True, scope="module")
def quiet():
    with one_thread():
        yield


KINDS = ("inflated", "2d", "random")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trials")


@pytest.fixture(scope="module")
def run(folder):
    return tiny_run(folder, "network.drop_path=0.3", kinds=KINDS, seeds=2)


def weights_of(trial):
    from pathlib import Path

    return Path(trial.place.weights) if trial.place.weights else None


@pytest.mark.parametrize(
    ("asked", "inflated", "slices"),
    [
        ((4, 8, 8), (4, 8, 8), (4, 8, 8)),
        ((5, 9, 13), (6, 12, 16), (5, 12, 16)),
        ((1, 1, 1), (2, 4, 4), (1, 4, 4)),
    ],
)
def test_the_window_is_rounded_up_to_whole_patches(run, asked, inflated, slices):
    for kind, expected in (("inflated", inflated), ("random", inflated), ("2d", slices)):
        spec = run.trial(kind).spec
        network = spec.protocol.network.model_copy(update={"window": asked})
        protocol = spec.protocol.model_copy(update={"network": network})
        spec = spec.model_copy(update={"protocol": protocol})
        assert window_of(spec) == expected
        built = build(spec, weights_of(run.trial(kind))).eval()
        assert built(torch.rand(1, 1, *expected)).shape[2:] == expected


@pytest.mark.parametrize(
    ("spacing", "depth"),
    [((1, 1, 1), 12), ((3.6, 0.6, 0.6), 2), ((0.5, 1, 1), 24), ((50, 1, 1), 2)],
)
def test_a_window_may_be_as_deep_in_mm_as_it_is_high(run, spacing, depth):
    spec = run.trial().spec
    network = spec.protocol.network.model_copy(update={"window": ("spacing", 12, 8)})
    protocol = spec.protocol.model_copy(update={"network": network})
    task = spec.task.model_copy(update={"spacing": spacing})
    assert window_of(spec.model_copy(update={"protocol": protocol, "task": task})) == (depth, 12, 8)


def test_whole_slices_decide_the_window_but_for_its_depth(run):
    for kind, depth, patch in (("inflated", 6, 2), ("2d", 1, 1)):
        spec = run.trial(kind).spec
        network = spec.protocol.network.model_copy(
            update={"decoder": "upernet", "window": (5, 999, 999)}
        )
        protocol = spec.protocol.model_copy(update={"network": network})
        task = spec.task.model_copy(update={"whole_slices": True, "slice_size": 18})
        assert spec.arm.config.patch_depth == patch
        spec = spec.model_copy(update={"protocol": protocol, "task": task})
        assert window_of(spec) == (depth, 20, 20)


def test_a_folder_is_named_by_what_determines_the_result(run):
    trial = run.trials[0]
    spec = trial.spec
    assert trial.folder.name == spec.hash
    assert len({trial.spec.hash for trial in run.trials}) == 6
    assert TrialSpec(**json.loads(json.dumps(spec.plain()))).hash == spec.hash
    changes = {
        "seed": 7, "fold": 3, "channel_rule": "rgb",
        "entries": {**spec.entries, spec.cases.test[0]: "other content"},
        "task": spec.task.model_copy(update={"spacing": (1.0, 1.0, 1.5)}),
        "arm": spec.arm.model_copy(update={"weights": "0" * 64}),
        "cases": spec.cases.model_copy(update={"train": spec.cases.train[1:]}),
        "protocol": spec.protocol.model_copy(
            update={"train": spec.protocol.train.model_copy(update={"steps": 99})}
        ),
    }  # fmt: skip
    assert set(changes) == set(TrialSpec.model_fields)
    hashes = {spec.model_copy(update={name: value}).hash for name, value in changes.items()}
    assert len(hashes | {spec.hash}) == len(changes) + 1


def test_the_order_of_changes_does_not_name_a_folder(run):
    spec = run.trials[0].spec
    told = [spec.protocol.model_copy(update={"overrides": o}) for o in (("a=1", "b=2"), ("b=2",))]
    assert len({spec.model_copy(update={"protocol": p}).hash for p in told}) == 1


def test_an_arm_has_the_longest_of_its_labels_and_no_other_arm_has(run):
    def called(spec, label):
        return spec.model_copy(update={"arm": spec.arm.model_copy(update={"label": label})})

    first, second = (run.trial("random", seed).spec for seed in range(2))
    other = run.trial("inflated").spec
    beside = called(second, "random beside b")
    assert labels_of([first, beside, other]) == [*["random beside b"] * 2, other.arm.label]
    assert labels_of([beside, first]) == ["random beside b"] * 2
    elsewhere = second.model_copy(
        update={"task": second.task.model_copy(update={"name": "another"})}
    )
    assert labels_of([called(first, "random beside b"), elsewhere]) == ["random beside b", "random"]


def test_two_arms_that_commands_gave_one_label_are_told_apart(run):
    """Of two sources in two folds the report made one arm, and predict one ensemble."""

    def changed(spec, **fields):
        return spec.model_copy(update={"arm": spec.arm.model_copy(update=fields)})

    first = run.trial("inflated").spec
    label, config = first.arm.label, first.arm.config
    fold = first.model_copy(update={"fold": 1})
    other = changed(fold, source="another", weights="0" * 64, source_digest="ab12" * 16)
    apart = f"{label} ({first.arm.source} {first.arm.weights[:8]})"
    assert labels_of([first, fold, other]) == [apart, apart, f"{label} (another 00000000)"]
    again = changed(fold, weights="0" * 64)  # folded otherwise, say
    assert labels_of([first, again]) == [apart, f"{label} ({first.arm.source} 00000000)"]
    # The task of a fold may be derived: of the same source another depth of patches.
    deeper = config.model_copy(update={"patch_depth": 2 * config.patch_depth})
    derived = changed(fold, config=deeper, weights="1" * 64, source_digest="")
    assert labels_of([first, derived]) == [label] * 2
    random = run.trial("random").spec
    wider = random.arm.config.model_copy(update={"mlp_dim": 2 * random.arm.config.mlp_dim})
    told = labels_of([random, changed(random.model_copy(update={"fold": 1}), config=wider)])
    assert len({*told}) == 2
    assert all(each.startswith(f"random ({random.arm.architecture} ") for each in told)

"""What is compared: sources found once, converted once, told apart."""

import json
import os
import shutil

import pytest
import torch

from inflate_zoo import load
from inflate_zoo.bench.arms import making
from inflate_zoo.bench.arms.making import ArmRequest, resolve_arms
from inflate_zoo.bench.definitions.tasks import Intensity, Task
from inflate_zoo.bench.definitions.trials import CaseNames, TrialSpec
from inflate_zoo.bench.training.building import build
from inflate_zoo.conversion.converting import convert
from inflate_zoo.conversion.record import read_conversion
from inflate_zoo.errors import HubError, UnknownNameError, UsageError
from inflate_zoo.files.digests import sha256
from inflate_zoo.files.writing import store
from inflate_zoo.naming.definition import Normalization
from inflate_zoo.networks.files import folder_of
from tests.support.checkpoints import (
    open_clip_config,
    save_open_clip,
    save_swin3d,
    save_transformers,
)
from tests.support.conversions import WRONG
from tests.support.hub_standin import HubStandIn, use_hub
from tests.support.said import Said
from tests.support.trials import VIT, tiny_protocol

SMALL_DINO = {name: value for name, value in VIT.items() if name != "intermediate_size"} | {
    "mlp_ratio": 1
}
REPO = "made-up/vit"


def task(channels=("MRI",), spacing=(1.0, 1.0, 1.0)):
    return Task(
        name="boxes", title="Boxes", modality="MRI", channels=channels,
        labels={"background": 0, "box": 1}, regions={"box": (1,)}, spacing=spacing,
        intensity=Intensity(rule="percentiles", low=1, high=99),
    )  # fmt: skip


def make_arms(wanted, of, protocol, rule, cache, say):
    return resolve_arms(wanted, protocol, rule, cache).make(of, protocol, cache, say)


class Maker:
    """Makes arms and keeps what was said."""

    def __init__(self, cache):
        self.cache, self.said = cache, Said()

    def __call__(self, *sources, schemes=("center",), rule="sum", changes=(), of=None, **more):
        self.said.clear()
        wanted = ArmRequest(tuple(map(str, sources)), schemes, **more)
        arms = make_arms(
            wanted, of or task(), tiny_protocol(*changes), rule, self.cache, self.said.say
        )
        return {arm.spec.label: arm for arm in arms}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    save_transformers("vit", folder / "vit", **VIT)
    save_transformers("vit", folder / "deep", **VIT | {"num_hidden_layers": 4})
    save_transformers("vit", folder / "again" / "vit", seed=1, **VIT)
    return folder


@pytest.fixture
def make(tmp_path):
    return Maker(tmp_path / "cache")


pytestmark = pytest.mark.filterwarnings("ignore:the source states no license")


def test_schemes_multiply_sources_and_neither_2d_nor_random(make, sources):
    schemes = ("center", "average")
    arms = make(sources / "vit", schemes=schemes, random=True, slices=True)
    assert list(arms) == ["vit center", "vit average", "vit 2d", "random"]
    kinds = [arm.spec.kind for arm in arms.values()]
    assert kinds == ["inflated", "inflated", "2d", "random"]
    depths = [arm.spec.config.patch_depth for arm in arms.values()]
    assert depths == [2, 2, 1, 2]
    assert arms["random"].weights is None
    assert arms["vit center"].spec.weights != arms["vit average"].spec.weights
    assert arms["vit center"].spec.architecture == "3 blocks of width 16, patch 2x4x4"


def test_random_comes_once_per_architecture(make, sources):
    both = make(sources / "vit", sources / "deep", "random", schemes=("center", "repeat"))
    randoms = [label for label in both if label.startswith("random")]
    assert randoms == [f"random {n} blocks of width 16, patch 2x4x4" for n in (3, 4)]
    same = make(sources / "vit", sources / "again" / "vit", random=True)
    assert sum(arm.spec.kind == "random" for arm in same.values()) == 1
    # What a source was trained at is no part of an architecture.
    assert same["random"].spec.config.position_grid == (1, 1)


def test_one_random_per_network_of_the_default_suite(make, tmp_path):
    """Small copies of the default suite's sources; one has LayerScale, to be a third network."""
    names = {"vit": "vit-base", "vit_mae": "vit-mae", "dinov2": "self-distilled", "clip": "clip"}
    for kind, name in names.items():
        save_transformers(kind, tmp_path / name, **(VIT if kind != "dinov2" else SMALL_DINO))
    arms = make(*(tmp_path / name for name in names.values()), random=True, slices=True)
    assert len(arms) == 4 * 2 + 3
    line = "3 blocks of width 16, patch 2x4x4"
    randoms = [label for label in arms if label.startswith("random")]
    said = ("activation=gelu layer_scale=False", "layer_scale=True", "activation=quick_gelu")
    assert randoms == [f"random {line} {what}" for what in said]


def test_random_weights_of_two_kinds_of_network_are_told_by_these(make, sources, tmp_path):
    save_transformers("beit", tmp_path / "beit", **VIT)
    arms = make(sources / "vit", tmp_path / "beit", random=True)
    assert [label for label in arms if label.startswith("random")] == [
        f"random 3 blocks of width 16, patch 2x4x4 model_type=inflated_{kind}"
        for kind in ("vit", "beit")
    ]


def test_sources_of_one_name_are_told_apart(make, sources):
    arms = make(sources / "vit", sources / "again" / "vit", slices=True)
    marks = [arm.spec.source_digest[:8] for arm in arms.values()]
    assert len(set(marks)) == 2
    assert marks[0::2] == marks[1::2]
    assert list(arms) == [
        f"vit {arm} (vit {mark})" for mark in marks[::2] for arm in ("center", "2d")
    ]
    with pytest.raises(UsageError, match="named twice"):
        make(sources / "vit", f"{sources / 'vit'}/")
    assert len(make(sources / "vit", sources / "vit")) == 1


def test_sources_are_called_as_they_are_labelled(make, sources):
    vit, again = f"{sources / 'vit'}:label=early", f"{sources / 'again' / 'vit'}:label=run 2, late"
    arms = make(vit, f"{again}:average", slices=True)
    assert list(arms) == ["early center", "early 2d", "run 2, late average"]
    plain = make(sources / "vit")["vit center"].spec
    assert plain.label == "vit center"
    assert arms["early center"].spec.identity == plain.identity
    # One name for two is told apart as any other.
    marked = make(vit, f"{sources / 'again' / 'vit'}:label=early")
    marks = [arm.spec.source_digest[:8] for arm in marked.values()]
    assert list(marked) == [f"early center (vit {mark})" for mark in marks]
    # A label makes no second arm of one network.
    for twice in ([vit, sources / "vit"], [vit, f"{sources / 'vit'}:patch_size=4,4"]):
        with pytest.raises(UsageError, match="named twice"):
            make(*twice)


def test_a_source_with_another_patch_is_an_arm_of_its_own(make, sources):
    vit = sources / "vit"
    named = (f"{vit}:patch_size=8,8", f"{vit}:patch_size=8,8:2d", f"{vit}:average", "random")
    arms = make(*named, changes=["network.window=[4,8,8]"])
    patches = {label: arm.spec.config.patch for label, arm in arms.items()}
    line = "random 3 blocks of width 16, patch"
    assert patches == {
        "vit patch_size=8,8 center": (2, 8, 8),
        "vit patch_size=8,8 2d": (1, 8, 8),
        "vit average": (2, 4, 4),
        f"{line} 2x8x8": (2, 8, 8),
        f"{line} 2x4x4": (2, 4, 4),
    }
    recipe = read_conversion(arms["vit patch_size=8,8 center"].weights).recipe
    assert recipe.patch_size == (8, 8)
    assert read_conversion(arms["vit average"].weights).recipe.patch_size is None


def test_a_source_with_patches_of_another_depth_is_an_arm_of_its_own(make, sources):
    """All are held against one network slice by slice, each against its own random weights."""
    vit = sources / "vit"
    arms = make(f"{vit}:2d", vit, f"{vit}:patch_depth=4", f"{vit}:average:patch_depth=1", "random")
    patches = {label: arm.spec.config.patch for label, arm in arms.items()}
    line = "random 3 blocks of width 16, patch"
    assert patches == {
        "vit 2d": (1, 4, 4),
        "vit center": (2, 4, 4),
        "vit patch_depth=4 center": (4, 4, 4),
        "vit patch_depth=1 average": (1, 4, 4),
        f"{line} 2x4x4": (2, 4, 4),
        f"{line} 4x4x4": (4, 4, 4),
        f"{line} 1x4x4": (1, 4, 4),
    }
    recipe = read_conversion(arms["vit patch_depth=4 center"].weights).recipe
    assert recipe.patch_depth == 4
    own = make(f"{vit}:patch_depth=2")["vit patch_depth=2 center"].spec
    plain = arms["vit center"].spec
    assert own.model_copy(update={"label": ""}) == plain.model_copy(update={"label": ""})
    with pytest.raises(UsageError, match="named twice"):
        make(vit, f"{vit}:patch_depth=2")


def test_a_patch_changes_the_hash_of_a_trial_and_none_leaves_it_as_it_was(make, sources):
    vit = sources / "vit"
    plain, own, coarse = (
        next(iter(make(text).values())).spec
        for text in (vit, f"{vit}:patch_size=4,4", f"{vit}:patch_size=8,8")
    )
    assert plain.weights == own.weights != coarse.weights
    assert {name for name in plain.model_dump() if getattr(plain, name) != getattr(own, name)} == {
        "label"
    }
    assert plain.config != coarse.config


def test_converted_weights_have_their_patch(make, sources, tmp_path):
    ready = convert(sources / "vit", tmp_path / "ready", patch_size=(8, 8), verify=False)
    assert next(iter(make(ready).values())).spec.config.patch_size == (8, 8)
    with pytest.raises(UsageError, match="'ready' holds converted weights, whose patch"):
        make(f"{ready}:patch_size=4,4")


def test_conversions_are_kept_by_recipe(make, sources):
    first = make(sources / "vit")
    assert make.said == ["converting vit, center, patch depth 2"]
    assert make(sources / "vit") == first
    assert make.said == []
    make(sources / "vit", schemes=("average",))
    make(sources / "vit", changes=["network.patch_depth=4"])
    make(sources / "again" / "vit")
    assert len(list((make.cache / "weights").iterdir())) == 4
    thick = make(sources / "vit", changes=["network.patch_depth=spacing"],
                 of=task(spacing=(4.0, 1.0, 1.0)))  # fmt: skip
    assert thick["vit center"].spec.config.patch_depth == 1


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "conversion.json"])
def test_kept_weights_that_are_not_as_they_were_made_are_made_anew(make, sources, name):
    first = make(sources / "vit")
    folder = first["vit center"].weights
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    content, state = bytearray(before[name]), (folder / name).stat()
    content[-9] ^= 0x40
    (folder / name).write_bytes(content)
    os.utime(folder / name, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert make(sources / "vit") == first
    assert make.said == ["converting vit, center, patch depth 2"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (folder / name).unlink()
    assert make(sources / "vit") == first
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_2d_alone_and_beside_itself(make, sources):
    assert list(make(f"{sources / 'vit'}:2d")) == ["vit 2d"]
    assert list(make(sources / "vit", f"{sources / 'vit'}:2d", slices=True)) == [
        "vit center", "vit 2d"
    ]  # fmt: skip
    alone = make(f"{sources / 'vit'}:2d", random=True)
    assert alone["random"] == make(sources / "vit", random=True)["random"]


def test_weights_are_hashed_once_for_all_folds(make, sources, tmp_path, monkeypatch):
    ready = convert(sources / "vit", tmp_path / "ready", patch_depth=2, fold_normalization=True)
    first = make(ready, sources / "vit", slices=True)
    hashed = []

    def told(path):
        hashed.append(path)
        return sha256(path)

    for module in (making, store):
        monkeypatch.setattr(module, "sha256", told, raising=False)
    assert make(ready, sources / "vit", slices=True) == first
    assert not hashed
    (ready / "model.safetensors").touch()
    assert make(ready, sources / "vit", slices=True) == first
    assert hashed == [ready / "model.safetensors"]


@pytest.mark.parametrize("kinds, randoms", [
    (("{vit}", "{deep}:2d"), 1), (("{vit}:2d", "{deep}"), 1), (("{vit}:2d", "{deep}:2d"), 2),
    (("{vit}:2d", "{deep}:2d", "{deep}"), 1), (("{vit}", "{deep}"), 2),
])  # fmt: skip
def test_as_many_arms_are_announced_as_are_made(make, sources, kinds, randoms):
    named = [kind.format(vit=sources / "vit", deep=sources / "deep") for kind in kinds]
    arms = make(*named, random=True)
    assert sum(arm.spec.kind == "random" for arm in arms.values()) == randoms
    wanted = ArmRequest(tuple(named), ("center",), random=True)
    assert resolve_arms(wanted, tiny_protocol(), "sum", make.cache).count == len(arms)


def test_converted_weights_are_taken_as_they_are(make, sources, tmp_path):
    ready = tmp_path / "mine"
    convert(sources / "vit", ready, scheme="average", patch_depth=2, fold_normalization=True)
    arms = make(ready, schemes=("center", "repeat"), slices=True)
    assert list(arms) == ["mine average"]
    assert arms["mine average"].weights == ready
    assert arms["mine average"].spec.scheme == "average"
    assert make.said == []
    with pytest.raises(UsageError, match="needs the 2D checkpoint"):
        make(f"{ready}:2d")
    plain = tmp_path / "plain"
    convert(sources / "vit", plain, scheme="center", patch_depth=2)
    make(plain)
    assert "without --fold-normalization" in make.said[0]
    (ready / "conversion.json").unlink()
    assert list(make(ready)) == ["mine converted"]
    three = tmp_path / "three"
    convert(sources / "vit", three, patch_depth=2, channels=3)
    with pytest.raises(UsageError, match=r"takes 3 channel\(s\), 'boxes' has 1\n"):
        make(three)
    colours = task(("red", "green", "blue"))
    assert make(three, of=colours, rule="rgb")["three center"].weights == three
    with pytest.raises(
        UsageError, match=r"'mine converted' takes 1 channel\(s\), .* has 3 colours"
    ):
        make(ready, of=colours, rule="rgb")


def test_who_says_how_an_arm_is_fed(make, sources, tmp_path):
    """Also of weights that were converted before, as far as their record goes."""
    assert make(sources / "vit")["vit center"].spec.normalization == "stated"
    plain = ["network.fold_normalization=false"]
    assert make(sources / "vit", changes=plain)["vit center"].spec.normalization is None
    silent = tmp_path / "silent"
    shutil.copytree(sources / "vit", silent)
    (silent / "preprocessor_config.json").unlink()
    with pytest.warns(UserWarning, match="a guess, the default of hf_vit"):
        arms = make(silent, random=True, slices=True)
    fed = {label: arm.spec.normalization for label, arm in arms.items()}
    assert fed == {"silent center": "guessed", "silent 2d": "guessed", "random": None}
    make(silent)
    assert make.said == ["warning: the input normalisation of silent is a guess"]
    assert make.said.urgent == make.said
    half = Normalization(mean=(0.5,), std=(0.25,))
    given = make(silent, random=True, normalization=half)["silent center"]
    assert given.spec.normalization == "given"
    assert given.spec.weights != arms["silent center"].spec.weights
    taken = make(given.weights)
    assert [arm.spec.normalization for arm in taken.values()] == ["given"]
    record = given.weights / "conversion.json"
    content = json.loads(record.read_text())
    for change, expected in (
        ({"normalization_basis": None}, "unknown"),
        ({"fold_normalization": False}, "unfolded"),
    ):
        changed = {**content, "recipe": {**content["recipe"], **change}}
        record.write_text(json.dumps(changed))
        assert [arm.spec.normalization for arm in make(given.weights).values()] == [expected]
    record.unlink()
    assert [arm.spec.normalization for arm in make(given.weights).values()] == ["unknown"]


@pytest.mark.parametrize("wrong", WRONG)
def test_converted_weights_whose_record_is_none_are_refused(make, sources, tmp_path, wrong):
    ready = convert(sources / "vit", tmp_path / "r", patch_depth=2, fold_normalization=True)
    table = json.loads((ready / "conversion.json").read_text())
    spoil, told = WRONG[wrong]
    spoil(table)
    (ready / "conversion.json").write_text(json.dumps(table))
    with pytest.raises(UsageError, match=r"'r': conversion.json is incomplete") as caught:
        make(ready)
    assert told in caught.value.message


def test_a_normalisation_is_that_of_one_source_which_is_converted_here(make, sources, tmp_path):
    half = Normalization(mean=(0.5,), std=(0.25,))
    with pytest.raises(UsageError, match="those of one source, and 2 are compared"):
        make(sources / "vit", sources / "deep", normalization=half)
    plain = ["network.fold_normalization=false"]
    with pytest.raises(UsageError, match="folds no normalisation"):
        make(sources / "vit", changes=plain, normalization=half)
    ready = convert(sources / "vit", tmp_path / "r", patch_depth=2, fold_normalization=True)
    with pytest.raises(UsageError, match="'r' holds converted weights"):
        make(ready, normalization=half)
    both = make(sources / "vit", f"{sources / 'vit'}:2d", normalization=half)
    assert {arm.spec.normalization for arm in both.values()} == {"given"}


def test_what_cannot_be_compared(make, sources):
    with pytest.raises(UnknownNameError, match="centre"):
        make(sources / "vit", schemes=("centre",))
    with pytest.raises(UsageError, match="nothing to compare"):
        make()
    with pytest.raises(UsageError, match="rgb needs 3 channels"):
        make(sources / "vit", rule="rgb")
    assert not (make.cache / "weights").exists()


def network(arm, of, rule):
    cases = CaseNames(train=("a",), validation=("b",), test=("c",))
    spec = TrialSpec(
        task=of, protocol=tiny_protocol("network.drop_path=0.0"), arm=arm.spec, cases=cases,
        entries={}, fold=0, seed=0, channel_rule=rule,
    )  # fmt: skip
    return build(spec, arm.weights).eval()


def test_channels_share_the_grey_kernel_or_are_colours(make, sources):
    colours = task(("red", "green", "blue"))
    torch.manual_seed(0)
    grey, mixed = torch.rand(1, 1, 4, 8, 8), torch.rand(1, 3, 4, 8, 8)
    summed = network(make(sources / "vit", of=colours)["vit center"], colours, "sum")
    single = network(make(sources / "vit")["vit center"], task(), "sum")
    rgb = network(make(sources / "vit", rule="rgb", of=colours)["vit center"], colours, "rgb")
    with torch.inference_mode():
        alone, of_three = (n.backbone(v) for n, v in ((single, grey), (summed, mixed)))
        thrice = [n.backbone(grey.expand(-1, 3, -1, -1, -1)) for n in (summed, rgb)]
        torch.testing.assert_close(thrice[0], alone)  # equal channels are the grey image
        torch.testing.assert_close(thrice[1], alone)
        turned = mixed.roll(1, dims=1)
        torch.testing.assert_close(summed.backbone(turned), of_three)
        assert not torch.allclose(rgb.backbone(turned), rgb.backbone(mixed), atol=1e-3)


def test_hub_sources_and_random_alone(make, sources, tmp_path, monkeypatch):
    home = tmp_path / "hub"
    protocol = tiny_protocol().model_copy(update={"backbone": REPO})
    with HubStandIn() as hub, use_hub(monkeypatch, hub, home):
        commit = hub.add_repo(REPO, sources / "vit")
        arms = make(REPO)
        assert arms["vit center"].spec.source == f"{REPO}@{commit}"
        assert make.said == ["converting vit, center, patch depth 2"]
        (alone,) = make_arms(
            ArmRequest(("random",), ()), task(), protocol, "sum", make.cache, make.said.say
        )
        assert (alone.spec.label, alone.spec.kind) == ("random", "random")
        beside = make(REPO, "random")["random"]
        assert alone.spec == beside.spec  # the same architecture: the same trial
        ready = tmp_path / "ready"
        convert(sources / "vit", ready, patch_depth=2, fold_normalization=True)
        commit = hub.add_repo("made-up/ready-3d", ready)
        taken = make("made-up/ready-3d")["ready-3d center"]
        assert taken.spec.source == f"made-up/ready-3d@{commit}"
        assert make.said == []
        with pytest.raises(UsageError, match="made-up/none"):
            make("made-up/none")
        hub.fail(503, times=20)
        with pytest.raises(HubError):
            make("made-up/other")
    assert "hf_" not in json.dumps(arms["vit center"].spec.model_dump(mode="json"))


@pytest.mark.parametrize(
    "name, kind",
    [
        ("google/vit-base-patch16-224", "vit"),
        ("facebook/dino-vitb16", "vit"),
        ("microsoft/beit-base-patch16-224", "beit"),
    ],
)
def test_random_alone_asks_no_hub(make, name, kind, tmp_path, monkeypatch):
    """Its network is that which the source's own files tell, here of one block to be quick."""
    large = {
        "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072,
        "patch_size": 16, "image_size": 224, "num_hidden_layers": 1,
    }  # fmt: skip
    source = save_transformers(kind, tmp_path / "large", **large)
    with HubStandIn() as hub, use_hub(monkeypatch, hub, tmp_path / "home"):
        hub.fail(503, times=20)

        def alone(backbone):
            protocol = tiny_protocol("network.patch_depth=8").model_copy(
                update={"backbone": str(backbone)}
            )
            wanted = ArmRequest(("random",), ())
            (arm,) = make_arms(wanted, task(), protocol, "sum", make.cache, make.said.say)
            return arm.spec.config

        assert alone(name).model_copy(update={"depth": 1}) == alone(source)
        assert alone(name).depth == 12
        assert hub.requests == []
        with pytest.raises(HubError):
            alone("facebook/dino-vits16")


def test_a_branch_that_moves_between_is_converted_as_it_was_found(
    make, sources, tmp_path, monkeypatch
):
    with HubStandIn() as hub, use_hub(monkeypatch, hub, tmp_path / "hub"):
        commit = hub.add_repo(REPO, sources / "vit")

        def moved(line, *, urgent=False):
            make.said.append(line)
            hub.add_repo(REPO, sources / "again" / "vit")

        wanted = ArmRequest((REPO,), ("center", "average"), slices=True)
        arms = make_arms(wanted, task(), tiny_protocol(), "sum", make.cache, moved)
        digest = read_conversion(arms[0].weights).source.sha256["model.safetensors"]
    assert len(make.said) == len(arms) == 3
    for arm in arms:
        source = read_conversion(arm.weights).source
        assert arm.spec.source == f"{REPO}@{commit}"
        assert (source.repo, source.commit) == (REPO, commit)
        assert source.sha256["model.safetensors"] == digest == sha256(
            sources / "vit" / "model.safetensors"
        )  # fmt: skip


def test_a_branch_that_moves_between_gives_converted_weights_of_one_commit(
    make, sources, tmp_path, monkeypatch
):
    folders = [
        convert(sources / name, tmp_path / name.replace("/", "-"), patch_depth=2)
        for name in ("vit", "again/vit")
    ]
    with HubStandIn() as hub, use_hub(monkeypatch, hub, tmp_path / "hub"):
        commits = {hub.add_repo("made-up/ready-3d", folders[0]): folders[0]}

        def moving(*args):
            found = folder_of(*args)
            commits[hub.add_repo("made-up/ready-3d", folders[1])] = folders[1]
            return found

        monkeypatch.setattr("inflate_zoo.registry.finding.folder_of", moving)
        (arm,) = make("made-up/ready-3d").values()
    assert len(commits) == 2
    made = commits[arm.spec.source.partition("@")[2]]
    assert arm.spec.weights == read_conversion(made).weights_sha256


def test_a_source_that_changes_while_it_is_converted_is_refused(make, sources, tmp_path):
    shutil.copytree(sources / "vit", tmp_path / "vit")

    def spoiling(line):
        (tmp_path / "vit" / "preprocessor_config.json").write_text("{}")

    wanted = ArmRequest((str(tmp_path / "vit"),), ("center",))
    with pytest.raises(UsageError, match="'vit' changed while it was converted"):
        make_arms(wanted, task(), tiny_protocol(), "sum", make.cache, spoiling)


def test_weights_that_changed_or_went_are_refused(make, sources):
    arm = make(sources / "vit")["vit center"]
    assert torch.is_tensor(next(load(arm.weights).parameters()))
    (arm.weights / "model.safetensors").write_bytes(b"other")
    with pytest.raises(UsageError, match="changed since the trial was planned"):
        network(arm, task(), "sum")
    (arm.weights / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="gone from the cache"):
        network(arm, task(), "sum")


@pytest.mark.filterwarnings("ignore:.*normalisation")
def test_a_bare_file_carries_what_convert_would_be_told(make, tmp_path):
    """VitForm and copy stand in the source; two copies of one file are two arms."""
    import timm

    from tests.support.checkpoints import randomize

    student, teacher = (randomize(timm.create_model("test_vit", depth=1), seed) for seed in (0, 1))
    content = {"student": student.state_dict(), "teacher": teacher.state_dict()}
    del content["teacher"]["head.weight"]
    torch.save(content, tmp_path / "a.pth")
    file = tmp_path / "a.pth"
    with pytest.raises(UsageError, match="needs its architecture's name") as caught:
        make(f"{file}:family=timm_vit")
    assert "FILE:arch=NAME" in caught.value.details[-1]
    with pytest.raises(UsageError, match=r"depth is 6, .* says 1"):
        make(f"{file}:arch=test_vit")
    arms = make(f"{file}:family=dino", f"{file}:family=dino:weights=student:2d")
    assert list(arms) == ["a center", "a student 2d"]
    stems = [load(arm.weights).state_dict()["blocks.0.norm1.weight"] for arm in arms.values()]
    assert torch.equal(stems[0], content["teacher"]["blocks.0.norm1.weight"])
    assert torch.equal(stems[1], content["student"]["blocks.0.norm1.weight"])
    other = make(f"{file}:family=dino:weights=teacher", f"{file}:family=dino:weights=student")
    marks = {label: arm.spec.source_digest for label, arm in {**arms, **other}.items()}
    assert marks["a center"] == marks["a teacher center"]
    assert marks["a student 2d"] == marks["a student center"] != marks["a center"]


@pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
def test_a_source_of_open_clips_is_known_by_its_own_config(tmp_path):
    folder = save_open_clip(tmp_path / "clip", open_clip_config(timm_pool="avg"))
    arms = Maker(tmp_path / "cache")(folder, changes=["network.fold_normalization=true"])
    (arm,) = (arm for label, arm in arms.items() if label == "clip center")
    assert arm.spec.config.pool == "mean"
    assert arm.spec.normalization == "stated"


VIDEO_SWIN = {
    "patch_size": [2, 2, 2], "embed_dim": 8, "depths": [1, 2], "num_heads": [2, 2],
    "window_size": [2, 2, 2],
}  # fmt: skip
GUESSED = "ignore:the source states no normalisation"


@pytest.mark.filterwarnings(GUESSED)
def test_a_source_that_is_3d_already_is_one_arm_as_it_is(make, sources, tmp_path):
    video = save_swin3d(tmp_path / "video", **VIDEO_SWIN)
    arms = make(video, sources / "vit", schemes=("center", "repeat"), random=True, slices=True)
    name = "swin3d_t-7615ae03 as it is"
    assert list(arms)[:4] == [name, "vit center", "vit repeat", "vit 2d"]
    spec = arms[name].spec
    assert (spec.kind, spec.scheme, spec.config.in_channels) == ("inflated", "as it is", 1)
    assert spec.config.patch == (2, 2, 2)
    assert make.said[0] == "converting swin3d_t-7615ae03, as it is"
    randoms = [arm.spec.config for label, arm in arms.items() if label.startswith("random")]
    assert {config.model_type for config in randoms} == {"inflated_vit", "inflated_swin"}
    assert all(config.in_channels == 1 for config in randoms)
    colours = make(video, rule="rgb", of=task(("R", "G", "B")))
    assert colours[name].spec.config.in_channels == 3
    assert colours[name].spec.weights == spec.weights


@pytest.mark.filterwarnings(GUESSED)
def test_its_weights_that_are_converted_already_are_taken_likewise(make, tmp_path):
    video = save_swin3d(tmp_path / "video", **VIDEO_SWIN)
    ready = convert(video, tmp_path / "mine", fold_normalization=True)
    arms = make(ready, slices=True)
    assert list(arms) == ["mine as it is"]
    wanted = ArmRequest((str(ready), str(video)), ("center",), random=True)
    found = resolve_arms(wanted, tiny_protocol(), "sum", make.cache)
    assert found.count == 3  # two sources, one random network
    spec = arms["mine as it is"].spec
    assert (spec.scheme, spec.config.in_channels) == ("as it is", 1)
    assert arms["mine as it is"].weights == ready


@pytest.mark.filterwarnings(GUESSED)
def test_its_colours_are_summed_where_the_task_has_one_channel(make, tmp_path):
    video = save_swin3d(tmp_path / "video", **VIDEO_SWIN)
    (arm,) = make(video).values()
    made = network(arm, task(), "sum").backbone
    ready = load(arm.weights, volume=made.config.volume).eval()
    volume = torch.rand(1, 1, *made.config.volume)
    with torch.inference_mode():
        expected = ready(volume.expand(-1, 3, -1, -1, -1))
        torch.testing.assert_close(made(volume), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arm", ["2d", "average"])
def test_it_has_no_other_arm(make, tmp_path, arm):
    video = save_swin3d(tmp_path / "video", **VIDEO_SWIN)
    with pytest.raises(UsageError, match=f"has one arm, as it is: ':{arm}' has no use"):
        make(f"{video}:{arm}")


SMALL_SWIN = {
    "image_size": 16, "patch_size": 2, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4,
    "embed_dim": 8,
}  # fmt: skip


def test_windows_over_depth_are_arms_of_their_own(make, tmp_path):
    swin = save_transformers("swin", tmp_path / "swin", **SMALL_SWIN)
    plain, window, merged = f"{swin}", f"{swin}:depth_window=2", f"{swin}:merge_depth:average"
    arms = make(plain, window, merged, random=True, slices=True)
    labels = [label for label in arms if not label.startswith("random")]
    assert labels == [
        "swin center", "swin 2d", "swin depth_window=2 center", "swin merge_depth average",
    ]  # fmt: skip
    configs = {label: arms[label].spec.config for label in labels}
    told = {label: (c.depth_window, c.merge_depth) for label, c in configs.items()}
    assert list(told.values()) == [(4, False), (4, False), (2, False), (4, True)]
    assert configs["swin merge_depth average"].levels[-1].stride == (4, 4, 4)
    assert len({arm.spec.weights for arm in arms.values()} - {""}) == 4
    randoms = {label for label in arms if label.startswith("random")}
    assert len(randoms) == 3
    wanted = ArmRequest((plain, window, merged), ("center",), random=True, slices=True)
    assert resolve_arms(wanted, tiny_protocol(), "sum", make.cache).count == len(arms)


def test_an_arm_without_windows_of_its_own_is_what_it_was(make, tmp_path):
    """The default is said nowhere: neither its label nor its trial's name knows of it."""
    swin = save_transformers("swin", tmp_path / "swin", **SMALL_SWIN)
    spec = make(swin)["swin center"].spec
    same = make(f"{swin}:depth_window=4")["swin depth_window=4 center"].spec
    assert spec.weights == same.weights
    assert spec.model_copy(update={"label": ""}) == same.model_copy(update={"label": ""})

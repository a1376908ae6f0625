"""Sources understood before any data are read: each once, and with what is missing said."""

import json

import pytest
import torch

from inflate_zoo.bench.arms import resolving
from inflate_zoo.bench.arms.arm_sources import ArmSource, parse_arm
from inflate_zoo.bench.arms.making import ArmRequest, resolve_arms
from inflate_zoo.bench.arms.resolving import FoundSources, lone_backbone, sketch
from inflate_zoo.bench.definitions.catalog import load_protocol
from inflate_zoo.conversion.converting import convert
from inflate_zoo.errors import AmbiguousSourceError, UsageError
from inflate_zoo.files.digests import sha256
from tests.support.checkpoints import save_transformers
from tests.support.trials import VIT

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license")


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return save_transformers("vit", tmp_path_factory.mktemp("source") / "vit", **VIT)


@pytest.fixture
def counted(monkeypatch):
    """What was asked for, by the function that answers."""
    asked = {"find_any": [], "plan_source": []}
    for name, calls in asked.items():
        real = getattr(resolving, name)

        def counting(first, *more, real=real, calls=calls):
            calls.append(first)
            return real(first, *more)

        monkeypatch.setattr(resolving, name, counting)
    return asked


def test_a_source_is_found_and_understood_once_for_all_its_arms(vit, tmp_path, counted):
    found = FoundSources(tmp_path)
    for text in (f"{vit}", f"{vit}:2d", f"{vit}:average"):
        arm = parse_arm(text)
        assert not found.converted(arm)
        assert found.form(arm) is found.form(parse_arm(f"{vit}"))
        assert found.planned(arm).understood.plan.architecture is found.form(arm)
    assert counted["find_any"] == [str(vit)]
    assert len(counted["plan_source"]) == 1


def test_an_architecture_is_known_after_another_source_was_understood(vit, tmp_path, counted):
    found = FoundSources(tmp_path / "cache")
    other = save_transformers("vit", tmp_path / "other", **VIT | {"num_hidden_layers": 1})
    forms = [found.form(parse_arm(str(source))) for source in (vit, other, vit)]
    assert forms[0] is forms[2]
    assert forms[0] != forms[1]
    assert len(counted["plan_source"]) == 2


def test_a_kind_that_is_no_text_is_none_of_ours(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": []}')
    (tmp_path / "model.safetensors").touch()
    assert not FoundSources(tmp_path).converted(parse_arm(str(tmp_path)))


def test_a_source_that_changed_since_is_understood_anew(tmp_path, counted):
    vit, found = save_transformers("vit", tmp_path / "vit", **VIT), FoundSources(tmp_path / "cache")
    arm = parse_arm(str(vit))
    before = found.planned(arm)
    digests = found.digests(found.find(arm))
    assert digests["model.safetensors"] == sha256(vit / "model.safetensors")
    config = json.loads((vit / "config.json").read_text())
    (vit / "config.json").write_text(json.dumps(config | {"remark": "other"}))
    assert found.digests(found.find(arm)) != digests
    assert found.planned(arm) is not before
    assert len(counted["plan_source"]) == 2


def test_the_backbone_of_converted_weights_is_their_own_and_another_is_a_sketch(vit, tmp_path):
    ready, found = convert(vit, tmp_path / "ready", patch_depth=2), FoundSources(tmp_path / "cache")
    assert found.converted(ArmSource(str(ready)))
    assert found.backbone(ArmSource(str(ready)), 1).patch_depth == 2
    form = found.form(ArmSource(str(vit)))
    drawn = found.backbone(ArmSource(str(vit)), 2)
    assert drawn == sketch(form, 2)
    assert (drawn.in_channels, drawn.volume) == (2, (drawn.patch_depth, 8, 8))


def test_another_patch_is_another_form_of_one_source(vit, tmp_path, counted):
    found = FoundSources(tmp_path / "cache")
    own, coarse = found.form(parse_arm(str(vit))), found.form(parse_arm(f"{vit}:patch_size=8,6"))
    assert (own.patch_size, coarse.patch_size) == ((4, 4), (8, 6))
    assert coarse.native_grid == own.native_grid
    drawn = found.backbone(parse_arm(f"{vit}:patch_size=8,6"), 1)
    assert (drawn.patch_size, drawn.volume) == ((8, 6), (8, 16, 12))
    assert counted["find_any"] == [str(vit)]
    with pytest.raises(UsageError, match="patch size 32x32 is far from the source's 4x4"):
        found.form(parse_arm(f"{vit}:patch_size=32,32"))


def test_patches_of_another_depth_are_no_other_form_of_it(vit, tmp_path, counted):
    found = FoundSources(tmp_path / "cache")
    deep = parse_arm(f"{vit}:patch_depth=3")
    assert found.form(deep) is found.form(parse_arm(str(vit)))
    drawn = found.backbone(deep, 1)
    assert (drawn.patch, drawn.volume) == ((3, 4, 4), (3, 8, 8))
    assert counted["find_any"] == [str(vit)]


def test_what_a_bare_file_lacks_is_told_as_an_ending_of_its_source(tmp_path):
    import timm

    file = tmp_path / "a.pth"
    torch.save(timm.create_model("test_vit", depth=1).state_dict(), file)
    found = FoundSources(tmp_path / "cache")
    with pytest.raises(AmbiguousSourceError) as caught:
        found.form(parse_arm(str(file)))
    assert "FILE:arch=NAME" in caught.value.details[-1]


def test_random_weights_alone_have_a_backbone_before_data_and_hub_are_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    protocol = load_protocol("volume")
    resolved = resolve_arms(ArmRequest(("random",), ()), protocol, "rgb", tmp_path)
    (only,) = resolved.backbones
    assert resolved.count == 1
    assert only == lone_backbone(protocol.backbone, 3)
    assert (only.in_channels, only.patch_size) == (3, (16, 16))

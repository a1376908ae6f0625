"""Volumes of another size than a backbone was loaded for, and what becomes of its file's tables."""

import copy

import pytest
import torch

from inflate_zoo import load, segmenter
from inflate_zoo.errors import UsageError
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.networks.known import CONFIGS
from tests.support.checkpoints import randomize
from tests.support.networks import SMALL

every_network = pytest.mark.parametrize("kind", CONFIGS)
any_depth = pytest.mark.parametrize("depth", ["zero", "learned"])
OTHERS = [(1, 1, 1), (-1, 2, 0)]  # tokens more than the file's grid


def volume_of(config, more):
    """A volume whose last grid has so many tokens more along each axis."""
    sides = zip(config.volume, config.levels[-1].stride, more, strict=True)
    return tuple(extent + step * count for extent, step, count in sides)


@pytest.fixture
def depth():
    """What the depth tables in the file are, where a test does not ask for both."""
    return "learned"


@pytest.fixture
def saved(kind, depth, tmp_path):
    """Files of a small network, its depth tables zero as after a conversion, or learned."""
    net = randomize(Backbone(SMALL[kind].config))
    if depth == "zero":
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                if name.endswith(getattr(net.config, "depth_table", "no such")):
                    parameter.zero_()
    return net.save_pretrained(tmp_path / "saved")


def contents(folder):
    return (folder / "model.safetensors").read_bytes()


def random_volume(config, volume, batch=1):
    return torch.rand(batch, config.in_channels, *volume)


@every_network
@any_depth
@pytest.mark.parametrize("more", OTHERS, ids=str)
def test_a_backbone_loaded_for_another_volume_saves_its_files_own_tables(saved, tmp_path, more):
    first = load(saved)
    other = load(saved, volume=volume_of(first.config, more))
    again = other.save_pretrained(tmp_path / "again")
    assert contents(again) == contents(saved)
    assert load(again).config.volume == other.config.volume
    back = load(again, volume=first.config.volume)
    assert back.config == first.config
    for name, tensor in first.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name


@every_network
def test_a_segmenter_saves_its_backbones_own_tables_too(saved, tmp_path):
    first = load(saved)
    other = load(saved, volume=volume_of(first.config, (0, 1, 1)))
    model = segmenter(other, classes=2, decoder="linear")
    folder = model.save_pretrained(tmp_path / "segmenter")
    assert contents(load(folder).backbone.save_pretrained(tmp_path / "again")) == contents(saved)
    native = load(folder, volume=first.config.volume).backbone.state_dict()
    assert all(torch.equal(native[name], t) for name, t in first.state_dict().items())


@every_network
@any_depth
def test_a_size_set_is_that_of_loading_whatever_was_set_before(saved):
    backbone = load(saved).eval()
    own = backbone.config.volume
    for volume in (*(volume_of(backbone.config, more) for more in OTHERS), own):
        backbone.set_input_size(volume)
        expected = load(saved, volume=volume).eval()
        assert backbone.config == expected.config
        assert backbone.grid_size == expected.grid_size
        assert [n for n, _ in backbone.named_parameters()] == [
            n for n, _ in expected.named_parameters()
        ]
        x = random_volume(backbone.config, volume)
        with torch.inference_mode():
            assert torch.equal(backbone(x), expected(x))
    with pytest.raises(UsageError, match="is not divisible by the patch's"):
        backbone.set_input_size((*own[:2], own[2] + 1))
    with pytest.raises(UsageError, match="volume 7 does not fit"):
        backbone.set_input_size(7)


@every_network
def test_what_keeps_its_shape_stays_the_same_parameter(saved):
    backbone = load(saved)
    before = dict(backbone.named_parameters())
    backbone.patch_embed.weight.requires_grad_(False)
    backbone.set_input_size(volume_of(backbone.config, OTHERS[0]))
    for name, parameter in backbone.named_parameters():
        assert (parameter is before[name]) == (parameter.shape == before[name].shape), name
        assert parameter.requires_grad == (name != "patch_embed.weight")


@every_network
def test_trained_tables_are_saved_as_they_are_shown(saved, tmp_path):
    backbone = load(saved, volume=volume_of(load(saved).config, OTHERS[0])).train()
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1)
    backbone(random_volume(backbone.config, backbone.config.volume)).square().sum().backward()
    optimizer.step()
    again = load(backbone.save_pretrained(tmp_path / "again"))
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


@every_network
@any_depth
@pytest.mark.parametrize("more", [(0, 0, 0), *OTHERS], ids=str)
def test_a_dynamic_backbone_takes_every_volume_as_one_loaded_for_it(saved, more):
    dynamic = load(saved, dynamic_img_size=True).eval()
    volume = volume_of(dynamic.config, more)
    expected = load(saved, volume=volume).eval()
    x = random_volume(dynamic.config, volume, batch=2)
    with torch.inference_mode():
        assert torch.equal(dynamic.forward_features(x), expected.forward_features(x))
        maps, wanted = (net.forward_intermediates(x, norm=True)[1] for net in (dynamic, expected))
        assert all(torch.equal(*each) for each in zip(maps, wanted, strict=True))


@every_network
def test_a_dynamic_backbone_holds_the_files_tables_and_trains_them(saved, tmp_path):
    dynamic = load(saved, dynamic_img_size=True)
    native = load(saved)
    for name, tensor in native.state_dict().items():
        assert dynamic.state_dict()[name].shape == tensor.shape, name
    x = random_volume(dynamic.config, volume_of(dynamic.config, OTHERS[0]))
    dynamic.train()(x).square().sum().backward()
    tables = {name: p for name, p in dynamic.named_parameters() if name in dynamic.tables}
    assert all(table.grad.isfinite().all() and table.grad.any() for table in tables.values())
    assert contents(dynamic.save_pretrained(tmp_path / "again")) == contents(saved)


@every_network
def test_recomputed_blocks_know_the_size_of_their_own_pass(saved):
    grads = []
    for recomputed in (False, True):
        net = load(saved, dynamic_img_size=True).train()
        net.set_grad_checkpointing(recomputed)
        torch.manual_seed(1)
        sizes = [volume_of(net.config, more) for more in OTHERS]
        passes = [net(random_volume(net.config, size)).square().sum() for size in sizes]
        sum(passes).backward()
        grads.append({name: p.grad for name, p in net.named_parameters()})
    for name, grad in grads[0].items():
        if grad is not None:
            torch.testing.assert_close(grads[1][name], grad, msg=name)


@every_network
def test_a_dynamic_backbone_refuses_what_the_patch_does_not_divide(saved):
    dynamic = load(saved, dynamic_img_size=True)
    *sides, width = dynamic.config.volume
    with pytest.raises(ValueError, match=r"multiples of .* pad or crop it"):
        dynamic(random_volume(dynamic.config, (*sides, width + 1)))


@every_network
@pytest.mark.parametrize("decoder", ["linear", "unetr", "upernet"])
def test_a_dynamic_segmenter_is_one_of_any_size(saved, tmp_path, decoder):
    model = segmenter(load(saved), classes=3, decoder=decoder, features=8)
    folder = model.save_pretrained(tmp_path / "segmenter")
    dynamic = load(folder, dynamic_img_size=True).eval()
    volume = volume_of(dynamic.backbone.config, (0, 1, 1))
    x = random_volume(dynamic.backbone.config, volume)
    with torch.inference_mode():
        assert torch.equal(dynamic(x), load(folder, volume=volume).eval()(x))
        resized = load(folder).eval()
        resized.set_input_size(volume)
        assert torch.equal(resized(x), dynamic(x))
    assert resized.volume == volume
    assert resized.config.backbone == resized.backbone.config


@every_network
def test_a_copy_keeps_what_the_file_has(saved, tmp_path):
    other = copy.deepcopy(load(saved, volume=volume_of(load(saved).config, OTHERS[0])))
    assert contents(other.save_pretrained(tmp_path / "again")) == contents(saved)

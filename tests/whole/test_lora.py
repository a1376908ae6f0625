"""LoRA through peft: it learns in every network, merges, and what comes of it is a file of ours."""

import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from inflate_zoo import load, param_groups, segmenter
from inflate_zoo.errors import UsageError
from inflate_zoo.networks.config_json import own_fields
from inflate_zoo.networks.known import CONFIGS
from tests.support.networks import SMALL

every_network = pytest.mark.parametrize("kind", CONFIGS)
LINEAR = ["qkv", "proj", "fc1", "fc2"]


def lora(targets, **changes):
    """LoRA whose matrices are random from the start, so that they change what comes out."""
    settings = {"r": 2, "lora_alpha": 4, "init_lora_weights": False}
    return LoraConfig(target_modules=targets, **settings | changes)


def near(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


@every_network
@pytest.mark.parametrize("target", LINEAR)
def test_every_layer_that_is_adapted_counts_and_merges(kind, target):
    torch.manual_seed(0)
    net, volume = SMALL[kind].network(), SMALL[kind].volumes()
    with torch.no_grad():
        plain = net(volume)
        adapted = get_peft_model(net, lora([target])).eval()
        changed = adapted(volume)
        assert (changed - plain).abs().max() > 1e-2 * plain.abs().max()
        merged = adapted.merge_and_unload()
        assert merged is net
        near(merged(volume), changed)


def test_a_convolution_of_the_neck_is_adapted_too():
    torch.manual_seed(0)
    net, volume = SMALL["inflated_sam"].network(), SMALL["inflated_sam"].volumes()
    with torch.no_grad():
        plain = net(volume)
        adapted = get_peft_model(net, lora(["neck.conv1"])).eval()
        assert (adapted(volume) - plain).abs().max() > 1e-2 * plain.abs().max()


@every_network
def test_only_its_matrices_learn_each_at_its_blocks_rate(kind):
    torch.manual_seed(0)
    net, volume = SMALL[kind].network(), SMALL[kind].volumes()
    adapted = get_peft_model(net, lora(LINEAR)).train()
    groups = param_groups(adapted, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    names = {id(p): name for name, p in net.named_parameters()}
    told = {names[id(p)]: group for group in groups for p in group["params"]}
    assert set(told) == {name for name in names.values() if ".lora_" in name}
    for name, group in told.items():
        assert group["lr"] == 0.5 ** (net.layers + 1 - net.layer_of(name)), name
        assert group["weight_decay"] == 0.1
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = torch.optim.SGD(groups)
    adapted(volume).square().sum().backward()
    optimizer.step()
    moved = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert moved == set(told)


@every_network
def test_a_merged_backbone_is_saved_beside_its_files_own_tables(kind, tmp_path):
    torch.manual_seed(0)
    folder = SMALL[kind].network().save_pretrained(tmp_path / "saved")
    stride, own = SMALL[kind].config.levels[-1].stride, SMALL[kind].config.volume
    larger = tuple(extent + step for extent, step in zip(own, stride, strict=True))
    adapted = get_peft_model(load(folder, volume=larger).eval(), lora(["proj"]))
    volume = torch.rand(1, SMALL[kind].config.in_channels, *larger)
    with torch.no_grad():
        expected = adapted(volume)
        merged = adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
        near(load(merged).eval()(volume), expected)
    before, after = load(folder).state_dict(), load(merged, volume=own).state_dict()
    differ = {name for name, t in before.items() if not torch.equal(t, after[name])}
    assert differ == {name for name in before if name.endswith("proj.weight")}


@pytest.mark.parametrize("kind", ["inflated_vit", "inflated_swin"])
def test_a_segmenter_is_adapted_and_its_decoder_trained(kind, tmp_path):
    torch.manual_seed(0)
    model = segmenter(SMALL[kind].network(), classes=3, decoder="linear")
    adapted = get_peft_model(model, lora(LINEAR, modules_to_save=["decoder"]))
    volume = SMALL[kind].volumes()
    groups = param_groups(adapted, learning_rate=0.1, weight_decay=0.0, layer_decay=0.5)
    optimizer = torch.optim.SGD(groups)
    assert {group["name"] for group in groups} >= {"head.decay", "head.no_decay"}
    before = adapted(volume)
    before.square().mean().backward()
    optimizer.step()
    with torch.no_grad():
        trained = adapted.eval()(volume)
        assert not torch.equal(trained, before)
        merged = adapted.merge_and_unload()
        near(merged(volume), trained)
        near(load(merged.save_pretrained(tmp_path / "merged")).eval()(volume), trained)


def test_an_adapter_is_saved_and_put_on_again(tmp_path):
    torch.manual_seed(0)
    small = SMALL["inflated_vit"]
    folder = small.network().save_pretrained(tmp_path / "saved")
    adapted = get_peft_model(load(folder).eval(), lora(LINEAR))
    adapted.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(load(folder).eval(), tmp_path / "adapter")
    with torch.no_grad():
        assert torch.equal(again(small.volumes()), adapted(small.volumes()))


@pytest.mark.parametrize("volume", [None, (12, 30, 16)])
def test_adapters_are_merged_before_their_segmenter_is_saved(volume, tmp_path):
    whole = segmenter(SMALL["inflated_vit"].network(), classes=2, decoder="linear")
    net = load(whole.save_pretrained(tmp_path / "net"), kind="segmenter", volume=volume)
    before = (tmp_path / "net" / "model.safetensors").read_bytes()
    adapted = get_peft_model(net, lora(["qkv"]))
    with pytest.raises(UsageError, match="not those of a segmenter of its config") as caught:
        net.save_pretrained(tmp_path / "net")
    assert "merge_and_unload()" in caught.value.hint
    assert (tmp_path / "net" / "model.safetensors").read_bytes() == before
    merged = adapted.merge_and_unload()
    state = torch.get_rng_state()
    merged.save_pretrained(tmp_path / "net")
    assert torch.equal(torch.get_rng_state(), state)
    load(tmp_path / "net")


def test_a_segmenter_is_made_before_it_is_adapted():
    adapted = get_peft_model(SMALL["inflated_vit"].network(), lora(LINEAR))
    with pytest.raises(UsageError, match="not of PeftModel") as caught:
        segmenter(adapted, classes=2, decoder="linear")
    assert "wrap the segmenter" in caught.value.hint


@pytest.mark.parametrize("whole", [False, True], ids=["backbone", "segmenter"])
def test_a_config_tells_its_files_fields_and_keeps_a_trainers_notes_to_itself(whole, tmp_path):
    folder = SMALL["inflated_vit"].network().save_pretrained(tmp_path / "saved")
    model = load(folder)
    if whole:
        model = segmenter(model, classes=2, decoder="linear")
    config = model.config
    hashed = hash(config)
    config.use_cache = False  # as the Trainer of transformers does
    assert config.use_cache is False
    written = json.loads((model.save_pretrained(tmp_path / "again") / "config.json").read_text())
    assert config.to_dict() == json.loads(config.to_json_string()) == own_fields(written)
    assert "use_cache" not in written
    assert config == type(config)(**config.to_dict())
    assert hash(config) == hashed
    assert config.model_copy().use_cache is False
    with pytest.raises(ValueError, match="frozen"):
        config.model_type = "other"

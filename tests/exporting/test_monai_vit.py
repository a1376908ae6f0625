"""Weights that MONAI's own ViT loads strictly."""

import json

import pytest
import torch
from monai.networks.nets import ViT
from safetensors.torch import load_file

from inflate_zoo import Backbone, segmenter
from inflate_zoo.errors import UsageError, VerificationError
from inflate_zoo.exporting.monai_vit import FILE, MonaiVitExport
from inflate_zoo.exporting.record import TOLERANCE, MonaiVit
from inflate_zoo.networks.vit.config import VitConfig
from tests.exporting.test_monai_keys import SOURCE
from tests.networks.vit.test_network import CLS_REG
from tests.support.checkpoints import randomize
from tests.support.exports import job_of

CLS = {"cls_token": True, "position_prefix": 1, "pool": "cls"}
FLAT = {"volume": (SOURCE["patch_depth"], *SOURCE["volume"][1:])}


def network(**changes):
    return randomize(Backbone(VitConfig(**SOURCE | changes)))


def written(net, folder):
    export = MonaiVitExport(job_of(net))
    export.write(folder)
    return export


def by_hand(facts, folder):
    """MONAI's network, from what export.json tells and nothing else of ours."""
    told = json.loads(facts.model_dump_json())
    net = ViT(**told["arguments"])
    if told["prefix_tokens"]:
        width = told["arguments"]["hidden_size"]
        net.cls_token = torch.nn.Parameter(torch.zeros(1, told["prefix_tokens"], width))
    for module in net.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = told["norm_eps"]
    net.load_state_dict(load_file(folder / FILE), strict=True)
    return net.eval()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"qkv_bias": False},
        {"stem_bias": False},
        {"layer_scale": True},
        {"norm_eps": 1e-3},
        {"norm_eps": 1e-12},
        CLS,
        CLS | FLAT,
        CLS | CLS_REG,
        CLS | CLS_REG | {"layer_scale": True, "norm_eps": 1e-3},
    ],
    ids=str,
)
def test_monai_gives_our_tokens_and_those_after_each_block(changes, tmp_path):
    net = network(**changes)
    with torch.no_grad():
        net.depth_embed.normal_()
    export = written(net, tmp_path)
    other = by_hand(export.monai_vit, tmp_path)
    volume = torch.rand(2, net.config.in_channels, *net.config.volume)
    after = []
    net.blocks[0].register_forward_hook(lambda _, __, out: after.append(out))
    with torch.no_grad():
        tokens, hidden = other(volume)
        expected = net.forward_features(volume)
    prefix = net.num_prefix_tokens
    skipped = export.monai_vit.prefix_tokens
    torch.testing.assert_close(tokens[:, skipped:], expected[:, prefix:], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(tokens[:, :prefix], expected[:, :prefix], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(hidden[0][:, skipped:], after[0][:, prefix:], rtol=1e-4, atol=1e-4)
    proof = export.prove(tmp_path)
    assert proof.error_over_rms < 1e-5
    assert len(proof.errors) == net.config.depth + 1


def test_without_the_copies_it_would_not_be_refused_by_chance(tmp_path):
    net = network(**CLS)
    export = written(net, tmp_path)
    facts = export.monai_vit
    assert facts.prefix_copies > 1
    tensors = load_file(tmp_path / FILE)
    tensors["cls_token"] = tensors["cls_token"][:, :1]
    other = ViT(**facts.arguments)
    other.cls_token = torch.nn.Parameter(torch.zeros(1, 1, net.embed_dim))
    for module in other.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = facts.norm_eps
    other.load_state_dict(tensors, strict=True)
    volume = torch.rand(1, net.config.in_channels, *net.config.volume)
    with torch.no_grad():
        apart = (other.eval()(volume)[0] - net.forward_features(volume)).abs().max()
    assert apart > 100 * TOLERANCE


def test_what_epsilon_costs_where_it_is_left_is_measured(tmp_path):
    export = written(network(norm_eps=1e-2), tmp_path)
    proof = export.prove(tmp_path)
    assert proof.error_over_rms < 1e-5
    assert export.monai_vit.error_with_own_eps > TOLERANCE
    assert any("0.01" in note for note in export.notes)
    same = written(network(norm_eps=1e-5), tmp_path)
    same.prove(tmp_path)
    assert same.monai_vit.error_with_own_eps < 1e-5
    assert same.notes == ()


def test_a_wrong_tensor_in_the_file_is_noticed(tmp_path):
    net = network()
    export = written(net, tmp_path)
    with torch.no_grad():
        net.blocks[-1].mlp.fc2.bias[0] += 0.1
    with pytest.raises(VerificationError, match="of the RMS"):
        export.prove(tmp_path)


def test_the_decoder_of_a_segmenter_is_left_out_and_that_is_said(tmp_path):
    net = segmenter(network(), classes=3, decoder="linear")
    export = written(net, tmp_path)
    assert export.prove(tmp_path).error_over_rms < 1e-5
    assert any("decoder is left out" in note for note in export.notes)


def test_what_has_no_place_is_refused_before_anything_is_written():
    with pytest.raises(UsageError, match="quick GELU") as caught:
        MonaiVitExport(job_of(network(activation="quick_gelu", pre_norm=True)))
    assert "before the blocks" in caught.value.details[0]
    with pytest.raises(UsageError, match="--batch"):
        MonaiVitExport(job_of(network(), batch=2))


def test_the_facts_are_read_as_they_were_written(tmp_path):
    facts = written(network(**CLS), tmp_path).monai_vit
    assert MonaiVit.model_validate_json(facts.model_dump_json()) == facts

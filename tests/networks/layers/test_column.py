"""Equal blocks one after another, checked on the plain vision transformer."""

import pytest
import torch

from tests.networks.vit.test_network import CLS_REG, build, close, volumes


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_intermediates_are_the_outputs_of_the_blocks():
    net = build(**CLS_REG)
    seen = []
    for block in net.blocks:
        block.register_forward_hook(lambda module, args, output: seen.append(output))
    x = volumes(net)
    maps = net.forward_intermediates(x, [2, 0, -2, 2], intermediates_only=True)
    assert len(seen) == 3
    for got, index in zip(maps, [0, 1, 2], strict=True):
        assert got.shape == (2, 24, 3, 4, 5)
        close(got.flatten(2).transpose(1, 2), seen[index][:, 3:])


def test_intermediates_run_no_block_more_than_needed():
    net = build()
    seen = []
    net.blocks[1].register_forward_hook(lambda module, args, output: seen.append(output))
    only = {"stop_early": True, "intermediates_only": True}
    net.forward_intermediates(volumes(net), [0], **only)
    assert net.forward_intermediates(volumes(net), [], **only) == []
    assert seen == []
    net.forward_intermediates(volumes(net), [0])  # as timm's, which then ends
    assert len(seen) == 1


@pytest.mark.parametrize("index", [3, -4])
def test_a_wrong_block_index_is_named(index):
    net = build()
    with pytest.raises(ValueError, match=rf"\[{index}\].* 3 blocks"):
        net.forward_intermediates(volumes(net), [0, index], intermediates_only=True)


@pytest.mark.parametrize(
    "name, layer",
    [
        ("patch_embed.weight", 0),
        ("cls_token", 0),
        ("pos_embed", 0),
        ("depth_embed", 0),
        ("norm_pre.weight", 0),
        ("blocks.0.norm1.weight", 1),
        ("blocks.2.mlp.fc2.bias", 3),
        ("fc_norm.weight", 4),
    ],
)
def test_layers_are_counted_from_the_stem_over_the_blocks_to_the_final_norm(name, layer):
    net = build(pre_norm=True, final_norm="pooled")
    assert name in dict(net.named_parameters())
    assert net.layer_of(name) == layer
    assert build().layer_of("norm.bias") == 4


def test_a_reader_of_tokens_or_maps_does_not_read_the_norms_after_them():
    net = build()
    assert [id(norm) for norm in net.unread(maps=False)] == [id(net.fc_norm)]
    assert [id(norm) for norm in net.unread(maps=True)] == [id(net.fc_norm), id(net.norm)]


def test_the_vector_is_pooled_before_its_norm():
    net = build(pool="mean", final_norm="pooled")
    x = volumes(net)
    tokens = net.forward_features(x)
    close(net(x), net.fc_norm(tokens[:, 1:].mean(dim=1)))

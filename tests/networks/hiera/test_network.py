"""Hiera on volumes against transformers' 2D ones, SAM 2's too, and what every backbone must do."""

import pytest
import torch
import torch.nn.functional as F
import transformers as hf

from inflate_zoo import load, param_groups, segmenter
from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.networks.backbone import Backbone, HieraBackbone
from inflate_zoo.networks.hiera.network import Hiera, OverlappingPatchEmbed, halved, pooled
from inflate_zoo.networks.layers.grids import Placement
from tests.networks.hiera.test_config import config
from tests.support.checkpoints import randomize

NEAR = {"rtol": 1e-4, "atol": 2e-5}
SQUARE = {"patch_size": (4, 4), "kernel": (7, 7)}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def network(**changes):
    return randomize(Hiera(config(**changes)), seed=1)


def of_transformers(**changes):
    """Its encoder, stages of 1 and 3 blocks in windows of 4 and 2, the third block global."""
    fields = {
        "hidden_size": 8, "embed_dim_per_stage": [8, 16], "blocks_per_stage": [1, 3],
        "num_attention_heads_per_stage": [1, 2], "window_size_per_stage": [4, 2],
        "global_attention_blocks": [2], "num_query_pool_stages": 1, "num_channels": 2,
        "window_positional_embedding_background_size": [3, 2], "mlp_ratio": 2.0,
    }  # fmt: skip
    return randomize(hf.Sam2HieraDetModel(hf.Sam2HieraDetConfig(**fields | changes)))


def inflated(original, volume, scheme="center", **changes):
    """Ours with the tensors of transformers' model; the depth table zero."""
    made = network(volume=volume, mlp_dims=(16, 32), **SQUARE, **changes)
    names = {
        "patch_embed.projection": "patch_embed", "layer_norm": "norm", "mlp.proj_in": "mlp.fc1",
        "mlp.proj_out": "mlp.fc2",
    }  # fmt: skip
    tensors = {"depth_embed": torch.zeros_like(made.depth_embed)}
    for name, tensor in original.state_dict().items():
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        tensors[name] = SCHEMES[scheme](tensor, 2) if name == "patch_embed.weight" else tensor
    made.load_state_dict(tensors)
    return made.eval()


@pytest.mark.parametrize("plane", [(32, 48), (40, 32)], ids=str)
@pytest.mark.parametrize("window, scheme", [(1, "center"), (2, "average"), (3, "center")])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_equal_slices_give_the_2d_tokens_at_any_depth_window_and_size(depth, window, scheme, plane):
    original = of_transformers()
    made = inflated(original, (2 * depth, *plane), scheme, depth_window=window)
    image = torch.randn(2, 2, *plane)
    with torch.inference_mode():
        if plane == (40, 32):  # the first grid is 10 high: the libraries lay out whole tiles alone
            original._get_pos_embed = lambda size: made._plane(*size).unflatten(1, size)
        expected = original(image).last_hidden_state.flatten(1, 2)
        volume = image.unsqueeze(2).repeat(1, 1, 2 * depth, 1, 1)
        got, mean = made.forward_features(volume), made(volume)
    count = plane[0] * plane[1] // 64
    assert got.shape == (2, count * depth, 16)
    torch.testing.assert_close(
        got.view(2, depth, count, 16), expected.unsqueeze(1).expand(-1, depth, -1, -1), **NEAR
    )
    torch.testing.assert_close(mean, expected.mean(1), **NEAR)


def plain_of_transformers(**changes):
    """Hiera proper, stages of 1, 2 and 2 blocks, mask units of 4 x 4 tokens in the first."""
    fields = {
        "embed_dim": 8, "depths": [1, 2, 2], "num_heads": [1, 2, 4], "mlp_ratio": 2.0,
        "masked_unit_attention": [True, False, False], "masked_unit_size": [4, 4],
        "num_query_pool": 2, "num_channels": 2, "image_size": [64, 64],
    }  # fmt: skip
    return randomize(hf.HieraModel(hf.HieraConfig(**fields | changes)))


def plain_inflated(original, volume, scheme="center", **changes):
    """Ours with the tensors of transformers' Hiera; the depth table zero."""
    form = {
        "depths": (1, 2, 2), "num_heads": (1, 2, 4), "mlp_dims": (16, 32, 64),
        "windows": (4, 2, 1), "global_blocks": (2, 3, 4), "position_grid": (16, 16),
        "window_positions": False, "image_size": (64, 64),
    }  # fmt: skip
    made = network(volume=volume, **SQUARE, **{**form, **changes})
    names = {
        "embeddings.patch_embeddings.projection": "patch_embed", "layernorm_before": "norm1",
        "embeddings.position_embeddings": "pos_embed", "layernorm_after": "norm2",
        "encoder.stages.0.layers.0.": "blocks.0.", "encoder.stages.1.layers.0.": "blocks.1.",
        "encoder.stages.1.layers.1.": "blocks.2.", "encoder.stages.2.layers.0.": "blocks.3.",
        "encoder.stages.2.layers.1.": "blocks.4.",
    }  # fmt: skip
    tensors = {"depth_embed": torch.zeros_like(made.depth_embed)}
    for name, tensor in original.state_dict().items():
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        if not name.startswith("pooler."):
            tensors[name] = SCHEMES[scheme](tensor, 2) if name == "patch_embed.weight" else tensor
    made.load_state_dict(tensors)
    return made.eval()


@pytest.mark.parametrize("masked", [(True, False, False), (True, True, True), (False,) * 3])
@pytest.mark.parametrize("plane", [(64, 64), (32, 96)], ids=str)
@pytest.mark.parametrize("window, scheme", [(1, "center"), (3, "average")])
@pytest.mark.parametrize("depth", [1, 5])
def test_equal_slices_give_hieras_2d_tokens_and_maps(depth, window, scheme, plane, masked):
    original = plain_of_transformers(masked_unit_attention=list(masked))
    free = {(True, False, False): (2, 3, 4), (True,) * 3: (), (False,) * 3: (0, 1, 2, 3, 4)}
    made = plain_inflated(
        original, (2 * depth, *plane), scheme, depth_window=window, global_blocks=free[masked]
    )
    image = torch.randn(2, 2, *plane)
    volume = image.unsqueeze(2).repeat(1, 1, 2 * depth, 1, 1)
    if plane != (64, 64):  # it lays tokens out by the size of its config alone
        original.encoder.schedule = {
            stage: (strides, [side >> (2 + stage) for side in plane])
            for stage, (strides, _) in original.encoder.schedule.items()
        }
    with torch.inference_mode():
        told = original(image, interpolate_pos_encoding=True, output_hidden_states=True)
        final, maps = made.forward_intermediates(volume)
        mean = made(volume)
    for got, theirs in zip(maps, told.reshaped_hidden_states[1:], strict=True):
        expected = theirs.permute(0, 3, 1, 2).unsqueeze(2).expand(-1, -1, depth, -1, -1)
        torch.testing.assert_close(got, expected, **NEAR)
    expected = told.last_hidden_state
    got = final.view(2, depth, -1, 32)
    torch.testing.assert_close(got, expected.unsqueeze(1).expand_as(got), **NEAR)
    torch.testing.assert_close(mean, expected.mean(1), **NEAR)


def test_one_patch_deep_a_hiera_is_the_2d_network_on_the_centre_slice():
    original = plain_of_transformers()
    made = plain_inflated(original, (2, 64, 64))
    volume = torch.randn(1, 2, 2, 64, 64)
    with torch.inference_mode():
        expected = original(volume[:, :, 1]).last_hidden_state
        torch.testing.assert_close(made.forward_features(volume), expected, **NEAR)


@pytest.mark.parametrize("changes", [{}, {"hidden_act": "relu"}, {"layer_norm_eps": 1e-2}], ids=str)
def test_one_patch_deep_it_is_the_2d_network_on_the_centre_slice(changes):
    original = of_transformers(**changes)
    ours = {"hidden_act": "activation", "layer_norm_eps": "norm_eps"}
    made = inflated(original, (2, 32, 32), **{ours[n]: value for n, value in changes.items()})
    volume = torch.randn(1, 2, 2, 32, 32)
    with torch.inference_mode():
        expected = original(volume[:, :, 1]).last_hidden_state.flatten(1, 2)
        torch.testing.assert_close(made.forward_features(volume), expected, **NEAR)


def test_windows_one_token_deep_and_no_global_block_are_the_2d_network_slice_by_slice():
    original = of_transformers(global_attention_blocks=[])
    made = inflated(original, (6, 32, 32), depth_window=1, global_blocks=())
    volume = torch.randn(1, 2, 6, 32, 32)
    with torch.inference_mode():
        slices = [original(volume[:, :, at]).last_hidden_state for at in (1, 3, 5)]
        expected = torch.cat([each.flatten(1, 2) for each in slices], dim=1)
        torch.testing.assert_close(made.forward_features(volume), expected, **NEAR)


def test_what_lies_in_another_window_of_depth_has_no_say():
    made = network(global_blocks=(), depth_window=2, volume=(10, 12, 24)).eval()
    volume = torch.randn(1, 2, 10, 12, 24)
    other = volume.clone()
    other[:, :, :4] = torch.randn(1, 2, 4, 12, 24)  # the first two of five tokens
    with torch.inference_mode():
        left, right = (made.forward_features(x).view(5, 9, 16) for x in (volume, other))
    torch.testing.assert_close(left[2:], right[2:], **NEAR)
    assert not torch.allclose(left[1], right[1], atol=1e-3)


def test_maps_are_what_stages_end_with():
    original = of_transformers()
    made, image = inflated(original, (4, 32, 32)), torch.randn(1, 2, 32, 32)
    with torch.inference_mode():
        hidden = original(image).intermediate_hidden_states
        volume = image.unsqueeze(2).repeat(1, 1, 4, 1, 1)
        final, maps = made.forward_intermediates(volume)
        (first,) = made.forward_intermediates(
            volume, [0], stop_early=True, intermediates_only=True, output_fmt="NLC"
        )
    assert torch.equal(final, maps[-1].flatten(2).mT)
    for got, theirs in zip(maps, hidden, strict=True):
        expected = theirs.permute(0, 3, 1, 2).unsqueeze(2).expand(-1, -1, 2, -1, -1)
        torch.testing.assert_close(got, expected, **NEAR)
    assert torch.equal(first, maps[0].flatten(2).mT)
    with pytest.raises(ValueError, match=r"\[2\] are out of range for 2 stages"):
        made.forward_intermediates(volume, [2], intermediates_only=True)


def test_nothing_asked_for_gives_what_enters_the_first_block():
    made = network().eval()
    volume = torch.randn(1, 2, 6, 12, 24)
    with torch.inference_mode():
        entering, none = made.forward_intermediates(volume, [], stop_early=True)
        own = made.patch_embed(volume).view(1, 3, 36, 8)
        positions = made._plane(6, 6).unsqueeze(1) + made.depth_embed.unsqueeze(2)
    assert none == []
    torch.testing.assert_close(entering.view(1, 3, 36, 8), own + positions)


@pytest.mark.parametrize("shift", [False, True])
def test_the_stem_is_a_convolution_of_what_lies_in_the_plane(shift):
    stem = randomize(OverlappingPatchEmbed(config(stem_shift=shift)))
    volume = torch.randn(2, 2, 4, 12, 16)
    mean = 0.0
    if shift:  # of kernels whose channels are alike: the mean of one is the mean of all
        mean = 0.7
        with torch.no_grad():
            stem.shift.copy_(mean * stem.weight.sum((1, 2)))
    expected = F.conv3d(volume - mean, stem.weight, stem.bias, stride=(2, 2, 4), padding=(0, 1, 3))
    with torch.no_grad():
        torch.testing.assert_close(stem(volume), expected.flatten(2).mT, **NEAR)


def test_pooling_is_that_of_torch():
    tokens = torch.randn(2, 3 * 4 * 6, 5)
    maps = tokens.mT.unflatten(2, (3, 4, 6))
    expected = F.max_pool3d(maps, (1, 2, 2)).flatten(2).mT
    assert torch.equal(pooled(tokens, (3, 4, 6)), expected)


def test_windows_of_pooled_tokens_are_half_as_high():
    assert halved(Placement((5, 10, 12), (2, 4, 8), (0, 0, 0), (0, 0, 0))) == Placement(
        (5, 5, 6), (2, 2, 4), (0, 0, 0), (0, 0, 0)
    )


def test_recomputed_blocks_give_the_same_gradients():
    volume, grads = torch.randn(1, 2, 6, 12, 24), []
    for recomputed in (False, True):
        made = network().train()
        made.set_grad_checkpointing(recomputed)
        made(volume).square().sum().backward()
        grads.append({name: p.grad for name, p in made.named_parameters()})
    for name, grad in grads[0].items():
        assert grad.isfinite().all()
        torch.testing.assert_close(grads[1][name], grad)


def test_each_block_has_a_learning_rate_of_its_own_and_tables_do_not_decay():
    model = segmenter(Backbone(config(stem_shift=True)), classes=2, decoder="linear")
    groups = param_groups(model, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    names = {id(p): name.removeprefix("backbone.") for name, p in model.named_parameters()}
    told = {group["name"]: [names[id(p)] for p in group["params"]] for group in groups}
    assert told["stem.decay"] == ["patch_embed.weight"]
    tables = ["pos_embed", "pos_embed_window", "depth_embed", "patch_embed.bias"]
    assert told["stem.no_decay"] == [*tables, "patch_embed.shift"]
    assert "blocks.1.proj.weight" in told["block.1.decay"]
    assert [g["lr"] for g in groups if g["name"] == "block.3.decay"] == [0.5]


@pytest.mark.parametrize("decoder, depth", [("linear", 6), ("unetr", 6), ("upernet", 2)])
def test_each_decoder_reads_it_and_comes_back_from_files(tmp_path, decoder, depth):
    backbone = randomize(Backbone(config(volume=(depth, 12, 24))))
    model = segmenter(backbone, classes=3, decoder=decoder, features=8).eval()
    volume = torch.rand(2, 2, depth, 12, 24)
    with torch.inference_mode():
        logits = model(volume)
        assert logits.shape == (2, 3, 1 if decoder == "upernet" else depth, 12, 24)
        model.save_pretrained(tmp_path)
        assert torch.equal(load(tmp_path).eval()(volume), logits)


def test_it_is_saved_and_loaded_for_other_volumes(tmp_path):
    backbone = randomize(Backbone(config()))
    assert type(backbone) is HieraBackbone
    backbone.save_pretrained(tmp_path)
    again = load(tmp_path, volume=(10, 24, 48)).eval()
    assert again.grid_size == (5, 6, 6)
    assert again(torch.randn(1, 2, 10, 24, 48)).shape == (1, 16)


def test_what_later_stages_have_is_dropped_where_maps_do_not_need_it():
    made = network().eval()
    volume = torch.randn(1, 2, 6, 12, 24)
    with torch.inference_mode():
        (expected,) = made.forward_intermediates(volume, [0], intermediates_only=True)
        assert made.prune_intermediate_layers([0]) == [0]
        (got,) = made.forward_intermediates(volume, [0], intermediates_only=True)
    assert torch.equal(got, expected)
    assert made.level_modules() == ["blocks.0"]
    assert len(made.blocks) == 1

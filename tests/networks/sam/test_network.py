"""SAM's encoder on volumes against transformers' 2D one, and what every backbone must do."""

import pytest
import torch
import transformers as hf

from inflate_zoo import load, param_groups, segmenter
from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.networks.backbone import Backbone, SamBackbone
from inflate_zoo.networks.sam.network import Sam
from tests.networks.sam.test_config import config
from tests.support.checkpoints import randomize

SQUARE = {"patch_size": (4, 4), "position_grid": (5, 5)}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def network(**changes):
    return randomize(Sam(config(**changes)), seed=1)


def of_transformers(**changes):
    """Its encoder of images of 20 x 20, a grid of 5 x 5 in windows of 2."""
    fields = {
        "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "mlp_dim": 40,
        "image_size": 20, "patch_size": 4, "window_size": 2, "global_attn_indexes": [1],
        "output_channels": 8, "num_channels": 2, "layer_norm_eps": 1e-5,
    }  # fmt: skip
    return randomize(hf.SamVisionModel(hf.SamVisionConfig(**fields | changes)))


def inflated(original, depth, scheme="center", **changes):
    """Ours with the tensors of transformers' model, for `depth` tokens; depth tables zero."""
    made = network(volume=(2 * depth, 20, 20), **SQUARE, **changes)
    names = {
        "patch_embed.projection": "patch_embed", "layers.": "blocks.", "layer_norm": "norm",
        "mlp.lin": "mlp.fc",
    }  # fmt: skip
    tensors = {n: p.zero_() for n, p in made.state_dict().items() if "_d" in n or "depth" in n}
    for name, tensor in original.state_dict().items():
        name = name.removeprefix("vision_encoder.")
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        if name == "patch_embed.weight":
            tensor = SCHEMES[scheme](tensor, 2)
        elif "conv" in name:
            tensor = SCHEMES["center"](tensor, tensor.shape[-1])
        elif name == "pos_embed":
            tensor = tensor.flatten(1, 2)
        tensors[name] = tensor
    made.load_state_dict(tensors)
    return made.eval()


@pytest.mark.parametrize("scheme", ["center", "average"])
@pytest.mark.parametrize("window", [1, 2, 3, 7])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_equal_slices_give_the_2d_tokens_at_any_depth_and_window(depth, window, scheme):
    original = of_transformers()
    made = inflated(original, depth, scheme, depth_window=window)
    image = torch.randn(2, 2, 20, 20)
    with torch.inference_mode():
        expected = original(image).last_hidden_state.flatten(2).mT
        got = made.forward_features(image.unsqueeze(2).repeat(1, 1, 2 * depth, 1, 1))
        pooled = made(image.unsqueeze(2).repeat(1, 1, 2 * depth, 1, 1))
    assert got.shape == (2, 25 * depth, 8)
    torch.testing.assert_close(
        got.view(2, depth, 25, 8), expected.unsqueeze(1).expand(-1, depth, -1, -1), **NEAR
    )
    torch.testing.assert_close(pooled, expected.mean(1), **NEAR)


NEAR = {"rtol": 1e-4, "atol": 2e-5}


@pytest.mark.parametrize("changes", [{"qkv_bias": False}, {"hidden_act": "quick_gelu"}], ids=str)
def test_one_patch_deep_it_is_the_2d_network_on_the_centre_slice(changes):
    original = of_transformers(**changes)
    ours = {"hidden_act": "activation"}
    made = inflated(original, 1, **{ours.get(n, n): value for n, value in changes.items()})
    volume = torch.randn(1, 2, 2, 20, 20)
    with torch.inference_mode():
        expected = original(volume[:, :, 1]).last_hidden_state.flatten(2).mT
        torch.testing.assert_close(made.forward_features(volume), expected, **NEAR)


def test_windows_one_token_deep_and_no_global_block_are_the_2d_network_slice_by_slice():
    """But for the neck, whose outer slices are zero: any volume."""
    original = of_transformers(global_attn_indexes=[])
    made = inflated(original, 3, depth_window=1, global_blocks=())
    volume = torch.randn(1, 2, 6, 20, 20)
    with torch.inference_mode():
        slices = [original(volume[:, :, at]).last_hidden_state for at in (1, 3, 5)]
        expected = torch.cat([each.flatten(2).mT for each in slices], dim=1)
        torch.testing.assert_close(made.forward_features(volume), expected, **NEAR)


def test_intermediates_are_the_tokens_of_blocks_before_the_neck():
    original = of_transformers()
    made, image = inflated(original, 2), torch.randn(1, 2, 20, 20)
    with torch.inference_mode():
        hidden = original(image, output_hidden_states=True).hidden_states[1:]
        volume = image.unsqueeze(2).repeat(1, 1, 4, 1, 1)
        maps = made.forward_intermediates(volume, [2, 0, -2], intermediates_only=True)
    for index, got in zip((0, 1, 2), maps, strict=True):
        assert got.shape == (1, 24, 2, 5, 5)
        expected = hidden[index].permute(0, 3, 1, 2).unsqueeze(2).expand(-1, -1, 2, -1, -1)
        torch.testing.assert_close(got, expected, **NEAR)
    with pytest.raises(ValueError, match=r"\[3\] are out of range for 3 blocks"):
        made.forward_intermediates(volume, [3], intermediates_only=True)


def test_recomputed_blocks_give_the_same_gradients():
    volume, grads = torch.randn(1, 2, 6, 12, 10), []
    for recomputed in (False, True):
        made = network().train()
        made.set_grad_checkpointing(recomputed)
        made(volume).square().sum().backward()
        grads.append({name: p.grad for name, p in made.named_parameters()})
    for name, grad in grads[0].items():
        assert grad.isfinite().all()
        torch.testing.assert_close(grads[1][name], grad)


def test_a_sample_that_drops_every_branch_passes_blocks_unchanged():
    made = network().train()
    made.set_drop_path(0.5)
    draws = torch.zeros(*made.drop_shape, 2)
    draws[1:, :, 1] = 1.0  # the second sample drops what may be dropped; the first block none
    made.fix_drops(draws)
    volume = torch.randn(1, 2, 6, 12, 10).repeat(2, 1, 1, 1, 1)
    first, last = made.forward_intermediates(volume, [0, 2], intermediates_only=True)
    assert torch.equal(first[1], last[1])
    assert not torch.allclose(first[0], last[0])


def test_each_block_has_a_learning_rate_of_its_own_and_tables_do_not_decay():
    model = segmenter(Backbone(config()), classes=2, decoder="linear")
    groups = param_groups(model, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    names = {id(p): name.removeprefix("backbone.") for name, p in model.named_parameters()}
    told = {group["name"]: [names[id(p)] for p in group["params"]] for group in groups}
    assert told["stem.decay"] == ["patch_embed.weight"]
    assert told["stem.no_decay"] == ["pos_embed", "depth_embed", "patch_embed.bias"]
    assert "blocks.2.mlp.fc1.weight" in told["block.2.decay"]
    for axis in "dhw":
        assert f"blocks.1.attn.rel_pos_{axis}" in told["block.1.no_decay"]
    assert told["head.decay"][:2] == ["neck.conv1.weight", "neck.conv2.weight"]
    assert [g["lr"] for g in groups if g["name"] == "block.2.decay"] == [0.5]


@pytest.mark.parametrize("decoder, depth", [("linear", 6), ("unetr", 6), ("upernet", 2)])
def test_each_decoder_reads_it_and_comes_back_from_files(tmp_path, decoder, depth):
    backbone = randomize(Backbone(config(volume=(depth, 12, 10))))
    model = segmenter(backbone, classes=3, decoder=decoder, features=8).eval()
    volume = torch.rand(2, 2, depth, 12, 10)
    with torch.inference_mode():
        logits = model(volume)
        assert logits.shape == (2, 3, 1 if decoder == "upernet" else depth, 12, 10)
        model.save_pretrained(tmp_path)
        assert torch.equal(load(tmp_path).eval()(volume), logits)
    assert all(p.requires_grad == (decoder == "linear") for p in backbone.neck.parameters())


def test_it_is_saved_and_loaded_for_other_volumes(tmp_path):
    backbone = randomize(Backbone(config()))
    assert type(backbone) is SamBackbone
    assert backbone.embed_dim == 8
    backbone.save_pretrained(tmp_path)
    again = load(tmp_path, volume=(10, 24, 20)).eval()
    assert again.grid_size == (5, 6, 10)
    assert again(torch.randn(1, 2, 10, 24, 20)).shape == (1, 8)


@pytest.mark.parametrize("call", ["forward", "forward_features", "forward_intermediates"])
@pytest.mark.parametrize("depth", [4, 6])
def test_compiles_without_a_graph_break(call, depth):
    made = network(volume=(depth, 12, 10)).eval()
    volume = torch.randn(1, 2, depth, 12, 10)
    arguments = ([0, 1],) if call == "forward_intermediates" else ()
    compiled = torch.compile(getattr(made, call), fullgraph=True, backend="eager")
    with torch.no_grad():
        expected = getattr(made, call)(volume, *arguments)
        torch.testing.assert_close(compiled(volume, *arguments), expected)


def test_it_is_exported():
    made, volume = network().eval(), torch.randn(1, 2, 6, 12, 10)
    exported = torch.export.export(made, (volume,))
    torch.testing.assert_close(exported.module()(volume), made(volume))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_types_stay_near(dtype):
    made, volume = network().eval(), torch.randn(1, 2, 6, 12, 10)
    with torch.inference_mode():
        expected = made(volume)
        got = made.to(dtype)(volume.to(dtype)).float()
    assert (got - expected).abs().max() < 0.1 * expected.abs().max()

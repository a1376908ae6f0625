"""The 3D Swin against transformers' 2D one and torchvision's 3D one."""

import json

import pytest
import torch
import torch.nn.functional as F
import transformers as hf
from safetensors.torch import load_file
from torchvision.models.video.swin_transformer import SwinTransformer3d

from inflate_zoo import load, param_groups, segmenter
from inflate_zoo.networks.backbone import Backbone, SwinBackbone
from inflate_zoo.networks.swin.network import SwinTransformer
from tests.networks.swin.test_config import config
from tests.support.checkpoints import randomize


def network(**changes):
    return randomize(SwinTransformer(config(**changes)), seed=1)


def of_transformers(size=(16, 16), **changes):
    fields = {
        "image_size": size, "patch_size": 2, "embed_dim": 12, "depths": [2, 2],
        "num_heads": [2, 4], "window_size": 4, "mlp_ratio": 2.0,
    }  # fmt: skip
    return randomize(hf.SwinModel(hf.SwinConfig(**fields | changes)))


@pytest.fixture
def inflated(tmp_path):
    """Ours with the tensors of transformers' model, tables tiled, the stem centred."""

    def make(original, depth, size=(16, 16), **changes):
        original.save_pretrained(tmp_path)  # names on disk outlast those in memory
        theirs = load_file(tmp_path / "model.safetensors")
        made = network(volume=(2 * depth, *size), image_size=size, **changes)
        made.load_state_dict(ours_of(theirs, 2 * made.config.depth_window - 1))
        return made.eval()

    return make


def ours_of(theirs, tiles):
    kernel = theirs["embeddings.patch_embeddings.projection.weight"]
    ours = {
        "patch_embed.weight": F.pad(kernel.unsqueeze(2), (0, 0, 0, 0, 1, 0)),
        "patch_embed.bias": theirs["embeddings.patch_embeddings.projection.bias"],
        "merges.0.reduction.weight": theirs["encoder.layers.0.downsample.reduction.weight"],
    }
    for part in ("weight", "bias"):
        ours[f"norm_pre.{part}"] = theirs[f"embeddings.norm.{part}"]
        ours[f"norm.{part}"] = theirs[f"layernorm.{part}"]
        ours[f"merges.0.norm.{part}"] = theirs[f"encoder.layers.0.downsample.norm.{part}"]
    for stage in range(2):
        for block in range(2):
            there = f"encoder.layers.{stage}.blocks.{block}"
            here = f"stages.{stage}.blocks.{block}"
            table = theirs[f"{there}.attention.self.relative_position_bias_table"]
            ours[f"{here}.attn.relative_position_bias_table"] = table.repeat(tiles, 1)
            for part in ("weight", "bias"):
                qkv = [
                    theirs[f"{there}.attention.self.{name}.{part}"]
                    for name in ("query", "key", "value")
                ]
                ours[f"{here}.attn.qkv.{part}"] = torch.cat(qkv)
                for name, other in (
                    ("attn.proj", "attention.output.dense"), ("norm1", "layernorm_before"),
                    ("norm2", "layernorm_after"), ("mlp.fc1", "intermediate.dense"),
                    ("mlp.fc2", "output.dense"),
                ):  # fmt: skip
                    ours[f"{here}.{name}.{part}"] = theirs[f"{there}.{other}.{part}"]
    return ours


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6, 7, 8, 9, 12])
def test_equal_slices_give_the_2d_tokens_at_any_number_of_depth_tokens(depth, inflated):
    original = of_transformers()
    made = inflated(original, depth)
    image = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        expected = original(image).last_hidden_state
        got = made.forward_features(image.unsqueeze(2).expand(-1, -1, 2 * depth, -1, -1))
    torch.testing.assert_close(
        got.view(2, depth, 16, 24), expected.unsqueeze(1).expand(-1, depth, -1, -1),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize("window", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [(16, 24), (20, 28), (16, 16)])
def test_any_window_over_depth_and_any_plane_keep_the_2d_tokens(window, size, inflated):
    original = of_transformers(size)
    made = inflated(original, 5, size, depth_window=window)
    image = torch.randn(1, 3, *size)
    with torch.inference_mode():
        expected = original(image).last_hidden_state
        got = made.forward_features(image.unsqueeze(2).expand(-1, -1, 10, -1, -1))
    torch.testing.assert_close(
        got.view(5, -1, 24), expected.expand(5, -1, -1), rtol=1e-4, atol=1e-5
    )


def test_windows_one_token_deep_leave_slices_of_any_volume_alone(inflated):
    original = of_transformers()
    made = inflated(original, 3, depth_window=1)
    volume = torch.randn(1, 3, 6, 16, 16)
    with torch.inference_mode():
        slices = volume[:, :, 1::2].movedim(2, 1).flatten(0, 1)  # the centre slice of each patch
        expected = original(slices).last_hidden_state
        got = made.forward_features(volume).view(3, 16, 24)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def of_torchvision(window=(4, 4, 4)):
    theirs = SwinTransformer3d(
        patch_size=[2, 2, 2], embed_dim=12, depths=[2, 2], num_heads=[2, 4],
        window_size=list(window), mlp_ratio=2.0, num_classes=3,
    )  # fmt: skip
    return randomize(theirs)


def renamed(state):
    """Torchvision's names to ours."""
    ours = {}
    for name, tensor in state.items():
        if name.startswith("head.") or name.endswith("position_index"):
            continue
        parts = name.replace("mlp.0.", "mlp.fc1.").replace("mlp.3.", "mlp.fc2.").split(".")
        if parts[0] == "features":
            index = int(parts[1])
            name = ".".join(
                ["stages", str(index // 2), "blocks", *parts[2:]]
                if index % 2 == 0
                else ["merges", str(index // 2), *parts[2:]]
            )
        name = name.replace("patch_embed.proj.", "patch_embed.")
        ours[name.replace("patch_embed.norm.", "norm_pre.")] = tensor
    return ours


# Depths that are whole windows, or less than one: torchvision lets padding along depth leak.
@pytest.mark.parametrize("depth", [2, 4, 8])
@pytest.mark.parametrize("size", [(16, 16), (20, 24)])
def test_any_volume_gives_what_torchvision_makes_of_it(depth, size):
    theirs = of_torchvision()
    volume = torch.randn(2, 3, 2 * depth, *size)
    made = network(clipping="axis", volume=volume.shape[2:], image_size=size)
    made.load_state_dict(renamed(theirs.state_dict()))
    with torch.inference_mode():
        expected = theirs.norm(theirs.features(theirs.patch_embed(volume)))
        got = made.eval().forward_features(volume)
        torch.testing.assert_close(got.view_as(expected), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(made(volume), expected.flatten(1, 3).mean(1))


def test_a_depth_of_padding_gives_finite_gradients():
    made = network(volume=(10, 16, 16)).train()
    made(torch.randn(1, 3, 10, 16, 16)).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in made.parameters())


def test_each_block_has_a_learning_rate_of_its_own():
    model = segmenter(Backbone(config()), classes=2, decoder="linear")
    groups = param_groups(model, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    names = {id(p): name.removeprefix("backbone.") for name, p in model.named_parameters()}
    told = {group["name"]: [names[id(p)] for p in group["params"]] for group in groups}
    assert told["stem.decay"] == ["patch_embed.weight"]
    assert told["stem.no_decay"] == ["patch_embed.bias", "norm_pre.weight", "norm_pre.bias"]
    assert "merges.0.reduction.weight" in told["block.2.decay"]
    assert "stages.1.blocks.1.mlp.fc1.weight" in told["block.3.decay"]
    table = "stages.1.blocks.1.attn.relative_position_bias_table"
    assert table in told["block.3.no_decay"]
    assert told["head.no_decay"] == ["norm.weight", "norm.bias", "decoder.head.bias"]
    assert [g["lr"] for g in groups if g["name"] == "block.3.decay"] == [0.5]


def test_it_is_saved_and_loaded_for_other_volumes(tmp_path):
    backbone = randomize(Backbone(config()))
    assert type(backbone) is SwinBackbone
    backbone.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "inflated_swin"
    again = load(tmp_path, volume=(10, 24, 20)).eval()
    assert again.grid_size == (5, 6, 5)
    assert again(torch.randn(1, 3, 10, 24, 20)).shape == (1, 24)
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, backbone.state_dict()[name])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_types_stay_near(dtype):
    made, volume = network().eval(), torch.randn(1, 3, 10, 16, 16)
    made = randomize(SwinTransformer(config(volume=(10, 16, 16)))).eval()
    with torch.inference_mode():
        expected = made(volume)
        got = made.to(dtype)(volume.to(dtype)).float()
    assert (got - expected).abs().max() < 0.1 * expected.abs().max()

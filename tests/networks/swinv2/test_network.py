"""The 3D SwinV2 against the 2D ones of transformers and timm, and what every network can do."""

import pytest
import torch

from inflate_zoo import convert, load, param_groups
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.networks.base import Windows
from inflate_zoo.networks.swinv2.network import SwinTransformerV2, coordinates
from tests.networks.swinv2.test_config import config
from tests.support.checkpoints import (
    build_timm,
    build_transformers,
    randomize,
    save_timm,
    save_transformers,
)

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")


def network(**changes):
    return randomize(SwinTransformerV2(config(**changes)), seed=1)


@pytest.mark.parametrize("kind", ["swinv2_pretrained", "swinv2_timm_pretrained"])
@pytest.mark.parametrize("depth", [1, 2, 4, 5, 7, 8, 9])
def test_equal_slices_give_the_2d_tokens_at_any_number_of_depth_tokens(kind, depth, tmp_path):
    of_timm = "timm" in kind
    save, build = (save_timm, build_timm) if of_timm else (save_transformers, build_transformers)
    source = save(kind, tmp_path / "source")
    folder = convert(source, tmp_path / "out", patch_depth=2, channels=3, verify=False)
    made, original = load(folder, volume=(2 * depth, 64, 64)).eval(), build(kind).eval()
    assert made.config.depth_window == 8
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = (
            original.forward_features(image).flatten(1, 2)
            if of_timm
            else original(image).last_hidden_state
        )
        got = made.forward_features(image.unsqueeze(2).expand(-1, -1, 2 * depth, -1, -1))
    torch.testing.assert_close(
        got.view(depth, -1, 64), expected.expand(depth, -1, -1), rtol=1e-4, atol=1e-5
    )


def test_depth_has_no_say_in_a_bias_at_first_but_learns_one(tmp_path):
    folder = convert(save_transformers("swinv2", tmp_path / "source"), tmp_path / "out")
    made = load(folder, volume=(20, 64, 64)).train()
    kernel = made.stages[0].blocks[0].attn.bias_of_offset.fc1.weight
    assert (kernel[:, 0] == 0).all()
    assert (kernel[:, 1:] != 0).all()
    made(torch.randn(1, 1, 20, 64, 64)).square().sum().backward()
    assert (kernel.grad[:, 0] != 0).any()


def test_offsets_are_measured_on_a_logarithmic_scale():
    seen = coordinates((2, 3, 1), (1, 2, 1), torch.float64, torch.device("cpu"))
    assert seen.shape == (3 * 5 * 1, 3)
    one = torch.log2(torch.tensor(9.0)) / 3  # 8 is what the greatest offset is
    half = torch.log2(torch.tensor(5.0)) / 3
    torch.testing.assert_close(seen[-1], torch.tensor([one, one, 0.0], dtype=torch.float64))
    torch.testing.assert_close(seen[1], torch.tensor([-one, -half, 0.0], dtype=torch.float64))


def test_a_scale_is_bounded():
    made, volume = network().eval(), torch.randn(1, 1, 10, 16, 16)
    results = []
    for scale in (100.0, 5.0):  # log(100) is 4.6
        for stage in made.stages:
            for block in stage.blocks:
                block.attn.logit_scale.data.fill_(scale)
        results.append(made(volume))
    assert torch.equal(*results)


def test_padding_has_no_say_in_float16():
    made, volume = network().half().eval(), torch.randn(1, 1, 10, 16, 16).half()
    assert made.grid_size[0] % made.config.depth_window  # windows reach beyond the grid
    assert made(volume).isfinite().all()


def test_maps_are_of_the_levels_of_the_config():
    made = network()
    _, maps = made.forward_intermediates(torch.randn(1, 1, 10, 16, 16))
    assert [tuple(each.shape[1:]) for each in maps] == [(12, 5, 8, 8), (24, 5, 4, 4)]
    assert config().with_windows(Windows(7, merge_depth=False)).depth_window == 7


def test_groups_of_parameters():
    groups = param_groups(Backbone(config()), learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    made = Backbone(config())
    made.set_drop_path(0.5)
    assert made.drop_shape == (4, 2)
    sizes = {group["name"]: len(group["params"]) for group in groups}
    assert set(sizes) == {
        "stem.decay", "stem.no_decay", "head.no_decay",
        *(f"block.{i}.{kind}" for i in range(4) for kind in ("decay", "no_decay")),
    }  # fmt: skip
    assert sizes["block.0.decay"] == 4  # qkv, proj, fc1, fc2
    assert sizes["block.2.decay"] == 5  # and a merge

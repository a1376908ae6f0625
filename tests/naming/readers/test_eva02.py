"""What is read of EVA-02's files; the recorded headers are those of timm."""

import pytest
import timm
import torch

from inflate_zoo.errors import AccountingError, ConfigError, UnsupportedModelError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.configs.open_clip import read_tower
from inflate_zoo.naming.detection import choose_family
from inflate_zoo.naming.understanding import understand
from tests.support.checkpoints import open_clip_config
from tests.support.recorded import case

FAMILIES = families_by_name()
CLIP = "eva02_base_patch16_clip_224"


def plan_of(recorded):
    return understand(recorded.header, recorded.config, recorded.family, None).plan


def refused(recorded, error=ConfigError):
    with pytest.raises(error) as caught:
        plan_of(recorded)
    return "\n".join([caught.value.message, *caught.value.details])


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("eva02_timm", {"attn_norm": False, "mlp_norm": False, "final_norm": "pooled"}),
        ("eva02_timm", {"rotary_grid": (16, 16), "rotary_theta": 10000.0, "pool": "mean"}),
        ("eva02_timm", {"mlp_dim": 96, "activation": "silu", "norm_eps": 1e-6}),
        ("eva02_timm_split", {"attn_norm": False, "mlp_norm": True, "mlp_dim": 96}),
        ("eva02_timm_clip", {"attn_norm": True, "mlp_norm": True, "final_norm": "tokens"}),
        ("eva02_timm_clip", {"pool": "cls", "position_grid": (4, 4)}),
        ("eva02_timm_rectangular", {"position_grid": (4, 12), "patch_size": (8, 4)}),
    ],
)
def test_the_form_is_what_names_shapes_and_timm_say(kind, expected):
    form = plan_of(case(kind)).architecture.model_dump()
    assert {field: form[field] for field in expected} == expected


@pytest.mark.parametrize(
    "kind, family",
    [
        ("eva02_timm", "timm_eva02"),
        ("eva02_timm_split", "timm_eva02_split"),
        ("eva02_timm_clip", "timm_eva02_split"),
        ("augreg", "timm_vit"),
        ("beit_timm", "timm_beit"),
    ],
)
def test_names_alone_tell_it_from_its_kin(kind, family):
    assert choose_family(FAMILIES, case(kind).header, {"architecture": "x"}).name == family


def test_gate_and_value_are_joined_in_this_order():
    kept = {k.name: k for k in plan_of(case("eva02_timm_split")).kept}
    fc1 = kept["blocks.1.mlp.fc1.weight"]
    assert fc1.sources == ("blocks.1.mlp.fc1_g.weight", "blocks.1.mlp.fc1_x.weight")
    assert fc1.shape == (192, 48)
    assert kept["pos_embed"].role == "position_table"


def test_a_table_of_another_size_is_refused():
    recorded = case("eva02_timm")
    recorded.header["pos_embed"] = TensorInfo("F32", (1, 18, 48))
    assert "17 position rows, 'pos_embed' has 18" in refused(recorded)


def test_a_norm_that_is_missing_in_one_block_is_named():
    recorded = case("eva02_timm_split")
    name = "blocks.1.mlp.norm.weight"
    del recorded.header[name]
    assert f"missing: '{name}' [96]" in refused(recorded, AccountingError)


def test_a_norm_that_timm_does_not_know_is_refused():
    recorded = case("eva02_timm")
    recorded.config["architecture"] = "eva02_base_patch14_224"
    assert "mlp_norm is true, the tensors say false" in refused(recorded)


def test_its_authors_own_file_is_told_what_to_do_instead():
    recorded = case("eva02_timm")
    recorded.header["rope.freqs_cos"] = TensorInfo("F32", (16, 12))
    with pytest.raises(UnsupportedModelError, match="its authors' own names"):
        understand(recorded.header, None, None, "eva02_tiny_patch14_224")


def test_the_tower_of_an_eva_clip_is_read_by_open_clips_config():
    with torch.device("meta"):
        trunk = timm.create_model(CLIP, num_classes=512, global_pool="token")
    header = {
        f"visual.trunk.{name}": TensorInfo("F32", tuple(tensor.shape))
        for name, tensor in trunk.state_dict().items()
    }
    config = open_clip_config(CLIP, side=224, timm_pool="token", timm_proj=None)
    plan = understand(header, None, None, None, open_clip=read_tower(config)).plan
    assert plan.family.name == "timm_eva02_split"
    assert (plan.architecture.pool, plan.architecture.attn_norm) == ("cls", True)
    assert plan.dropped == ("visual.trunk.head.bias", "visual.trunk.head.weight")

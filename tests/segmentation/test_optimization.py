"""Parameter groups: every name in its group, and timm's grouping of the same network."""

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay

from inflate_zoo import param_groups, segmenter
from inflate_zoo.errors import UsageError
from inflate_zoo.networks.backbone import Backbone
from tests.segmentation.test_segmenter import backbone, config
from tests.support.networks import SMALL

TABLES = ("cls_token", "pos_embed", "depth_embed")
BLOCK = {
    "decay": ["attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight"],
    "no_decay": [
        "norm1.weight", "norm1.bias", "attn.qkv.bias", "attn.proj.bias", "ls1.gamma",
        "norm2.weight", "norm2.bias", "mlp.fc1.bias", "mlp.fc2.bias", "ls2.gamma",
    ],
}  # fmt: skip


def described(model, **settings):
    """Group name to (lr, weight decay, names in order)."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = param_groups(model, **settings)
    return {
        group["name"]: (
            group["lr"],
            group["weight_decay"],
            [names[id(parameter)].removeprefix("backbone.") for parameter in group["params"]],
        )
        for group in groups
    }


def test_every_parameter_of_a_small_segmenter_by_name():
    inner = Backbone(
        config(blocks=2, layer_scale=True, reg_tokens=1, dist_token=True, pre_norm=True)
    )
    model = segmenter(inner, classes=2, decoder="linear")
    got = described(model, learning_rate=0.1, weight_decay=0.05, layer_decay=0.5)
    tables = ["cls_token", "dist_token", "reg_token", "pos_embed", "depth_embed"]
    expected = {
        "stem.decay": (0.0125, 0.05, ["patch_embed.weight"]),
        "stem.no_decay": (
            0.0125,
            0.0,
            [*tables, "patch_embed.bias", "norm_pre.weight", "norm_pre.bias"],
        ),
    }
    for index, rate in enumerate((0.025, 0.05)):
        for kind, decay in (("decay", 0.05), ("no_decay", 0.0)):
            names = [f"blocks.{index}.{name}" for name in BLOCK[kind]]
            expected[f"block.{index}.{kind}"] = (rate, decay, names)
    expected["head.decay"] = (0.1, 0.05, ["decoder.head.weight"])
    expected["head.no_decay"] = (0.1, 0.0, ["norm.weight", "norm.bias", "decoder.head.bias"])
    assert list(got) == list(expected)
    for name, (rate, decay, names) in expected.items():
        assert got[name][0] == pytest.approx(rate), name
        assert got[name][1:] == (decay, names), name


def test_norms_decay_where_that_is_asked_for():
    inner = Backbone(config(blocks=1, layer_scale=True, pre_norm=True))
    model = segmenter(inner, classes=2, decoder="linear")
    plain = described(model, learning_rate=0.1, weight_decay=0.05)
    got = described(model, learning_rate=0.1, weight_decay=0.05, decay_norms=True)
    for layer in ("stem", "block.0", "head"):
        more = set(got.get(f"{layer}.decay", (0, 0, []))[2]) - set(plain[f"{layer}.decay"][2])
        expected = {"stem": {"norm_pre.weight"}, "head": {"norm.weight"}}.get(layer)
        assert more == (expected or {f"blocks.0.{n}" for n in BLOCK["no_decay"] if "bias" not in n})
        assert all("bias" in n or n in TABLES for n in got[f"{layer}.no_decay"][2])


def test_grouping_is_that_of_timm():
    """Of the same network with a head; only that timm's final norm goes with the last block."""
    ours = segmenter(Backbone(config(blocks=3)), classes=5, decoder="linear")
    theirs = timm.models.vision_transformer.VisionTransformer(
        img_size=(4, 6), patch_size=(2, 3), in_chans=2, num_classes=5, embed_dim=16, depth=3,
        num_heads=2, mlp_ratio=1,
    )  # fmt: skip
    names = {id(parameter): name for name, parameter in theirs.named_parameters()}
    expected = {
        names[id(parameter)]: (pytest.approx(0.3 * group["lr_scale"]), group["weight_decay"])
        for group in param_groups_layer_decay(
            theirs,
            weight_decay=0.05,
            no_weight_decay_list=theirs.no_weight_decay(),
            layer_decay=0.7,
        )
        for parameter in group["params"]
    }
    groups = described(ours, learning_rate=0.3, weight_decay=0.05, layer_decay=0.7)
    got = {name: (rate, decay) for rate, decay, names in groups.values() for name in names}
    for name in ("norm.weight", "norm.bias"):  # as in BEiT's and MAE's own code
        assert got.pop(name) == (0.3, 0.0)
        assert expected.pop(name) == (pytest.approx(0.21), 0.0)
    del got["depth_embed"]
    shorter = {name.replace("patch_embed.proj.", "patch_embed."): v for name, v in expected.items()}
    assert {name.removeprefix("decoder."): value for name, value in got.items()} == shorter


@pytest.mark.parametrize("decoder", ["linear", "unetr"])
def test_each_trained_parameter_is_in_one_group_of_a_working_optimizer(decoder):
    model = segmenter(backbone(), classes=3, decoder=decoder, features=8)
    model.backbone.patch_embed.weight.requires_grad_(False)
    groups = param_groups(model, learning_rate=1e-3, weight_decay=0.05)
    inside = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(inside) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert "stem.decay" not in {group["name"] for group in groups}
    assert {group["lr"] for group in groups} == {1e-3}
    for group in groups:
        flat = all(p.ndim <= 1 for p in group["params"])
        assert group["weight_decay"] == (0.05 if group["name"].endswith(".decay") else 0.0)
        assert not (flat and group["weight_decay"])
    optimizer = torch.optim.AdamW(groups)
    model(torch.rand(1, 2, *model.volume)).square().sum().backward()
    before = model.backbone.pos_embed.clone()
    optimizer.step()
    assert not torch.equal(before, model.backbone.pos_embed)


class Task(torch.nn.Module):
    """Somebody's own module that holds a segmenter, and has parameters beside it."""

    def __init__(self, model):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.tail = torch.nn.Linear(3, 3)
        self.inner = torch.nn.ModuleDict({"model": model})


def same_groups(got, expected):
    """Whether groups hold the same parameters at the same rates."""
    assert [group["name"] for group in got] == [group["name"] for group in expected]
    for one, other in zip(got, expected, strict=True):
        assert (one["lr"], one["weight_decay"]) == (other["lr"], other["weight_decay"])
        assert [id(p) for p in one["params"]] == [id(p) for p in other["params"]]


SETTINGS = {"learning_rate": 0.1, "weight_decay": 0.05, "layer_decay": 0.5}


@pytest.fixture
def _group():
    """One process that trains beside no other."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=store)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("_group")
@pytest.mark.parametrize(
    "wrap", [torch.nn.parallel.DistributedDataParallel, torch.compile, torch.nn.Sequential]
)
def test_wrapped_models_have_the_groups_of_what_they_wrap(wrap):
    model = segmenter(backbone(), classes=3, decoder="linear")
    expected = param_groups(model, **SETTINGS)
    same_groups(param_groups(wrap(model), **SETTINGS), expected)
    same_groups(
        param_groups(wrap(model.backbone), **SETTINGS), param_groups(model.backbone, **SETTINGS)
    )


def test_parts_that_are_compiled_alone_keep_their_layers_and_tables():
    inner = SMALL["inflated_beit"].network()
    expected = param_groups(inner, **SETTINGS)
    inner.blocks[1] = torch.compile(inner.blocks[1])
    model = segmenter(inner, classes=3, decoder="linear")
    model.backbone = torch.compile(model.backbone)
    names = {id(p): group["name"] for group in expected for p in group["params"] if p.requires_grad}
    got = {id(p): g["name"] for g in param_groups(model, **SETTINGS) for p in g["params"]}
    assert {key: got[key] for key in names} == names


def test_what_stands_beside_the_backbone_learns_like_the_head():
    model = segmenter(backbone(), classes=3, decoder="linear")
    task = Task(model)
    groups = {group["name"]: group for group in param_groups(task, **SETTINGS)}
    expected = {group["name"]: group for group in param_groups(model, **SETTINGS)}
    assert groups.keys() == expected.keys()
    more = {
        name: [p for p in groups[name]["params"] if id(p) not in map(id, expected[name]["params"])]
        for name in groups
    }
    found = {name: [id(p) for p in added] for name, added in more.items() if added}
    assert found == {
        "head.decay": [id(task.tail.weight)],
        "head.no_decay": [id(task.scale), id(task.tail.bias)],
    }


def test_several_backbones_are_refused_by_name():
    shared = segmenter(backbone(), classes=3, decoder="linear")
    twice = torch.nn.ModuleDict({"one": shared, "same": Task(shared)})
    assert param_groups(twice, **SETTINGS)
    both = torch.nn.ModuleDict({"one": shared, "other": backbone()})
    with pytest.raises(UsageError, match="ModuleDict holds 2 backbones") as caught:
        param_groups(both, **SETTINGS)
    assert list(caught.value.details) == ["'one.backbone'", "'other'"]


def test_bad_arguments():
    with pytest.raises(UsageError, match="what holds one, not Linear") as caught:
        param_groups(torch.nn.Linear(2, 2), learning_rate=1.0, weight_decay=0.0)
    assert "load(...)" in caught.value.hint
    for wrong in (0.0, 1.01, -1.0, float("nan")):
        with pytest.raises(UsageError, match="layer_decay"):
            param_groups(backbone(), learning_rate=1.0, weight_decay=0.0, layer_decay=wrong)

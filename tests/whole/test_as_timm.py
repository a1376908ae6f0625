"""A backbone is called as timm's networks are: against timm itself, one slice deep."""

import inspect

import pytest
import torch
from timm.models._manipulate import group_parameters
from timm.models.hiera import Hiera
from timm.models.hieradet_sam2 import HieraDet
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer

from inflate_zoo import convert, load
from inflate_zoo.networks.layers.column import Column
from inflate_zoo.networks.layers.stages import StagedNetwork
from tests.support.checkpoints import build_timm, save_timm

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
KINDS = (
    "augreg", "deit_distilled", "reg1", "gap_fc_norm", "beit_timm", "dinov3_timm", "eva02_timm",
    "aimv2_timm", "sam_timm", "sam2_timm", "hiera_timm", "swin_timm", "swinv2_timm",
)  # fmt: skip
NEAR = {"rtol": 1e-4, "atol": 2e-5}


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory):
    """Timm's network and ours of it, one slice deep, and a picture."""
    folder = tmp_path_factory.mktemp("timm")
    theirs = build_timm(request.param).eval()
    source = save_timm(request.param, folder / "source")
    side = getattr(theirs.patch_embed, "img_size", (64, 96))  # SAM 2's takes any
    if isinstance(theirs, Hiera):
        side = (64, 64)
    out = convert(
        source, folder / "out", patch_depth=1, volume=(1, *side), channels=3, verify=False
    )
    generator = torch.Generator().manual_seed(0)
    return theirs, load(out).eval(), torch.randn(2, 3, *side, generator=generator)


def given(theirs, **asked):
    """What timm takes: its staged networks and SAM give no prefix tokens."""
    known = set(inspect.signature(theirs.forward_intermediates).parameters)
    own = {}
    if isinstance(theirs, HieraDet | Hiera):
        known.remove("norm")  # which it refuses: it has none
        own["stop_early"] = False  # as it is with the others
    return {**own, **{name: value for name, value in asked.items() if name in known}}


def flat(final, like):
    """Timm's final features as tokens: Swin's are (B, H, W, C), SAM's (B, C, H, W)."""
    if final.ndim == 3:
        return final
    if final.shape[-1] == like.shape[-1]:
        return final.flatten(1, 2)
    return final.flatten(2).mT


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"norm": True, "return_prefix_tokens": True},
        {"indices": 1},
        {"indices": [-1, 0], "return_prefix_tokens": True},
        {"indices": (1,), "norm": True},
    ],
    ids=str,
)
def test_intermediates_and_final_features_are_timms(pair, asked):
    theirs, ours, image = pair
    with torch.inference_mode():
        final, expected = theirs.forward_intermediates(image, **given(theirs, **asked))
        last, maps = ours.forward_intermediates(image.unsqueeze(2), **asked)
        alone = ours.forward_intermediates(image.unsqueeze(2), **asked, intermediates_only=True)
    torch.testing.assert_close(last, flat(final, last), **NEAR)
    assert len(maps) == len(expected) == len(alone)
    for got, wanted, same in zip(maps, expected, alone, strict=True):
        if isinstance(wanted, tuple) and wanted[1] is not None and ours.num_prefix_tokens:
            (got, front), (wanted, first), (same, _) = got, wanted, same
            torch.testing.assert_close(front, first, **NEAR)
        torch.testing.assert_close(got.squeeze(2), wanted, **NEAR)
        assert torch.equal(same, got)


def test_stopping_early_ends_after_the_last_map(pair):
    theirs, ours, image = pair
    with torch.inference_mode():
        final, expected = theirs.forward_intermediates(image, indices=[0], stop_early=True)
        last, maps = ours.forward_intermediates(image.unsqueeze(2), [0], stop_early=True)
    if isinstance(theirs, Hiera):  # its tokens are in the order of mask units, its maps are not
        final = expected[0].flatten(2).mT
    torch.testing.assert_close(last, flat(final, last), **NEAR)
    torch.testing.assert_close(maps[0].squeeze(2), expected[0], **NEAR)


def test_maps_as_rows_of_tokens(pair):
    theirs, ours, image = pair
    with torch.inference_mode():
        (rows,) = ours.forward_intermediates(
            image.unsqueeze(2), 1, output_fmt="NLC", intermediates_only=True
        )
        (each,) = theirs.forward_intermediates(image, indices=1, intermediates_only=True)
    torch.testing.assert_close(rows, each.flatten(2).mT, **NEAR)


def test_sizes_are_told_as_timm_tells_them(pair):
    theirs, ours, _ = pair
    assert ours.num_features == ours.embed_dim == ours.head_hidden_size
    if not hasattr(theirs, "neck"):
        assert ours.num_features == theirs.num_features
        assert ours.head_hidden_size == theirs.head_hidden_size
    told = [(info["num_chs"], info["reduction"]) for info in ours.feature_info]
    assert told == [(info["num_chs"], info["reduction"]) for info in theirs.feature_info]
    for info, level in zip(ours.feature_info, ours.config.levels, strict=True):
        assert ours.get_submodule(info["module"]) is not None
        assert info["stride"] == level.stride


def renamed(name):
    """What we call a parameter of timm's."""
    name = name.replace("patch_embed.proj.", "patch_embed.").replace(
        "patch_embed.norm.", "norm_pre."
    )
    name = name.replace("cpb_mlp.0", "bias_of_offset.fc1").replace(
        "cpb_mlp.2", "bias_of_offset.fc2"
    )
    if name.startswith("blocks."):
        name = name.replace("attn.relative_position_bias_table", "position_bias.plane")
    if name.startswith("layers."):
        _, stage, rest = name.split(".", 2)
        if rest.startswith("downsample."):
            return f"merges.{int(stage) - 1}.{rest.removeprefix('downsample.')}"
        return f"stages.{stage}.{rest}"
    return name


@pytest.mark.parametrize("coarse", [False, True])
def test_parameters_are_grouped_as_timm_groups_them(pair, coarse):
    theirs, ours, _ = pair
    expected = group_parameters(theirs, theirs.group_matcher(coarse), reverse=True)
    got = group_parameters(ours, ours.group_matcher(coarse), reverse=True)
    assert got.keys() == {name for name, _ in ours.named_parameters()}
    same = {renamed(name): layer for name, layer in expected.items()}
    shared = got.keys() & same.keys()
    assert len(shared) > len(got) / 2
    wrong = {name: (got[name], same[name]) for name in shared if got[name] != same[name]}
    assert wrong == {}


def test_what_does_not_decay_is_what_does_not_in_timm(pair):
    theirs, ours, _ = pair
    own = {name for name, _ in theirs.named_parameters()}  # it names what some sizes have, too
    meant = {renamed(name) for name in own & set(theirs.no_weight_decay())}
    assert meant - ours.no_weight_decay() == set()


@pytest.mark.parametrize("pool", ["avg", ""])
def test_a_classifier_is_put_behind_the_pooling_and_taken_off(pair, pool):
    _, ours, image = pair
    volume = image.unsqueeze(2)
    with torch.inference_mode():
        pooled = ours(volume)
        ours.reset_classifier(7)
        logits = ours(volume)
        assert torch.equal(logits, ours.get_classifier()(pooled))
        assert ours.num_classes == 7
        assert torch.equal(ours.forward_head(ours.forward_features(volume), True), pooled)
        assert list(ours.state_dict())[-2:] == ["head.weight", "head.bias"]
        assert ours.layer_of("head.weight") == ours.layers + 1
        ours.reset_classifier(0, pool)
        assert ours(volume).ndim == (2 if pool else 3)
        ours.reset_classifier(0, "own")
        assert torch.equal(ours(volume), pooled)
    assert not any(name.startswith("head.") for name in ours.state_dict())


def positional(call):
    """Names of arguments that may stand without them."""
    parameters = inspect.signature(call).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


@pytest.mark.parametrize(
    "ours, theirs", [(Column, VisionTransformer), (StagedNetwork, SwinTransformer)]
)
def test_arguments_stand_in_timms_order(ours, theirs):
    known = positional(theirs.forward_intermediates)
    taken = positional(ours.forward_intermediates)
    common = [name for name in taken if name in known]
    assert taken[: len(common)] == common == known[: len(common)]
    last = known.index("intermediates_only")
    assert common == known[: last + 1]
    assert positional(ours.forward_head) == positional(theirs.forward_head)
    assert positional(ours.reset_classifier) == positional(theirs.reset_classifier)

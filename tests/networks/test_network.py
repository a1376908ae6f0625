"""What every 3D backbone knows of itself from its config."""

import pytest
import torch

from inflate_zoo.networks.network import Network3D, counted
from inflate_zoo.networks.vit.network import VisionTransformer
from tests.networks.test_base import pyramid
from tests.segmentation.test_segmenter import config
from tests.support.pyramid import Pyramid

FORM = config(dist_token=True, reg_tokens=2)
MADE = [(VisionTransformer, FORM), (Pyramid, pyramid())]


@pytest.mark.parametrize("kind, form", MADE, ids=["vit", "pyramid"])
def test_width_grid_and_prefix_are_those_of_the_config(kind, form):
    network = kind(form)
    assert network.config is form
    assert network.embed_dim == form.levels[-1].width
    assert network.grid_size == form.grid_size
    assert network.num_prefix_tokens == form.num_prefix_tokens


@pytest.mark.parametrize("kind, form", MADE, ids=["vit", "pyramid"])
def test_every_parameter_has_a_layer_and_tables_are_parameters(kind, form):
    network = kind(form)
    names = [name for name, _ in network.named_parameters()]
    layers = {network.layer_of(name) for name in names}
    assert layers == set(range(len(form.levels) + 2))
    assert network.tables <= set(names)


def test_what_lacks_an_answer_cannot_be_built():
    class Half(Network3D):
        def layer_of(self, name):
            return 0

    with pytest.raises(TypeError, match=r"abstract.*forward_features"):
        Half(config())


def test_what_timm_asks_of_a_network_follows_from_its_config():
    network = Pyramid(pyramid())
    assert network.num_features == network.head_hidden_size == network.embed_dim
    assert network.no_weight_decay() == set(network.tables)
    told = network.feature_info
    assert [info["module"] for info in told] == network.level_modules()
    assert [info["num_chs"] for info in told] == [level.width for level in network.config.levels]
    assert [info["reduction"] for info in told] == [
        max(level.stride) for level in network.config.levels
    ]


def test_a_classifier_of_the_weights_own_type_stands_last_and_comes_off():
    network = Pyramid(pyramid()).to(torch.bfloat16)
    before = list(network.state_dict())
    network.reset_classifier(3)
    assert list(network.state_dict()) == [*before, "head.weight", "head.bias"]
    assert network.get_classifier().weight.dtype == torch.bfloat16
    network.reset_classifier(0)
    assert (network.num_classes, list(network.state_dict())) == (0, before)


def test_a_pooling_that_is_none_or_has_no_token_is_refused():
    network = Pyramid(pyramid())
    with pytest.raises(ValueError, match="global_pool 'max' is none of 'own', 'avg', 'token', ''"):
        network.reset_classifier(2, "max")
    with pytest.raises(ValueError, match="needs a prefix token"):
        network.reset_classifier(2, "token")
    assert network.num_classes == 0


def test_its_text_shows_volume_stem_and_parameters():
    network = VisionTransformer(FORM)
    total = sum(p.numel() for p in network.parameters())
    shown = repr(network)
    volume, patch = FORM.volume, FORM.patch
    assert f"volume={volume}, in_channels=2, patch={patch}, parameters={total:,}\n" in shown
    assert f"PatchEmbed(in_channels=2, embed_dim=16, patch={patch}, bias=True)" in shown
    network.patch_embed.requires_grad_(False)
    stem = sum(p.numel() for p in network.patch_embed.parameters())
    assert counted(network) == f"parameters={total:,} ({total - stem:,} trained)"
    network.dynamic_img_size = True
    assert "volume=any, " in repr(network)

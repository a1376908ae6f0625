"""What every 3D backbone knows of itself from its config."""

import pytest

from inflate_zoo.networks.network import Network3D
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

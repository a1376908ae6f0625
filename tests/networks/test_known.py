import copy
import pickle

import pytest
import torch
from pydantic import ValidationError

from inflate_zoo.networks.backbone import KINDS, Backbone, VitBackbone
from inflate_zoo.networks.known import CONFIGS, is_known
from inflate_zoo.segmentation.network import SegmenterConfig
from tests.segmentation.test_segmenter import config


def nested(**changes):
    backbone = config(blocks=1).model_dump() | changes
    fields = {"classes": 2, "decoder": "linear", "features": 8, "slice_wise": False}
    return {**fields, "backbone": {name: v for name, v in backbone.items() if v is not None}}


def test_every_config_has_its_network():
    assert KINDS.keys() == CONFIGS.keys()
    assert all(kind.kind() == name for name, kind in CONFIGS.items())


@pytest.mark.parametrize("stated", [None, "", "vit", [], {}, ["inflated_vit"], 3])
def test_what_a_file_may_say_of_its_kind_that_is_none(stated):
    assert not is_known(stated)
    assert is_known("inflated_vit")


def test_a_nested_config_becomes_that_of_its_kind_and_is_written_whole():
    made = SegmenterConfig.model_validate(nested())
    assert made.backbone == config(blocks=1)
    assert type(made.backbone) is CONFIGS["inflated_vit"]
    assert SegmenterConfig.model_validate(made.model_dump(mode="json")) == made


def test_a_nested_config_that_names_no_kind_is_of_the_first_one():
    made = SegmenterConfig.model_validate(nested(model_type=None))
    assert made.backbone == config(blocks=1)


@pytest.mark.parametrize(
    "field, value", [("embed_dim", "wide"), ("model_type", "other"), ("model_type", 3)]
)
def test_what_is_wrong_in_a_nested_config_is_named(field, value):
    with pytest.raises(ValidationError) as error:
        SegmenterConfig.model_validate(nested(**{field: value}))
    assert [entry["loc"] for entry in error.value.errors()] == [("backbone", field)]


def test_a_backbone_is_of_its_configs_kind_and_can_be_copied():
    network = Backbone(config(blocks=1)).eval()
    assert type(network) is VitBackbone
    volume = torch.rand(1, *(network.config.in_channels, *network.config.volume))
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(copied(volume), network(volume))


def test_fields_stand_in_the_order_that_keys_of_kept_features_were_made_of():
    names = list(CONFIGS["inflated_vit"].model_fields)
    assert names[:3] == ["embed_dim", "depth", "num_heads"]
    assert names[7:10] == ["in_channels", "patch_size", "position_grid"]
    assert names[-5:] == [
        "model_type",
        "format_version",
        "patch_depth",
        "volume",
        "depth_positions",
    ]

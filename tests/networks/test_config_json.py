"""config.json at its boundary: a network's own fields, and what timm reads beside them."""

import pytest

from inflate_zoo.errors import ConfigError
from inflate_zoo.networks.config_json import LIBRARY_KEYS, fields_to_write, library_keys, own_fields
from inflate_zoo.networks.files import parse_config
from inflate_zoo.networks.known import CONFIGS
from inflate_zoo.networks.vit.config import VitConfig
from inflate_zoo.segmentation.network import SegmenterConfig
from tests.segmentation.test_segmenter import config
from tests.support.networks import SMALL


@pytest.mark.parametrize("small", SMALL.values(), ids=SMALL)
def test_every_network_is_read_from_what_is_written_of_it(small):
    written = fields_to_write(small.config)
    assert written["format_version"] == 2
    assert set(written) == {*small.config.model_dump(), *LIBRARY_KEYS}
    assert not LIBRARY_KEYS & type(small.config).model_fields.keys()
    assert parse_config(written, "net", *CONFIGS.values()) == small.config
    assert own_fields(written) == small.config.model_dump(mode="json")


@pytest.mark.parametrize("small", SMALL.values(), ids=SMALL)
def test_what_timm_reads_follows_from_the_network(small):
    keys, own = library_keys(small.config), small.config
    assert keys.keys() == LIBRARY_KEYS
    assert keys["architecture"] == own.kind()
    assert keys["num_features"] == own.final_width
    cfg = keys["pretrained_cfg"]
    assert cfg["input_size"] == [own.in_channels, *own.volume[1:]]
    assert f"{cfg['first_conv']}.weight" in own.shapes()
    assert len(cfg["mean"]) == len(cfg["std"]) == own.in_channels


def test_a_file_of_the_first_format_is_read_and_holds_no_other_keys():
    old = config().model_dump(mode="json")
    assert old["format_version"] == 1
    assert parse_config(old, "net", VitConfig) == config()
    with pytest.raises(ConfigError, match="no valid backbone") as caught:
        parse_config({**old, **library_keys(config())}, "net", VitConfig)
    assert len(caught.value.details) == len(LIBRARY_KEYS)


def test_a_segmenters_file_is_what_it_was():
    form = SegmenterConfig(
        backbone=config(), classes=2, decoder="linear", features=8, slice_wise=False
    )
    assert fields_to_write(form) == form.model_dump(mode="json")
    raw = {**fields_to_write(form), "format_version": 2}
    with pytest.raises(ConfigError, match="format_version"):
        parse_config(raw, "net", VitConfig, SegmenterConfig)


@pytest.mark.parametrize("version", [0, 3, "2", None])
def test_another_format_is_refused(version):
    raw = {**config().model_dump(mode="json"), "format_version": version}
    with pytest.raises(ConfigError, match="format_version"):
        parse_config(raw, "net", VitConfig)


@pytest.mark.parametrize("kind, version", [("backbone", 3), ("segmenter", 2)])
def test_a_file_of_a_later_release_is_told_before_its_fields(kind, version):
    inner = config()
    form = (
        inner
        if kind == "backbone"
        else SegmenterConfig(
            backbone=inner, classes=2, decoder="linear", features=8, slice_wise=False
        )
    )
    raw = {**fields_to_write(form), "format_version": version, "more": 1}
    with pytest.raises(ConfigError, match="of a later inflate-zoo") as caught:
        parse_config(raw, "net", VitConfig, SegmenterConfig)
    assert not caught.value.details


@pytest.mark.parametrize("key", ["auto_map", "model_args", "architectures", "url"])
def test_no_further_key_is_taken(key):
    with pytest.raises(ConfigError, match="no valid backbone") as caught:
        parse_config({**fields_to_write(config()), key: {}}, "net", VitConfig)
    assert caught.value.details == (f"{key}: Extra inputs are not permitted",)


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda raw: raw.update(architecture="resnet50"), "architecture: 'resnet50', expected"),
        (lambda raw: raw.update(num_classes=2), "num_classes: 2, expected 0"),
        (lambda raw: raw.pop("num_features"), "num_features: None, expected"),
        (lambda raw: raw.pop("pretrained_cfg"), "pretrained_cfg: None, expected"),
        (lambda raw: raw["pretrained_cfg"].update(hf_hub_filename="x.bin"), "'x.bin'"),
        (lambda raw: raw["pretrained_cfg"].update(input_size=[3, 8, 8]), "[3, 8, 8]"),
    ],
)
def test_what_would_lead_timm_elsewhere_is_refused(change, told):
    raw = fields_to_write(config())
    change(raw)
    with pytest.raises(ConfigError, match="what timm reads there") as caught:
        parse_config(raw, "net", VitConfig)
    (line,) = caught.value.details
    assert told in line
    assert "expected" in line

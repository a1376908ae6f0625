"""Sources of the ranking, by whatever name they are given."""

import json

import pytest

from inflate_zoo.bench.arms.sources import find_any
from inflate_zoo.conversion.converting import convert
from inflate_zoo.errors import ConfigError, UsageError
from inflate_zoo.networks.base import SEGMENTER_TYPE
from tests.support.checkpoints import save_transformers
from tests.support.trials import VIT


@pytest.mark.parametrize(
    "source, meant",
    [("randm", "random"), ("Random", "random"), ("builtin-dino", "builtin/dino"),
     ("builtin/dnio", "builtin/dino")],
)  # fmt: skip
def test_a_misspelt_source_is_answered_without_the_hub(source, meant):
    with pytest.raises(UsageError) as caught:
        find_any(source)
    assert caught.value.hint == f"did you mean '{meant}'?"


@pytest.mark.filterwarnings("ignore:the source states no license")
def test_converted_weights_are_a_source_and_segmenters_are_none(tmp_path):
    plain = save_transformers("vit", tmp_path / "vit", **VIT)
    ready = convert(plain, tmp_path / "ready", patch_depth=2)
    assert find_any(str(plain)).config["model_type"] == "vit"
    found = find_any(str(ready))
    assert (found.name, found.folder, found.commit) == ("ready", ready, None)
    assert found.weights == ready / "model.safetensors"
    config = json.loads((ready / "config.json").read_text())
    (ready / "config.json").write_text(json.dumps(config | {"model_type": SEGMENTER_TYPE}))
    with pytest.raises(ConfigError):
        find_any(str(ready))

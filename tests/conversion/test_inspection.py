"""What a source is and what a conversion would do, from headers alone."""

import json

import pytest
import torch
from safetensors.torch import load_file

import inflate_zoo
from inflate_zoo.conversion.converting import convert
from inflate_zoo.conversion.inspection import (
    inspect_source,
    propose_patch_depth,
    understand_source,
)
from inflate_zoo.errors import UnknownNameError, UsageError
from inflate_zoo.files.checkpoints import SafetensorsCheckpoint
from tests.support.checkpoints import build_transformers, save_transformers
from tests.support.hub_standin import HubStandIn, use_hub

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return save_transformers("vit", tmp_path_factory.mktemp("s") / "vit", num_hidden_layers=1)


def test_it_foretells_what_a_conversion_makes(vit, tmp_path):
    options = {"scheme": "average", "patch_depth": 4, "volume": (8, 32, 64), "channels": 2}
    told = inspect_source(vit, **options)
    folder = convert(vit, tmp_path / "out", verify=False, **options)
    network = inflate_zoo.load(folder)
    made = load_file(folder / "model.safetensors")
    parts = told["conversion"]
    assert parts["stem"] == list(made["patch_embed.weight"].shape) == [48, 2, 4, 8, 8]
    assert parts["volume"] == list(network.config.volume) == [8, 32, 64]
    assert parts["grid"] == list(network.grid_size) == [2, 4, 8]
    assert parts["parameters"] == sum(tensor.numel() for tensor in made.values())
    tokens = network.forward_features(torch.zeros(1, 2, 8, 32, 64)).shape[1]
    assert (parts["prefix_tokens"], parts["tokens"]) == (1, tokens)
    assert parts["scheme"] == "average"
    assert (told["family"], told["source"]) == ("hf_vit", "vit")


def test_the_2d_network_is_counted_and_described(vit):
    told = inspect_source(vit)
    model = build_transformers("vit", num_hidden_layers=1)
    counted = sum(p.numel() for name, p in model.named_parameters() if "pooler" not in name)
    assert told["parameters_2d"] == counted
    assert told["native_grid"] == [4, 4]
    assert told["described"].startswith("1 blocks of width 48, 4 heads")
    assert told["weights"] == "model.safetensors"
    assert (told["arch"], told["commit"], told["license"]) == (None, None, "unknown")
    assert told["normalization"]["basis"] == "stated"
    assert json.loads(json.dumps(told)) == told


def test_no_weights_are_read(vit, monkeypatch):
    def read(*_):
        raise AssertionError("a tensor was read")

    monkeypatch.setattr(SafetensorsCheckpoint, "read", read)
    assert understand_source(str(vit)).plan.family.name == "hf_vit"
    assert inspect_source(vit)["family"] == "hf_vit"


@pytest.mark.parametrize(
    "patch, spacing, depth",
    [
        ((16, 16), (1, 1, 1), 16),
        ((16, 16), (5, 0.8, 0.8), 3),
        ((16, 16), (100, 1, 1), 1),
        ((8, 4), (1, 1, 2), 8),
        ((14, 14), (0.5, 1, 1), 28),
    ],
)
def test_the_depth_that_is_proposed_is_nearest_to_the_plane_in_mm(patch, spacing, depth):
    assert propose_patch_depth(patch, spacing) == depth
    plane = (patch[0] * spacing[1] + patch[1] * spacing[2]) / 2
    others = [abs(plane - d * spacing[0]) for d in range(1, 2 * depth + 2)]
    assert abs(plane - depth * spacing[0]) == min(others)


def test_a_proposed_depth_is_used_unless_one_is_given(vit):
    told = inspect_source(vit, spacing=(4, 1, 1))
    assert (told["proposed_patch_depth"], told["conversion"]["stem"][2]) == (2, 2)
    told = inspect_source(vit, spacing=(4, 1, 1), patch_depth=4)
    assert (told["proposed_patch_depth"], told["conversion"]["stem"][2]) == (2, 4)
    told = inspect_source(vit, spacing=(4, 1, 1), volume=(16, 32, 32))
    assert (told["proposed_patch_depth"], told["conversion"]["stem"][2]) == (2, 8)
    assert inspect_source(vit)["proposed_patch_depth"] is None


@pytest.mark.parametrize(
    "spacing", [(1, 1), (0, 1, 1), (-1, 1, 1), (float("nan"), 1, 1), (1e7,) * 3]
)
def test_a_spacing_that_is_none_is_refused(vit, spacing):
    with pytest.raises(UsageError, match="spacing is not three positive numbers"):
        inspect_source(vit, spacing=spacing)


def test_options_are_checked_as_those_of_a_conversion(vit):
    with pytest.raises(UnknownNameError, match="centre"):
        inspect_source(vit, scheme="centre")
    with pytest.raises(UsageError, match="patch depth 0"):
        inspect_source(vit, patch_depth=0)


def test_pickles_of_a_repo_are_not_fetched_but_told(tmp_path, monkeypatch):
    source = save_transformers("vit", tmp_path / "vit", safe=False, num_hidden_layers=1)
    with HubStandIn() as hub, use_hub(monkeypatch, hub, tmp_path / "home"):
        hub.add_repo("org/old", source)
        with pytest.raises(UsageError, match=r"pytorch_model\.bin, whose names cannot") as caught:
            inspect_source("org/old", revision="main")
        assert caught.value.hint.startswith("hf download org/old --revision main --local-dir old")
        assert not [r for r in hub.requests if r.path.endswith("pytorch_model.bin")]

"""What a fold is trained with: fitted, written, read, refused."""

import json

import pytest
import torch

from inflate_zoo.errors import ConfigError, UsageError
from inflate_zoo.nnunet.choice import (
    KEY,
    build,
    choice_in,
    choose,
    notes_on,
    read_choice,
    require_one_network,
)
from inflate_zoo.nnunet.framing import padded
from inflate_zoo.nnunet.options import FILE, Options
from inflate_zoo.nnunet.sources import FoundBackbone
from tests.support.networks import SMALL
from tests.support.nnunet import demand


def found(kind="inflated_vit", folder=None, **changes):
    config = SMALL[kind].config
    fields = {"name": "small-3d", "folder": folder, "config": config, "sha256": "a" * 64}
    return FoundBackbone(**fields | {"folded": False, "license": {"license": "mit"}} | changes)


def chosen(kind="inflated_vit", folded=False, sha256="a" * 64, patch=None, **options):
    options = {"decoder": "linear", **options}
    source = found(kind, folded=folded, sha256=sha256)
    patch = patch or tuple(side - 1 for side in source.config.volume)
    asked = demand(channels=source.config.in_channels, patch_size=patch)
    return choose(Options(source="/a/path/small-3d", **options), asked, source)


def written(choice, folder):
    folder.mkdir(parents=True)
    (folder / FILE).write_text(json.dumps(choice.as_dict()), encoding="utf-8")
    return folder


@pytest.mark.parametrize("kind", SMALL)
def test_every_network_takes_a_patch_that_its_own_does_not_divide(kind):
    choice = chosen(kind, drop_path=0.0)
    network = build(choice).eval()
    backbone = choice.network.backbone
    assert backbone.volume == padded(choice.patch_size, backbone.levels[-1].stride)
    with torch.inference_mode():
        logits = network(torch.randn(1, backbone.in_channels, *choice.patch_size))
    assert logits.shape == (1, 3, *choice.patch_size)


def test_what_is_written_is_read_and_tells_no_path():
    choice = chosen(epochs=3)
    text = json.dumps(choice.as_dict())
    assert "/a/path" not in text
    plans = {KEY: json.loads(text)}
    assert choice_in(plans) == choice
    assert (choice.source, choice.license, choice.settings.epochs) == (
        "small-3d",
        {"license": "mit"},
        3,
    )


def test_the_network_is_built_as_the_settings_say():
    network = build(chosen(drop_path=0.5, grad_checkpointing=True)).segmenter
    assert network.backbone.drop_shape != ()
    assert network.backbone.grad_checkpointing
    assert build(chosen(drop_path=0.0)).segmenter.backbone.drop_shape == ()


def test_a_fold_is_read(tmp_path):
    choice = chosen()
    assert read_choice(written(choice, tmp_path / "fold_0")) == choice


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"patch_size": (16, 16), "configuration": "2d"}, "configuration '2d' has 2D patches"),
        (
            {"previous_stage": "3d_lowres", "configuration": "3d_cascade_fullres"},
            "takes the labels of '3d_lowres' as channels",
        ),
        ({"outputs": 1}, "a single region"),
        ({"channels": 4}, "--channels 4"),
        ({"outputs": 300}, "network.classes"),
    ],
)
def test_what_does_not_fit_is_refused(changes, told):
    with pytest.raises(UsageError) as raised:
        choose(Options(source="a", decoder="linear"), demand(**{"channels": 2} | changes), found())
    assert told.removeprefix("network.") in str(raised.value)


def test_features_that_no_decoder_takes_are_refused():
    with pytest.raises(UsageError, match="features 12 is not a multiple of 8"):
        chosen(decoder="unetr", features=12)


def test_folds_of_one_network_stand_beside_each_other_and_no_others(tmp_path):
    first = chosen(learning_rate=1e-3)
    written(first, tmp_path / "fold_0")
    require_one_network(chosen(learning_rate=1e-4), tmp_path / "fold_1")
    require_one_network(chosen(sha256="b" * 64), tmp_path / "fold_0")  # never trained
    for other in (
        chosen(sha256="b" * 64),
        chosen(decoder="unetr"),
        chosen(patch=SMALL["inflated_vit"].config.volume),
    ):
        with pytest.raises(UsageError, match="'fold_0' was trained with another network"):
            require_one_network(other, tmp_path / "fold_1")


@pytest.mark.parametrize("kept", ["checkpoint_latest.pth", "checkpoint_final.pth"])
def test_a_trained_fold_is_not_begun_with_another_network(kept, tmp_path):
    fold = written(chosen(), tmp_path / "fold_0")
    (fold / kept).touch()
    require_one_network(chosen(learning_rate=1e-4), fold)
    with pytest.raises(UsageError, match="'fold_0' was trained with another network"):
        require_one_network(chosen(sha256="b" * 64), fold)


def test_what_a_model_lacks_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"plans\.json has no 'inflate_zoo'"):
        choice_in({})
    with pytest.raises(UsageError, match=r"'fold_0' holds no inflate_zoo\.json"):
        read_choice(tmp_path / "fold_0")
    for wrong in ({}, None, chosen().as_dict() | {"format_version": 2}):
        with pytest.raises(ConfigError, match=r"'inflate_zoo' in plans\.json is not valid"):
            choice_in({KEY: wrong})


def notes(normalization, **changes):
    return " ".join(notes_on(chosen(**changes), normalization))


def test_a_folded_normalisation_is_warned_about_where_nnunet_normalises_itself():
    for scheme in ("ZScoreNormalization", "CTNormalization"):
        told = notes([scheme], folded=True)
        assert "WARNING: the backbone was converted for intensities in [0, 1]" in told
        assert scheme in told
        assert "without --fold-normalization" in told
        assert "WARNING" not in notes([scheme], folded=False)


def test_so_is_a_network_that_expects_more_than_values_in_0_to_1():
    scheme = "RescaleTo01Normalization"
    assert "convert its source with --fold-normalization" in notes([scheme], folded=False)
    assert "WARNING" not in notes([scheme], folded=True)


def test_what_is_not_known_is_said_to_be_so():
    assert "does not tell what intensities" in notes(["ZScoreNormalization"], folded=None)


def test_much_padding_is_told():
    config = SMALL["inflated_vit"].config
    patch = (config.volume[0], 1, config.volume[2])
    more = config.levels[-1].stride[1] - 1
    assert f"{more:.0%} more voxels" in notes([], patch=patch)
    assert notes([], patch=config.volume) == ""

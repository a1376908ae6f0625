"""What a source is fed is read by its meaning, folded as that, and proved by its own library."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import inflate_zoo
from inflate_zoo.cli import app
from inflate_zoo.conversion.converting import convert, verify
from inflate_zoo.errors import ConfigError, UsageError, VerificationError
from inflate_zoo.naming.configs import normalization
from inflate_zoo.naming.configs.normalization import (
    PROCESSORS,
    Preprocessor,
    for_channels,
    from_preprocessor,
    image_processor,
)
from inflate_zoo.naming.definition import Normalization
from tests.support.checkpoints import build_transformers, save_timm, save_transformers

pytestmark = [
    pytest.mark.filterwarnings("ignore:the source states no license:UserWarning"),
    pytest.mark.filterwarnings("ignore:the source states no normalisation:UserWarning"),
]
FILE = "preprocessor_config.json"
STATED = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.5]}
HALF = ((0.5,) * 3, (0.5,) * 3)
CLIP = PROCESSORS["CLIPImageProcessor"]
THIRD = {"rescale_factor": 1 / 127.5}


def read(fields, usual="ViTImageProcessor"):
    found = from_preprocessor(Preprocessor(FILE, "", fields), usual)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "fields, mean, std",
    [
        (STATED, (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)),
        (STATED | {"rescale_factor": None}, (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)),
        (STATED | {"do_normalize": None}, (0.0,), (1.0,)),
        (STATED | {"do_normalize": None, "do_rescale": None}, (0.0,), (1 / 255,)),
        (STATED | {"rescale_factor": 0.00392156862745098}, (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)),
        (STATED | {"rescale_factor": 0.003921569}, (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)),
        (STATED | {"do_normalize": False}, (0.0,), (1.0,)),
        (STATED | {"do_normalize": False} | THIRD, (0.0,), (0.5,)),
        (STATED | {"do_normalize": False, "do_rescale": False}, (0.0,), (1 / 255,)),
        (
            {"image_mean": [123.675] * 3, "image_std": [58.395] * 3, "do_rescale": False},
            (0.485,) * 3,
            (0.229,) * 3,
        ),
        (STATED | THIRD, (0.2, 0.25, 0.3), (0.1, 0.125, 0.25)),
        ({"image_mean": 0.5, "image_std": 0.25}, (0.5,), (0.25,)),
        ({"image_mean": [0.5], "image_std": [0.25]}, (0.5,), (0.25,)),
        ({"image_mean": None, "image_std": None}, *HALF),
        ({"feature_extractor_type": "CLIPFeatureExtractor"}, CLIP.mean, CLIP.std),
        ({"image_processor_type": "SiglipImageProcessorFast"}, *HALF),
        ({"image_processor_type": "BitImageProcessor"}, CLIP.mean, CLIP.std),
        ({"image_processor_type": "VivitImageProcessor"}, (0.75,) * 3, (0.25,) * 3),
        *(
            (
                STATED | {"image_processor_type": "VivitImageProcessor", "offset": off},
                (0.2, 0.25, 0.3),
                (0.1, 0.125, 0.25),
            )
            for off in (False, None)
        ),
    ],
)
def test_a_processor_is_read_by_its_meaning(fields, mean, std):
    found = read(fields)
    assert found.basis == "stated"
    assert found.normalization.mean == pytest.approx(mean)
    assert found.normalization.std == pytest.approx(std)
    told = {False: "do_rescale false", None: "do_rescale null"}.get(fields.get("do_rescale", True))
    assert [told in note for note in found.notes if told] == ([True] if told else [])
    assert bool(found.notes) == bool(told)


def test_what_was_read_rightly_before_keeps_its_bits():
    found = read(STATED | {"rescale_factor": 1 / 255}).normalization
    assert (list(found.mean), list(found.std)) == (STATED["image_mean"], STATED["image_std"])


@pytest.mark.parametrize(
    "fields, named",
    [
        ({"do_normalize": "false"}, "do_normalize must be true or false"),
        ({"do_rescale": 0}, "do_rescale must be true or false"),
        ({"rescale_factor": 0}, "rescale_factor must be a positive number"),
        ({"rescale_factor": float("nan")}, "rescale_factor must be a positive number"),
        ({"rescale_factor": True}, "rescale_factor must be a positive number"),
        ({"image_mean": []}, "image_mean must be a number"),
        ({"image_mean": ["0.5"] * 3}, "image_mean must be a number"),
        ({"image_mean": {"r": 1}}, "image_mean must be a number"),
        ({"image_std": [0.5, float("inf"), 0.5]}, "image_std must be a number"),
        ({"image_std": [0.5, 0.0, 0.5]}, "std"),
        ({"image_std": 10**400}, "image_std must be a number"),
        ({"image_processor_type": 3}, "image_processor_type must be text"),
        ({"offset": True}, "offset"),
        (
            {"image_processor_type": "Mine", "include_top": True},
            "include_top",
        ),
        ({"do_flip_channel_order": True}, "do_flip_channel_order"),
    ],
)
def test_what_is_no_normalisation_is_named(fields, named):
    with pytest.raises(ConfigError) as caught:
        read(fields)
    assert named in caught.value.message
    assert FILE in caught.value.message
    assert "--mean" in caught.value.hint


def test_the_nested_image_processor_comes_first_and_an_old_file_holds_none():
    flat, nested = {"image_mean": 0.1}, {"image_processor": {"image_mean": 0.2}}
    found = image_processor(nested, flat)
    assert (found.file, found.fields) == ("processor_config.json", {"image_mean": 0.2})
    assert image_processor({"image_seq_length": 3}, flat).file == FILE
    assert image_processor({"image_processor": None}, None) is None
    with pytest.raises(ConfigError, match=r"processor_config\.json: image_processor must be an"):
        image_processor({"image_processor": [1]}, flat)


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return save_transformers("vit", tmp_path_factory.mktemp("s") / "vit", num_hidden_layers=1)


def with_files(source, folder, **files):
    """A copy of a source with other files beside its weights; None takes one away."""
    shutil.copytree(source, folder)
    for name, content in files.items():
        path = folder / f"{name}.json"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(json.dumps(content))
    return folder


def error_against_the_original(folder, scale, mean, std):
    """The 3D network on a grey picture in [0, 1], the 2D one on the same, scaled by hand."""
    model = build_transformers("vit", num_hidden_layers=1)
    picture = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    network = inflate_zoo.load(folder, volume=(8, 32, 32)).eval()
    with torch.inference_mode():
        got = network.forward_features(picture.unsqueeze(2).repeat(1, 1, 8, 1, 1))
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
        seen = (picture.expand(-1, 3, -1, -1) * scale - mean) / std
        expected = model(seen).last_hidden_state
    return float((got - expected).abs().max() / expected.square().mean().sqrt())


CASES = {
    "as usual": (STATED, 1, (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)),
    "not normalised": (STATED | {"do_normalize": False}, 1, (0.0,) * 3, (1.0,) * 3),
    "not rescaled": (
        {"do_rescale": False, "image_mean": [120.0] * 3, "image_std": [60.0] * 3},
        255,
        (120.0,) * 3,
        (60.0,) * 3,
    ),
    "pixels as they are": (
        {"do_rescale": False, "do_normalize": False},
        255,
        (0.0,) * 3,
        (1.0,) * 3,
    ),
    # As transformers itself takes a switch that is null.
    "no switch for it": (STATED | {"do_normalize": None}, 1, (0.0,) * 3, (1.0,) * 3),
    "no switch at all": (
        STATED | {"do_rescale": None, "do_normalize": None},
        255,
        (0.0,) * 3,
        (1.0,) * 3,
    ),
    "another factor": (STATED | THIRD, 2, (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)),
}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_the_network_in_0_to_1_equals_the_original_fed_as_its_files_say(
    vit, tmp_path, name, nested
):
    fields, *fed = CASES[name]
    fields = fields | {"image_processor_type": "ViTImageProcessor"}
    files = {"preprocessor_config": fields}
    if nested:  # all that transformers 5 writes for a model of images and text
        files = {"preprocessor_config": None, "processor_config": {"image_processor": fields}}
    source = with_files(vit, tmp_path / "source", **files)
    folder = convert(source, tmp_path / "out", fold_normalization=True)
    assert error_against_the_original(folder, *fed) < 2e-5
    record = json.loads((folder / "conversion.json").read_text())
    proof = record["verification"]
    assert proof["passed"]
    assert proof["fed_by"].endswith("ViTImageProcessor")
    assert (proof["normalization"], proof["replayed"]) == ("stated", None)
    assert record["recipe"]["normalization_basis"] == "stated"
    name = "processor_config.json" if nested else FILE
    assert record["recipe"]["normalization_from"] == name
    assert set(record["source"]["sha256"]) == {"model.safetensors", "config.json", name}
    assert verify(folder, source).passed


@pytest.mark.parametrize("field", ["do_normalize", "do_rescale"])
@pytest.mark.parametrize("scheme", ["center", "average", "repeat", "taper"])
def test_a_switch_that_is_overlooked_fails_the_proof(vit, tmp_path, monkeypatch, field, scheme):
    source = with_files(vit, tmp_path / "s", preprocessor_config=STATED | {field: False})
    monkeypatch.setattr(normalization, "_flag", lambda found, name, default=True: True)
    with pytest.raises(VerificationError, match="does not reproduce") as caught:
        convert(source, tmp_path / "out", fold_normalization=True, scheme=scheme, patch_depth=2)
    assert "ViTImageProcessor" in str(caught.value.details)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_a_wrong_mean_fails_the_proof(tmp_path, monkeypatch, vit, library):
    source = vit if library == "transformers" else save_timm("dino", tmp_path / "timm", depth=1)
    right = normalization._values
    monkeypatch.setattr(
        normalization, "_values", lambda *told: tuple(v + 0.01 for v in right(*told))
    )
    with pytest.raises(VerificationError, match="does not reproduce"):
        convert(source, tmp_path / "out", fold_normalization=True)


def test_a_guess_is_said_everywhere(vit, tmp_path):
    source = with_files(vit, tmp_path / "source", preprocessor_config=None)
    out = tmp_path / "out"
    args = [str(source), "--fold-normalization", "--out", str(out)]
    result = CliRunner().invoke(app.app, ["convert", *args])
    assert result.exit_code == 0, result.output
    assert "folded a guess, the default of hf_vit" in result.stderr
    proof = next(line for line in result.stdout.splitlines() if "proof" in line)
    assert "passed" in proof
    assert "the normalisation is a guess, which no proof can check" in proof
    record = json.loads((out / "conversion.json").read_text())
    assert record["recipe"]["normalization_basis"] == "guessed"
    assert record["verification"]["normalization"] == "guessed"
    assert any("is a guess" in note for note in record["notes"])
    card = (out / "README.md").read_text()
    assert "GUESSED: default of hf" in card
    assert "is a guess, which no proof can check" in card
    again = CliRunner().invoke(app.app, ["verify", str(out), "--source", str(source)])
    assert "the normalisation is a guess" in again.stdout
    shown = CliRunner().invoke(app.app, ["inspect", str(source)])
    assert "a guess, default of hf_vit" in shown.stdout


def test_what_the_user_gives_is_folded_recorded_and_verified(vit, tmp_path):
    source = with_files(vit, tmp_path / "source", preprocessor_config=None)
    out = tmp_path / "out"
    args = ["--mean", "0.4,0.5,0.6", "--std", "0.25", "--fold-normalization", "--out", str(out)]
    result = CliRunner().invoke(app.app, ["convert", str(source), *args])
    assert result.exit_code == 0, result.output
    assert "guess" not in result.output
    recipe = json.loads((out / "conversion.json").read_text())["recipe"]
    assert recipe["normalization"] == {"mean": [0.4, 0.5, 0.6], "std": [0.25] * 3}
    assert (recipe["normalization_basis"], recipe["normalization_from"]) == (
        "given",
        "--mean and --std",
    )
    assert error_against_the_original(out, 1, (0.4, 0.5, 0.6), (0.25,) * 3) < 2e-5
    assert verify(out, source).passed
    other = convert(
        vit, tmp_path / "api", fold_normalization=True, mean=(0.4, 0.5, 0.6), std=[0.25]
    )
    same = [(folder / "model.safetensors").read_bytes() for folder in (out, other)]
    assert same[0] == same[1]


@pytest.mark.parametrize(
    "given, told",
    [
        ({"mean": [0.5]}, "--std is missing"),
        ({"std": [0.5]}, "--mean is missing"),
        ({"mean": [0.5], "std": [0.0]}, "std above 0"),
        ({"mean": [float("nan")], "std": [0.5]}, "finite"),
        ({"mean": [], "std": [0.5]}, "finite"),
        ({"mean": 0.5, "std": [0.5]}, "finite"),
        ({"mean": ["a"], "std": [0.5]}, "finite"),
        ({"mean": [123.7], "std": [58.4]}, "intensities of [0, 1]"),
        ({"mean": [0.5] * 2, "std": [0.5]}, "the stem has 3 channels, the normalisation 2"),
        ({"mean": [0.5], "std": [0.5], "fold_normalization": False}, "--fold-normalization"),
    ],
)
def test_a_mean_and_std_of_no_use_are_refused(vit, tmp_path, given, told):
    with pytest.raises(UsageError) as caught:
        convert(vit, tmp_path / "out", **{"fold_normalization": True, **given})
    assert told in f"{caught.value.message} {caught.value.hint}"
    assert not (tmp_path / "out").exists()


def test_a_stem_of_one_channel_wants_one_value():
    with pytest.raises(UsageError, match="the stem has 1 channel, the normalisation 3") as caught:
        for_channels(Normalization(mean=(0.4,) * 3, std=(0.2,) * 3), 1)
    assert "of [0, 1], one value; or leave out" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        for_channels(Normalization(mean=(0.4,) * 2, std=(0.2,) * 2), 3)
    assert "of [0, 1], one value or 3; or leave out" in caught.value.hint


def test_a_stem_of_one_channel_takes_a_list_of_one(tmp_path):
    source = save_transformers("vit", tmp_path / "s", num_hidden_layers=1, num_channels=1)
    folder = convert(source, tmp_path / "out", fold_normalization=True)
    record = json.loads((folder / "conversion.json").read_text())
    assert record["recipe"]["normalization"] == {"mean": [0.5], "std": [0.5]}
    assert record["verification"]["fed_by"].endswith("ViTImageProcessor")


def test_the_tag_is_recorded_for_the_next_proof(tmp_path):
    import timm

    from tests.support.checkpoints import randomize

    model = randomize(timm.create_model("test_vit", num_classes=0))
    save_file(model.state_dict(), tmp_path / "bare.safetensors")
    options = {"arch": "test_vit.r160_in1k", "fold_normalization": True}
    folder = convert(tmp_path / "bare.safetensors", tmp_path / "out", **options)
    record = json.loads((folder / "conversion.json").read_text())
    assert record["source"]["arch"] == "test_vit.r160_in1k"
    assert record["recipe"]["normalization_basis"] == "stated"
    assert verify(folder, tmp_path / "bare.safetensors").normalization == "stated"

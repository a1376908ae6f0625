"""The two files of a network: its config read and told, its tensors all there."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from inflate_zoo.errors import AccountingError, ConfigError, UsageError
from inflate_zoo.files.writing.staging import MARKER
from inflate_zoo.networks.files import (
    CONFIG,
    WEIGHTS,
    folder_of,
    read_config,
    read_tensors,
    write_network,
)
from inflate_zoo.networks.vit.config import VitConfig
from inflate_zoo.segmentation.network import SegmenterConfig
from tests.segmentation.test_segmenter import config

SHAPES = {"a": (2, 3), "b": (4,)}


def tensors():
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


@pytest.fixture
def folder(tmp_path):
    write_network(tmp_path / "net", config(), tensors(), SHAPES)
    return tmp_path / "net"


def test_what_is_written_is_read_again(folder):
    assert read_config(folder, "net", VitConfig) == config()
    found = read_tensors(folder, SHAPES, None, None)
    assert list(found) == list(SHAPES)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors().items())


@pytest.mark.parametrize("dtype", ["float16", torch.float64, None])
def test_tensors_come_in_the_type_that_is_asked_for(folder, dtype):
    kind = torch.float16 if dtype == "float16" else dtype or torch.float32
    found = read_tensors(folder, SHAPES, dtype, "cpu")
    assert {tensor.dtype for tensor in found.values()} == {kind}
    assert torch.equal(found["a"], tensors()["a"].to(kind))


def test_tensors_do_not_depend_on_the_file_any_more(folder):
    found = read_tensors(folder, SHAPES, None, None)
    with (folder / WEIGHTS).open("r+b") as file:
        file.seek(-40, 2)
        file.write(bytes(40))
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors().items())


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda t: t.pop("b"), "missing: 'b' [4]"),
        (lambda t: t.update(b=torch.zeros(4, 1)), "unexpected shape: 'b'"),
        (lambda t: t.update(c=torch.zeros(1)), "left over: 'c'"),
    ],
)
def test_tensors_that_do_not_fit_are_named(folder, change, told):
    stored = load_file(folder / WEIGHTS)
    change(stored)
    save_file(stored, folder / WEIGHTS)
    with pytest.raises(AccountingError, match=r"does not fit its config\.json") as caught:
        read_tensors(folder, SHAPES, None, None)
    assert any(told in line for line in caught.value.details), caught.value.details


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_a_type_that_is_not_kept_is_not_saved(tmp_path, dtype):
    wrong = tensors() | {"b": torch.zeros(4, dtype=dtype)}
    with pytest.raises(ConfigError, match=f"type {dtype} cannot be saved") as caught:
        write_network(tmp_path / "net", config(), wrong, SHAPES)
    assert caught.value.hint == "backbone.float() first"
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("change", [{"c": (1,)}, {"b": (5,)}, {"a": None}])
def test_tensors_that_could_not_be_read_again_are_not_written(tmp_path, change):
    expected = {n: s for n, s in (SHAPES | change).items() if s is not None}
    with pytest.raises(UsageError, match="1 difference"):
        write_network(tmp_path / "net", config(), tensors(), expected)
    assert not (tmp_path / "net").exists()


def spoil(folder, **changes):
    table = json.loads((folder / CONFIG).read_text()) | changes
    (folder / CONFIG).write_text(json.dumps({k: v for k, v in table.items() if v is not None}))


@pytest.mark.parametrize(
    "changes, message, hint",
    [
        ({"depth": -1}, "config.json is no valid backbone", "convert the source again"),
        ({"more": 1}, "config.json is no valid backbone", "convert the source again"),
        (
            {"model_type": "vit"},
            "model_type is 'vit', converted weights have 'inflated_vit'",
            "inflate-zoo convert net",
        ),
        ({"model_type": None}, "model_type is None", "inflate-zoo convert net"),
        ({"model_type": "inflated_vit_segmenter"}, "is that of a segmenter", ".backbone"),
    ],
)
def test_a_config_of_something_else_is_told(folder, changes, message, hint):
    spoil(folder, **changes)
    with pytest.raises(ConfigError) as caught:
        read_config(folder, "./net", VitConfig)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_what_is_to_be_converted_first_is_named_by_its_path(folder):
    spoil(folder, model_type="vit")
    with pytest.raises(ConfigError) as caught:
        read_config(folder, "models/vit2d", VitConfig)
    assert "inflate-zoo convert models/vit2d" in caught.value.hint


def test_what_is_no_device_is_told(folder):
    with pytest.raises(UsageError, match=r"device '1\.5' cannot be used"):
        read_tensors(folder, SHAPES, None, 1.5)


def test_a_config_is_of_the_kind_that_its_type_names(tmp_path):
    form = SegmenterConfig(
        backbone=config(), classes=2, decoder="linear", features=8, slice_wise=False
    )
    write_network(tmp_path / "net", form, tensors(), SHAPES)
    assert read_config(tmp_path / "net", "net", VitConfig, SegmenterConfig) == form
    spoil(tmp_path / "net", classes=1)
    with pytest.raises(ConfigError, match="no valid segmenter") as caught:
        read_config(tmp_path / "net", "net", VitConfig, SegmenterConfig)
    assert "save the segmenter again" in caught.value.hint


def test_a_folder_is_taken_as_it_is_unless_a_replacement_was_interrupted(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert folder_of(folder, VitConfig) == folder
    assert str(folder_of("net", VitConfig)) == "net"
    (folder / MARKER).mkdir()
    with pytest.raises(UsageError, match="'net' holds files of two conversions") as caught:
        folder_of("net", VitConfig)
    assert "--force" in caught.value.hint


def test_a_folder_without_a_config_is_named(folder):
    (folder / "config.json").unlink()
    with pytest.raises(UsageError) as caught:
        folder_of(folder, VitConfig)
    assert caught.value.message == "'net' holds no config.json"
    assert "name the folder that 'inflate-zoo convert' wrote" in caught.value.hint


def test_what_is_no_folder_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source in ("./gone", tmp_path / "gone"):
        with pytest.raises(UsageError, match="gone' is no folder of converted weights"):
            folder_of(source, VitConfig)

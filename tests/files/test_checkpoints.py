"""Which files hold the weights, and one tensor of them at a time."""

import json
from pathlib import Path

import pytest
import torch

from inflate_zoo.errors import CheckpointError, UsageError
from inflate_zoo.files.checkpoints import (
    SUFFIXES,
    WEIGHT_FILES,
    find_weights,
    open_checkpoint,
    shard_names,
)
from inflate_zoo.files.pickles import load_pickle


@pytest.mark.parametrize("name", ["a" * 300 + ".safetensors", "\U0001f600" * 70 + ".safetensors"])
def test_a_shard_whose_name_no_file_system_takes_is_refused(tmp_path, name):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(UsageError, match=r"model\.safetensors\.index\.json"):
        open_checkpoint(path, tmp_path)


def test_views_shared_storages_and_the_legacy_format_read_as_they_are(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    content = {"base": base, "view": base.t(), "row": base[1], "wide": base[:1].expand(5, 4)}
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pth"
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        opened = open_checkpoint(path)
        for name, tensor in content.items():
            assert opened.read(name).is_contiguous()
            torch.testing.assert_close(opened.read(name), tensor)


def test_every_shard_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []

    def load(path: Path) -> dict[str, torch.Tensor]:
        loads.append(path.name)
        return load_pickle(path)

    monkeypatch.setattr("inflate_zoo.files.checkpoints.load_pickle", load)
    torch.save({"a": torch.ones(1)}, tmp_path / "1.bin")
    torch.save({"b": torch.ones(1)}, tmp_path / "2.bin")
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "1.bin", "b": "2.bin"}}))
    assert set(open_checkpoint(index).header) == {"a", "b"}
    assert loads == ["1.bin", "2.bin"]


def test_the_weights_of_a_folder_are_found_in_a_fixed_order():
    others = ["config.json", "a.pth", "sub/model.pth"]
    for position, name in enumerate(WEIGHT_FILES):
        assert find_weights(Path("vit"), [*others, *reversed(WEIGHT_FILES[position:])]) == name
    for position, suffix in enumerate(SUFFIXES):
        names = [f"w{ending}" for ending in reversed(SUFFIXES[position:])]
        assert find_weights(Path("vit"), ["config.json", *names]) == f"w{suffix}"


@pytest.mark.parametrize(
    "names, told, line",
    [
        ([], "'vit' holds no weights", "looked for: model.safetensors"),
        (["sub/model.pth", "model.h5"], "'vit' holds no weights", "*.safetensors"),
        (["b.pth", "a.pth", "c.ckpt"], "'vit' holds several weight files", "a.pth"),
    ],
)
def test_no_weights_or_several_are_told(names, told, line):
    with pytest.raises(UsageError) as caught:
        find_weights(Path("vit"), names)
    assert caught.value.message == told
    assert line in caught.value.details[0]


def test_each_shard_of_an_index_is_named_once_in_order():
    index = {"weight_map": {"a": "2.bin", "b": "1.bin", "c": "2.bin"}}
    assert shard_names(index, "pytorch_model.bin.index.json") == ["1.bin", "2.bin"]
    with pytest.raises(CheckpointError, match=r"names files that are no \.safetensors"):
        shard_names(index, "model.safetensors.index.json")


def test_a_file_of_another_kind_is_answered_with_the_known_endings(tmp_path):
    (tmp_path / "model.h5").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"'model\.h5' is of no known kind") as caught:
        open_checkpoint(tmp_path / "model.h5")
    assert all(suffix in caught.value.details[0] for suffix in SUFFIXES)


@pytest.mark.parametrize(
    "names, step",
    [
        ([".metadata", "__0_0.distcp", "__1_0.distcp"], "dcp_to_torch FOLDER"),
        (["latest", "zero_to_fp32.py"], "python zero_to_fp32.py"),
        (["B_16.npz"], "checkpoint_path=FILE"),
        (["config.json", "flax_model.msgpack"], "from_flax=True"),
        (["config.json", "tf_model.h5"], "from_tf=True"),
        (["config.json", "README.md"], "name a folder, file or Hub repo"),
    ],
)
def test_weights_of_other_libraries_are_answered_with_a_step(names, step, tmp_path):
    with pytest.raises(UsageError, match="holds no weights") as caught:
        find_weights(Path("vit"), names)
    assert step in caught.value.hint
    alone = tmp_path / names[-1]
    alone.write_bytes(b"x")
    with pytest.raises(UsageError, match="is of no known kind") as caught:
        open_checkpoint(alone)
    assert step in caught.value.hint or "of such an ending" in caught.value.hint

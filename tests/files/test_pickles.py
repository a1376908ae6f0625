"""Pickle checkpoints are read without running anything in them."""

import argparse
import collections
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from inflate_zoo.errors import CheckpointError
from inflate_zoo.files.pickles import load_pickle


def test_inert_types_of_training_checkpoints_are_accepted(tmp_path: Path) -> None:
    extras = {code: np.dtype(code).type(1) for code in ("?", "i1", "u4", "i8", "f2", "f4", "f8")}
    content = {"a": torch.ones(2), "args": argparse.Namespace(lr=1), "extras": extras}
    torch.save(content, tmp_path / "a.pth")
    assert list(load_pickle(tmp_path / "a.pth")) == ["a"]


def test_zips_that_torch_never_writes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(1_000_000))
    with pytest.raises(CheckpointError, match="compressed"):
        load_pickle(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/other", b"")
    with pytest.raises(CheckpointError, match="a zip archive, not a checkpoint"):
        load_pickle(path)


def test_odd_pickles(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for content, told in [
        ({"a": {"b": torch.ones(1)}, "a.b": torch.ones(2)}, "'a.b' occurs twice"),
        ({"a": torch.eye(2).to_sparse()}, "'a' in 'a.pth' is sparse"),
        ({"a": torch.ones(2, device="meta")}, "'a' in 'a.pth' is sparse, quantized or without"),
        ({"a": 1}, "holds no tensors"),
    ]:
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=told):
            load_pickle(path)


def test_a_pickle_that_names_itself_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inflate_zoo.files.pickles._MOST_VALUES", 1000)
    nest: list[object] = [1] * 10
    for _ in range(10):
        nest = [nest] * 10
    torch.save({"a": torch.ones(1), "nest": nest}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="more than 1,000 values"):
        load_pickle(tmp_path / "a.pth")


@pytest.mark.parametrize("new", [True, False])
def test_what_training_checkpoints_carry_is_taken(tmp_path, new):
    weight = torch.arange(6.0).reshape(2, 3)
    content = {
        "model": {"w": weight, "t": weight.t(), "p": torch.nn.Parameter(weight.half()[1:])},
        "args": argparse.Namespace(lr=0.1, name="x", betas=(0.9, 0.999)),
        "best": np.float64(0.5), "kind": np.dtype("float32"), "epoch": np.int64(3),
        "counts": collections.Counter({1: 2, 0: 5}), "names": {"a", "b"}, "size": torch.Size([1]),
        "bytes": b"\x00\xff", "array": bytearray(b"ab"), "dtype": torch.bfloat16,
        "order": collections.OrderedDict([((1, 2), 3)]), "z": 1j, "device": torch.device("cpu"),
        "empty": torch.empty(0, 3), "big": 1 << 70, "rng": torch.get_rng_state(),
    }  # fmt: skip
    torch.save(content, tmp_path / "m.pth", _use_new_zipfile_serialization=new)
    found = load_pickle(tmp_path / "m.pth")
    torch.testing.assert_close(found["model.t"], weight.t())
    torch.testing.assert_close(found["model.p"], weight.half()[1:])
    assert set(found) == {"model.w", "model.t", "model.p", "empty", "rng"}


def test_two_pickles_in_one_archive_are_refused(tmp_path):
    content = io.BytesIO()
    torch.save({"w": torch.ones(1)}, content)
    (tmp_path / "m.pth").write_bytes(content.getvalue())
    with zipfile.ZipFile(tmp_path / "m.pth", "a") as archive:
        archive.writestr("other/data.pkl", b"\x80\x02}.")
    with pytest.raises(CheckpointError, match="two pickles"):
        load_pickle(tmp_path / "m.pth")

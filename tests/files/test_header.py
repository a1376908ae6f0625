"""The header of a safetensors file, read strictly."""

import json
import os
from pathlib import Path

import pytest

from inflate_zoo.errors import CheckpointError
from inflate_zoo.files.header import TensorInfo, read_header
from inflate_zoo.files.reading import disguise
from tests.support.quick import within


def header_file(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + text + data)
    return path


def entry(begin: int, end: int, shape: list[object] | None = None, dtype: str = "U8") -> dict:
    return {"dtype": dtype, "shape": shape or [end - begin], "data_offsets": [begin, end]}


BAD_HEADERS = {
    "hole": ({"a": entry(0, 2), "bee": entry(3, 4)}, "hole before 'bee': it begins at byte 3"),
    "overlap": ({"a": entry(0, 2), "bee": entry(1, 4)}, "overlap before 'bee'"),
    "size": ({"a": entry(0, 4, [5])}, "'a' U8 [5] needs 5 bytes, its offsets [0, 4] give 4"),
    "backwards": ({"a": entry(4, 0, [4])}, "'a' has offsets [4, 0]"),
    "negative": ({"a": entry(0, 4, [-4])}, "'a' has dtype"),
    "fraction": ({"a": entry(0, 4, [4.0])}, "'a' has dtype"),
    "true": ({"a": entry(0, 4, [True])}, "'a' has dtype"),
    "huge": ({"a": entry(0, 4, [1 << 63])}, "'a' has dtype"),
    "many dimensions": ({"a": entry(0, 4, [1] * 65)}, "'a' has dtype"),
    "dtype": ({"a": entry(0, 4, dtype="F7")}, "'a' has dtype 'F7'"),
    "dtype list": ({"a": {"dtype": ["F32"]}}, "'a' has dtype ['F32']"),
    "no entry": ({"a": 4}, "'a' has dtype None"),
    "one offset": ({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0]}}, "offsets [0]"),
    "empty name": ({"": entry(0, 4)}, "a tensor has an empty name"),
    "twice": (
        b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},'
        b'"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
        "'a' occurs twice",
    ),
    "list": ([1], "not an object"),
    "no json": (b"{{", "it is no valid JSON"),
    "deep": (b"[" * 100_000, "it is no valid JSON"),
    "utf-16": (json.dumps({"a": entry(0, 4)}).encode("utf-16"), "it is no valid JSON"),
    "metadata number": ({"__metadata__": {"k": 1}, "a": entry(0, 4)}, "not text"),
    "metadata list": ({"__metadata__": [], "a": entry(0, 4)}, "not text"),
    "metadata twice": (b'{"__metadata__":{"k":"1","k":"2"}}', "'k' occurs twice"),
}


@pytest.mark.parametrize("kind", BAD_HEADERS)
def test_a_bad_header_is_refused(tmp_path: Path, kind: str) -> None:
    header, told = BAD_HEADERS[kind]
    path = header_file(tmp_path / "model.safetensors", header, b"1234")
    with pytest.raises(CheckpointError) as caught:
        read_header(path)
    assert caught.value.message.startswith("'model.safetensors' is damaged: ")
    assert told in caught.value.message


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1, 100_000_001, 99_000_000])
def test_a_huge_header_costs_neither_time_nor_memory(tmp_path: Path, length: int) -> None:
    path = header_file(tmp_path / "a.safetensors", b"{}", length=length)
    os.truncate(path, 150_000_000 if length == 100_000_001 else 200)  # sparse
    import tracemalloc

    tracemalloc.start()
    with within(1), pytest.raises(CheckpointError, match=f"its header claims {length} bytes"):
        read_header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("length", [0x7B20, 0x5B20])
def test_a_header_length_that_reads_like_json_is_none(tmp_path: Path, length: int) -> None:
    text = json.dumps({"a": entry(0, 4)}).encode()
    path = header_file(tmp_path / "a.safetensors", text + b" " * (length - len(text)), b"1234")
    assert path.read_bytes()[:2] in (b" {", b" [")
    assert list(read_header(path)) == ["a"]
    assert disguise(path.read_bytes()[:512]) is None


def test_a_tensor_is_shown_with_type_and_shape():
    assert str(TensorInfo("BF16", (2, 3))) == "BF16 [2, 3]"
    assert str(TensorInfo("I64", ())) == "I64 []"


def test_a_header_over_25_mb_is_refused_unread(tmp_path):
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.write((25_000_001).to_bytes(8, "little"))
        file.truncate(30_000_000)
    with pytest.raises(CheckpointError, match="claims 25000001 bytes; the limit is 25000000"):
        read_header(path)

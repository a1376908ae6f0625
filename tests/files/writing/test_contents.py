"""Files that are whole or absent."""

import json
import stat

import torch
from safetensors import safe_open

from inflate_zoo.files.writing.contents import replace_tensors, write_safetensors


def test_tensors_come_back_with_their_state(tmp_path):
    path, tensor = tmp_path / "a.safetensors", torch.randn(4, 3).t()
    replace_tensors(path, {"a": tensor}, "state")
    with safe_open(path, "pt") as file:
        assert torch.equal(file.get_tensor("a"), tensor)
        assert file.metadata() == {"state": "state"}
    plain = tmp_path / "plain"
    plain.write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_file_has_one_metadata_key(tmp_path):
    path = tmp_path / "one.safetensors"
    write_safetensors(path, [("a", "F32", (2,))], [torch.zeros(2)])
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"] == {"format": "pt"}

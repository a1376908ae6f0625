"""Which files hold the weights, and one tensor of them at a time."""

import json

import pytest

from inflate_zoo.errors import UsageError
from inflate_zoo.files.checkpoints import open_checkpoint


@pytest.mark.parametrize("name", ["a" * 300 + ".safetensors", "\U0001f600" * 70 + ".safetensors"])
def test_a_shard_whose_name_no_file_system_takes_is_refused(tmp_path, name):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(UsageError, match=r"model\.safetensors\.index\.json"):
        open_checkpoint(path, tmp_path)

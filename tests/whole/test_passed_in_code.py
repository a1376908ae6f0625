"""What is passed to timm.create_model in code, because config.json does not state it.

So the pages of UNI, UNI2-h, Virchow and Virchow2 have it; sizes here are small, weights random.
"""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import SwiGLUPacked
from torch import nn

import inflate_zoo
from inflate_zoo.conversion.converting import convert
from inflate_zoo.errors import AccountingError, ConfigError
from tests.support.checkpoints import randomize

SIZE = {"embed_dim": 48, "depth": 2, "num_heads": 4, "img_size": 32, "num_classes": 0}
GATED = {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU}
STATED = {"mlp_layer": "SwiGLUPacked", "act_layer": "silu"}
REGISTERS = {"reg_tokens": 8, "no_embed_class": True}
# Architecture, what config.json states here, and what code adds.
SOURCES = {
    "uni": ("vit_large_patch16_224", {"patch_size": 8}, {"init_values": 1e-5}),
    "uni2": (
        "vit_giant_patch14_224",
        {"patch_size": 8, "mlp_ratio": 2.66667 * 2},
        {"init_values": 1e-5, **REGISTERS, **GATED},
    ),
    "virchow": (
        "vit_huge_patch14_224",
        {"patch_size": 8, "mlp_ratio": 5.3375, "init_values": 1e-5, "global_pool": ""},
        GATED,
    ),
    "virchow2": (
        "vit_huge_patch14_224",
        {"patch_size": 8, "mlp_ratio": 5.3375, "init_values": 1e-5, "reg_tokens": 4},
        GATED,
    ),
}


def published(kind, folder, **more):
    """A folder as the Hub has it, of a random model, and that model."""
    arch, stated, in_code = SOURCES[kind]
    model = randomize(timm.create_model(arch, **SIZE, **stated, **in_code)).eval()
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {"architecture": arch, "model_args": {**SIZE, **stated, **more}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder, model


@pytest.mark.parametrize("kind", SOURCES)
def test_such_a_source_is_converted_as_its_code_builds_it(kind, tmp_path):
    gated = STATED if "mlp_layer" in SOURCES[kind][2] else {}
    folder, model = published(kind, tmp_path / kind, **gated)
    shown = {"init_values", "reg_tokens", "no_embed_class"} & SOURCES[kind][2].keys()
    with pytest.warns(UserWarning, match=r"init_values|license"):
        converted = convert(folder, tmp_path / "out", channels=3)
    record = json.loads((converted / "conversion.json").read_text(encoding="utf-8"))
    assert record["verification"]["reference"].startswith("timm ")
    assert record["verification"]["passed"]
    told = [note for note in record["notes"] if note.startswith("config.json does not state")]
    assert len(told) == (1 if shown else 0)
    assert all(name in told[0] for name in shown)
    network = inflate_zoo.load(converted, kind="backbone", volume=(8, 32, 32)).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        ours = network.forward_features(images.unsqueeze(2).repeat(1, 1, 8, 1, 1))
        theirs = model.forward_features(images)
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["uni2", "virchow", "virchow2"])
def test_a_gate_is_not_guessed(kind, tmp_path):
    """Shapes show that there is one, but neither its activation nor its order."""
    folder, _ = published(kind, tmp_path / kind)
    with pytest.raises(AccountingError) as caught:
        convert(folder, tmp_path / "out")
    assert '"mlp_layer": "SwiGLUPacked", "act_layer": "silu"' in caught.value.hint


@pytest.mark.parametrize("stated", [{"reg_tokens": 0}, {"no_embed_class": False}])
def test_what_config_json_states_is_not_overruled(stated, tmp_path):
    folder, _ = published("uni2", tmp_path / "uni2", **STATED, **stated)
    with pytest.raises(ConfigError, match=r"config.json and the tensors disagree") as caught:
        convert(folder, tmp_path / "out")
    assert "model_args" in caught.value.hint

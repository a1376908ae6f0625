"""SAM's encoder, end to end: what the libraries saved, converted and proved."""

import json
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from inflate_zoo import convert, load, verify
from inflate_zoo.errors import VerificationError
from inflate_zoo.networks.layers import decomposed
from inflate_zoo.networks.sam import network
from tests.support.checkpoints import (
    TIMM,
    sam_original,
    save_timm,
    save_transformers,
)

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
OF_TIMM = [kind for kind in TIMM if kind.startswith("sam_")]
OF_TRANSFORMERS = ["sam", "sam_vision", "sam_no_qkv_bias"]


def proof_of(folder):
    return json.loads((folder / "conversion.json").read_text())["verification"]


def saved(kind, folder, **changes):
    save = save_timm if kind in OF_TIMM else save_transformers
    return save(kind, folder, **changes)


@pytest.mark.parametrize("kind", OF_TIMM + OF_TRANSFORMERS)
def test_every_kind_equals_the_original(kind, tmp_path):
    source = saved(kind, tmp_path / "source")
    recipe = {"scheme": "average", "patch_depth": 3, "channels": 2, "fold_normalization": True}
    for number, options in enumerate(({"patch_depth": 2, "depth_window": 2}, recipe)):
        proof = proof_of(convert(source, tmp_path / f"out{number}", **options))
        assert proof["max_error_over_rms"] < 2e-5
        assert re.fullmatch(r"(timm|transformers) [0-9.]+ \w*(SAM|Sam)\w*", proof["reference"])
        pools = kind in OF_TIMM and kind != "sam_timm_classifier"
        assert ("equal slices, pooled" in proof["errors"]) == pools
    assert verify(tmp_path / "out1", source).passed


def test_the_originals_pth_is_proved(tmp_path):
    torch.save(sam_original(), tmp_path / "sam_vit_b.pth")
    folder = convert(tmp_path / "sam_vit_b.pth", tmp_path / "out")
    assert proof_of(folder)["reference"].startswith("timm ")
    record = json.loads((folder / "conversion.json").read_text())
    assert record["source"]["family"] == "sam"
    assert "mask_decoder.iou_token.weight" in record["dropped"]
    config = json.loads((folder / "config.json").read_text())
    assert (config["window_size"], config["global_blocks"]) == (3, [1])
    assert (config["norm_eps"], config["depth_window"]) == (1e-6, 3)


def test_the_proof_is_as_deep_as_a_window_and_one_token_more(tmp_path):
    source = save_transformers("sam_vision", tmp_path / "source")
    assert proof_of(convert(source, tmp_path / "out"))["grid"] == [4, 4, 4]
    folder = convert(source, tmp_path / "deep", depth_window=6)
    assert proof_of(folder)["grid"] == [7, 4, 4]


@pytest.mark.parametrize("kind", ["sam_vision", "sam_timm"])
def test_a_grid_that_is_too_large_to_prove_at_is_resized_by_the_library_itself(kind, tmp_path):
    side = "image_size" if kind in OF_TRANSFORMERS else "img_size"
    source = saved(kind, tmp_path / "source", **{side: 200})  # 25 x 25 tokens
    proof = proof_of(convert(source, tmp_path / "out"))
    assert proof["grid"][1:] == [17, 17]
    assert proof["max_error_over_rms"] < 2e-5


def cross_saved(tmp_path):
    """The same weights as transformers, timm and SAM's authors hold them."""
    of_transformers = save_transformers("sam_vision", tmp_path / "transformers")
    theirs = load_file(of_transformers / "model.safetensors")
    names = {
        "vision_encoder.": "", "patch_embed.projection": "patch_embed.proj", "layers.": "blocks.",
        "neck.conv1": "neck.0", "neck.layer_norm1": "neck.1", "neck.conv2": "neck.2",
        "neck.layer_norm2": "neck.3", "layer_norm": "norm", "mlp.lin": "mlp.fc",
    }  # fmt: skip
    state = {}
    for name, tensor in theirs.items():
        for old, new in names.items():
            name = name.replace(old, new)
        state[name] = tensor
    of_timm = save_timm("sam_timm", tmp_path / "timm")
    assert state.keys() == load_file(of_timm / "model.safetensors").keys()
    save_file(state, of_timm / "model.safetensors")
    own = {f"image_encoder.{n.replace('mlp.fc', 'mlp.lin')}": t for n, t in state.items()}
    torch.save(own, tmp_path / "sam.pth")
    return of_transformers, of_timm, tmp_path / "sam.pth"


def test_the_same_weights_of_three_libraries_become_the_same_file(tmp_path):
    sources = cross_saved(tmp_path)
    made = [convert(source, tmp_path / f"out{at}") for at, source in enumerate(sources)]
    one, other, third = ((folder / "model.safetensors").read_bytes() for folder in made)
    assert one == other == third
    configs = [json.loads((folder / "config.json").read_text()) for folder in made]
    assert configs[0] == configs[2]
    assert configs[1] == {**configs[0], "norm_eps": 1e-5}  # timm's blocks have another


def test_the_neck_is_centred_and_tables_are_copied_whatever_the_scheme(tmp_path):
    source = save_transformers("sam_vision", tmp_path / "source")
    theirs = load_file(source / "model.safetensors")
    for scheme in ("center", "average"):
        written = load_file(convert(source, tmp_path / scheme, scheme=scheme) / "model.safetensors")
        kernel = written["neck.conv2.weight"]
        assert torch.equal(kernel[:, :, 1], theirs["vision_encoder.neck.conv2.weight"])
        assert not kernel[:, :, ::2].any()
        table = "blocks.1.attn.rel_pos_h"
        assert torch.equal(written[table], theirs["vision_encoder.layers.1.attn.rel_pos_h"])
        assert not any("depth" in name or "pos_d" in name for name in written)


def test_depth_starts_at_zero_at_every_depth(tmp_path):
    source = save_transformers("sam_vision", tmp_path / "source")
    made = load(convert(source, tmp_path / "out"), volume=(40, 32, 32))
    tables = [tensor for name, tensor in made.state_dict().items() if name.endswith("_d")]
    assert len(tables) == 3
    assert not any(tensor.any() for tensor in [*tables, made.depth_embed])


def scaled(monkeypatch):
    right = decomposed.products_by_axis
    monkeypatch.setattr(
        decomposed, "products_by_axis", lambda query, *rest: right(query * 12**-0.5, *rest)
    )


def padded(monkeypatch):
    """Depth padded to whole windows with tokens that attend."""
    right = network.unshifted

    def wrong(grid, window):
        *before, last = right(grid, window)
        return (*before, replace(last, window=window))

    monkeypatch.setattr(network, "unshifted", wrong)


def clipped(monkeypatch):
    """A plane that is not padded: the last windows are smaller."""
    right = network.unshifted
    monkeypatch.setattr(network, "unshifted", lambda grid, window: right(grid, (window[0], 2, 2)))


@pytest.mark.parametrize("wrong", [scaled, padded, clipped])
def test_a_wrong_rule_fails_the_proof(wrong, tmp_path, monkeypatch):
    source = save_transformers("sam_vision", tmp_path / "source")
    wrong(monkeypatch)
    with pytest.raises(VerificationError):
        convert(source, tmp_path / "out")


def test_sams_own_processor_feeds_the_original(tmp_path):
    source = save_transformers("sam_vision", tmp_path / "source")
    path = source / "preprocessor_config.json"
    fields = json.loads(path.read_text()) | {
        "image_processor_type": "SamImageProcessor", "do_pad": True, "do_resize": True,
        "size": {"longest_edge": 32}, "pad_size": {"height": 32, "width": 32},
    }  # fmt: skip
    path.write_text(json.dumps(fields))
    proof = proof_of(convert(source, tmp_path / "out", fold_normalization=True))
    assert proof["fed_by"].endswith("SamImageProcessor")
    assert proof["passed"]

"""The proof must fail where the conversion is wrong."""

import json
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from inflate_zoo.conversion import converting, proof, record
from inflate_zoo.conversion.converting import convert
from inflate_zoo.conversion.record import RECORD, read_conversion
from inflate_zoo.errors import VerificationError
from inflate_zoo.inflation import recipe, roles
from inflate_zoo.inflation.schemes import SCHEMES, Scheme, center, taper
from inflate_zoo.naming.understanding import understand
from inflate_zoo.networks.layers import attention
from tests.support.checkpoints import save_timm, save_transformers

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_transformers("dinov2_with_registers", tmp_path_factory.mktemp("s") / "source")


def test_what_a_note_says_decides_nothing(tmp_path, monkeypatch):
    def reworded(*arguments):
        found = understand(*arguments)
        return replace(found, plan=replace(found.plan, notes=("Said otherwise.",)))

    monkeypatch.setattr(converting, "understand", reworded)
    folder = convert(save_timm("siglip", tmp_path / "source"), tmp_path / "out")
    found = read_conversion(folder)
    assert found.notes[0] == "Said otherwise."
    assert found.verification is not None
    assert "equal slices, pooled" not in found.verification.errors


def raising(error):
    def tokens(images):
        raise error

    return tokens


@pytest.mark.parametrize("error, told", [(RuntimeError("no such size"), "no such size"),
                                         (KeyError("x"), "KeyError")])  # fmt: skip
@pytest.mark.parametrize("when", ["built", "run"])
def test_an_original_that_raises_fails_the_proof(source, tmp_path, monkeypatch, when, error, told):
    broken = proof.Reference("a library 1.0 Class", raising(error), None)
    original_of = raising(error) if when == "built" else lambda _: broken
    monkeypatch.setattr(proof, "original_of", lambda *asked: original_of(asked))
    with pytest.raises(VerificationError, match="cannot be run") as caught:
        convert(source, tmp_path / "out")
    assert told in caught.value.message
    name = "Dinov2WithRegistersModel" if when == "built" else "a library 1.0 Class"
    assert caught.value.details == (f"it is {name}",)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: no memory"), KeyboardInterrupt()]
)
def test_what_says_nothing_of_the_original_stays_what_it_is(source, tmp_path, monkeypatch, error):
    broken = proof.Reference("a library 1.0 Class", raising(error), None)
    monkeypatch.setattr(proof, "original_of", lambda *_: broken)
    with pytest.raises(type(error)) as caught:
        convert(source, tmp_path / "out")
    assert caught.value is error


def test_an_original_of_another_grid_fails_the_proof(source, tmp_path, monkeypatch):
    def fewer(*asked):
        built = original_of(*asked)
        return replace(built, tokens=lambda images: built.tokens(images)[:, :-1])

    original_of = proof.original_of
    monkeypatch.setattr(proof, "original_of", fewer)
    with pytest.raises(VerificationError, match="values of shape"):
        convert(source, tmp_path / "out")


def test_without_the_prefix_correction_it_fails_and_leaves_nothing(source, tmp_path, monkeypatch):
    def plain(query, key, value, prefix, copies):
        return torch.nn.functional.scaled_dot_product_attention(query, key, value)

    monkeypatch.setattr(attention, "attend", plain)
    with pytest.raises(VerificationError, match="does not reproduce") as error:
        convert(source, tmp_path / "out")
    assert error.value.exit_code == 1
    assert os.listdir(tmp_path) == []  # noqa: PTH208


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
@pytest.mark.parametrize(
    "name", ["patch_embed.weight", "patch_embed.bias", "pos_embed", "reg_token", "norm.bias",
             "blocks.2.ls2.gamma", "blocks.1.attn.qkv.weight"]
)  # fmt: skip
def test_any_wrong_tensor_in_the_file_is_seen(source, tmp_path, monkeypatch, scheme, name):
    from inflate_zoo.conversion import converting

    write = converting.write_safetensors

    def damaged(path, entries, tensors, progress):
        digest = write(path, entries, tensors, progress)
        content = load_file(path)
        content[name] = content[name] * 1.01
        save_file(content, path, metadata={"format": "pt"})
        return digest

    monkeypatch.setattr(converting, "write_safetensors", damaged)
    with pytest.raises(VerificationError):
        convert(source, tmp_path / "out", scheme=scheme)


@pytest.mark.parametrize("scheme", ["average", "repeat", "taper"])
def test_a_scheme_in_the_wrong_slices_is_seen(source, tmp_path, monkeypatch, scheme):
    wrong = replace(SCHEMES[scheme], inflate=center)
    monkeypatch.setattr(roles, "SCHEMES", dict(SCHEMES) | {scheme: wrong})
    with pytest.raises(VerificationError):
        convert(source, tmp_path / "out", scheme=scheme)


def test_center_in_another_slice_is_seen(source, tmp_path, monkeypatch):
    wrong = replace(
        SCHEMES["center"], inflate=lambda kernel, depth: center(kernel, depth).roll(1, 2)
    )
    monkeypatch.setattr(roles, "SCHEMES", dict(SCHEMES) | {"center": wrong})
    with pytest.raises(VerificationError):
        convert(source, tmp_path / "out")


@pytest.mark.parametrize("fold", [False, True])
def test_a_taper_whose_weights_are_not_made_to_sum_to_1_is_seen(
    source, tmp_path, monkeypatch, fold
):
    def bare(kernel_oihw, depth):
        return taper(kernel_oihw, depth) / SCHEMES["taper"].weights(depth)[depth // 2]

    options = {"scheme": "taper", "fold_normalization": fold}
    convert(source, tmp_path / "right", **options)
    wrong = replace(SCHEMES["taper"], inflate=bare)
    monkeypatch.setattr(roles, "SCHEMES", dict(SCHEMES) | {"taper": wrong})
    with pytest.raises(VerificationError):
        convert(source, tmp_path / "out", **options)


def ramp(kernel_oihw, depth):
    """Each slice twice the one before it."""
    return torch.stack([kernel_oihw * 2.0**index for index in range(depth)], dim=2)


@pytest.mark.parametrize("fold", [False, True])
def test_a_scheme_of_any_weights_is_proved_by_them_alone(source, tmp_path, monkeypatch, fold):
    right = Scheme(
        ramp, lambda depth: tuple(2.0**index for index in range(depth)), "weighted slice"
    )
    reversed_law = replace(right, weights=lambda depth: right.weights(depth)[::-1])
    for module in (roles, recipe, proof, record):
        monkeypatch.setattr(module, "SCHEMES", dict(SCHEMES) | {"ramp": right})
    options = {"scheme": "ramp", "patch_depth": 3, "fold_normalization": fold}
    found = json.loads((convert(source, tmp_path / "out", **options) / RECORD).read_text())
    assert "weighted slice" in found["verification"]["errors"]
    monkeypatch.setattr(proof, "SCHEMES", dict(SCHEMES) | {"ramp": reversed_law})
    with pytest.raises(VerificationError):
        convert(source, tmp_path / "wrong", **options)


def test_a_large_grid_is_proved_on_a_smaller_one_with_its_table_compared(tmp_path):
    source = save_transformers("dinov2", tmp_path / "source", image_size=8 * 37)
    folder = convert(source, tmp_path / "out")
    found = json.loads((folder / "conversion.json").read_text())["verification"]
    assert found["tables_equal"]
    assert found["grid"][0] >= 2
    assert found["grid"][0] * found["grid"][1] * found["grid"][2] <= 600
    assert found["passed"]

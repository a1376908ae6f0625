"""Damaged, hostile and mistaken sources: what each gets."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from inflate_zoo.cli.app import app
from tests.support.checkpoints import save_dino_pth, save_timm, save_transformers

OURS = {"model.safetensors", "config.json", "README.md", "conversion.json"}
TOKEN = "hf_" + "q" * 34


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_transformers("vit", tmp_path_factory.mktemp("vit") / "vit", num_hidden_layers=1)


@pytest.fixture
def source(vit: Path, tmp_path: Path) -> Path:
    return shutil.copytree(vit, tmp_path / "source")


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def convert(source: Path | str, out: Path | str, *options: str) -> SimpleNamespace:
    got = CliRunner().invoke(app, ["convert", str(source), "--out", str(out), *options])
    return SimpleNamespace(code=got.exit_code, err=got.stderr, out=got.stdout)


def refused(source: Path | str, home: Path, *told: str, options: tuple[str, ...] = ()) -> str:
    """Convert, and require a tidy refusal: exit 2, these words, nothing on disk."""
    before = sorted(home.rglob("*"))
    got = convert(source, home / "out", "--no-verify", *options)
    assert got.code == 2, got.err
    tidy(got.err, home)
    for word in told:
        assert word in got.err, got.err
    assert sorted(home.rglob("*")) == before
    return got.err


def tidy(text: str, home: Path) -> None:
    lines = text.splitlines()
    assert 2 <= len(lines) <= 10, text
    assert "Traceback" not in text
    assert "this is a bug" not in text, text
    assert str(home) not in text
    assert TOKEN not in text
    assert all(line.isprintable() for line in lines)


# Rows 1 to 3: safetensors files.


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda raw: b"", "has 0 bytes"),
        (lambda raw: raw[:7], "has 7 bytes"),
        (lambda raw: raw[:100], "the file has 100"),
        (lambda raw: raw[:-10], "truncated: the data ends at byte"),
        (lambda raw: raw + b"junk", "trailing bytes: the data ends at byte"),
    ],
)
def test_a_file_of_the_wrong_length_is_refused(
    source: Path, tmp_path: Path, change: Callable[[bytes], bytes], told: str
) -> None:
    weights = source / "model.safetensors"
    weights.write_bytes(change(weights.read_bytes()))
    refused(source, tmp_path, "'model.safetensors' is damaged", told, "download the file again")


# Row 4: something else under the name of weights.


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            "a Git LFS pointer",
        ),
        ("<!DOCTYPE html><html></html>", "an HTML page"),
        ("\ufeff\n <html><body>404", "an HTML page"),
        ('{"error": "Repository not found"}', "a JSON text"),
    ],
)
def test_a_disguise_is_named(
    source: Path, tmp_path: Path, name: str, content: str, told: str
) -> None:
    (source / "model.safetensors").unlink()
    (source / name).write_text(content, encoding="utf-8")
    step = "git lfs pull" if "LFS" in told else "download it again"
    refused(source, tmp_path, f"'{name}' is {told}", step)


def test_an_lfs_pointer_as_config_is_named(source: Path, tmp_path: Path) -> None:
    (source / "config.json").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    refused(source, tmp_path, "config.json is a Git LFS pointer", "git lfs pull")


def test_a_pickle_named_safetensors_is_named(source: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, source / "model.safetensors")
    refused(source, tmp_path, "is a pickle checkpoint (zip), not safetensors", "rename it")


# Row 5: values.


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_counted(source: Path, tmp_path: Path, value: float) -> None:
    tensors = load_file(source / "model.safetensors")
    tensors["layernorm.weight"][3:5] = value
    save_file(tensors, source / "model.safetensors")
    refused(source, tmp_path, "'layernorm.weight' holds 2 values", "take another one")


# Row 6 and 7: pickles.


class Reduced:
    def __init__(self, function: Callable[..., object], *values: object) -> None:
        self.parts = function, values

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.parts


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("function", ["os.system", "eval", "partial"])
def test_nothing_in_a_pickle_is_run(
    source: Path, tmp_path: Path, function: str, zipped: bool
) -> None:
    marker = tmp_path / "ran"
    bomb, told = {
        "os.system": (Reduced(os.system, f"touch {marker}"), f"'{os.system.__module__}.system'"),
        "eval": (Reduced(eval, f"open({str(marker)!r}, 'w')"), "'eval'"),
        "partial": (Reduced(functools.partial, print), "'functools.partial'"),
    }[function]
    (source / "model.safetensors").unlink()
    content = {"weight": torch.ones(2), "bomb": bomb}
    torch.save(content, source / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    refused(source, tmp_path, f"needs the global {told}", "nothing was run", "safetensors")
    assert not marker.exists()


def test_a_torchscript_archive_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "model.safetensors").unlink()
    with zipfile.ZipFile(source / "ViT-B-32.pt", "w") as archive:
        archive.writestr("ViT-B-32/data.pkl", b"")
        archive.writestr("ViT-B-32/code/__torch__.py", "")
        archive.writestr("ViT-B-32/constants.pkl", b"")
    refused(source, tmp_path, "TorchScript archive", "openai/clip-vit-base-patch16")


JUNK = {
    "empty": (b"", "it is empty"),
    "text": (b"hello world", "no checkpoint that torch can read"),
    "not found": (b"Entry not found", "no checkpoint that torch can read"),
    "zeros": (bytes(100), "no checkpoint that torch can read"),
    "short": (b"\x80\x02", "it ends too early"),
    "protocol 4": (b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.", "instruction 149"),
    "broken zip": (b"PK\x03\x04" + bytes(90), "zip directory is missing or broken"),
}


@pytest.mark.parametrize("kind", JUNK)
def test_junk_named_like_a_pickle_is_refused(source: Path, tmp_path: Path, kind: str) -> None:
    content, told = JUNK[kind]
    (source / "model.safetensors").unlink()
    (source / "model.pth").write_bytes(content)
    text = refused(source, tmp_path, "'model.pth'", told)
    assert "weights_only" not in text


def test_truncated_pickles_are_refused_without_a_path(source: Path, tmp_path: Path) -> None:
    (source / "model.safetensors").unlink()
    path = source / "model.pth"
    for zipped in (True, False):
        torch.save({"a": torch.ones(2000)}, path, _use_new_zipfile_serialization=zipped)
        path.write_bytes(path.read_bytes()[:4000])
        refused(source, tmp_path, "'model.pth' is damaged")


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_tensors_of_another_type_are_named(
    source: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    tensors = load_file(source / "model.safetensors")
    tensors["layernorm.weight"] = tensors["layernorm.weight"].to(dtype)
    save_file(tensors, source / "model.safetensors")
    refused(source, tmp_path, "layernorm.weight")
    (source / "model.safetensors").unlink()
    torch.save(tensors, source / "pytorch_model.bin")
    refused(source, tmp_path, "layernorm.weight")


def test_torch_has_its_floor() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert "torch>=2.10" in tomllib.loads(text)["project"]["dependencies"]


# Row 8: indices.


def index_of(source: Path, weight_map: object, kind: str = "safetensors") -> None:
    name = "model.safetensors" if kind == "safetensors" else "pytorch_model.bin"
    (source / "model.safetensors").unlink(missing_ok=True)
    (source / f"{name}.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize(
    "shard",
    ["../x.safetensors", "/x.safetensors", "C:\\x.safetensors", "\\\\host\\x.safetensors",
     "sub/x.safetensors", "x.bin", "", "x\n.safetensors", ["x"], None, 3],
)  # fmt: skip
def test_an_index_stays_in_its_folder(source: Path, tmp_path: Path, shard: object) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "x.safetensors")
    index_of(source, {"a": "ok.safetensors", "b": shard})
    told = refused(source, tmp_path, "that are no .safetensors beside it; nothing was read")
    assert "ok.safetensors" not in told


@pytest.mark.parametrize("weight_map", [None, {}, [], "x"])
def test_an_index_without_a_map_is_refused(
    source: Path, tmp_path: Path, weight_map: object
) -> None:
    index_of(source, weight_map)
    refused(source, tmp_path, "'model.safetensors.index.json' has no weight_map")


def test_missing_shards_are_all_listed(source: Path, tmp_path: Path) -> None:
    index_of(source, {str(i): f"m-{i}.safetensors" for i in range(20)})
    refused(source, tmp_path, "shards that are not there", "m-0.safetensors", "and 13 more")


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_an_index_and_its_shards_must_agree(source: Path, tmp_path: Path, kind: str) -> None:
    save = save_file if kind == "safetensors" else torch.save
    one = torch.ones(1)
    save({"both": one, "first": one.clone()}, source / f"1.{kind}")
    save({"both": one.clone(), "stray": one}, source / f"2.{kind}")
    wanted = {"both": f"1.{kind}", "first": f"2.{kind}", "gone": f"2.{kind}"}
    index_of(source, wanted, kind)
    refused(
        source,
        tmp_path,
        f"'both' is in both '1.{kind}' and '2.{kind}'",
        f"'first' is in '1.{kind}', the index says '2.{kind}'",
        f"'stray' is in '2.{kind}', the index says None",
        "'gone' is in no shard",
    )


# Row 9: what is no regular file.


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "config.json", "preprocessor_config.json", "processor_config.json"],
)
def test_a_link_out_of_the_folder_is_refused(source: Path, tmp_path: Path, name: str) -> None:
    if not (source / name).exists():
        (source / name).write_text("{}")
    shutil.move(source / name, tmp_path / "elsewhere")
    (source / name).symlink_to(tmp_path / "elsewhere")
    refused(source, tmp_path, f"'{name}' is a link that leads out of its folder", "copy the file")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_what_is_no_file_is_refused_without_hanging(
    source: Path, tmp_path: Path, name: str, kind: str
) -> None:
    (source / name).unlink()
    if kind == "fifo":
        os.mkfifo(source / name)
    elif kind == "folder":
        (source / name).mkdir()
    else:
        (source / name).symlink_to("/dev/zero")
    told = f"'{name}' is a folder" if kind == "folder" else f"'{name}' is a device, pipe or socket"
    refused(source, tmp_path, told)


def test_links_into_the_blobs_of_a_hub_cache_are_fine(source: Path, tmp_path: Path) -> None:
    repo = tmp_path / "models--a--b"
    snapshot, blobs = repo / "snapshots" / ("0" * 40), repo / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(source.iterdir()):
        shutil.copy(file, blobs / str(number))
        (snapshot / file.name).symlink_to(blobs / str(number))
    assert convert(snapshot, tmp_path / "out", "--no-verify").code == 0


def test_a_file_that_may_not_be_read_is_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def denied(path: Path, mode: str = "r", *rest: object, **named: object) -> object:
        if path.name == name and path.parent == source:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, mode, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", denied)
    for name in ("config.json", "model.safetensors"):
        refused(source, tmp_path, f"'{name}' cannot be read: Permission denied")


# Rows 10 and 11: config.json.


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"auto_map": {"AutoModel": "modeling.Evil"}}, "auto_map"),
        ({"patch_size": 0}, "patch_size"),
        ({"patch_size": "8"}, "patch_size"),
        ({"hidden_size": 3.5}, "hidden_size"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_attention_heads": 5}, "num_attention_heads"),
        ({"num_attention_heads": [4]}, "num_attention_heads"),
        ({"layer_norm_eps": "tiny"}, "layer_norm_eps"),
        ({"hidden_act": 3}, "hidden_act"),
        ({"model_type": ["vit"]}, "model_type"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"hidden_size": 64, "num_attention_heads": 4}, "hidden_size is 64, "),
        ({"image_size": 64}, "position_embeddings"),
        ({"num_hidden_layers": 2}, "num_hidden_layers is 2"),
    ],
)
def test_a_wrong_config_names_its_field(
    source: Path, tmp_path: Path, change: dict[str, object], told: str
) -> None:
    (source / "modeling.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | change))
    refused(source, tmp_path, told)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "must be an object, found list"),
        ("", "no valid JSON"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a": ' + "1" * 5000 + "}", "no valid JSON"),
        ("\udcff", "no valid JSON"),
    ],
)
def test_a_config_that_is_no_object_is_refused(
    source: Path, tmp_path: Path, text: str, told: str
) -> None:
    (source / "config.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    refused(source, tmp_path, "config.json", told)


# Row 12: models of another kind.


@pytest.mark.parametrize(
    ("model_type", "told"),
    [
        ("segformer", "SegFormer"),
        ("resnet", "CNN (ResNet)"),
        ("bert", "text model (BERT)"),
        ("x", "'x'"),
    ],
)
def test_another_kind_is_named_by_its_config(
    source: Path, tmp_path: Path, model_type: str, told: str
) -> None:
    (source / "config.json").write_text(json.dumps({"model_type": model_type}))
    refused(source, tmp_path, told, "nearest supported: hf_")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("layer1.0.conv1.weight", "CNN (ResNet)"),
        ("bert.encoder.layer.0.attention.self.query.weight", "text model (BERT)"),
        ("something", "no family knows"),
    ],
)
def test_another_kind_is_named_by_its_tensors(tmp_path: Path, name: str, told: str) -> None:
    save_file({name: torch.ones(1)}, tmp_path / "model.safetensors")
    refused(tmp_path / "model.safetensors", tmp_path, told, "nearest supported: hf_")


# Row 13: names.


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--scheme", "centre", "did you mean 'center'?"),
        ("--scheme", "zzz", "known: average, center"),
        ("--family", "hf_vitt", "did you mean 'hf_vit'?"),
        ("--dtype", "float61", "did you mean 'float16'?"),
    ],
)
def test_a_typo_is_answered(
    source: Path, tmp_path: Path, option: str, value: str, told: str
) -> None:
    refused(source, tmp_path, f"'{value}'", told, options=(option, value))


def test_a_typo_in_an_architecture_is_answered(tmp_path: Path) -> None:
    file = save_timm("augreg", tmp_path / "timm", layout="file")
    arch = ("--arch", "vit_base_patch16_242")
    refused(file, tmp_path, "'vit_base_patch16_242'", "did you mean", options=arch)


# Row 17: what is at the output already.


def test_an_output_that_holds_something_is_refused(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for make, told in [
        (lambda: (out.mkdir(), (out / "note").write_text("x")), "'out' is not empty"),
        (lambda: out.write_text("x"), "'out' exists and is no folder"),
        (lambda: out.symlink_to(source), "'out' is a link"),
        (lambda: out.symlink_to("nowhere"), "'out' is a link"),
        (lambda: out.symlink_to("out"), "is a link"),
    ]:
        make()
        refused(source, tmp_path, told, "--out")
        shutil.rmtree(out) if out.is_dir() and not out.is_symlink() else out.unlink()


def test_an_output_below_a_file_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    got = convert(source, tmp_path / "file" / "deep" / "out")
    assert got.code == 2
    assert "'file', above the output, is no folder" in got.err
    tidy(got.err, tmp_path)


def test_force_replaces_our_files_and_no_others(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert convert(source, out, "--no-verify").code == 0
    (out / "note").write_text("mine")
    (out / "more").mkdir()
    (out / "README.md").write_text("mine too")
    assert convert(source, out, "--no-verify").code == 2
    assert convert(source, out, "--no-verify", "--force", "--scheme", "average").code == 0
    assert {path.name for path in out.iterdir()} == OURS | {"note", "more"}
    assert (out / "note").read_text() == "mine"
    assert json.loads((out / "conversion.json").read_text())["recipe"]["scheme"] == "average"
    assert "mine too" not in (out / "README.md").read_text()


def test_force_spares_weights_and_folders_that_are_not_ours(source: Path, tmp_path: Path) -> None:
    original = (source / "model.safetensors").read_bytes()
    got = convert(source, source, "--force", "--no-verify")
    assert got.code == 2
    tidy(got.err, tmp_path)
    assert (source / "model.safetensors").read_bytes() == original
    (tmp_path / "out" / "README.md").mkdir(parents=True)
    refused(source, tmp_path, "holds a folder 'README.md'", options=("--force",))


# Row 23: the card.


@pytest.mark.parametrize(
    "text",
    [
        "mit\n---\n# <script>alert(1)</script>",
        "!!python/object/apply:os.system ['touch ran']",
        "a: b # c",
        "x\r\n\u2028--- \ttags: [evil]",
        "<img src=x onerror=alert(1)>",
        "'\"\\|`*[]{}&*!%@",
    ],
)
def test_a_hostile_license_stays_one_field(source: Path, tmp_path: Path, text: str) -> None:
    matter = yaml.safe_dump({"license": "other", "license_name": text})
    (source / "README.md").write_text(f"---\n{matter}---\n# card\n", encoding="utf-8")
    assert convert(source, tmp_path / "out", "--no-verify").code == 0
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    _, matter, body = re.split(r"^---\n", card, maxsplit=2, flags=re.MULTILINE)
    fields = yaml.safe_load(matter)
    assert fields.pop("license_name", "") in ("", text)  # text of several lines is left out
    assert set(fields) == {"license", "library_name", "pipeline_tag", "tags"}
    assert "<script" not in body
    assert "<img" not in body


def test_yaml_that_asks_for_code_is_left_alone(source: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    matter = f"license: !!python/object/apply:os.system ['touch {ran}']"
    (source / "README.md").write_text(f"---\n{matter}\n---\n")
    got = convert(source, tmp_path / "out", "--no-verify")
    assert got.code == 0
    assert not ran.exists()
    assert "states no license" in got.err


# Row 24, and names.


def test_no_token_and_no_path_is_written_anywhere(source: Path, tmp_path: Path) -> None:
    got = convert(source, tmp_path / "out")
    assert got.code == 0, got.err
    texts = [got.err, *(f.read_bytes().decode("latin-1") for f in (tmp_path / "out").iterdir())]
    for text in [*texts, got.out]:
        assert TOKEN not in text
    for text in texts:
        assert str(tmp_path) not in text


def test_a_dino_checkpoint_names_no_path(tmp_path: Path) -> None:
    got = convert(save_dino_pth(tmp_path / "dino"), tmp_path / "out", "--no-verify")
    assert got.code in (0, 2)
    assert str(tmp_path) not in got.err


def test_odd_names_stay_on_one_line(source: Path, tmp_path: Path) -> None:
    for name in ("a\nb", "\u202egnp", "\x1b[31mred", "größe 体積", "[x]*", "-dash"):
        folder = source.rename(tmp_path / name)
        assert convert(f"{folder}", tmp_path / f"out{name}", "--no-verify").code == 0
        got = convert(folder, tmp_path / f"out{name}", "--no-verify")
        assert got.code == 2
        tidy(got.err, tmp_path)
        card = (tmp_path / f"out{name}" / "README.md").read_text(encoding="utf-8")
        assert yaml.safe_load(card.split("---\n", 2)[1])["library_name"] == "inflate-zoo"
        (folder / "model.safetensors").rename(folder / "keep")
        got = convert(folder, tmp_path / "none")
        assert got.code == 2
        tidy(got.err, tmp_path)
        (folder / "keep").rename(folder / "model.safetensors")
        source = folder


def test_exit_codes_of_the_real_command(source: Path, tmp_path: Path) -> None:
    (source / "model.safetensors").write_bytes(b"")
    command = [sys.executable, "-m", "inflate_zoo", "convert", str(source), "--out", "out"]
    got = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert got.returncode == 2
    tidy(got.stderr, tmp_path)
    assert got.stdout == ""
    assert not (tmp_path / "out").exists()

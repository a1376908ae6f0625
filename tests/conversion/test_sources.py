"""A source is found, and called what it is."""

import shutil
from pathlib import Path

import pytest
import torch

from inflate_zoo.conversion.sources import find_source, split_revision
from inflate_zoo.errors import ConfigError, HubNotFoundError, UsageError
from inflate_zoo.hub.addresses import Address
from tests.support.checkpoints import save_open_clip, save_transformers
from tests.support.hub_standin import HubStandIn, use_hub

REPO = "made-up/many"
FILE = "open_clip_config.json"


def test_one_revision_at_most():
    page = "https://huggingface.co/org/name/tree/v1/a"
    assert split_revision(page, "v1").revision == "v1"
    assert split_revision("org/name/a", "v2") == Address("org/name", "v2", "a")
    with pytest.raises(UsageError, match="two revisions for 'org/name': 'v1' and 'v2'"):
        split_revision(page, "v2")


@pytest.mark.parametrize(
    "source, meant",
    [
        ("builtin-dino", "builtin/dino"),
        ("dino", "builtin/dino"),
        ("vit_base_patch16_224.mae", "timm/vit_base_patch16_224.mae"),
        ("vit_small_patch14_dinov2", "timm/vit_small_patch14_dinov2.lvd142m"),
    ],
)
def test_a_name_that_lacks_its_owner_is_answered_without_the_hub(source, meant):
    with pytest.raises(UsageError) as caught:
        find_source(source)
    assert caught.value.hint == f"did you mean '{meant}'?"


def test_a_mistyped_path_is_no_repo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match=r"no file or folder 'runs/vit/last\.ckpt'"):
        find_source("runs/vit/last.ckpt")


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return save_transformers("vit", tmp_path_factory.mktemp("vit") / "vit", num_hidden_layers=1)


@pytest.fixture(scope="module")
def files(vit, tmp_path_factory):
    names = ("config.json", "model.safetensors", "preprocessor_config.json")
    inside = {f"models/small/{name}": (vit / name).read_bytes() for name in names}
    home = tmp_path_factory.mktemp("other")
    other = save_transformers("vit", home / "other", num_hidden_layers=1, seed=1)
    return inside | {f"other/{name}": (other / name).read_bytes() for name in names} | {
        "README.md": b"---\nlicense: mit\n---\n"
    }  # fmt: skip


@pytest.fixture
def hub(files, tmp_path, monkeypatch):
    with HubStandIn() as hub, use_hub(monkeypatch, hub, tmp_path / "cache"):
        hub.commit = hub.add_repo(REPO, files)
        yield hub


def test_a_folder_that_the_repo_lacks(hub):
    with pytest.raises(HubNotFoundError, match="no folder or file 'models/smal'") as caught:
        find_source(f"{REPO}/models/smal")
    assert caught.value.details == ("it has the folders models/small, other",)


def test_a_timm_repo_without_its_tag(hub):
    with pytest.raises(HubNotFoundError) as caught:
        find_source("timm/vit_small_patch14_dinov2")
    assert caught.value.hint == "did you mean 'timm/vit_small_patch14_dinov2.lvd142m'?"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_open_clip(tmp_path_factory.mktemp("open_clip") / "saved")


@pytest.mark.parametrize(
    "content, told",
    [
        (b"{", "no valid JSON"),
        (b"[]", "must be an object"),
        (b'{"a":' * 99 + b"1" + b"}" * 99, "nested too deeply"),
        (b'{"x": "' + b"y" * 9_000_000 + b'"}', "larger than 8 MB"),
        (b"[" + b"1," * 1_100_000 + b"1]", "more than 1,000,000 values"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 9\n", "Git LFS pointer"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
    ],
)
def test_a_file_that_is_none(saved, tmp_path, content, told):
    folder = shutil.copytree(saved, tmp_path / "in")
    (folder / FILE).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        find_source(str(folder))
    assert FILE in caught.value.message
    assert told in caught.value.message


def test_a_link_that_leads_out(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "in")
    (folder / FILE).rename(tmp_path / FILE)
    (folder / FILE).symlink_to(tmp_path / FILE)
    with pytest.raises(UsageError, match="leads out of its folder"):
        find_source(str(folder))


@pytest.mark.parametrize(
    "source", ["", "x" * 5000, "a/" + "x" * 300, "a\0b", "./" + "y" * 300, "~nobody-at-all/x"]
)
def test_a_source_that_no_file_can_be(source):
    with pytest.raises(UsageError):
        find_source(source)


@pytest.mark.parametrize(
    ("folder", "given", "name"),
    [
        ("my-vit", ".", "my-vit"),
        ("my-vit", "./", "my-vit"),
        ("my-vit", "../my-vit/", "my-vit"),
        ("my-vit", "sub/..", "my-vit"),
        ("my-vit", "model.safetensors", "model"),
        ("my vit", ".", "my-vit"),
        ("-rf", ".", "rf"),
        (".hidden", ".", "hidden"),
        ("a:b*c?d\n\x1b[2J", ".", "a-b-c-d-2J"),
        ("größe_1.5+x", ".", "größe_1.5+x"),
        ("...", ".", "checkpoint"),
        ("x" * 250, ".", "x" * 96),
    ],
)
def test_the_name_of_a_local_source(tmp_path, monkeypatch, vit, folder, given, name):
    home = shutil.copytree(vit, tmp_path / folder)
    (home / "sub").mkdir()
    monkeypatch.chdir(home)
    assert find_source(given).name == name


@pytest.mark.parametrize("name", [".safetensors", "a b.c.safetensors"])
def test_the_name_of_a_file(tmp_path, vit, name):
    shutil.copy(vit / "model.safetensors", tmp_path / name)
    expected = {".safetensors": "checkpoint", "a b.c.safetensors": "a-b.c"}[name]
    assert find_source(str(tmp_path / name)).name == expected


def test_a_folder_that_cannot_be_read(tmp_path, vit, monkeypatch):
    home = shutil.copytree(vit, tmp_path / "locked")

    def deny(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", deny)
    with pytest.raises(UsageError, match="'locked' cannot be read: Permission denied"):
        find_source(str(home))


@pytest.mark.parametrize(
    "file, name",
    [("model_best.pth.tar", "model_best"), ("last.ckpt", "last"), ("epoch=3.ckpt", "epoch-3"),
     ("a.b.pth", "a.b"), ("x.tar", "x")],
)  # fmt: skip
def test_names_without_their_endings(file, name, tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / file)
    assert find_source(str(tmp_path / file)).name == name

"""How people write where a repo is: every form, and a folder or file of it."""

import json

import pytest
from huggingface_hub import HfApi, HfFileSystem

from inflate_zoo.conversion.converting import convert, verify
from inflate_zoo.conversion.inspection import inspect_source
from inflate_zoo.errors import UsageError
from inflate_zoo.hub.addresses import Address, is_address, is_local, parse_address
from inflate_zoo.registry.loading import load_network
from tests.support.checkpoints import save_transformers
from tests.support.hub_standin import HubStandIn, use_hub

REPO = "made-up/many"
COMMIT = "a" * 40


@pytest.mark.parametrize(
    "source, expected",
    [
        ("org/name", Address("org/name", None)),
        ("org/name@v1", Address("org/name", "v1")),
        ("org/name@refs/pr/3", Address("org/name", "refs/pr/3")),
        ("gpt2", Address("gpt2", None)),
        ("org/name/sub", Address("org/name", None, "sub")),
        ("org/name/sub/", Address("org/name", None, "sub")),
        ("org/name/sub/a.pth@v1", Address("org/name", "v1", "sub/a.pth")),
        ("hf-hub:timm/vit.x", Address("timm/vit.x", None)),
        ("hf_hub:timm/vit.x@v1", Address("timm/vit.x", "v1")),
        ("hf://org/name/sub", Address("org/name", None, "sub")),
        ("https://huggingface.co/org/name", Address("org/name", None)),
        ("https://huggingface.co/org/name/", Address("org/name", None)),
        ("https://huggingface.co/org/name?library=timm#files", Address("org/name", None)),
        ("https://hf.co/org/name/tree/v1", Address("org/name", "v1")),
        ("huggingface.co/org/name/tree/main/a/b", Address("org/name", "main", "a/b")),
        ("https://huggingface.co/org/name/tree/refs/pr/3/a", Address("org/name", "refs/pr/3", "a")),
        ("https://huggingface.co/org/name/tree/refs%2Fpr%2F3/a",
         Address("org/name", "refs/pr/3", "a")),
        (f"https://huggingface.co/org/name/resolve/{COMMIT}/a.pth?download=true",
         Address("org/name", COMMIT, "a.pth")),
        ("https://huggingface.co/org/name/blob/main/a.pth", Address("org/name", "main", "a.pth")),
    ],
)  # fmt: skip
def test_every_form(source, expected):
    assert parse_address(source) == expected
    assert not is_local(source)


@pytest.mark.parametrize(
    "ending",
    ["", "/sub/a.pth", "@v1", "@v1/sub/a.pth", "@v1/sub", "@refs/pr/3", "@refs/pr/3/sub/a.pth",
     "@feature%2Fx", "@feature%2Fx/sub", f"@{COMMIT}/a.pth"],
)  # fmt: skip
def test_paths_of_the_hubs_client_are_read_as_it_reads_them(monkeypatch, ending):
    monkeypatch.setattr(HfApi, "repo_info", lambda *_args, **_kwargs: None)  # it asks the Hub
    theirs = HfFileSystem(skip_instance_cache=True).resolve_path(f"hf://org/name{ending}")
    ours = parse_address(f"hf://org/name{ending}")
    assert ours == Address(
        theirs.repo_id, theirs.revision if "@" in ending else None, theirs.path_in_repo
    )


@pytest.mark.parametrize(
    "source",
    ["", "a/b//c", "a/b/../c", "a/b/./c", "a b/c/d", "a/b/c\x1b[2J", "hf-hub:", "hf-hub:a b/c",
     "https://huggingface.co/", "https://huggingface.co/org/name/tree/main/../x",
     "https://huggingface.co/datasets/org/name", "https://user:secret@evil.example/org/name",
     "https://huggingface.co.evil.example/org/name", "hf://org/name/..", "https://"],
)  # fmt: skip
def test_what_is_no_address(source):
    with pytest.raises(UsageError) as caught:
        parse_address(source)
    assert len(caught.value.lines()) == 2
    assert "secret" not in str(caught.value)


def test_a_path_is_no_address():
    assert not is_address("./huggingface.co/x")
    assert not is_address("org/name")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = save_transformers("vit", tmp_path_factory.mktemp("vit") / "vit", num_hidden_layers=1)
    names = ("config.json", "model.safetensors", "preprocessor_config.json")
    inside = {f"models/small/{name}": (folder / name).read_bytes() for name in names}
    other = save_transformers("vit", folder.parent / "other", num_hidden_layers=1, seed=1)
    return inside | {f"other/{name}": (other / name).read_bytes() for name in names} | {
        "README.md": b"---\nlicense: mit\n---\n"
    }  # fmt: skip


@pytest.fixture
def hub(files, tmp_path, monkeypatch):
    with HubStandIn() as hub, use_hub(monkeypatch, hub, tmp_path / "cache"):
        hub.commit = hub.add_repo(REPO, files)
        yield hub


@pytest.mark.parametrize(
    "source",
    [f"{REPO}/models/small", f"hf-hub:{REPO}/models/small", f"{REPO}/models/small@main",
     f"https://huggingface.co/{REPO}/tree/main/models/small",
     f"https://huggingface.co/{REPO}/blob/main/models/small/model.safetensors"],
)  # fmt: skip
def test_a_folder_of_a_repo_is_converted(hub, files, tmp_path, source):
    folder = convert(source, tmp_path / "out", verify=False)
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("config.json", "model.safetensors"):
        (plain / name).write_bytes(files[f"models/small/{name}"])
    (plain / "README.md").write_bytes(files["README.md"])
    expected = convert(plain, tmp_path / "expected", verify=False)
    weights = [(made / "model.safetensors").read_bytes() for made in (folder, expected)]
    assert weights[0] == weights[1]
    origin = json.loads((folder / "conversion.json").read_text())["source"]
    assert (origin["repo"], origin["commit"]) == (REPO, hub.commit)
    assert origin["inside"].startswith("models/small")
    assert origin["license"] == {"license": "mit"}  # of the repo's card
    assert verify(folder).passed
    assert inspect_source(source)["source"] == f"{REPO}/{origin['inside']}"
    asked = {request.path for request in hub.requests if "resolve" in request.path}
    assert not [path for path in asked if "other/" in path]


def test_converted_weights_in_a_folder_of_a_repo(hub, tmp_path):
    made = convert(f"{REPO}/other", tmp_path / "made", verify=False)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "up" / "3d").mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / "3d" / name).write_bytes((made / name).read_bytes())
    hub.add_repo("made-up/ready", tmp_path / "up")
    network = load_network("hf-hub:made-up/ready/3d")
    assert network.config.embed_dim == 48

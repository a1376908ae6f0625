"""Conversions from the Hub, whole: real client, real files, a stand-in server, no network."""

import json
import os
import re
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import constants
from safetensors.torch import load_file
from transformers import ViTConfig, ViTModel
from typer.testing import CliRunner

import inflate_zoo
from inflate_zoo.cli.app import app
from inflate_zoo.conversion.converting import convert
from inflate_zoo.errors import ConfigError, HubNotFoundError
from inflate_zoo.hub import download as client
from inflate_zoo.networks.layers.positions import resize_depth, resize_in_plane
from tests.support.checkpoints import open_clip_config, save_open_clip, save_timm, save_transformers
from tests.support.clip_towers import QUICK, save_clip
from tests.support.hub_standin import HubStandIn, use_hub

REPO = "facebook/dino-vitb16"
SMALL = "org/small-vit"
OUT = "small-vit-3d-center"
NEEDED = {"config.json", "preprocessor_config.json", "README.md", "model.safetensors"}
CARD = b"---\nlicense: apache-2.0\ntags:\n- dino\n---\n\n# A model\n"
DECOYS = ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "onnx/model.onnx")
RUNNER = CliRunner()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def asked_files(hub: HubStandIn) -> set[str]:
    """Names of the files that were asked for, whole or in part."""
    found = (re.fullmatch(r"/.+?/resolve/[^/]+/(.+)", request.path) for request in hub.requests)
    return {match[1] for match in found if match}


def front_matter(folder: Path) -> dict[str, Any]:
    text = (folder / "README.md").read_text()
    matter: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return matter


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "conversion.json").read_text())
    return record


# The main job, as a process of its own, with a ViT-Ti/16: all blocks, and the images of a ViT-B.


@dataclass(frozen=True)
class Job:
    hub: HubStandIn
    commit: str
    home: Path  # HF_HOME
    folder: Path  # working folder of the first run
    result: subprocess.CompletedProcess[str]
    asked: set[str]

    @property
    def out(self) -> Path:
        return self.folder / "dino-vitb16-3d-center"


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    base = tmp_path_factory.mktemp("main")
    torch.manual_seed(0)
    source = base / "source"
    tiny = ViTConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768)
    ViTModel(tiny, add_pooling_layer=False).save_pretrained(source)
    preprocessor = {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (source / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    (source / "README.md").write_bytes(CARD)
    (source / "onnx").mkdir()
    for decoy in DECOYS:
        (source / decoy).write_bytes(b"not wanted")
    with HubStandIn() as hub:
        commit = hub.add_repo(REPO, source)
        home, folder = base / "home", base / "first"
        folder.mkdir()
        result = subprocess.run(
            [sys.executable, "-m", "inflate_zoo", "convert", REPO, "--scheme", "center"],
            cwd=folder,
            env={**os.environ, **hub.env(home)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        yield Job(hub, commit, home, folder, result, asked_files(hub))


def test_the_main_job(job):
    assert (job.result.returncode, job.result.stderr) == (0, "")
    assert job.result.stdout.startswith("dino-vitb16-3d-center\n")
    assert f"{REPO} at {job.commit[:12]}" in job.result.stdout
    assert "license apache-2.0" in job.result.stdout
    assert "passed" in job.result.stdout
    assert {path.name for path in job.folder.iterdir()} == {job.out.name}
    names = {"model.safetensors", "config.json", "README.md", "conversion.json"}
    assert {path.name for path in job.out.iterdir()} == names


def test_only_the_needed_files_were_asked_for(job):
    assert job.asked == NEEDED


def test_the_record_of_the_main_job(job):
    record = record_of(job.out)
    source = record["source"]
    assert (source["repo"], source["revision"], source["commit"]) == (REPO, None, job.commit)
    assert (source["name"], source["license"]) == ("dino-vitb16", {"license": "apache-2.0"})
    assert set(source["sha256"]) == NEEDED - {"README.md"}
    assert record["verification"]["passed"]
    assert record["verification"]["max_error_over_rms"] < 1e-4
    matter = front_matter(job.out)
    assert matter["license"] == "apache-2.0"
    assert matter["base_model"] == REPO
    assert matter["base_model_relation"] == "finetune"
    assert job.commit in (job.out / "README.md").read_text()


def test_a_second_run_offline_gives_the_same_bytes(job, tmp_path, monkeypatch):
    folder, count = tmp_path, len(job.hub.requests)
    monkeypatch.chdir(folder)
    with use_hub(monkeypatch, job.hub, job.home, offline=True):
        again = run("convert", REPO, "--no-verify")
    assert (again.exit_code, again.stderr) == (0, "")
    assert len(job.hub.requests) == count
    for name in ("model.safetensors", "config.json"):
        assert (folder / job.out.name / name).read_bytes() == (job.out / name).read_bytes()
    assert record_of(folder / job.out.name)["source"] == record_of(job.out)["source"]


def test_the_main_job_is_verified_again(job, monkeypatch):
    monkeypatch.chdir(job.folder)
    with use_hub(monkeypatch, job.hub, job.home):
        again = run("verify", job.out.name, "--format", "json")
    assert (again.exit_code, again.stderr) == (0, "")
    assert json.loads(again.stdout)["passed"]
    assert asked_files(job.hub) == NEEDED


# Everything else, with a small ViT in this process.


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Files of the small ViT, in every way a repo may hold them."""
    base = tmp_path_factory.mktemp("small")
    options = {
        "one": {},
        "sharded": {"shards": "100KB"},
        "bin": {"safe": False},
        "bin_sharded": {"shards": "100KB", "safe": False},
    }
    return {
        kind: contents(save_transformers("vit", base / kind, **given)) | {"README.md": CARD}
        for kind, given in options.items()
    }


@pytest.fixture
def files(kinds):
    return dict(kinds["one"])


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The working folder, empty."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def pauses(monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr(client, "_pause", pauses.append)
    return pauses


@pytest.fixture
def hub(monkeypatch, work, home, pauses):
    with HubStandIn() as hub, use_hub(monkeypatch, hub, home):
        yield hub


def run(*args: str) -> Any:
    return RUNNER.invoke(app, [*args])


def converted(source: str = SMALL, *args: str) -> dict[str, Any]:
    """Convert unproven, and return the record."""
    result = run("convert", source, "--no-verify", "--format", "json", *args)
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    assert Path(told["folder"], "model.safetensors").is_file()
    return told


def refused(code: int, *texts: str, args: tuple[str, ...] = ("convert", SMALL)) -> str:
    """Run what must fail: an exit code, one sentence, a next step, and nothing on the disk."""
    result = run(*args)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    first, *rest = result.stderr.splitlines()
    assert first.startswith("error: ")
    assert rest
    for text in texts:
        assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert "bug of inflate-zoo" not in result.stderr
    assert list(Path.cwd().iterdir()) == []
    return result.stderr


def test_a_small_repo_is_converted_and_proven(hub, work, files):
    commit = hub.add_repo(SMALL, files)
    result = run("convert", SMALL)
    assert (result.exit_code, result.stderr) == (0, "")
    record = record_of(work / OUT)
    assert record["source"]["commit"] == commit
    assert record["verification"]["passed"]
    assert run("verify", OUT).exit_code == 0


@pytest.mark.parametrize("how", ["@", "--revision"])
@pytest.mark.parametrize("revision", ["v1", "refs/pr/3", "commit"])
def test_a_revision(hub, files, how, revision):
    commit = hub.add_repo(SMALL, files, revision="refs/pr/3" if "/" in revision else "v1")
    hub.add_repo(SMALL, {"README.md": CARD})
    revision = commit if revision == "commit" else revision
    given = (f"{SMALL}@{revision}",) if how == "@" else (SMALL, "--revision", revision)
    told = converted(*given)
    assert told["folder"] == OUT
    assert (told["source"]["commit"], told["source"]["revision"]) == (commit, revision)


def test_two_revisions_of_one_repo(hub, files):
    hub.add_repo(SMALL, files)
    refused(2, "two revisions", args=("convert", f"{SMALL}@v1", "--revision", "v2"))
    assert hub.requests == []


@pytest.mark.parametrize("command", ["convert", "inspect"])
def test_what_is_missing(hub, files, command):
    hub.add_repo(SMALL, files)
    refused(2, "'nope'", "git ls-remote", args=(command, f"{SMALL}@nope"))
    refused(2, "'no/such'", "not found, or private", "hf auth login", args=(command, "no/such"))
    hub.add_repo("org/empty", {"README.md": CARD, "config.json": files["config.json"]})
    refused(2, "'org/empty' holds no weights", args=(command, "org/empty"))
    assert not any("safetensors" in name for name in asked_files(hub))


@pytest.mark.parametrize("command", ["convert", "inspect"])
def test_gated_and_private(hub, files, monkeypatch, home, command):
    hub.add_repo("org/gated", files, gated=True)
    hub.add_repo("org/private", files, private=True)
    refused(1, "accept the terms", "hf auth login", args=(command, "org/gated"))
    refused(2, "not found, or private", "hf auth login", args=(command, "org/private"))
    with use_hub(monkeypatch, hub, home, token="hf_stranger"):
        refused(1, "accept the terms", args=(command, "org/gated"))
        refused(2, "not found, or private", args=(command, "org/private"))
    with use_hub(monkeypatch, hub, home, token=hub.token):
        for repo in ("org/gated", "org/private"):
            assert run(command, repo, "--format", "json").exit_code == 0


def test_offline(hub, files, monkeypatch, home):
    commit = hub.add_repo(SMALL, files)
    with use_hub(monkeypatch, hub, home, offline=True):
        refused(1, "offline", f"HF_HUB_OFFLINE=0 hf download {SMALL}")
        assert hub.requests == []
    first = converted()
    hub.add_repo(SMALL, {"README.md": b"newer"})
    count = len(hub.requests)
    with use_hub(monkeypatch, hub, home, offline=True):
        second = converted(SMALL, "--out", "second")
        assert run("inspect", SMALL).exit_code == 0
    assert second["source"]["commit"] == first["source"]["commit"] == commit
    assert second["files"]["model.safetensors"] == first["files"]["model.safetensors"]
    assert len(hub.requests) == count


def test_processor_config_is_fetched_and_read(hub, files):
    """All that transformers 5 writes of a processor for images and text."""
    nested = {"image_processor": {"image_mean": [0.1] * 3, "image_std": [0.2] * 3}}
    kept = {name: content for name, content in files.items() if name != "preprocessor_config.json"}
    hub.add_repo(SMALL, kept | {"processor_config.json": json.dumps(nested).encode()})
    result = run("inspect", SMALL)
    assert "mean 0.1, 0.1, 0.1; std 0.2, 0.2, 0.2 (processor_config.json" in result.stdout
    recipe = converted(SMALL, "--fold-normalization", "--no-verify")["recipe"]
    assert recipe["normalization"]["mean"] == [0.1] * 3


def test_offline_after_inspect_alone(hub, files, monkeypatch, home):
    hub.add_repo(SMALL, files)
    assert run("inspect", SMALL).exit_code == 0
    with use_hub(monkeypatch, hub, home, offline=True):
        for command in ("convert", "inspect"):
            told = refused(1, "offline", "not cached", "HF_HUB_OFFLINE=0", args=(command, SMALL))
            assert "holds no weights" not in told


@pytest.mark.parametrize("missing", ["preprocessor_config.json", "README.md"])
def test_offline_with_a_cache_that_lacks_what_the_repo_has(hub, files, monkeypatch, home, missing):
    hub.add_repo(SMALL, files)
    found = client.resolve_revision(SMALL)
    client.fetch_files(found, sorted(set(files) - {missing}))
    with use_hub(monkeypatch, hub, home, offline=True):
        result = run("convert", SMALL, "--no-verify")
    assert result.exit_code == 0
    assert f"warning: {missing} of '{SMALL}' is not cached" in result.stderr


def test_a_cut_connection_is_resumed(hub, files, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.add_repo(SMALL, files)
    hub.cut_after("model.safetensors", 100_500)
    converted()
    assert any(request.range == "bytes=100000-" for request in hub.requests)


def test_a_connection_that_is_always_cut(hub, files):
    hub.add_repo(SMALL, files)
    hub.cut_after("model.safetensors", 0, times=99)
    refused(1, "cut", "hf download")


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("where", ["/api/", "config.json", "/lfs/"])
def test_a_busy_hub(hub, files, status, where):
    hub.add_repo(SMALL, files)
    hub.fail(status, path_contains=where, retry_after=3)
    converted()


@pytest.mark.parametrize("where", ["/api/", "config.json", "/lfs/"])
def test_a_hub_out_of_order(hub, files, where):
    hub.add_repo(SMALL, files)
    hub.fail(500, times=99, path_contains=where)
    told = refused(1, "status 500", "try again later")
    assert len(told.splitlines()) == 2


@pytest.mark.parametrize("kind", ["sharded", "bin", "bin_sharded"])
def test_other_weight_files(hub, kinds, kind):
    hub.add_repo("org/one", kinds["one"])
    commit = hub.add_repo(SMALL, kinds[kind] | {"tf_model.h5": b"x"})
    told = converted()
    assert "tf_model.h5" not in asked_files(hub)
    assert told["source"]["commit"] == commit
    assert set(told["source"]["sha256"]) == set(kinds[kind]) - {"README.md"}
    assert len(kinds[kind]) > 6 or kind == "bin"
    reference = converted("org/one")
    assert told["files"]["model.safetensors"] == reference["files"]["model.safetensors"]


def test_a_timm_repo(hub, tmp_path):
    folder = save_timm("augreg", tmp_path / "timm", layout="hub")
    (folder / "README.md").write_bytes(CARD)
    commit = hub.add_repo("timm/vit_small.x", contents(folder) | {"pytorch_model.bin": b"x"})
    result = run("convert", "timm/vit_small.x")
    assert (result.exit_code, result.stderr) == (0, "")
    source = record_of(Path("vit_small.x-3d-center"))["source"]
    assert source["commit"] == commit
    assert source["arch"]
    assert asked_files(hub) == {"config.json", "README.md", "model.safetensors"}


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_an_open_clip_repo(hub, tmp_path, suffix):
    """Both weight files lie there, as in OpenCLIP's own repos; of one form or of both."""
    folder = save_open_clip(tmp_path / "clip", suffix=suffix)
    if suffix == ".safetensors":
        (folder / "open_clip_pytorch_model.bin").write_bytes(b"not wanted")
    (folder / "README.md").write_bytes(CARD)
    (folder / "tokenizer.json").write_bytes(b"{}")
    commit = hub.add_repo("org/clip", contents(folder))
    result = run("convert", "org/clip", "--fold-normalization")
    assert (result.exit_code, result.stderr) == (0, "")
    name = (
        "open_clip_model.safetensors" if suffix == ".safetensors" else "open_clip_pytorch_model.bin"
    )
    assert asked_files(hub) == {"README.md", "open_clip_config.json", name}
    record = record_of(Path("clip-3d-center"))
    source = record["source"]
    assert (source["commit"], source["arch"]) == (commit, "test_vit")
    assert set(source["sha256"]) == {name, "open_clip_config.json"}
    assert record["recipe"]["normalization_from"] == "open_clip_config.json: preprocess_cfg"
    assert record["verification"]["passed"]
    assert run("verify", "clip-3d-center").exit_code == 0


def test_an_open_clip_repo_with_a_tower_of_its_own(hub, tmp_path):
    folder = save_clip(tmp_path / "clip", QUICK)
    (folder / "README.md").write_bytes(CARD)
    commit = hub.add_repo("org/clip", contents(folder))
    result = run("convert", "org/clip")
    assert (result.exit_code, result.stderr) == (0, "")
    asked = {"README.md", "open_clip_config.json", "open_clip_model.safetensors"}
    assert asked_files(hub) == asked
    source = record_of(Path("clip-3d-center"))["source"]
    assert (source["commit"], source["family"], source["arch"]) == (commit, "open_clip", None)
    assert run("verify", "clip-3d-center").exit_code == 0


def test_an_open_clip_repo_is_inspected_without_its_weights(hub, tmp_path, monkeypatch, home):
    folder = save_open_clip(tmp_path / "clip")
    (folder / "README.md").write_bytes(CARD)
    hub.add_repo("org/clip", contents(folder))
    result = run("inspect", "org/clip", "--format", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert (told["arch"], told["normalization"]["mean"]) == ("test_vit", [0.4, 0.5, 0.6])
    assert all(r.range for r in hub.requests if "model.safetensors" in r.path and r.method == "GET")
    converted("org/clip")
    with use_hub(monkeypatch, hub, home, offline=True):  # and says nothing of files it needs not
        again = run("convert", "org/clip", "--no-verify", "--out", "again")
        assert (again.exit_code, again.stderr) == (0, "")


def test_a_hostile_open_clip_config_is_refused_before_the_weights_are_fetched(hub, tmp_path):
    config = open_clip_config(checkpoint_path="/etc/passwd")
    folder = save_open_clip(tmp_path / "clip", config)
    hub.add_repo("org/clip", contents(folder))
    for command in ("convert", "inspect"):
        refused(2, "open_clip_config.json", "checkpoint_path", args=(command, "org/clip"))
    assert asked_files(hub) == {"open_clip_config.json"}


def test_open_clips_config_is_not_asked_for_where_config_json_says_it(hub, files):
    hub.add_repo(
        SMALL, files | {"open_clip_config.json": b"{", "open_clip_model.safetensors": b"x"}
    )
    assert set(converted()["source"]["sha256"]) == NEEDED - {"README.md"}
    assert asked_files(hub) == NEEDED


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 99\n"


@pytest.mark.parametrize("kind", ["one", "bin"])
def test_an_lfs_pointer_for_weights(hub, kinds, kind):
    name = "model.safetensors" if kind == "one" else "pytorch_model.bin"
    hub.add_repo(SMALL, kinds[kind] | {name: POINTER})
    refused(2, f"'{name}'", "Git LFS pointer")
    if kind == "one":
        refused(2, "model.safetensors", args=("inspect", SMALL))


@pytest.mark.parametrize("kept", [-100, 1000, 0])
@pytest.mark.parametrize("kind", ["one", "bin"])
def test_a_truncated_file(hub, kinds, kind, kept):
    name = "model.safetensors" if kind == "one" else "pytorch_model.bin"
    hub.add_repo(SMALL, kinds[kind] | {name: kinds[kind][name][:kept]})
    refused(2, name)


@pytest.mark.parametrize("name", ["../x", "../x.safetensors", "/etc/x.safetensors", "a/../../b"])
@pytest.mark.parametrize("command", ["convert", "inspect"])
def test_an_index_that_leads_outside(hub, kinds, command, name):
    files = kinds["sharded"]
    index = json.loads(files["model.safetensors.index.json"])
    index["weight_map"][min(index["weight_map"])] = name
    hub.add_repo(SMALL, files | {"model.safetensors.index.json": json.dumps(index).encode()})
    refused(2, repr(name), args=(command, SMALL))
    assert not {asked for asked in asked_files(hub) if asked.endswith(".safetensors")}


def test_a_shard_that_the_repo_lacks(hub, kinds):
    files = dict(kinds["sharded"])
    shard = max(name for name in files if name.endswith(".safetensors"))
    del files[shard]
    hub.add_repo(SMALL, files)
    refused(2, f"has no file '{shard}'")
    refused(2, f"has no file '{shard}'", args=("inspect", SMALL))


@pytest.mark.parametrize(
    "field", [{"auto_map": {"AutoModel": "x.Model"}}, {"model_type": "inflated_vit"}]
)
def test_a_config_is_refused_before_the_weights_are_fetched(hub, files, field):
    config = json.loads(files["config.json"]) | field
    hub.add_repo(SMALL, files | {"config.json": json.dumps(config).encode()})
    refused(2, "config.json")
    assert "model.safetensors" not in asked_files(hub)


def test_the_token_is_told_to_nobody(hub, files, monkeypatch, home, work, caplog):
    token, told = hub.token, []
    caplog.set_level("DEBUG")
    hub.add_repo("org/gated", files, gated=True)
    hub.add_repo("org/bad", files | {"model.safetensors": POINTER}, private=True)
    with use_hub(monkeypatch, hub, home, token=token):
        told += [run("convert", "org/gated"), run("inspect", "org/gated", "--format", "json")]
        told.append(run("verify", "gated-3d-center", "--format", "json"))
        assert [result.exit_code for result in told] == [0, 0, 0]
        told += [run("convert", "org/bad"), run("convert", "no/such"), run("convert", "a/b@c")]
        hub.fail(503, times=99, path_contains="/api/")
        told += [run("inspect", "org/other"), run("inspect", "org/other", "--debug")]
    assert {result.exit_code for result in told[3:]} == {1, 2}
    texts = [result.output for result in told]
    texts += ["".join(traceback.format_exception(result.exception)) for result in told[3:]]
    written = [path.read_bytes() for path in work.parent.rglob("*") if path.is_file()]
    assert len(written) > 8
    assert token not in "".join(texts) + caplog.text
    assert not any(token.encode() in content for content in written)


# inspect


def weights_requests(hub: HubStandIn) -> list[Any]:
    """Requests that answer with bytes of a weight file."""
    fetched = [r for r in hub.requests if r.method == "GET" and "/api/" not in r.path]
    small = ("config.json", "README.md", "index.json")
    return [request for request in fetched if not request.path.endswith(small)]


@pytest.mark.parametrize("kind", ["one", "sharded"])
@pytest.mark.parametrize("lfs", [True, False])
def test_inspect_reads_headers_alone(hub, kinds, home, kind, lfs):
    hub.lfs = lfs
    commit = hub.add_repo(SMALL, kinds[kind])
    result = run("inspect", f"{SMALL}@main", "--format", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert (found["source"], found["commit"]) == (SMALL, commit)
    assert (found["license"], found["architecture"]["depth"]) == ("apache-2.0", 3)
    shards = {name for name in kinds[kind] if name.endswith(".safetensors")}
    asked = weights_requests(hub)
    assert asked_files(hub) == set(kinds[kind])
    assert len(asked) >= len(shards)
    assert all(re.fullmatch(r"bytes=\d+-\d+", request.range or "") for request in asked)
    kept = [path for path in home.rglob("*") if path.is_file()]
    assert {path.name for path in kept if "snapshots" in path.parts} == set(kinds[kind]) - shards
    assert max(path.stat().st_size for path in kept) < 50_000


def test_inspect_says_the_same_of_a_repo_and_of_a_folder(hub, kinds, tmp_path):
    hub.add_repo(SMALL, kinds["sharded"])
    folder = tmp_path / "local"
    folder.mkdir()
    for name, content in kinds["sharded"].items():
        (folder / name).write_bytes(content)
    remote, local = (
        json.loads(run("inspect", source, "--format", "json").stdout)
        for source in (SMALL, str(folder))
    )
    for key in ("source", "commit"):
        del remote[key], local[key]
    assert remote == local


@pytest.mark.parametrize("kind", ["bin", "bin_sharded"])
def test_inspect_of_pickles_in_a_repo(hub, kinds, kind):
    hub.add_repo(SMALL, kinds[kind], revision="v1")
    told = ("pytorch_model.bin", f"hf download {SMALL} --revision v1 --local-dir small-vit")
    refused(2, *told, args=("inspect", f"{SMALL}@v1"))
    assert not any(name.endswith(".bin") for name in asked_files(hub))


# load


@pytest.fixture(scope="module")
def inflated(kinds, tmp_path_factory):
    """Files of a conversion."""
    source = tmp_path_factory.mktemp("inflate") / "source"
    source.mkdir()
    for name, content in kinds["one"].items():
        (source / name).write_bytes(content)
    out = source.with_name("out")
    return convert(source, out, verify=False, volume=(24, 32, 32), patch_depth=8)


def test_load_from_the_hub(hub, inflated):
    commit = hub.add_repo("org/converted", inflated, revision="v1")
    hub.add_repo("org/converted", inflated)
    expected = load_file(inflated / "model.safetensors")
    for source in ("org/converted@v1", "org/converted", f"org/converted@{commit}"):
        loaded = inflate_zoo.Backbone.from_pretrained(source).state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())
        assert set(loaded) - set(expected) == {"depth_embed"}
    assert asked_files(hub) == {"config.json", "model.safetensors"}
    network = inflate_zoo.load("org/converted", volume=(32, 16, 32)).eval()
    with torch.no_grad():
        tokens = network(torch.zeros(1, 1, 32, 16, 32))
    assert torch.isfinite(tokens[0] if isinstance(tokens, tuple) else tokens).all()


def test_load_offline(hub, inflated, monkeypatch, home):
    hub.add_repo("org/converted", inflated)
    inflate_zoo.load("org/converted")
    with use_hub(monkeypatch, hub, home, offline=True):
        inflate_zoo.load("org/converted")


def test_load_of_a_2d_repo(hub, files):
    hub.add_repo(SMALL, files)
    with pytest.raises(ConfigError) as caught:
        inflate_zoo.load(SMALL)
    assert "convert the 2D checkpoint first" in caught.value.hint
    assert asked_files(hub) == {"config.json"}


def test_load_of_a_2d_repo_names_the_command(hub, files):
    hub.add_repo(SMALL, files)
    with pytest.raises(ConfigError) as caught:
        inflate_zoo.load(SMALL)
    assert f"inflate-zoo convert {SMALL}" in caught.value.hint


def test_load_of_a_repo_without_config(hub):
    hub.add_repo(SMALL, {"README.md": CARD})
    with pytest.raises(HubNotFoundError, match=r"config\.json"):
        inflate_zoo.load(SMALL)


def test_what_was_trained_is_saved_and_loaded(inflated, tmp_path):
    network = inflate_zoo.load(inflated)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape) / 10)
        network.depth_embed.copy_(torch.randn(network.depth_embed.shape))
    assert network.depth_embed.shape[1] == 3
    network.save_pretrained(tmp_path / "saved")
    state = network.state_dict()
    same = inflate_zoo.Backbone.from_pretrained(tmp_path / "saved")
    assert same.config == network.config.model_copy(update={"depth_positions": 3})
    assert set(same.state_dict()) == set(state)
    assert all(torch.equal(same.state_dict()[name], tensor) for name, tensor in state.items())
    other = inflate_zoo.Backbone.from_pretrained(tmp_path / "saved", volume=(40, 32, 48))
    prefix = network.config.position_prefix
    expected = {
        "depth_embed": resize_depth(state["depth_embed"], 5),
        "pos_embed": resize_in_plane(state["pos_embed"], prefix, (4, 4), (4, 6)),
    }
    for name, tensor in (state | expected).items():
        assert torch.equal(other.state_dict()[name], tensor), name
    other.save_pretrained(tmp_path / "saved")  # over the files of another grid
    again = inflate_zoo.load(tmp_path / "saved").state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in other.state_dict().items())


# Names and licenses of sources


def test_a_card_without_license(hub, files):
    hub.add_repo(SMALL, files | {"README.md": b"# A model\n"})
    result = run("convert", SMALL, "--no-verify")
    assert result.exit_code == 0
    assert "states no license" in result.stderr
    assert front_matter(Path(OUT))["license"] == "unknown"

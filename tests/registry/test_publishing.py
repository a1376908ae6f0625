"""Pushing to the Hub: the real client against a stand-in, and what may be pushed at all."""

import hashlib
import json
import os
import shutil
import socket
from functools import partial
from pathlib import Path

import pytest
import torch
from huggingface_hub import snapshot_download

import inflate_zoo
from inflate_zoo.bench.definitions.results import require_believed
from inflate_zoo.conversion.converting import convert
from inflate_zoo.conversion.record import read_record
from inflate_zoo.errors import AccountingError, ConfigError, HubError, UsageError
from inflate_zoo.hub import download as client
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.registry import publishing
from inflate_zoo.segmentation.segmenter import Segmenter, segmenter
from tests.support.checkpoints import save_transformers
from tests.support.conversions import WRONG, conversion_table
from tests.support.hub_standin import HubStandIn, use_hub

REPO = "me/small-vit-3d"
SOURCE = "org/small-vit"
CARD = "---\nlicense: apache-2.0\n---\n"
OURS = {"model.safetensors", "config.json", "conversion.json", "README.md"}
PUBLIC = {".gitattributes"}
push = partial(publishing.push, believe=require_believed)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A source and conversions of it, made once."""
    base = tmp_path_factory.mktemp("made")
    source = save_transformers("vit", base / "source", num_hidden_layers=1)
    with warned():
        convert(source, base / "center", verify=False)
        convert(source, base / "average", scheme="average", verify=False)
    return base


def warned():
    return pytest.warns(UserWarning, match="states no license")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with HubStandIn() as hub:
        monkeypatch.setattr(client, "_pause", lambda _: None)
        with use_hub(monkeypatch, hub, tmp_path / "home", token=hub.token):
            yield hub


@pytest.fixture
def folder(made, tmp_path):
    """A conversion of a source under a free license."""
    return licensed(shutil.copytree(made / "center", tmp_path / "small-vit-3d"), "apache-2.0")


def licensed(folder, name, **more):
    """The conversion as if its source's card had said so."""
    fields = {"license": name, **more}
    record = json.loads((folder / "conversion.json").read_text())
    record["source"]["license"] = fields
    record["source"]["repo"], record["source"]["commit"] = SOURCE, "a" * 40
    lines = "".join(f"{key}: {value}\n" for key, value in fields.items())
    card(folder, f"---\n{lines}---\n\n# A model\n")
    digest = hashlib.sha256((folder / "README.md").read_bytes()).hexdigest()
    record["files"]["README.md"] = {"sha256": digest}
    text = json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / "conversion.json").write_text(text)
    return folder


def card(folder, text):
    (folder / "README.md").write_text(text)
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def states(pushed):
    return {part.name: state for part, state in pushed.files}


def refused(folder, *texts, kind=UsageError, **options):
    with pytest.raises(kind) as caught:
        push(folder, REPO, **options)
    error = caught.value
    for text in texts:
        assert text in str(error)
    assert len(error.lines()) <= 6
    assert "\n" not in error.message
    assert error.hint
    return error


# The whole way.


def test_a_conversion_becomes_a_repo(hub, folder, tmp_path):
    pushed = push(folder, REPO)
    first, made = hub.commits(REPO)
    assert (pushed.repo, pushed.created, pushed.private) == (REPO, True, False)
    assert (pushed.commit, states(pushed)) == (made, dict.fromkeys(OURS, "new"))
    # The bytes arrive, and nothing else does.
    assert hub.files(REPO, first).keys() == PUBLIC
    arrived = hub.files(REPO)
    assert {name: arrived[name] for name in OURS} == contents(folder)
    assert arrived.keys() == OURS | PUBLIC
    for part, _ in pushed.files:
        assert part.sha256 == hashlib.sha256(arrived[part.name]).hexdigest()
    # One commit; the weights went to the store, which gets no token.
    assert [line.split()[0] for line in hub.writes()].count("PUT") == 1
    assert sum("/commit/" in line for line in hub.writes()) == 1
    put = next(request for request in hub.requests if request.method == "PUT")
    assert put.authorization is None


def test_what_was_pushed_can_be_used(hub, folder, tmp_path, monkeypatch):
    commit = push(folder, REPO).commit
    volume = torch.rand(1, 1, 8, 32, 32)
    wanted = inflate_zoo.load(folder).eval()(volume)
    for network in (Backbone.from_pretrained(REPO), inflate_zoo.load(f"{REPO}@{commit}")):
        torch.testing.assert_close(network.eval()(volume), wanted, rtol=0, atol=0)
    downloaded = Path(snapshot_download(REPO, local_dir=tmp_path / "downloaded"))
    ours = contents(folder)
    assert {name: contents(downloaded)[name] for name in ours} == ours


def test_a_second_push_changes_nothing(hub, folder):
    push(folder, REPO)
    before, count = hub.commits(REPO), len(hub.writes())
    again = push(folder, REPO)
    assert (again.created, again.changed, again.commit) == (False, False, before[-1])
    assert states(again) == dict.fromkeys(OURS, "same")
    assert (hub.commits(REPO), len(hub.writes())) == (before, count)


def test_a_repo_that_stores_small_files_in_git_is_compared_too(hub, folder):
    hub.lfs = False
    push(folder, REPO)
    assert not push(folder, REPO).changed
    assert hub.files(REPO)["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_only_what_changed_is_sent(hub, folder, tmp_path):
    push(folder, REPO)
    text = (folder / "README.md").read_text() + "\nMore.\n"
    card(folder, text)
    changed = push(folder, REPO)
    expected = {"README.md": "changed", "conversion.json": "changed"}  # which has its digest
    assert states(changed) == dict.fromkeys(OURS, "same") | expected
    assert hub.files(REPO)["README.md"].decode() == text
    assert len(hub.commits(REPO)) == 3
    # The edited copy is still a whole conversion.
    downloaded = Path(snapshot_download(REPO, local_dir=tmp_path / "downloaded"))
    record = read_record(downloaded)
    assert record.files["README.md"].sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_a_repo_with_a_card_alone_is_filled(hub, folder):
    hub.add_repo(REPO, {".gitattributes": b"", "README.md": b"soon\n"}, private=True)
    pushed = push(folder, REPO)
    assert (pushed.created, pushed.private) == (False, True)
    assert states(pushed)["README.md"] == "changed"
    assert hub.files(REPO)["README.md"] == (folder / "README.md").read_bytes()


def test_a_private_repo(hub, folder):
    assert push(folder, REPO, private=True).private
    assert hub._repos[REPO].private
    assert not push(folder, REPO).changed
    hub.add_repo(REPO, {".gitattributes": b""})
    refused(folder, "there already, and public", private=True)
    assert hub.files(REPO).keys() == PUBLIC


# Trying it out.


@pytest.mark.parametrize("login", [True, False])
def test_a_dry_run_writes_nothing(hub, folder, login, monkeypatch, tmp_path):
    token = hub.token if login else None
    with use_hub(monkeypatch, hub, tmp_path / "home", token=token):
        tried = push(folder, REPO, private=True, dry_run=True)
        assert (tried.created, tried.private, tried.commit) == (True, True, None)
        assert states(tried) == dict.fromkeys(OURS, "new")
        assert REPO not in hub._repos
        files = contents(folder) | {"README.md": b"other"}
        commit = hub.add_repo(REPO, files)
        tried = push(folder, REPO, dry_run=True)
        assert (tried.created, tried.private, tried.commit) == (False, False, None)
        assert states(tried) == dict.fromkeys(OURS, "same") | {"README.md": "changed"}
        commit = hub.add_repo(REPO, contents(folder))
        assert push(folder, REPO, dry_run=True).commit == commit
    assert hub.writes() == []
    assert {request.authorization for request in hub.requests} == {token and f"Bearer {token}"}


# Other people's files.


def test_another_recipe_is_never_overwritten(hub, folder, made, tmp_path):
    other = licensed(shutil.copytree(made / "average", tmp_path / "average"), "apache-2.0")
    push(other, REPO)
    before = hub.commits(REPO)
    for options in ({}, {"dry_run": True}):
        error = refused(folder, f"'{REPO}' holds something else", "(center)", **options)
        assert f"there: conversion of {SOURCE} (average)" in error.details
        assert "config.json, conversion.json, model.safetensors" in error.details[-1]
    assert hub.commits(REPO) == before


def test_another_source_is_never_overwritten(hub, folder, tmp_path):
    record = json.loads((folder / "conversion.json").read_text())
    record["source"]["sha256"] = {"model.safetensors": "b" * 64}
    hub.add_repo(REPO, contents(folder) | {"conversion.json": json.dumps(record).encode()})
    refused(folder, "holds something else")


@pytest.mark.parametrize(
    "files",
    [
        {"model.safetensors": b"x"},
        {"model.safetensors": b"x", "config.json": b"{}"},
        {"conversion.json": b"no JSON"},
        {"conversion.json": b"[]"},
        {"conversion.json": b'{"source": 1, "recipe": {}}'},
        {"trial.json": b'{"hash": "0"}', "record.json": b"{}"},
        {"record.json": b"{}"},
        {f"{number}.bin": b"" for number in range(12)},
        {"README.md": b"", "paper.pdf": b""},
    ],
)
def test_anything_else_is_named_and_left_alone(hub, folder, files):
    commit = hub.add_repo(REPO, files)
    error = refused(folder, "holds something else")
    assert sorted(set(files) - {"README.md"})[0] in error.details[-1]
    assert hub.commits(REPO) == [commit]
    assert hub.writes() == []


def test_a_commit_that_comes_between_is_not_overwritten(hub, folder):
    push(folder, REPO)
    theirs = {"model.safetensors": b"theirs"}
    card(folder, CARD)
    hub.before_commit(lambda: hub.add_repo(REPO, theirs))
    error = refused(folder, f"'{REPO}' changed meanwhile", kind=HubError)
    assert "inflate-zoo push small-vit-3d me/small-vit-3d --dry-run" in error.hint
    assert hub.files(REPO) == theirs


# Licenses.


@pytest.mark.parametrize(
    ("recorded", "texts"),
    [
        ({"license": "unknown"}, ("'unknown' (conversion.json)", "find out")),
        ({"license": "other"}, ("'other' (conversion.json)", "license_name")),
        (
            {"license": "other", "license_name": "x", "license_link": "https://example.org/x"},
            ("'other' (conversion.json)", "find out at https://example.org/x"),
        ),
        ({"license": "gemma"}, ("'gemma' (conversion.json)",)),
        ({"license": "cc-by-nd-4.0"}, ("'cc-by-nd-4.0' (conversion.json)", f"convert {SOURCE}")),
        ({"license": "CC-BY-NC-ND-4.0"}, ("may not be passed on", SOURCE)),
    ],
)
def test_licenses_that_do_not_let_weights_be_passed_on(hub, folder, recorded, texts):
    licensed(folder, recorded["license"], **{k: v for k, v in recorded.items() if k != "license"})
    for options in ({}, {"dry_run": True}, {"private": True}):
        refused(folder, *texts, **options)
    assert hub.requests == []


@pytest.mark.parametrize(
    "name", ["mit", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "Apache-2.0", "openrail++"]
)
def test_licenses_that_do(hub, folder, name):
    licensed(folder, name)
    assert push(folder, REPO).commit


@pytest.mark.parametrize(
    ("recorded", "stated", "goes"),
    [
        ("unknown", "license: mit", True),
        ("unknown", "license: cc-by-nc-4.0", True),
        ("unknown", "license: other\nlicense_name: n\nlicense_link: https://example.org", True),
        ("unknown", "license: other", False),
        ("unknown", "license: other\nlicense_name: n", False),
        ("unknown", "license: cc-by-nd-4.0", False),
        ("unknown", "tags: [x]", False),
        ("other", "license: other\nlicense_name: n\nlicense_link: https://example.org", True),
        ("other", "license: mit", True),
        ("cc-by-nd-4.0", "license: mit", False),
        ("cc-by-nd-4.0", "license: other\nlicense_name: n\nlicense_link: l", False),
        ("apache-2.0", "license: mit", False),
        ("apache-2.0", "license: unknown", False),
        ("apache-2.0", "tags: [x]", False),
        ("apache-2.0", "license: APACHE-2.0", True),
        ("apache-2.0", "license: cc-by-nc-4.0", True),
        ("apache-2.0", "license: cc-by-nc-nd-4.0", False),
        ("cc-by-nc-4.0", "license: cc-by-nc-sa-4.0", True),
        ("cc-by-nc-sa-4.0", "license: cc-by-nc-4.0", False),
        ("gpl-3.0", "license: cc-by-nc-4.0", False),
        ("openrail++", "license: cc-by-nc-4.0", False),
        ("cc-by-nc-4.0", "license: mit", False),
        ("cc-by-nc-4.0", "license: cc-by-4.0", False),
    ],
)
def test_what_a_card_may_add(hub, folder, recorded, stated, goes):
    licensed(folder, recorded)
    card(folder, f"---\n{stated}\n---\n")
    if goes:
        assert push(folder, REPO).commit
        assert hub.files(REPO)["README.md"] == (folder / "README.md").read_bytes()
    else:
        refused(folder, "license")
        assert hub.requests == []


def test_a_record_without_a_license(hub, folder):
    record = json.loads((folder / "conversion.json").read_text())
    del record["source"]["license"]
    (folder / "conversion.json").write_text(json.dumps(record))
    card(folder, "---\nlicense: unknown\n---\n")
    refused(folder, "'unknown' (README.md)")
    for broken in ("x", ["mit"]):
        record["source"]["license"] = broken
        (folder / "conversion.json").write_text(json.dumps(record))
        refused(folder, "incomplete")


def test_a_missing_card_names_the_lines_to_write(hub, folder):
    (folder / "README.md").unlink()
    error = refused(folder, "no license is stated in README.md of 'small-vit-3d'")
    assert error.details == ("---", "license: apache-2.0", "---")


# Folders that are not whole.


def test_what_is_no_folder_of_ours(hub, folder, tmp_path):
    refused(tmp_path / "nothing", "'nothing' is no folder", "inflate-zoo convert")
    refused(folder / "config.json", "'config.json' is no folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "'empty' holds no conversion")
    (folder / "model.safetensors").unlink()
    refused(folder, "holds no model.safetensors")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_files_that_are_not_the_ones_written(hub, folder, name):
    content = bytearray((folder / name).read_bytes())
    content.append(32)
    (folder / name).write_bytes(content)
    assert name in refused(folder, "are not the ones that were written").details
    assert hub.requests == []


def test_a_truncated_weight_file(hub, folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-1])
    refused(folder, "are not the ones that were written")


def test_weights_that_do_not_fit_their_config(hub, made, tmp_path):
    folder = inflate_zoo.load(made / "center").save_pretrained(tmp_path / "plain")
    card(folder, CARD)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"mlp_dim": 97}))
    refused(folder, "does not fit its config.json", kind=AccountingError)
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "vit"}))
    refused(folder, "model_type is 'vit'", kind=ConfigError)
    assert hub.requests == []


def test_an_interrupted_replacement(hub, folder):
    (folder / ".inflate-zoo-replacing").mkdir()
    refused(folder, "interrupted")


@pytest.mark.parametrize("missing", ["files", "recipe", "source"])
def test_an_incomplete_record(hub, folder, missing):
    record = json.loads((folder / "conversion.json").read_text())
    del record[missing]
    (folder / "conversion.json").write_text(json.dumps(record))
    refused(folder, "conversion.json is incomplete")


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_record(hub, folder, wrong):
    table = json.loads((folder / "conversion.json").read_text())
    table["verification"] = conversion_table()["verification"]
    spoil, told = WRONG[wrong]
    spoil(table)
    (folder / "conversion.json").write_text(json.dumps(table))
    refused(folder, "conversion.json is incomplete", told)
    assert hub.requests == []


def test_links_out_of_the_folder(hub, folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(CARD)
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(secret)
    refused(folder, "'README.md' is a link that leads out of its folder")
    (folder / "README.md").unlink()
    os.mkfifo(folder / "README.md")
    refused(folder, "no license is stated")


# What nobody else should see.


@pytest.mark.parametrize(
    "secret", ["hf_" + "aB3" * 10, "hf_standin_token"], ids=["some token", "this login's"]
)
def test_a_token_is_never_sent(hub, folder, secret):
    card(folder, f"{CARD}\nlogin with {secret}\n")
    error = refused(folder, "README.md holds an access token")
    assert secret not in str(error)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ("/data/vit", True),
        ("/data", True),
        ("--data=/mnt/x/y", True),
        ("~/vit", True),
        (r"C:\data\vit", True),
        ("D:/data", True),
        (r"\\server\share", True),
        ("file:///data", True),
        ("see /mnt/disk/a.txt", True),
        ("org/name", False),
        ("org/name@v1:2d", False),
        ("https://example.org/a/b/c", False),
        ("and/or, 1/2, doi:10.1/2/3", False),
        ("./a", False),
        ("a / b", False),
    ],
)
def test_paths_of_this_machine_in_a_record(hub, folder, value, seen):
    record = json.loads((folder / "conversion.json").read_text())
    record["notes"] = ["fine", value]
    (folder / "conversion.json").write_text(json.dumps(record))
    if not seen:
        assert push(folder, REPO, dry_run=True)
        return
    error = refused(folder, "conversion.json names folders of this machine")
    assert error.details == ("notes[1]",)
    assert value not in str(error)


def test_paths_of_this_machine_in_a_card(hub, folder, monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere/me")
    fine = f"{CARD}\nSee https://example.org/home/me/x and /path/to/data.\n"
    for line in ("in /somewhere/me/vit", "/home/you/x", "/Users/you/x", r"C:\Users\you\x"):
        card(folder, f"{fine}{line}\n")
        assert refused(folder, "README.md names folders").details == ("line 6",)
    card(folder, fine)
    assert push(folder, REPO, dry_run=True)
    (folder / "README.md").write_bytes(CARD.encode() + b"\xff")
    refused(folder, "README.md is no text in UTF-8")


def test_other_files_in_the_folder_stay_there(hub, folder):
    (folder / ".env").write_text("HF_TOKEN=x")
    (folder / "place-host.json").write_text("{}")
    push(folder, REPO)
    assert hub.files(REPO).keys() == OURS | PUBLIC


# Trained networks.


@pytest.fixture
def trained(made, tmp_path):
    """A segmenter that was saved, with a card."""
    torch.manual_seed(0)
    backbone = inflate_zoo.load(made / "center", volume=(8, 32, 32))
    network = segmenter(backbone, classes=3, decoder="linear")
    return card(network.save_pretrained(tmp_path / "trained"), CARD)


def test_a_saved_segmenter(hub, trained, tmp_path):
    assert states(push(trained, REPO)) == dict.fromkeys(OURS - {"conversion.json"}, "new")
    volume = torch.rand(1, 1, 8, 32, 32)
    network, local = inflate_zoo.load(REPO), inflate_zoo.load(trained)
    assert isinstance(network, Segmenter)
    torch.testing.assert_close(network.eval()(volume), local.eval()(volume), rtol=0, atol=0)
    assert not push(trained, REPO).changed
    card(trained, f"{CARD}\nNew.\n")
    assert states(push(trained, REPO))["README.md"] == "changed"
    # Other weights are another network.
    other = inflate_zoo.load(trained)
    other.decoder.load_state_dict({k: v + 1 for k, v in other.decoder.state_dict().items()})
    other.save_pretrained(trained)
    refused(trained, "holds something else than this trained network")


def test_a_saved_unetr(hub, made, tmp_path):
    backbone = inflate_zoo.load(made / "center", volume=(8, 32, 32))
    folder = segmenter(backbone, classes=2, features=8).save_pretrained(tmp_path / "unetr")
    push(card(folder, CARD), REPO)
    assert isinstance(inflate_zoo.load(REPO), Segmenter)


def test_a_network_does_not_replace_a_conversion_of_the_same_weights(hub, folder, tmp_path):
    push(folder, REPO)
    plain = shutil.copytree(folder, tmp_path / "plain")
    (plain / "conversion.json").unlink()
    error = refused(plain, "holds something else")
    assert error.details[0] == f"there: conversion of {SOURCE} (center)"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no license is stated in README.md of 'trained'"),
        ("# A model\n", "no license is stated in README.md of 'trained'"),
        ("---\nlicense: unknown\n---\n", "'unknown' (README.md)"),
        ("---\nlicense: other\n---\n", "'other' (README.md)"),
        ("---\nlicense: cc-by-nc-nd-4.0\n---\n", "may not be passed on"),
    ],
)
def test_a_trained_network_needs_a_card_with_a_license(hub, trained, text, says):
    (trained / "README.md").unlink()
    if text is not None:
        card(trained, text)
    error = refused(trained, says)
    if "no license" in says:
        assert error.details[0] == error.details[2] == "---"
        assert error.details[1].startswith("license: ")
    assert hub.requests == []


@pytest.fixture
def trial(finished_run, tmp_path):
    return card(shutil.copytree(finished_run.trial().folder, tmp_path / "trial"), CARD)


def test_a_trial(hub, trial, finished_run, tmp_path):
    names = {"trial.json", "record.json", "model.safetensors", "config.json", "README.md"}
    pushed = push(trial, REPO)
    assert states(pushed) == dict.fromkeys(names, "new")
    assert pushed.cases == 10
    arrived, local = hub.files(REPO), contents(trial)
    assert arrived.keys() == names | PUBLIC
    same = names - {"record.json"}
    assert {name: arrived[name] for name in same} == {name: local[name] for name in same}
    # Of the record nothing but the host's name is missing.
    record = json.loads(local["record.json"])
    assert record["run"].pop("host") == socket.gethostname()
    assert json.loads(arrived["record.json"]) == record
    everything = b"".join(
        content for name, content in arrived.items() if name != "model.safetensors"
    )
    places = (
        str(finished_run.cache),
        str(finished_run.data),
        str(finished_run.source),
        str(tmp_path),
    )
    for private in (*places, socket.gethostname(), hub.token):
        assert private.encode() not in everything
    assert isinstance(inflate_zoo.load(REPO), Segmenter)
    assert not push(trial, REPO).changed
    # What was downloaded can be pushed as it is.
    downloaded = Path(snapshot_download(REPO, local_dir=tmp_path / "downloaded"))
    assert not push(downloaded, REPO).changed


def test_another_trial_is_never_overwritten(hub, trial, finished_run, tmp_path):
    push(trial, REPO)
    other = card(shutil.copytree(finished_run.trial(seed=1).folder, tmp_path / "other"), CARD)
    error = refused(other, "holds something else than this trial")
    name = finished_run.trial().spec.hash
    assert error.details[0].startswith(f"there: trial {name}: ")
    assert not push(trial, REPO).changed


def test_a_trial_that_is_not_done_or_not_one(hub, trial):
    record = json.loads((trial / "record.json").read_text())
    (trial / "record.json").write_text(json.dumps(record | {"hash": "0" * 16}))
    refused(trial, "record of trial 'trial' is not to be believed: it is of another trial")
    edited = json.loads(json.dumps(record))
    edited["result"]["mean"] = {name: {"dice": 0.99} for name in edited["result"]["mean"]}
    (trial / "record.json").write_text(json.dumps(edited))
    refused(trial, "its result is not the one that was written", "inflate-zoo bench")
    (trial / "record.json").unlink()
    refused(trial, "'trial' holds no record.json", "inflate-zoo bench")
    table = json.loads((trial / "trial.json").read_text())
    (trial / "record.json").write_text(json.dumps(record))
    (trial / "trial.json").write_text(json.dumps({**table, "seed": 7}))
    refused(trial, "its trial.json is of trial ")
    (trial / "trial.json").write_text(json.dumps({**table, "hash": ""}))
    refused(trial, "trial.json is incomplete")
    assert hub.requests == []


def test_a_path_in_a_trial_names_its_field(hub, trial):
    table = json.loads((trial / "trial.json").read_text())
    table["task"]["address"] = "/data/sets/hearts"
    (trial / "trial.json").write_text(json.dumps(table))
    assert refused(trial, "trial.json names folders").details == ("task.address",)

"""The zoo at work: real client, real files, a stand-in for the Hub, no network."""

import errno
import functools
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

import inflate_zoo
from inflate_zoo.bench.definitions.results import require_believed
from inflate_zoo.conversion import sources
from inflate_zoo.conversion.converting import verify
from inflate_zoo.conversion.record import FILES, read_conversion
from inflate_zoo.errors import (
    HubCacheError,
    HubError,
    OutputExistsError,
    UnknownNameError,
    UsageError,
    VerificationError,
    WriteError,
)
from inflate_zoo.files.digests import sha256
from inflate_zoo.files.writing import staging
from inflate_zoo.registry import listing, obtaining
from inflate_zoo.registry.building import build
from inflate_zoo.registry.listing import zoo
from inflate_zoo.registry.obtaining import pull
from inflate_zoo.registry.publishing import push
from tests.support.checkpoints import save_transformers
from tests.support.hub_standin import HubStandIn, use_hub
from tests.support.zoo_cards import (
    CARD,
    LICENSED,
    contents,
    index,
    killed,
    outcomes,
    whole,
    write_card,
)

NAME, REPO, MADE = CARD["name"], CARD["source"], "zoo/small-vit-3d-center"


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Files of another 2D repo, of the same form."""
    folder = tmp_path_factory.mktemp("source") / "vit"
    return contents(save_transformers("vit", folder, num_hidden_layers=1, seed=1)) | {
        "README.md": LICENSED
    }


@pytest.fixture(scope="module")
def made(files, tmp_path_factory):
    """Files of the 3D repo: what the recipe of the card makes."""
    base = tmp_path_factory.mktemp("made")
    write_card(base / "cards")
    with (
        pytest.MonkeyPatch.context() as patch,
        HubStandIn() as hub,
        use_hub(patch, hub, base / "home"),
    ):
        hub.add_repo(REPO, files)
        patch.setattr(listing, "_cards_folder", lambda: base / "cards")
        return contents(pull(NAME, base / NAME, say=lambda _: None))


@pytest.fixture
def prebuilt(hub, made, cards):
    """A zoo whose entry has prebuilt files; gives the fields of its card."""
    commit = hub.add_repo(MADE, made)
    digest = json.loads(made["conversion.json"])["files"]["model.safetensors"]["sha256"]
    fields = {"prebuilt": f"{MADE}@{commit}", "sha256": digest}
    cards(**fields)
    return fields


@pytest.fixture
def said():
    return []


def repos_asked(hub):
    named = (request.path.removeprefix("/api/models") for request in hub.requests)
    return {"/".join(path.split("/")[1:3]) for path in named if not path.startswith("/lfs/")}


@pytest.mark.parametrize("use", ["pull", "load", "build"])
def test_an_unknown_name_is_told_the_nearest(hub, cards, use):
    calls = {
        "pull": lambda: pull("small-vit-3d-centre", say=print),
        "load": lambda: inflate_zoo.load("small-vit-3d-centre"),
        "build": lambda: list(build([NAME, "small-vit-3d-centre"], Path("out"))),
    }
    with pytest.raises(UnknownNameError, match="no zoo entry named") as caught:
        calls[use]()
    assert caught.value.hint == f"did you mean '{NAME}'?"
    assert caught.value.exit_code == 2
    assert hub.requests == []
    assert list(Path.cwd().iterdir()) == []


# Pulling.


def test_without_prebuilt_files_an_entry_is_made(hub, files, cards, said):
    commit = hub.add_repo(REPO, files)
    folder = pull(NAME, say=said.append)
    assert said == [f"{NAME}: the zoo holds no prebuilt files of it; making it here from {REPO}"]
    assert folder == Path(NAME)
    record = whole(folder)
    assert record.source.commit == commit
    assert record.verification.passed
    assert list(record.recipe.volume) == CARD["volume"]
    assert verify(folder).passed


def test_prebuilt_files_with_the_cards_digest_are_taken(hub, files, made, prebuilt, said):
    hub.add_repo(REPO, files)
    folder = pull(NAME, "there/out", say=said.append)
    assert contents(folder) == made
    assert repos_asked(hub) == {MADE}
    assert said == [f"{NAME}: prebuilt files of {prebuilt['prebuilt']}, digest as on the card"]


def test_made_and_prebuilt_weights_are_the_same_bytes(hub, files, prebuilt, cards):
    hub.add_repo(REPO, files)
    pull(NAME, "fetched", say=print)
    cards(**prebuilt | {"prebuilt": None})
    pull(NAME, "made", say=print)
    for name in ("model.safetensors", "config.json"):
        assert Path("fetched", name).read_bytes() == Path("made", name).read_bytes()


@pytest.mark.parametrize("record_follows", [True, False])
def test_prebuilt_files_with_another_digest_are_not_taken(
    hub, files, made, prebuilt, cards, said, record_follows
):
    hub.add_repo(REPO, files)
    other = made["model.safetensors"][:-1] + b"\x01"
    tampered = made | {"model.safetensors": other}
    Path("other").write_bytes(other)
    digest = sha256(Path("other"))
    if record_follows:
        text = made["conversion.json"].decode().replace(prebuilt["sha256"], digest)
        tampered["conversion.json"] = text.encode()
    commit = hub.add_repo(MADE, tampered)
    cards(**prebuilt | {"prebuilt": f"{MADE}@{commit}"})
    folder = pull(NAME, say=said.append)
    assert whole(folder)
    assert sha256(folder / "model.safetensors") == prebuilt["sha256"]
    (line,) = said
    assert f"has SHA-256 {digest}, the card says {prebuilt['sha256']}; making it here" in line


@pytest.mark.parametrize(
    "spoil, told",
    [
        (lambda files: files | {"config.json": b"{}"}, "config.json of zoo/small"),
        (lambda files: files | {"README.md": b""}, "README.md of zoo/small"),
        (
            lambda files: files | {"conversion.json": b"{}"},
            f"'{MADE}': conversion.json is incomplete: format_version",
        ),
        (lambda files: files | {"conversion.json": b"<html>"}, "no valid JSON"),
        (
            lambda files: (
                files
                | {"conversion.json": files["conversion.json"].replace(b'"center"', b'"average"')}
            ),
            "another recipe than the card",
        ),
        (lambda files: {k: v for k, v in files.items() if k != "config.json"}, "has no file"),
    ],
)
def test_prebuilt_files_that_are_not_the_entrys_are_not_taken(
    hub, files, made, prebuilt, cards, said, spoil, told
):
    hub.add_repo(REPO, files)
    cards(**prebuilt | {"prebuilt": f"{MADE}@{hub.add_repo(MADE, spoil(made))}"})
    assert whole(pull(NAME, say=said.append))
    assert told in said[0]
    assert "making it here" in said[0]


@pytest.mark.parametrize("gone", [True, False])
def test_prebuilt_files_that_cannot_be_had(hub, files, prebuilt, cards, said, gone):
    hub.add_repo(REPO, files)
    if gone:
        cards(**prebuilt | {"prebuilt": f"zoo/gone@{'a' * 40}"})
    else:
        hub.fail(500, times=99, path_contains=MADE)
    assert whole(pull(NAME, say=said.append))
    assert ("not found" if gone else "status 500") in said[0]


def test_weights_that_may_not_be_passed_on_are_made(hub, files, made, cards, said):
    hub.add_repo(REPO, files)
    hub.add_repo(MADE, made)
    cards(license="cc-by-nc-4.0", redistribution=False)
    assert whole(pull(NAME, say=said.append))
    assert repos_asked(hub) == {REPO}
    assert "its weights may not be passed on (license cc-by-nc-4.0); making it here" in said[0]


@pytest.mark.parametrize("use", ["pull", "load"])
def test_weights_that_are_not_the_cards_are_not_kept(hub, others, prebuilt, cards, tmp_path, use):
    hub.add_repo(REPO, others)
    cards(sha256=prebuilt["sha256"])
    with pytest.raises(VerificationError) as caught:
        pull(NAME, say=print) if use == "pull" else inflate_zoo.load(NAME)
    told = str(caught.value)
    assert f"expected: SHA-256 {prebuilt['sha256']}" in told
    assert "made:     SHA-256 " in told
    assert f"'{REPO}'" in told
    assert list(Path.cwd().iterdir()) == []
    assert not list(tmp_path.rglob("cache/**/*.safetensors"))
    assert not list(tmp_path.rglob("*.partial"))


def test_a_folder_that_holds_something_is_replaced_by_force_alone(hub, prebuilt):
    Path(NAME).mkdir()
    Path(NAME, "note").write_text("mine")
    with pytest.raises(OutputExistsError, match="is not empty"):
        pull(NAME, say=print)
    assert hub.requests == []
    pull(NAME, force=True, say=print)
    assert Path(NAME, "note").read_text() == "mine"
    assert set(contents(Path(NAME))) == {*FILES, "note"}


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", [1, 3])
def test_a_fault_while_copying_leaves_nothing(hub, prebuilt, monkeypatch, fault, at):
    calls = []

    def copy(source, target):
        calls.append(target)
        if len(calls) == at:
            Path(target).write_bytes(b"half")
            raise fault
        return copyfile(source, target)

    copyfile = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", copy)
    with pytest.raises(WriteError if isinstance(fault, OSError) else KeyboardInterrupt):
        pull(NAME, "deep/out", say=print)
    assert list(Path.cwd().iterdir()) == []
    assert whole(pull(NAME, "deep/out", say=print))


@pytest.mark.parametrize("at", range(1, 5))
def test_a_kill_while_copying_leaves_the_target_absent(hub, prebuilt, monkeypatch, at):
    pull(NAME, "warm", say=print)
    calls = []

    def copy(source, target):
        calls.append(target)
        if len(calls) == at:
            Path(target).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        return copyfile(source, target)

    copyfile = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", copy)
    assert killed(functools.partial(pull, NAME, "out", say=print)) == -signal.SIGKILL
    assert not Path("out").exists()
    monkeypatch.setattr(shutil, "copyfile", copyfile)
    assert whole(pull(NAME, "out", say=print))
    assert not list(Path.cwd().glob(".*"))


@pytest.mark.parametrize("source", [{}, {"source": "builtin/vit", "revision": None}])
def test_a_local_folder_does_not_pass_for_the_source_of_a_recipe(hub, files, cards, source):
    cards(**source)
    hidden = source.get("source", REPO)
    save = Path(hidden)
    save.mkdir(parents=True)
    for name, content in files.items():
        (save / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"a local '{hidden}' hides the zoo's source"):
        pull(NAME, say=print)


def test_the_license_of_the_zoo_is_what_the_made_card_states(hub, files, cards, said):
    """A card on the Hub may name a looser one than those who published the weights."""
    hub.add_repo(REPO, files)
    cards(license="cc-by-nc-4.0")
    folder = pull(NAME, say=said.append)
    record = whole(folder)
    assert record.source.license == {"license": "cc-by-nc-4.0"}
    assert "source's card states the license apache-2.0" in record.notes[-1]
    card = (folder / "README.md").read_text()
    assert "\nlicense: cc-by-nc-4.0\n" in card
    assert record.notes[-1] in card


def test_a_license_the_zoo_does_not_know_is_the_sources(hub, files, cards, said):
    hub.add_repo(REPO, files)
    cards(license="unknown", redistribution=False)
    assert whole(pull(NAME, say=said.append)).source.license == {"license": "apache-2.0"}


def test_a_builtin_source(hub, files, cards, said, monkeypatch, tmp_path):
    folder = tmp_path / "data" / "vit"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    monkeypatch.setattr(sources, "data_folder", lambda _: folder.parent)
    cards(source="builtin/vit", revision=None)
    assert whole(pull(NAME, say=said.append)).source.license == {"license": "apache-2.0"}
    assert hub.requests == []
    assert said[0].endswith("making it here from builtin/vit")
    assert inflate_zoo.load(NAME).config.volume == (8, 32, 32)
    assert [outcomes(), outcomes()] == [{NAME: "built"}, {NAME: "kept"}]
    assert index()[NAME]["commit"] is None


# Loading.


def test_an_entry_is_loaded_by_name_and_then_from_the_cache(hub, files, cards, monkeypatch, caplog):
    hub.add_repo(REPO, files)
    first = inflate_zoo.load(NAME, volume=(12, 48, 24))
    assert isinstance(first, inflate_zoo.Backbone)
    assert first.grid_size == (3, 6, 3)
    assert caplog.messages == [
        f"{NAME}: the zoo holds no prebuilt files of it; making it here from {REPO}"
    ]
    assert list(Path.cwd().iterdir()) == []
    count = len(hub.requests)
    hub.fail(500, times=99)
    again = inflate_zoo.load(NAME)
    assert again.config.volume == (8, 32, 32)
    torch.testing.assert_close(again.patch_embed.weight, first.patch_embed.weight)
    assert (len(hub.requests), len(caplog.messages)) == (count, 1)


def test_an_entry_is_loaded_offline_a_second_time(hub, prebuilt, monkeypatch, home):
    with (
        use_hub(monkeypatch, hub, home / "empty", offline=True),
        pytest.raises(HubError, match="offline"),
    ):
        inflate_zoo.load(NAME)
    inflate_zoo.load(NAME)
    assert repos_asked(hub) == {MADE}
    with use_hub(monkeypatch, hub, home / "empty", offline=True):
        assert isinstance(inflate_zoo.load(NAME), inflate_zoo.Backbone)


@pytest.mark.parametrize(
    "change",
    [
        {"scheme": "average"},
        {"volume": [16, 32, 32]},
        {"patch_depth": 8},
        {"channels": 3},
        {"fold_normalization": False},
        {"revision": "v2"},
        {"source": "org/other-vit"},
    ],
)
def test_a_changed_card_never_gives_the_old_weights(hub, files, others, cards, change, tmp_path):
    hub.add_repo(REPO, files)
    hub.add_repo(REPO, others, revision="v2")
    hub.add_repo("org/other-vit", others)
    inflate_zoo.load(NAME)
    cards(**change)
    inflate_zoo.load(NAME)
    made = list((tmp_path / "cache").rglob("conversion.json"))
    assert len(made) == 2
    (entry,) = zoo()
    assert sum(entry.describes(read_conversion(path.parent)) for path in made) == 1


def test_a_changed_text_on_a_card_makes_nothing_anew(hub, files, cards):
    hub.add_repo(REPO, files)
    inflate_zoo.load(NAME)
    count = len(hub.requests)
    cards(objective="other words", parameters=5, reference="elsewhere")
    inflate_zoo.load(NAME)
    assert len(hub.requests) == count


@pytest.mark.parametrize("spoil", ["gone", "short", "record", "marked", "flipped"])
def test_a_cache_in_which_files_are_missing_is_filled_anew(hub, files, cards, tmp_path, spoil):
    hub.add_repo(REPO, files)
    inflate_zoo.load(NAME)
    (weights,) = (tmp_path / "cache").rglob("model.safetensors")
    if spoil == "gone":
        (weights.parent / "config.json").unlink()
    elif spoil == "short":
        weights.write_bytes(weights.read_bytes()[:-10])
    elif spoil == "record":
        (weights.parent / "conversion.json").write_text("{}")
    elif spoil == "flipped":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 0x40
        weights.write_bytes(content)
    else:
        (weights.parent / staging.MARKER).mkdir()
    assert isinstance(inflate_zoo.load(NAME), inflate_zoo.Backbone)
    assert whole(weights.parent)


def test_a_cache_that_cannot_be_written_is_named(hub, files, cards, tmp_path, monkeypatch):
    hub.add_repo(REPO, files)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INFLATE_ZOO_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="cannot be kept in the cache") as caught:
        inflate_zoo.load(NAME)
    assert "INFLATE_ZOO_CACHE" in caught.value.hint

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("INFLATE_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("inflate_zoo.conversion.converting.write_safetensors", full)
    with pytest.raises(WriteError, match="cannot be kept in the cache") as caught:
        inflate_zoo.load(NAME)
    assert "INFLATE_ZOO_CACHE" in caught.value.hint
    assert not (tmp_path / "cache" / "zoo").exists()


@pytest.mark.parametrize("kind", [HubCacheError, WriteError])
def test_whose_cache_it_is_stands_in_the_type_and_not_in_the_hint(cards, monkeypatch, kind):
    def full(*_, **__):
        raise kind("full", hint="--out" if kind is HubCacheError else "make room")

    monkeypatch.setattr(obtaining, "_obtain", full)
    with pytest.raises(kind) as caught:
        inflate_zoo.load(NAME)
    kept = "cannot be kept in the cache" in caught.value.message
    assert kept is (kind is WriteError)


def test_another_process_that_was_faster_is_welcome(hub, files, cards, monkeypatch, tmp_path):
    hub.add_repo(REPO, files)
    obtain = obtaining._obtain

    def twice(*args, **kwargs):
        obtain(*args, **kwargs)
        obtain(*args, **kwargs)  # as the slower one: the folder is there by now

    monkeypatch.setattr(obtaining, "_obtain", twice)
    assert isinstance(inflate_zoo.load(NAME), inflate_zoo.Backbone)
    assert len(list((tmp_path / "cache").rglob("model.safetensors"))) == 1


def test_a_local_folder_of_that_name_wins(hub, made, cards):
    Path(NAME).mkdir()
    for name, content in made.items():
        Path(NAME, name).write_bytes(content)
    assert isinstance(inflate_zoo.load(NAME), inflate_zoo.Backbone)
    assert hub.requests == []
    with pytest.raises(UsageError, match="no folder of converted weights"):
        inflate_zoo.load(Path("small-vit-3d-centre"))  # a path is no name


def test_what_was_built_and_pushed_is_pulled(hub, files, cards, monkeypatch, home, said):
    hub.add_repo(REPO, files)
    assert outcomes() == {NAME: "built"}
    with use_hub(monkeypatch, hub, home, token=hub.token):
        commit = push(Path("out", NAME), MADE, believe=require_believed).commit
    hub.requests.clear()
    cards(prebuilt=f"{MADE}@{commit}", sha256=index()[NAME]["sha256"])
    assert contents(pull(NAME, say=said.append)) == contents(Path("out", NAME))
    assert said == [f"{NAME}: prebuilt files of {MADE}@{commit}, digest as on the card"]
    assert repos_asked(hub) == {MADE}
    assert outcomes() == {NAME: "kept"}


def test_the_prebuilt_repo_is_loaded_by_its_own_name(hub, prebuilt):
    backbone = inflate_zoo.Backbone.from_pretrained(prebuilt["prebuilt"])
    by_name = inflate_zoo.load(NAME)
    for name, tensor in by_name.state_dict().items():
        assert torch.equal(backbone.state_dict()[name], tensor)
    assert isinstance(inflate_zoo.load(MADE, volume=(4, 16, 16)), inflate_zoo.Backbone)

"""A network of ours by whatever name: folder, zoo entry, repo, and a part of a repo."""

import pytest

from inflate_zoo.conversion.converting import convert
from inflate_zoo.errors import ConfigError, UnknownNameError, UsageError
from inflate_zoo.networks.base import SEGMENTER_TYPE
from inflate_zoo.networks.files import folder_of
from inflate_zoo.networks.known import CONFIGS
from inflate_zoo.registry.finding import FoundNetwork, find_network

RECORD = "conversion.json"
KINDS = tuple(CONFIGS.values())


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    out = tmp_path_factory.mktemp("converted") / "clip-3d"
    return convert("builtin/clip", out, volume=(4, 16, 16), verify=False)


def find(source, *beside, kinds=KINDS, said=None):
    return find_network(source, kinds, [].append if said is None else said.append, beside)


def test_a_folder(converted, monkeypatch):
    assert find(str(converted)) == FoundNetwork("clip-3d", converted)
    monkeypatch.chdir(converted)
    assert find(".").name == "clip-3d"


def test_an_entry_of_the_zoo_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("INFLATE_ZOO_CACHE", str(tmp_path))
    found = find("builtin-clip-3d-center", said=(said := []))
    assert (found.name, found.repo) == ("builtin-clip-3d-center", None)
    assert (found.folder / RECORD).is_file()
    assert find("builtin-clip-3d-center", said=said) == found
    assert len(said) == 1


@pytest.mark.parametrize("inside", ["", "deep/vit"])
@pytest.mark.parametrize("file", ["", "model.safetensors"])
def test_a_repo_or_a_folder_or_file_of_it(hub, converted, inside, file):
    start = f"{inside}/" if inside else ""
    commit = hub.add_repo(
        "me/some", {f"{start}{p.name}": p.read_bytes() for p in converted.iterdir()}
    )
    source = "/".join(filter(None, ("me/some", inside, file))) + "@main"
    found = find(source)
    expected = (inside.rpartition("/")[2] or "some", "me/some", "main", commit, inside)
    assert (found.name, found.repo, found.revision, found.commit, found.inside) == expected
    names = {"config.json", "model.safetensors"}
    assert {path.name for path in found.folder.iterdir() if path.is_file()} == names
    assert find(source, RECORD, "is-not-there.json") == found
    assert (found.folder / RECORD).read_bytes() == (converted / RECORD).read_bytes()


def test_all_files_are_of_one_commit_whatever_is_pushed_meanwhile(hub, converted, monkeypatch):
    commit = hub.add_repo("me/clip-3d", converted)

    def pushed(*arguments):
        folder = folder_of(*arguments)
        hub.add_repo("me/clip-3d", {"README.md": b"nothing else is left"})
        return folder

    monkeypatch.setattr("inflate_zoo.registry.finding.folder_of", pushed)
    found = find("me/clip-3d", RECORD)
    assert found.commit == commit
    assert (found.folder / RECORD).is_file()


def test_what_is_none(hub, tmp_path, converted):
    with pytest.raises(UnknownNameError, match="no zoo entry named 'builtin-clop'"):
        find("builtin-clop")
    with pytest.raises(UsageError, match="no folder of converted weights"):
        find(str(tmp_path / "nothing"))
    config = (converted / "config.json").read_bytes()
    other = config.replace(b'"inflated_vit"', f'"{SEGMENTER_TYPE}"'.encode())
    hub.add_repo("me/other", {"config.json": other, "model.safetensors": b""})
    with pytest.raises(ConfigError, match="is that of a segmenter"):
        find("me/other")

"""A small source, and a zoo of two entries, for commands that take one."""

import pytest

from inflate_zoo.hub import download as client
from inflate_zoo.registry import listing
from tests.support.checkpoints import save_transformers
from tests.support.hub_standin import HubStandIn, use_hub
from tests.support.zoo_cards import CARD, RESTRICTED, write_card


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return save_transformers("vit", tmp_path_factory.mktemp("s") / "my-vit")


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The working folder, empty, with a zoo of two entries."""
    write_card(tmp_path / "cards")
    write_card(tmp_path / "cards", "# Other\n\nA line\x1b[2J that clears.", **RESTRICTED)
    monkeypatch.setattr(listing, "_cards_folder", lambda: tmp_path / "cards")
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("INFLATE_ZOO_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def hub(work, tmp_path, monkeypatch):
    """A Hub that has the source of the first entry."""
    monkeypatch.setattr(client, "_pause", lambda _: None)
    source = save_transformers("vit", tmp_path / "vit", num_hidden_layers=1)
    (source / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    with HubStandIn() as hub, use_hub(monkeypatch, hub, tmp_path / "home"):
        hub.add_repo(CARD["source"], source)
        yield hub

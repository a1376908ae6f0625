"""A Hub that is near, and a zoo of one's own, for what the zoo does with both."""

import pytest

from inflate_zoo.hub import download as client
from inflate_zoo.registry import listing
from tests.support.checkpoints import save_transformers
from tests.support.hub_standin import HubStandIn, use_hub
from tests.support.zoo_cards import LICENSED, contents, write_card


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of the 2D repo."""
    folder = tmp_path_factory.mktemp("source") / "vit"
    return contents(save_transformers("vit", folder, num_hidden_layers=1)) | {"README.md": LICENSED}


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def hub(monkeypatch, tmp_path, home):
    monkeypatch.setattr(client, "_pause", lambda _: None)
    monkeypatch.setenv("INFLATE_ZOO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with HubStandIn() as hub, use_hub(monkeypatch, hub, home):
        yield hub


@pytest.fixture
def cards(monkeypatch, tmp_path):
    """Makes a zoo of one card, CARD but for the changes, or of several."""
    count = iter(range(100))
    listing._cards.cache_clear()  # pytest may give a folder again that was another test's

    def write(*several, **changes):
        folder = tmp_path / f"cards{next(count)}"
        for one in several or [changes]:
            write_card(folder, **one)
        monkeypatch.setattr(listing, "_cards_folder", lambda: folder)

    write()
    return write

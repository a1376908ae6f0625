"""A small conversion, and a Hub that is near."""

import pytest

from inflate_zoo import convert
from inflate_zoo.hub import download as client
from tests.support.checkpoints import save_transformers
from tests.support.hub_standin import HubStandIn, use_hub


@pytest.fixture(scope="session")
def converted(tmp_path_factory):
    """A ViT of one block, whose normalisation is folded in; not to be changed."""
    home = tmp_path_factory.mktemp("converted")
    source = save_transformers("vit", home / "vit", num_hidden_layers=1)
    (source / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return convert(
        source, home / "vit-3d", volume=(16, 32, 32), patch_depth=8, fold_normalization=True
    )


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(client, "_pause", lambda _: None)
    with HubStandIn() as hub, use_hub(monkeypatch, hub, tmp_path / "home"):
        yield hub

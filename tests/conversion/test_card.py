"""The card of a conversion."""

import pytest
import yaml

from inflate_zoo.conversion.converting import convert
from tests.support.checkpoints import save_transformers

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return save_transformers("vit", tmp_path_factory.mktemp("sources") / "my-vit")


def test_the_card_front_matter_and_license(tmp_path):
    source = save_transformers("dinov2", tmp_path / "source")
    (source / "README.md").write_text("---\nlicense: other\nlicense_name: research\n---\n# card\n")
    folder = convert(source, tmp_path / "out", verify=False)
    matter = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    assert matter["license"] == "other"
    assert matter["license_name"] == "research"
    assert matter["library_name"] == "inflate-zoo"
    assert matter["pipeline_tag"] == "image-feature-extraction"
    assert {"inflated", "2d-to-3d"} <= set(matter["tags"])
    assert "No training was done" in (folder / "README.md").read_text()


def test_the_snippet_on_the_card_runs(vit, tmp_path, monkeypatch):
    folder = convert(vit, tmp_path / "out", verify=False)
    snippet = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(snippet, names)
    assert names["tokens"].shape == (1, 17, 48)
    assert names["pooled"].shape == (1, 48)

"""The backbone that a training starts from."""

import json
import shutil

import pytest

import inflate_zoo
from inflate_zoo.errors import ConfigError, UnknownNameError, UsageError
from inflate_zoo.files.digests import sha256
from inflate_zoo.networks.files import folder_of
from inflate_zoo.nnunet.sources import find_backbone
from tests.support.hub_standin import HubStandIn, use_hub

NAME = "builtin-clip-3d-center"


def silent(_):
    pass


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    out = tmp_path_factory.mktemp("converted") / "clip-3d"
    return inflate_zoo.convert("builtin/clip", out, volume=(4, 16, 16), verify=False)


def test_a_folder_tells_its_name_its_digest_and_what_it_takes(converted, tmp_path):
    found = find_backbone(str(converted), silent)
    assert (found.name, found.folder, found.folded) == ("clip-3d", converted, False)
    assert found.sha256 == sha256(converted / "model.safetensors")
    assert found.config.volume == (4, 16, 16)
    assert found.license == {"license": "apache-2.0"}
    folded = inflate_zoo.convert(
        "builtin/clip", tmp_path / "folded", fold_normalization=True, verify=False
    )
    assert find_backbone(str(folded), silent).folded is True


def test_a_folder_is_called_as_it_is_wherever_one_stands(converted, monkeypatch):
    monkeypatch.chdir(converted)
    assert find_backbone("../clip-3d", silent).name == "clip-3d"
    assert find_backbone(".", silent).name == "clip-3d"


def test_a_zoo_entry_is_made_at_its_first_use(tmp_path, monkeypatch):
    monkeypatch.setenv("INFLATE_ZOO_CACHE", str(tmp_path))
    said = []
    found = find_backbone(NAME, said.append)
    assert (found.name, found.folded, len(said)) == (NAME, True, 1)
    assert find_backbone(NAME, said.append) == found
    assert len(said) == 1


def test_of_a_repo_the_record_is_fetched_as_well(converted, tmp_path, monkeypatch):
    with HubStandIn() as hub, use_hub(monkeypatch, hub, tmp_path / "cache"):
        hub.add_repo("org/clip-3d", converted)
        found = find_backbone("org/clip-3d", silent)
        assert (found.name, found.folded) == ("org/clip-3d", False)
        (bare := tmp_path / "bare").mkdir()
        for name in ("config.json", "model.safetensors"):
            shutil.copy(converted / name, bare)
        hub.add_repo("org/bare", bare)
        assert find_backbone("org/bare", silent).folded is None


def test_a_push_in_between_leaves_the_record_with_its_weights(converted, tmp_path, monkeypatch):
    with HubStandIn() as hub, use_hub(monkeypatch, hub, tmp_path / "cache"):
        hub.add_repo("org/clip-3d", converted)

        def pushed(*arguments):
            folder = folder_of(*arguments)
            hub.add_repo("org/clip-3d", {"README.md": b"nothing else is left"})
            return folder

        monkeypatch.setattr("inflate_zoo.registry.finding.folder_of", pushed)
        assert find_backbone("org/clip-3d", silent).folded is False


def test_a_record_of_other_weights_says_nothing_of_these(converted, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(converted, other)
    backbone = inflate_zoo.load(other)
    backbone.pos_embed.data.add_(1)
    backbone.save_pretrained(other)
    found = find_backbone(str(other), silent)
    assert (found.folded, found.license) == (None, {})


def test_a_segmenter_is_refused(converted, tmp_path):
    segmenter = inflate_zoo.segmenter(inflate_zoo.load(converted), classes=2, decoder="linear")
    segmenter.save_pretrained(tmp_path / "segmenter")
    with pytest.raises(ConfigError, match="is that of a segmenter, not of a backbone"):
        find_backbone(str(tmp_path / "segmenter"), silent)


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no folder of converted weights"):
        find_backbone(str(tmp_path / "nothing"), silent)
    with pytest.raises(UnknownNameError, match="no zoo entry named 'builtin-clop'"):
        find_backbone("builtin-clop", silent)


def test_a_damaged_record_is_refused(converted, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(converted, broken)
    (broken / "conversion.json").write_text(json.dumps({}))
    with pytest.raises(UsageError, match=r"conversion\.json is incomplete"):
        find_backbone(str(broken), silent)

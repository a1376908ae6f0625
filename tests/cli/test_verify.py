"""The command `verify`."""

import pytest

from tests.support.commands import refused, run


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_failed_verification_exits_with_1(vit, tmp_path, monkeypatch):
    run("convert", vit, "--out", tmp_path / "out", "--no-verify")
    monkeypatch.setattr("inflate_zoo.conversion.proof.TOLERANCE", 1e-12)
    result = run("verify", tmp_path / "out", "--source", vit)
    assert result.exit_code == 1
    assert "failed" in result.stdout
    assert "bug" not in result.stderr
    result = run("convert", vit, "--out", tmp_path / "other")
    assert result.exit_code == 1
    assert "does not reproduce" in result.stderr
    assert not (tmp_path / "other").exists()


def test_verify_refuses_what_is_no_conversion(vit, home):
    told = "holds no conversion.json"
    refused(home, "'missing' " + told, args=["verify", "missing"])
    refused(home, "'my-vit' " + told, args=["verify", str(vit)])
    refused(home, told, args=["verify", ""])


def test_verify_refuses_a_missing_or_local_source_with_a_revision(vit, home):
    assert run("convert", vit, "--out", "out", "--no-verify").exit_code == 0
    refused(home, "made from a local source", "--source PATH", args=["verify", "out"])
    refused(home, "no file or folder", args=["verify", "out", "--source", "./none"])
    local = ["verify", "out", "--source", str(vit), "--revision", "main"]
    refused(home, "has no revisions", args=local)

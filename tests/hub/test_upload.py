"""The client's upload side: its faults in our words, and its token in none of them."""

import os
import traceback

import pytest
from huggingface_hub import constants

from inflate_zoo.errors import HubError, InflateZooError, UsageError
from inflate_zoo.hub import download as client
from inflate_zoo.hub.upload import Part, Target
from tests.support.hub_standin import HubStandIn, use_hub

REPO = "me/model"
WEIGHTS = os.urandom(50_000)
AGAIN = "`inflate-zoo push folder me/model`"


@pytest.fixture
def pauses(monkeypatch):
    pauses = []
    monkeypatch.setattr(client, "_pause", pauses.append)
    return pauses


@pytest.fixture
def hub(monkeypatch, tmp_path, pauses):
    with HubStandIn() as hub, use_hub(monkeypatch, hub, tmp_path / "home", token=hub.token):
        yield hub


@pytest.fixture
def parts(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(WEIGHTS)
    card = b"---\nlicense: mit\n---\n"
    return [Part.of("model.safetensors", weights), Part.of("README.md", card)]


TARGET = Target(REPO, "folder", writing=True)


def whole_way(parts):
    """Look, create, commit."""
    TARGET.login()
    if (there := TARGET.look()) is None:
        TARGET.create(private=False)
        there = TARGET.look()
    return TARGET.commit(parts, there.commit, "message")


def says(hub, parts, *texts, kind=HubError, most=2):
    with pytest.raises(kind) as caught:
        whole_way(parts)
    error = caught.value
    for text in texts:
        assert text in str(error)
    assert len(error.lines()) <= most
    assert "\n" not in error.message
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    shown = "".join(traceback.format_exception(error)) + "".join(error.lines())
    assert hub.token not in shown
    return error


def test_files_in_one_commit(hub, parts, capfd, caplog):
    commit = whole_way(parts)
    assert hub.commits(REPO)[1:] == [commit]
    assert hub.files(REPO)["model.safetensors"] == WEIGHTS
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_what_a_repo_holds(hub, parts):
    whole_way(parts)
    there = TARGET.look()
    assert (there.commit, there.private) == (hub.commits(REPO)[-1], False)
    assert all(part.matches(there.files[part.name]) for part in parts)
    assert not parts[0].matches(there.files["README.md"])
    hub.lfs = False  # the same file, now in git itself
    assert parts[0].matches(TARGET.look().files["model.safetensors"])
    assert Target("me/none", "folder", writing=False).look() is None


def test_the_visibility_is_the_owners_unless_private_is_asked_for(hub, monkeypatch):
    from huggingface_hub import HfApi

    asked = []
    monkeypatch.setattr(HfApi, "create_repo", lambda *_, private: asked.append(private))
    TARGET.create(private=False)
    TARGET.create(private=True)
    assert asked == [None, True]


# Logins.


def test_without_a_token(hub, parts, monkeypatch, tmp_path):
    with use_hub(monkeypatch, hub, tmp_path / "home"):
        says(
            hub, parts, "pushing to 'me/model' needs a login", "`hf auth login`", "HF_TOKEN", AGAIN
        )
        assert Target(REPO, "folder", writing=False).login() is None
    assert hub.requests == []


def test_a_token_that_is_not_to_be_used_implicitly_is_used_for_writing(hub, parts, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    assert whole_way(parts)


def test_a_login_that_may_not_write(hub, parts, monkeypatch, tmp_path):
    with use_hub(monkeypatch, hub, tmp_path / "home", token="hf_stranger"):
        error = says(hub, parts, "does not let this login write to 'me/model' (status 403)", most=3)
        assert error.details == ("You don't have the rights to write there",)
        assert "hf auth whoami" in error.hint
        hub.add_repo(REPO, {"README.md": b""}, private=True)
        says(hub, parts, "status 403", most=3)
        hub.add_repo(REPO, {"README.md": b""})
        says(hub, parts, "status 403", most=3)


@pytest.mark.parametrize("path", ["/api/models/", "/api/repos/create", "/preupload/", "/commit/"])
def test_an_invalid_login(hub, parts, path):
    hub.fail(401, times=2, path_contains=path)
    says(hub, parts, "does not accept this login (status 401)", "`hf auth login`", "HF_TOKEN")


def test_a_repo_that_this_login_does_not_see(hub, parts):
    hub.fail(409, path_contains="/api/repos/create")
    says(hub, parts, "'me/model' exists already, but this login does not see it (status 409)")


@pytest.mark.parametrize("status", [409, 412])
def test_a_repo_that_changed_meanwhile(hub, parts, status):
    hub.fail(status, path_contains="/commit/")
    says(hub, parts, "'me/model' changed meanwhile", AGAIN[:-1] + " --dry-run`")


# A Hub that is out of order.


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize(
    "path", ["/api/models/", "/api/repos/create", "/preupload/", "/lfs/objects/batch", "/lfs/"]
)
def test_a_hub_that_is_out_of_order(hub, parts, pauses, status, path):
    hub.fail(status, times=99, path_contains=path)
    says(hub, parts, f"status {status}")
    assert len(pauses) == (2 if path == "/api/models/" else 0)
    hub._faults.clear()
    whole_way(parts)
    assert hub.files(REPO)["model.safetensors"] == WEIGHTS


def test_a_commit_is_tried_once(hub, parts, pauses):
    hub.fail(500, path_contains="/commit/")
    says(hub, parts, "status 500", AGAIN)
    assert pauses == []
    assert sum("/commit/" in line for line in hub.writes()) == 1


def test_looking_is_tried_again(hub, parts, pauses):
    hub.fail(503, times=2, path_contains="/api/models/")
    assert whole_way(parts)
    assert pauses == [1, 2]


@pytest.mark.parametrize("status", [400, 413, 418])
def test_another_refusal_has_the_hubs_words(hub, parts, status):
    hub.fail(status, path_contains="/commit/")
    error = says(hub, parts, f"the Hub refuses the files for 'me/model' (status {status})", most=3)
    assert error.details == (f"failed on request with {status}",)


def test_the_hubs_words_may_hold_the_token(hub, parts, monkeypatch):
    from tests.support import hub_standin

    text = f"no rights\n for Bearer {hub.token}" + "x" * 500
    monkeypatch.setattr(
        hub_standin._Handler,
        "_create",
        lambda self, _: self._answer(403, {"error": text}, {}),
    )
    error = says(hub, parts, "status 403", most=3)
    assert error.details[0].startswith("no rights for Bearer ...x")
    assert len(error.details[0]) == 200


def test_a_malformed_card(hub, parts):
    bad = Part.of("README.md", b"---\nlicense: [\n---\n")
    texts = ("refuses the files for 'me/model'", "metadata is no YAML", "correct README.md")
    says(hub, [bad], *texts, kind=UsageError, most=4)


def test_a_store_that_gets_something_else(hub, parts, tmp_path):
    hub.fail(403, path_contains="/lfs/")
    says(hub, parts, "status 403", most=3)
    assert hub.commits(REPO)[1:] == []


def test_a_file_that_cannot_be_read(hub, parts, tmp_path):
    parts[0].content.unlink()
    parts[0].content.mkdir()
    with pytest.raises(InflateZooError):
        Part.of("model.safetensors", parts[0].content)


def test_no_connection(hub, parts, pauses):
    hub._server.stop()
    says(hub, parts, "no connection to the Hub", AGAIN)
    assert pauses == [1]


def test_offline(hub, parts, monkeypatch, tmp_path):
    with use_hub(monkeypatch, hub, tmp_path / "home", token=hub.token, offline=True):
        says(hub, parts, "HF_HUB_OFFLINE", f"`HF_HUB_OFFLINE=0 {AGAIN[1:]}")


def test_what_is_no_hub(hub, parts, monkeypatch):
    from tests.support import hub_standin

    def page(self, *_, **__):
        self._head(200, 6, {"Content-Type": "text/html"})
        self.wfile.write(b"<html>")

    with monkeypatch.context() as patch:
        patch.setattr(hub_standin._Handler, "_create", page)
        says(hub, parts, "does not answer like a Hub")
    monkeypatch.setattr(hub_standin._Handler, "_describe", page)
    says(hub, parts, "does not answer like a Hub", "HF_ENDPOINT")

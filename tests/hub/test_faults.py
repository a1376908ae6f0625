"""What the Hub client raises, in our words: one sentence and the command that helps."""

import errno
import json
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, errors

from inflate_zoo.errors import (
    CheckpointError,
    HubCacheError,
    HubError,
    HubNotFoundError,
    UsageError,
)
from inflate_zoo.hub.faults import (
    Question,
    UnreachableError,
    Upload,
    fault_of,
    no_file,
    no_hub,
)

REPO = Question("org/name", "v1", "model.safetensors")
SENT = Upload("org/name", None, folder="my out", step="commit")


@pytest.fixture(autouse=True)
def _endpoint(monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "https://me:secret@hub.example.org")


def http(status, kind=errors.HfHubHTTPError, said=None, **headers):
    request = SimpleNamespace(headers={"Authorization": "Bearer hf_mine"})
    response = SimpleNamespace(status_code=status, headers=headers, request=request)
    return kind("the client's words", response=response, server_message=said)


def test_a_question_is_named_and_asked_again_by_a_command_that_a_shell_takes():
    assert str(REPO) == "'model.safetensors' of 'org/name'"
    assert REPO.command == "hf download org/name model.safetensors --revision v1"
    odd = Question("org/name", "a b", "c d.bin")
    assert odd.command == "hf download org/name 'c d.bin' --revision 'a b'"
    assert str(Question("org/name", None)) == "'org/name'"
    assert SENT.command == "inflate-zoo push 'my out' org/name"


@pytest.mark.parametrize(
    "error, kind, told, hint",
    [
        (http(403, errors.GatedRepoError), HubError, "approved accounts", "accept the terms at"),
        (
            http(404, errors.RepositoryNotFoundError),
            HubNotFoundError,
            "not found, or",
            "auth login",
        ),
        (http(404, errors.RevisionNotFoundError), HubNotFoundError, "commit 'v1'", "ls-remote"),
        (http(404, errors.RemoteEntryNotFoundError), HubNotFoundError, "no file", "--dry-run"),
        (http(401), HubError, "refuses", "unset HF_TOKEN"),
        (http(403), HubError, "status 403", "unset HF_TOKEN"),
        (http(416), CheckpointError, "no valid safetensors header", "--force-download"),
        (http(418), HubError, "does not answer like a Hub", "HF_ENDPOINT"),
        (http(429), UnreachableError, "too many requests", "wait some minutes"),
        (http(500), UnreachableError, "out of order", "try again later"),
        (errors.OfflineModeIsEnabled("x"), UnreachableError, "is offline", "HF_HUB_OFFLINE=0"),
        (errors.SafetensorsParsingError("x"), CheckpointError, "no valid safetensors", "anew"),
        (json.JSONDecodeError("x", "", 0), HubError, "like a Hub", "HF_ENDPOINT"),
        (OSError(errno.ENOSPC, "No space left"), HubCacheError, "is full", "HF_HOME"),
        (PermissionError(errno.EACCES, "denied"), HubCacheError, "cannot be used", "HF_HOME"),
        (ConnectionResetError(errno.ECONNRESET, "x"), UnreachableError, "was cut", "try again"),
        (TimeoutError("slow"), UnreachableError, "no connection", "check the network"),
        (RuntimeError("of the transfer"), UnreachableError, "no connection", "check the network"),
    ],
)
def test_a_fault_is_one_sentence_and_a_step(error, kind, told, hint):
    found = fault_of(error, REPO)
    assert type(found) is kind
    assert told in found.message
    assert hint in found.hint
    assert "\n" not in found.message
    assert "secret" not in str(found)
    assert "the client's words" not in str(found)


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), KeyboardInterrupt()])
def test_what_is_no_fault_of_hub_or_disk_is_none(error):
    assert fault_of(error, REPO) is None


@pytest.mark.parametrize(
    "after, wait", [("5", 5), ("3600", 30), ("", 0), ("-1", 0), ("Fri, 27 Nov", 0)]
)
def test_a_busy_hub_says_how_long_to_wait_within_reason(after, wait):
    found = fault_of(http(503, **{"Retry-After": after}), REPO)
    assert (found.tries, found.wait) == (3, wait)


def test_what_the_client_tried_itself_is_not_tried_again():
    error = errors.LocalEntryNotFoundError("not in the cache")
    error.__cause__ = http(503)
    assert fault_of(error, REPO).tries == 1
    error.__cause__ = http(401)
    assert "refuses" in fault_of(error, REPO).message
    error.__cause__ = None
    assert "no connection" in fault_of(error, REPO).message


@pytest.mark.parametrize(
    "error, kind, told",
    [
        (http(401, said="bad token"), HubError, "does not accept this login"),
        (http(403), HubError, "does not let this login write"),
        (http(409), HubError, "changed meanwhile (status 409); nothing in it was overwritten"),
        (http(412), HubError, "changed meanwhile"),
        (http(400), HubError, "refuses the files"),
        (errors.OfflineModeIsEnabled("x"), HubError, "while HF_HUB_OFFLINE is set"),
        (errors.LocalTokenNotFoundError("x"), HubError, "needs a login"),
        (json.JSONDecodeError("x", "", 0), HubError, "does not answer like a Hub"),
        (ValueError("license: x\nis no license"), UsageError, "the Hub refuses the files"),
        (PermissionError(errno.EACCES, "denied"), UsageError, "cannot be read"),
    ],
)
def test_a_fault_of_an_upload_is_told_as_one(error, kind, told):
    found = fault_of(error, SENT)
    assert isinstance(found, kind)
    assert told in found.message
    assert found.hint


def test_a_repo_that_this_login_does_not_see_exists_already():
    found = fault_of(http(409), Upload("org/name", None, folder="out", step="create"))
    assert "exists already, but this login does not see it" in found.message


def test_only_looking_is_tried_again():
    look = Upload("org/name", None, folder="out")
    assert (fault_of(http(503), look).tries, fault_of(http(503), SENT).tries) == (3, 1)
    assert fault_of(http(404, errors.RepositoryNotFoundError), look).message.endswith("login")
    wrapped = RuntimeError("file x")
    wrapped.__cause__ = http(503)
    assert fault_of(wrapped, SENT).tries == 1


def test_the_hubs_own_words_are_told_in_one_line_without_the_token():
    found = fault_of(http(400, said="no\nsuch hf_mine " + "x" * 300), SENT)
    assert found.details[0].startswith("no such ... xxx")
    assert len(found.details[0]) == 200


def test_a_file_that_is_not_there_is_answered_with_a_close_one():
    asked = Question("org/name", "v1", "model.safetensor", ("config.json", "model.safetensors"))
    assert no_file(asked).hint == "did you mean 'model.safetensors'?"
    assert no_file(REPO).hint == "see its files: `hf download org/name --revision v1 --dry-run`"


def test_the_endpoint_is_told_without_a_password():
    assert "https://hub.example.org does not answer" in no_hub(REPO).message

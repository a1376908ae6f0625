"""What the Hub client raises, in our words: one sentence and the command that helps."""

import difflib
import errno
import json
import re
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Literal

from inflate_zoo.errors import (
    CheckpointError,
    HubCacheError,
    HubError,
    HubNotFoundError,
    InflateZooError,
    UsageError,
)

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

__all__ = [
    "Question",
    "Step",
    "UnreachableError",
    "Upload",
    "fault_of",
    "no_file",
    "no_hub",
    "no_login",
    "no_safetensors",
]

Step = Literal["look", "create", "commit"]

_LONGEST_WAIT = 30  # seconds, whatever Retry-After says


class UnreachableError(HubError):
    """The Hub did not give an answer: worth another try, or a look into the cache."""

    tries = 1
    wait = 0.0  # seconds the Hub asked for


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked for: a repo at a revision, or one file of it."""

    repo: str
    revision: str | None
    name: str | None = None
    files: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name!r} of '{self.repo}'" if self.name else f"'{self.repo}'"

    @property
    def command(self) -> str:
        """The command that asks for the same."""
        name = [quote(self.name)] if self.name else []
        revision = ["--revision", quote(self.revision)] if self.revision else []
        return " ".join(["hf", "download", self.repo, *name, *revision])


@dataclass(frozen=True, slots=True)
class Upload(Question):
    """What was asked for on a folder's way into a repo.

    Attributes:
        folder: Its name.
        step: `look` only asks, and may be asked again.
    """

    folder: str = ""
    step: Step = "look"

    @property
    def command(self) -> str:
        """The command that asks for the same."""
        return f"inflate-zoo push {quote(self.folder)} {self.repo}"


def fault_of(error: BaseException, question: Question) -> InflateZooError | None:
    """Say an error of the client in our words; None for what is no fault of Hub or disk."""
    from huggingface_hub import errors

    if isinstance(question, Upload):
        return _upload_fault(error, question)
    if isinstance(error, errors.LocalEntryNotFoundError):  # raised after the client's own tries
        cause = error.__cause__
        fault = (fault_of(cause, question) if cause else None) or _connection_fault(question)
        if isinstance(fault, UnreachableError):
            fault.tries = 1
        return fault
    if isinstance(error, errors.OfflineModeIsEnabled):
        hint = f"run once online: `HF_HUB_OFFLINE=0 {question.command}`"
        return UnreachableError(f"{question} is not cached, and the Hub is offline", hint=hint)
    if isinstance(error, errors.SafetensorsParsingError):
        return no_safetensors(question)
    if isinstance(error, json.JSONDecodeError):
        return no_hub(question)
    if isinstance(error, errors.HfHubHTTPError):
        return _status_fault(error, question)
    return _other_fault(error, question)


def _status_fault(error: "HfHubHTTPError", question: Question) -> InflateZooError:
    from huggingface_hub import errors

    page = f"{_endpoint()}/{question.repo}"
    if isinstance(error, errors.GatedRepoError):  # a RepositoryNotFoundError too
        hint = f"accept the terms at {page}, then `hf auth login`"
        return HubError(f"'{question.repo}' is open to approved accounts only", hint=hint)
    if isinstance(error, errors.RepositoryNotFoundError):
        message = f"'{question.repo}': not found, or private and not visible without login"
        return HubNotFoundError(message, hint="check the name, or run `hf auth login`")
    if isinstance(error, errors.RevisionNotFoundError):
        message = f"'{question.repo}' has no branch, tag or commit '{question.revision}'"
        return HubNotFoundError(message, hint=f"see them all: `git ls-remote {page}`")
    if isinstance(error, errors.EntryNotFoundError):
        return no_file(question)
    return _refusal(error, question)


def _refusal(error: "HfHubHTTPError", question: Question) -> InflateZooError:
    status, after = error.response.status_code, error.response.headers.get("Retry-After", "")
    if status in (401, 403):
        hint = "run `hf auth login` with an account that may read it, or unset HF_TOKEN"
        return HubError(f"the Hub refuses {question} to this login (status {status})", hint=hint)
    if status == 416:  # of an empty file no byte can be asked for
        return no_safetensors(question)
    if status not in (408, 429) and status < 500:
        return no_hub(question)
    hint = f"try again later: `{question.command}`"
    message = f"the Hub is out of order (status {status}, {question})"
    if status == 429:
        message = f"the Hub had too many requests from here (status 429, {question})"
        hint = "wait some minutes, or get a higher limit by `hf auth login`"
    fault = UnreachableError(message, hint=hint)
    fault.tries = 3
    fault.wait = min(int(after), _LONGEST_WAIT) if after.isdecimal() else 0
    return fault


def _other_fault(error: BaseException, question: Question) -> InflateZooError | None:
    # httpx and, where the client uses it, hf_xet let their own errors out; the latter has
    # RuntimeError for nearly everything.
    library = type(error).__module__.partition(".")[0]
    is_disk = isinstance(error, OSError) and error.errno is not None
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
        hint = "make room, see `hf cache ls`, or `export HF_HOME=` a folder on another disk"
        return HubCacheError(f"the disk of the Hub cache is full ({question})", hint=hint)
    if is_disk and not isinstance(error, ConnectionError | TimeoutError):
        reason = error.strerror if isinstance(error, OSError) else None
        hint = "`export HF_HOME=` a folder that can be written"
        return HubCacheError(f"the Hub cache cannot be used for {question}: {reason}", hint=hint)
    if library in ("httpx", "httpx2", "hf_xet") or isinstance(error, OSError | RuntimeError):
        return _connection_fault(question)
    return None


def _connection_fault(question: Question) -> UnreachableError:
    message = f"no connection to the Hub at {_endpoint()}, or it was cut ({question})"
    hint = f"check the network, then try again: `{question.command}`"
    fault = UnreachableError(message, hint=hint)
    fault.tries = 2
    return fault


def _upload_fault(error: BaseException, question: Upload) -> InflateZooError | None:
    from huggingface_hub import errors

    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        return _upload_fault(error.__cause__, question)  # the client only says which file it was
    if isinstance(error, errors.OfflineModeIsEnabled):
        hint = f"go online: `HF_HUB_OFFLINE=0 {question.command}`"
        return HubError("nothing can be pushed while HF_HUB_OFFLINE is set", hint=hint)
    if isinstance(error, errors.LocalTokenNotFoundError):
        return no_login(question)
    if isinstance(error, errors.RepositoryNotFoundError) and question.step == "look":
        return _status_fault(error, question)
    if isinstance(error, errors.HfHubHTTPError):
        return _upload_refusal(error, question)
    if isinstance(error, json.JSONDecodeError):
        return no_hub(question)
    if isinstance(error, ValueError):  # the client's own words for what the Hub said of the files
        hint = f"correct README.md, then `{question.command}`"
        lines = str(error).splitlines()
        return UsageError(f"the Hub refuses the files for {question}", details=lines, hint=hint)
    fault = _other_fault(error, question)
    if isinstance(fault, HubCacheError):  # the client writes nothing here
        return UsageError(f"a file for {question} cannot be read", hint="check its permissions")
    return _once(fault, question) if isinstance(fault, UnreachableError) else fault


def _upload_refusal(error: "HfHubHTTPError", question: Upload) -> InflateZooError:
    status, said = error.response.status_code, _words_of(error)
    if status == 401:
        hint = "log in anew by `hf auth login`, or set HF_TOKEN to a valid token"
        return HubError("the Hub does not accept this login (status 401)", hint=hint)
    if status in (402, 403, 404):
        message = f"the Hub does not let this login write to {question} (status {status})"
        hint = (
            "who that is: `hf auth whoami`; `hf auth login` takes another token, with write access"
        )
        return HubError(message, details=said, hint=hint)
    if status == 409 and question.step == "create":
        message = f"{question} exists already, but this login does not see it (status 409)"
        return HubError(message, hint="who that is: `hf auth whoami`; or choose another name")
    if status in (409, 412):
        message = f"{question} changed meanwhile (status {status}); nothing in it was overwritten"
        return HubError(message, hint=f"compare anew: `{question.command} --dry-run`")
    fault = _refusal(error, question)
    if isinstance(fault, UnreachableError):
        return _once(fault, question)
    message = f"the Hub refuses the files for {question} (status {status})"
    return HubError(message, details=said, hint=f"try again later: `{question.command}`")


def _once(fault: UnreachableError, question: Upload) -> UnreachableError:
    """No second try of what may have happened though no answer came."""
    fault.tries = fault.tries if question.step == "look" else 1
    return fault


def _words_of(error: "HfHubHTTPError") -> list[str]:
    """What the Hub said, in one line, or nothing; without the token, whatever it said."""
    said = " ".join((error.server_message or "").split())
    token = error.response.request.headers.get("Authorization", "").removeprefix("Bearer ")
    said = said.replace(token, "...") if token else said
    return [said[:200]] if said else []


def no_login(question: Question) -> HubError:
    """There is no token."""
    hint = (
        f"`hf auth login`, or set HF_TOKEN to a token with write access; then `{question.command}`"
    )
    return HubError(f"pushing to {question} needs a login", hint=hint)


def no_file(question: Question) -> HubNotFoundError:
    """The repo has no such file; names a close one."""
    close = difflib.get_close_matches(question.name or "", question.files, n=1)
    listing = Question(question.repo, question.revision).command
    hint = f"did you mean '{close[0]}'?" if close else f"see its files: `{listing} --dry-run`"
    return HubNotFoundError(f"'{question.repo}' has no file {question.name!r}", hint=hint)


def no_hub(question: Question) -> HubError:
    """What answers at the endpoint is no Hub."""
    hint = "is HF_ENDPOINT right? `hf env` shows it; a proxy may want a login too"
    return HubError(f"{_endpoint()} does not answer like a Hub ({question})", hint=hint)


def no_safetensors(question: Question) -> CheckpointError:
    """The file is empty or has no header that makes sense."""
    hint = f"get it anew: `{question.command} --force-download`"
    return CheckpointError(f"{question} has no valid safetensors header", hint=hint)


def _endpoint() -> str:
    from huggingface_hub import constants

    return re.sub("//[^/@]*@", "//", constants.ENDPOINT)  # without a password

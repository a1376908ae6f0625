"""Every error the package raises on purpose.

InflateZooError                 one sentence, details, the next step; `exit_code` for the shell
├── UsageError          (2)     the arguments, or a file that was named, cannot be used
│   ├── UnknownNameError        no such scheme, family or architecture
│   ├── CheckpointError         a weight file is damaged, unsafe or not what it seems
│   ├── ConfigError             config.json is malformed or disagrees with the tensors
│   ├── AccountingError         source tensors left over, missing or of an unexpected shape
│   ├── AmbiguousSourceError    several families fit
│   ├── UnsupportedModelError   a model that no family covers
│   ├── OutputExistsError       the output folder holds something
│   └── HubNotFoundError        no such repo, revision or file
└── WorkError           (1)     the work failed
    ├── HubError                network, access, offline
    ├── WriteError              disk full, read-only folder, I/O
    │   └── HubCacheError       the same, of the Hub's own cache
    ├── VerificationError       the 3D network does not reproduce the 2D one
    ├── WindowError             a training window cannot be made
    ├── NotFiniteError          the loss or its gradient is NaN or infinite
    └── DeadWorkerError         a process that makes windows died
"""

import difflib
import re
import sys
from collections.abc import Iterable, Sequence

_LONGEST = 1000  # characters of a line
_MOST_LINES = 10
_NO_GPU_MEMORY = 2  # cudaErrorMemoryAllocation, and HIP's


_USER = re.compile(r"(?<=://)[^\s/?#]*@")  # of an address, with the password


def without_password(text: str) -> str:
    """A text whose addresses name neither user nor password."""
    return _USER.sub("", text)


def visible(text: object) -> str:
    """One line without control, format or private characters: they are shown escaped."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def printable(text: str) -> str:
    """One line that forges nothing and gives nothing away.

    Names come from files of strangers: line breaks, control characters and direction marks are
    escaped. Addresses lose user and password.
    """
    return visible(without_password(text))


def _line(text: str) -> str:
    return printable(text if len(text) <= _LONGEST else text[:_LONGEST] + "...")


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out.

    torch has a type for a GPU's, `torch.OutOfMemoryError`, and for one too full to be used at all
    the driver's number; its CPU allocator raises a plain RuntimeError, which is known by the
    allocator's name alone.
    """
    torch = sys.modules.get("torch")  # what was not imported raised nothing
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.OutOfMemoryError)):
        return True
    if torch and isinstance(error, torch.AcceleratorError):
        return getattr(error, "error_code", None) == _NO_GPU_MEMORY
    return type(error) is RuntimeError and "DefaultCPUAllocator: " in str(error)


class InflateZooError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: One sentence: what is wrong and where.
        hint: The next step, best a command to type.
        details: Further lines, e.g. the tensors concerned; long lists are cut on display.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = without_password(message)
        self.hint = without_password(hint)
        self.details = tuple(map(without_password, details))

    def lines(self) -> list[str]:
        """The error as at most ten lines, long details counted."""
        room = _MOST_LINES - 2  # besides the message and the hint
        shown = list(self.details)
        if len(shown) > room:
            shown = [*shown[: room - 1], f"... and {len(shown) - room + 1} more"]
        return [_line(text) for text in (self.message, *(f"  {s}" for s in shown), self.hint)]

    def __str__(self) -> str:
        return "\n".join(self.lines())


class UsageError(InflateZooError):
    """The arguments, or a file that was named, cannot be used."""

    exit_code = 2


class WorkError(InflateZooError):
    """The arguments were fine, the work failed."""


class UnknownNameError(UsageError):
    """A scheme, family or architecture that does not exist."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
        hint = f"did you mean '{close[0]}'?" if close else f"known: {shown}"
        super().__init__(f"no {kind} named '{name}'", hint=hint)


class CheckpointError(UsageError):
    """A weight file is damaged, unsafe or not what it seems."""


class ConfigError(UsageError):
    """A config.json is malformed or disagrees with the tensors."""


class AccountingError(UsageError):
    """Source tensors are left over, missing or of an unexpected shape."""


class AmbiguousSourceError(UsageError):
    """Several families fit the source."""


class UnsupportedModelError(UsageError):
    """A model that no family covers."""


class OutputExistsError(UsageError):
    """The output folder already holds something."""


class HubNotFoundError(UsageError):
    """The Hub has no such repo, revision or file."""


class HubError(WorkError):
    """The Hub could not be reached, or refused."""


class WriteError(WorkError):
    """The output could not be written."""


class HubCacheError(WriteError):
    """The Hub's own cache could not be written."""


class VerificationError(WorkError):
    """The 3D network does not reproduce the 2D one."""


class WindowError(WorkError):
    """A training window cannot be made."""

    def __init__(self, case: str, reason: str) -> None:
        super().__init__(
            f"a training window of case '{case}' cannot be made: {reason}",
            hint="run 'inflate-zoo data check' on the data set",
        )
        self.case = case


class NotFiniteError(WorkError):
    """The loss or its gradient is NaN or infinite; `cases` are those of the step."""

    def __init__(self, step: int, cases: list[str]) -> None:
        super().__init__(
            f"the loss or its gradient is NaN or infinite at step {step}, on {', '.join(cases)}",
            hint="lower the learning rate, e.g. --set train.learning_rate=1e-4",
        )
        self.cases = cases


class DeadWorkerError(WorkError):
    """A process that makes windows died; `cases` are those that were waited for."""

    def __init__(self, cases: list[str]) -> None:
        super().__init__(
            f"a process that makes training windows died, making those of {', '.join(cases)}",
            hint="it may have run out of memory: lower --workers",
        )
        self.cases = cases

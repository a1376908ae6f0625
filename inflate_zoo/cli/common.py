"""What all commands share: option types, output, errors."""

import functools
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from signal import SIGINT
from types import MappingProxyType
from typing import Annotated, Any, ParamSpec

import typer

from inflate_zoo.cli import completion
from inflate_zoo.cli.help import NETWORK, NORMALIZATION, SOURCE
from inflate_zoo.cli.tables import Column, facts, hanging, table, terminal_width
from inflate_zoo.errors import InflateZooError, UsageError, out_of_memory, printable
from inflate_zoo.extras import install_hint
from inflate_zoo.interrupts import received

Parameters = ParamSpec("Parameters")

_MOST_GROUPS = 8  # modules that are named in one line
BENCH_LIBRARIES = ("accelerate", "matplotlib", "monai", "nibabel", "psutil", "scipy",
                   "surface_distance", "tensorboard")  # fmt: skip

_LESS_MEMORY = MappingProxyType({  # options of a command, and how they help where memory ran out
    "verify": "--no-verify needs least",
    "arm": "fewer networks (--arm, --seed, --fold) need less",
    "device": "--device cpu leaves a GPU's alone",
})  # fmt: skip
_HUB_BARS = "HF_HUB_DISABLE_PROGRESS_BARS"


@dataclass
class _Talk:
    """How much the command that runs tells; `guarded` sets it.

    Attributes:
        quiet: Whether advice and progress are held back.
    """

    quiet: bool = False


_talk = _Talk()


class OutputFormat(StrEnum):
    """How results are printed on stdout."""

    human = "human"
    json = "json"


def _several(text: str, kind: Callable[[str], Any], form: str, example: str) -> tuple[Any, ...]:
    try:
        values = tuple(kind(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        values = ()
    if len(values) != example.count(",") + 1:
        raise typer.BadParameter(f"'{text}' is not {form}, e.g. {example}")
    return values


def _triple(text: str, kind: Callable[[str], Any], example: str) -> tuple[Any, Any, Any]:
    depth, height, width = _several(text, kind, "three numbers D,H,W", example)
    return depth, height, width


def parse_patch(text: str) -> tuple[int, int]:
    """Height, width in pixels from `H,W`."""
    height, width = _several(text, int, "two numbers H,W", "16,16")
    return height, width


def parse_volume(text: str) -> tuple[int, int, int]:
    """Depth, height, width in voxels from `D,H,W`."""
    return _triple(text, int, "96,224,224")


def parse_spacing(text: str) -> tuple[float, float, float]:
    """Depth, height, width in mm from `D,H,W`."""
    return _triple(text, float, "5,0.8,0.8")


def parse_values(text: str) -> tuple[float, ...]:
    """One number, or one for each channel, from `R,G,B`."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"'{text}' is no number and no list R,G,B, e.g. 0.5") from None


def _format(text: str) -> OutputFormat:
    if text not in list(OutputFormat):
        raise typer.BadParameter(f"'{text}' is not {' or '.join(OutputFormat)}")
    return OutputFormat(text)


Format = Annotated[
    OutputFormat,
    typer.Option(
        "--format",
        parser=_format,
        metavar=f"[{'|'.join(OutputFormat)}]",
        autocompletion=completion.formats,
        help="Output for people or programs.",
    ),
]
Source = Annotated[
    str,
    typer.Argument(
        autocompletion=completion.sources, help="Hub repo (org/name@revision), folder or file."
    ),
]
EntryName = Annotated[
    str,
    typer.Argument(
        autocompletion=completion.zoo_entries, help="Entry of the zoo: see 'inflate-zoo zoo'."
    ),
]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="Only results, warnings and errors are told.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Scheme = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=NETWORK,
        autocompletion=completion.schemes,
        help="How the stem gains depth: see 'inflate-zoo schemes' [default: center].",
    ),
]
PatchDepth = Annotated[
    int | None,
    typer.Option(
        rich_help_panel=NETWORK, help="Patch size along depth in voxels [default: as in the plane]."
    ),
]
PatchSize = Annotated[
    Any,
    typer.Option(
        parser=parse_patch,
        metavar="H,W",
        rich_help_panel=NETWORK,
        help="In-plane patch in pixels to resize the stem to [default: the source's].",
    ),
]
DepthWindow = Annotated[
    int | None,
    typer.Option(
        rich_help_panel=NETWORK, help="Depth of windows in tokens [default: as in the plane]."
    ),
]
MergeDepth = Annotated[
    bool,
    typer.Option(
        "--merge-depth",
        rich_help_panel=NETWORK,
        help="Merge tokens over depth too, where stages merge.",
    ),
]
Volume = Annotated[
    Any,
    typer.Option(
        parser=parse_volume,
        metavar="D,H,W",
        rich_help_panel=NETWORK,
        help="Volume in voxels the network takes.",
    ),
]
Channels = Annotated[
    int | None,
    typer.Option(rich_help_panel=NETWORK, help="Input channels of the 3D network [default: 1]."),
]
Mean = Annotated[
    Any,
    typer.Option(
        parser=parse_values,
        metavar="R,G,B",
        rich_help_panel=NORMALIZATION,
        help="Mean to fold, of [0, 1] [default: the source's].",
    ),
]
Std = Annotated[
    Any,
    typer.Option(
        parser=parse_values,
        metavar="R,G,B",
        rich_help_panel=NORMALIZATION,
        help="Standard deviation to fold, likewise.",
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(rich_help_panel=SOURCE, help="Branch, tag or commit of a Hub repo."),
]
Family = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=SOURCE,
        autocompletion=completion.families,
        help="Family, if it cannot be told: see 'families'.",
    ),
]
Arch = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=SOURCE,
        help="timm architecture of a bare file, e.g. vit_base_patch16_224.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=SOURCE,
        help="Which copy in a training file, e.g. teacher, student or ema.",
    ),
]


def taken_text(taken: str, copies: Sequence[str], file: str) -> str | None:
    """Which part of a file was taken; `None` where it holds nothing else that could be."""
    if not taken and not copies:
        return None
    others = ", ".join(f"{copy}*" for copy in copies)
    more = f"; it also holds {others}: --weights chooses" if others else ""
    return f"{taken}* of {file}{more}"


def dropped_text(taken: str, dropped: Sequence[str]) -> str:
    """What was left out: modules with the number of their tensors."""
    from inflate_zoo.naming.towers import counted, left_out

    groups = [counted(name, tensors) for name, tensors in left_out(taken, dropped).items()]
    more = f" and {len(groups) - _MOST_GROUPS} more" if len(groups) > _MOST_GROUPS else ""
    return ", ".join(groups[:_MOST_GROUPS]) + more if groups else "nothing"


def needs_bench() -> None:
    """Refuse to start without the libraries of the ranking.

    Raises:
        UsageError: One is not installed.
    """
    from importlib.util import find_spec

    missing = [name for name in BENCH_LIBRARIES if find_spec(name) is None]
    if missing:
        raise UsageError(f"this command needs {', '.join(missing)}", hint=install_hint(missing))


def watched() -> bool:
    """Whether bars are of use: there is a terminal, and nobody asked for quiet."""
    return sys.stderr.isatty() and not _talk.quiet


def say(text: str, *, urgent: bool = False) -> None:
    """Advice, on stderr; urgent are errors and warnings, which --quiet does not hold back."""
    if _talk.quiet and not urgent:
        return
    lines = "\n".join(printable(line) for line in text.split("\n"))
    with suppress(OSError):  # there is nobody left to tell
        sys.stderr.write(f"{lines}\n")  # not typer.echo, which writes into Rich's bars


def tell(line: str) -> None:
    """A line of a result, on stdout."""
    typer.echo(printable(line))


def tell_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """A table, on stdout, fitted to a terminal."""
    shown = table(columns, rows, terminal_width())
    for line in shown.lines:
        tell(line)
    if shown.left_out:
        say(f"no room for {', '.join(shown.left_out)}: see --format json, or a wider terminal")


def tell_facts(rows: Iterable[tuple[str, str]], start: int, indent: int = 0) -> None:
    """Names and what is said of each, on stdout, fitted to a terminal.

    Args:
        rows: Name and text.
        start: Column in which texts begin.
        indent: Columns by which all is set in.
    """
    named = [(" " * indent + name, text) for name, text in rows]
    for line in facts(named, start, terminal_width()):
        tell(line)


def tell_text(text: str) -> None:
    """Lines of a text, on stdout, broken at spaces where a terminal is narrower."""
    for line in text.splitlines():
        for part in hanging(printable(line), 0, terminal_width()):
            tell(part)


def print_json(value: object) -> None:
    """A result for programs, on stdout; null for a number that JSON has no word for."""
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    kept = (c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    typer.echo("".join(kept))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    say(f"warning: {message}", urgent=True)


def guarded(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Turn errors into a sentence, the next step and an exit code; tracebacks on request."""

    @functools.wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            with _talking(quiet=bool(kwargs.get("quiet"))), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.filterwarnings("always", module="inflate_zoo", category=UserWarning)
                warnings.showwarning = _show_warning
                command(*args, **kwargs)
        except BaseException as error:
            code = _answer(error, kwargs.keys(), debug=bool(kwargs.get("debug")))
            if code is None:
                raise
            raise typer.Exit(code) from None

    return run


@contextmanager
def _talking(*, quiet: bool) -> Iterator[None]:
    """Hold advice and bars back in the block, if that is asked for."""
    with ExitStack() as after:
        after.callback(setattr, _talk, "quiet", _talk.quiet)
        if quiet:
            _talk.quiet = True
            if _HUB_BARS not in os.environ:  # it reads that once it is imported
                os.environ[_HUB_BARS] = "1"
                after.callback(os.environ.pop, _HUB_BARS, None)
        yield


def _answer(error: BaseException, options: Collection[str], *, debug: bool) -> int | None:
    """Say what went wrong; the exit code, or `None` where that is not ours to answer.

    Args:
        error: What was raised.
        options: Names of the command's parameters.
        debug: Whether a traceback is wanted.
    """
    if (number := received(error)) is not None:
        how = "interrupted" if number == SIGINT else "terminated"
        say(f"{how}; nothing half-written was left", urgent=True)
        return 128 + number
    # An exit is an exception as well, but no error.
    if debug or isinstance(error, typer.Exit) or not isinstance(error, Exception):
        return None
    if isinstance(error, InflateZooError):
        first, *rest = error.lines()
        for line in (f"error: {first}", *rest):
            say(line, urgent=True)
        return error.exit_code
    if out_of_memory(error):
        told = "out of memory"
        ways = [way for option, way in _LESS_MEMORY.items() if option in options]
        hint = "; ".join(["close other programs, or use a larger machine", *ways])
    else:
        told = f"unexpected {type(error).__name__}; this is a bug of inflate-zoo"
        hint = "run the same command with --debug and report what it prints"
    say(f"error: {told}\n{hint}", urgent=True)
    return 1

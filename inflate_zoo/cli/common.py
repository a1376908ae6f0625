"""What all commands share: option types, output, errors."""

import functools
import json
import sys
import warnings
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, NoReturn, ParamSpec

import typer

from inflate_zoo.errors import InflateZooError, UsageError

Parameters = ParamSpec("Parameters")

BENCH_LIBRARIES = ("accelerate", "matplotlib", "monai", "nibabel", "psutil", "scipy",
                   "surface_distance", "tensorboard")  # fmt: skip


class OutputFormat(StrEnum):
    """How results are printed on stdout."""

    human = "human"
    json = "json"


def _triple(text: str, kind: Callable[[str], Any], example: str) -> tuple[Any, Any, Any]:
    try:
        values = tuple(kind(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        values = ()
    if len(values) != 3:
        raise typer.BadParameter(f"'{text}' is not three numbers D,H,W, e.g. {example}")
    return values


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


Format = Annotated[OutputFormat, typer.Option("--format", help="Output for people or programs.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Scheme = Annotated[str, typer.Option(help="How the stem gains depth: see 'inflate-zoo schemes'.")]
PatchDepth = Annotated[
    int | None, typer.Option(help="Patch size along depth in voxels [default: as in the plane].")
]
Volume = Annotated[
    Any,
    typer.Option(parser=parse_volume, metavar="D,H,W", help="Volume in voxels the network takes."),
]
Channels = Annotated[int, typer.Option(help="Input channels of the 3D network.")]
Mean = Annotated[
    Any,
    typer.Option(
        parser=parse_values,
        metavar="R,G,B",
        help="Mean to fold, of [0, 1] [default: the source's].",
    ),
]
Std = Annotated[
    Any,
    typer.Option(
        parser=parse_values, metavar="R,G,B", help="Standard deviation to fold, likewise."
    ),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub repo.")]
Family = Annotated[
    str | None, typer.Option(help="Naming scheme, if it cannot be told: see 'families'.")
]
Arch = Annotated[
    str | None, typer.Option(help="timm architecture of a bare file, e.g. vit_base_patch16_224.")
]


def needs_bench() -> None:
    """Refuse to start without the libraries of the ranking.

    Raises:
        UsageError: One is not installed.
    """
    from importlib.util import find_spec

    missing = [name for name in BENCH_LIBRARIES if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"this command needs {', '.join(missing)}", hint='pip install "inflate-zoo[bench]"'
        )


def say(text: str) -> None:
    """Advice and errors, on stderr."""
    lines = "\n".join(printable(line) for line in text.split("\n"))
    sys.stderr.write(f"{lines}\n")  # not typer.echo, which writes into Rich's bars


def printable(line: str) -> str:
    """A line without line breaks, direction marks and other things that would forge one."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in line
    )


def print_json(value: object) -> None:
    """A result for programs, on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _fail(error: InflateZooError) -> NoReturn:
    first, *rest = error.lines()
    for line in (f"error: {first}", *rest):
        say("".join(char if char.isprintable() else " " for char in line))
    raise typer.Exit(error.exit_code)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    say(f"warning: {message}")


def guarded(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Turn errors into a sentence, the next step and an exit code; tracebacks on request."""

    @functools.wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.filterwarnings("always", module="inflate_zoo", category=UserWarning)
                warnings.showwarning = _show_warning
                command(*args, **kwargs)
        except KeyboardInterrupt:
            say("interrupted; nothing half-written was left")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(1) from None
        except typer.Exit:  # an exception as well, but no error
            raise
        except InflateZooError as error:
            if kwargs.get("debug"):
                raise
            _fail(error)
        except Exception as error:
            if kwargs.get("debug"):
                raise
            # torch says so with a RuntimeError of its allocator.
            if isinstance(error, MemoryError) or "alloc" in str(error):
                say("error: out of memory")
                say("close other programs, or convert on a larger machine; --no-verify needs least")
                raise typer.Exit(1) from None
            say(f"error: unexpected {type(error).__name__}; this is a bug of inflate-zoo")
            say("run the same command with --debug and report what it prints")
            raise typer.Exit(1) from None

    return run

"""`inflate-zoo convert`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inflate_zoo.cli import completion
from inflate_zoo.cli.common import (
    Arch,
    Channels,
    Debug,
    DepthWindow,
    Family,
    Format,
    Mean,
    MergeDepth,
    OutputFormat,
    PatchDepth,
    PatchSize,
    Quiet,
    Revision,
    Scheme,
    Source,
    Std,
    Volume,
    Weights,
    dropped_text,
    guarded,
    print_json,
    taken_text,
    tell,
    tell_facts,
    watched,
)
from inflate_zoo.cli.help import NETWORK, NORMALIZATION

if TYPE_CHECKING:
    from inflate_zoo.conversion.record import ConversionRecord, Verification

NAME = "convert"


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr while the weights are written, where stderr is a terminal."""
    if not watched():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, Task, TextColumn
    from rich.text import Text

    class Amount(DownloadColumn):
        """Bytes, once there are any."""

        def render(self, task: Task) -> Text:
            return Text() if task.total is None else super().render(task)

    columns = (TextColumn("{task.description}"), BarColumn(), Amount())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("loading libraries", total=None)

        def update(done: int, total: int) -> None:
            label = "writing" if done < total else "verifying"
            bar.update(task, completed=done, total=total, description=label)

        yield update


@guarded
def command(
    source: Source,
    out: Annotated[
        Path | None, typer.Option(help="Output folder [default: <name>-3d-<scheme>].")
    ] = None,
    scheme: Scheme = None,
    patch_depth: PatchDepth = None,
    volume: Volume = None,
    channels: Channels = None,
    fold_normalization: Annotated[
        bool,
        typer.Option(
            "--fold-normalization",
            rich_help_panel=NORMALIZATION,
            help="Fold the input normalisation in.",
        ),
    ] = False,
    mean: Mean = None,
    std: Std = None,
    depth_window: DepthWindow = None,
    merge_depth: MergeDepth = False,
    patch_size: PatchSize = None,
    revision: Revision = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=NETWORK,
            autocompletion=completion.dtypes,
            help="float32, float16 or bfloat16 [default: the source's].",
        ),
    ] = None,
    family: Family = None,
    arch: Arch = None,
    weights: Weights = None,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Prove the conversion.")
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Replace our own files in a folder that exists.")
    ] = False,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    quiet: Quiet = False,  # noqa: ARG001 - read by `guarded`
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Convert a 2D checkpoint into proven 3D weights.

    inflate-zoo convert facebook/dino-vitb16 --scheme center

    inflate-zoo convert ./my-vit --volume 32,224,224 --patch-depth 4 --fold-normalization
    """
    from inflate_zoo.conversion.converting import Request, convert_source
    from inflate_zoo.inflation.recipe import checked_options

    options = checked_options(
        scheme, patch_depth, volume, channels, dtype,
        fold_normalization=fold_normalization, mean=mean, std=std,
        depth_window=depth_window, merge_depth=merge_depth, patch_size=patch_size,
    )  # fmt: skip
    with _progress() as progress:
        request = Request(options, family, arch, weights, verify=verify, force=force)
        folder = convert_source(source, out, request, revision=revision, progress=progress)
    from inflate_zoo.conversion.record import read_conversion

    record = read_conversion(folder)
    if format is OutputFormat.json:
        print_json({"folder": str(folder), **record.as_dict()})
    else:
        _report(folder, record)


def _report(folder: Path, record: "ConversionRecord") -> None:
    from inflate_zoo.networks.backbone import read_backbone_config

    source, recipe = record.source, record.recipe
    origin = f"{source.address} at {(source.commit or '')[:12]}" if source.repo else source.name
    size = "x".join(map(str, recipe.volume))
    values = "intensities in [0, 1]" if recipe.fold_normalization else "normalised as the source"
    taken = taken_text(source.taken or "", source.copies, source.weights)
    facts = [
        ("source", f"{origin} ({source.family}, license {source.license['license']})"),
        *([("weights", taken)] if taken else []),
        ("network", read_backbone_config(folder, folder).summary()),
        ("input", f"{recipe.channels} channel(s), {size} voxels by default; {values}"),
        ("dropped", dropped_text(source.taken or "", record.dropped)),
        *(("note", note) for note in record.notes),
        ("proof", proof_text(record.verification)),
    ]
    tell(f"{folder}")
    tell_facts(facts, 11, indent=2)


def proof_text(verification: "Verification | None") -> str:
    """One sentence on a verification."""
    if verification is None:
        return "none (--no-verify)"
    text = (
        f"{'passed' if verification.passed else 'failed'}: greatest error "
        f"{verification.max_error_over_rms:.1e} of the RMS (tolerance "
        f"{verification.tolerance:.0e}), against {verification.reference}{verification.feeding}"
    )
    if verification.rounding_error_over_rms is not None:
        text += f"; rounding costs {verification.rounding_error_over_rms:.1e} of the RMS"
    return text

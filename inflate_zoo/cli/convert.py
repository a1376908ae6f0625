"""`inflate-zoo convert`."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from inflate_zoo.cli.common import (
    Arch,
    Channels,
    Debug,
    Family,
    Format,
    Mean,
    OutputFormat,
    PatchDepth,
    Revision,
    Scheme,
    Std,
    Volume,
    guarded,
    print_json,
)

NAME = "convert"


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr while the weights are written, where stderr is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("writing")

        def update(done: int, total: int) -> None:
            label = "writing" if done < total else "verifying"
            bar.update(task, completed=done, total=total, description=label)

        yield update


@guarded
def command(
    source: Annotated[str, typer.Argument(help="Hub repo (org/name@revision), folder or file.")],
    out: Annotated[
        Path | None, typer.Option(help="Output folder [default: <name>-3d-<scheme>].")
    ] = None,
    scheme: Scheme = "center",
    patch_depth: PatchDepth = None,
    volume: Volume = None,
    channels: Channels = 1,
    fold_normalization: Annotated[
        bool, typer.Option("--fold-normalization", help="Fold the input normalisation in.")
    ] = False,
    mean: Mean = None,
    std: Std = None,
    revision: Revision = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, float16 or bfloat16 [default: the source's].")
    ] = None,
    family: Family = None,
    arch: Arch = None,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Prove the conversion.")
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Replace our own files in a folder that exists.")
    ] = False,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Convert a 2D checkpoint into proven 3D weights.

    inflate-zoo convert facebook/dino-vitb16 --scheme center

    inflate-zoo convert ./my-vit --volume 32,224,224 --patch-depth 4 --fold-normalization
    """
    from inflate_zoo.conversion import run
    from inflate_zoo.preparation import checked_options

    options = checked_options(
        scheme, patch_depth, volume, channels, dtype,
        fold_normalization=fold_normalization, mean=mean, std=std,
    )  # fmt: skip
    with _progress() as progress:
        folder = run(
            source,
            out,
            options,
            revision=revision,
            family=family,
            arch=arch,
            verify=verify,
            force=force,
            progress=progress,
        )
    record = json.loads((folder / "conversion.json").read_text(encoding="utf-8"))
    if format is OutputFormat.json:
        print_json({"folder": str(folder), **record})
    else:
        _report(folder, record)


def _report(folder: Path, record: dict[str, Any]) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    source, recipe = record["source"], record["recipe"]
    origin = f"{source['repo']} at {source['commit'][:12]}" if source["repo"] else source["name"]
    patch = "x".join(map(str, (config["patch_depth"], *config["patch_size"])))
    size = "x".join(map(str, recipe["volume"]))
    typer.echo(f"{folder}")
    typer.echo(f"  source   {origin} ({source['family']}, license {source['license']['license']})")
    typer.echo(f"  network  {config['depth']} blocks of width {config['embed_dim']}, patch {patch}")
    typer.echo(
        f"  input    {recipe['channels']} channel(s), {size} voxels by default; "
        f"{'intensities in [0, 1]' if recipe['fold_normalization'] else 'normalised as the source'}"
    )
    typer.echo(
        f"  dropped  {len(record['dropped'])} tensors"
        if record["dropped"]
        else "  dropped  nothing"
    )
    for note in record["notes"]:
        typer.echo(f"  note     {note}")
    typer.echo(f"  proof    {proof_text(record['verification'])}")


def proof_text(verification: dict[str, Any] | None) -> str:
    """One sentence on a verification."""
    from inflate_zoo.provenance import feeding_text

    if verification is None:
        return "none (--no-verify)"
    text = (
        f"{_verdict(verification)}: greatest error "
        f"{verification['max_error_over_rms']:.1e} of the RMS (tolerance "
        f"{verification['tolerance']:.0e}), against {verification['reference']}"
        f"{feeding_text(verification)}"
    )
    if verification["rounding_error_over_rms"] is not None:
        text += f"; rounding costs {verification['rounding_error_over_rms']:.1e} of the RMS"
    return text


def _verdict(verification: dict[str, Any]) -> str:
    """`passed` or `failed`."""
    return "passed" if verification["passed"] else "failed"

"""`inflate-zoo export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inflate_zoo.cli import completion
from inflate_zoo.cli.common import (
    Debug,
    Format,
    OutputFormat,
    Quiet,
    Volume,
    guarded,
    print_json,
    tell,
)
from inflate_zoo.texts import size

if TYPE_CHECKING:
    from inflate_zoo.exporting.record import ExportRecord, Tensor

NAME = "export"
_ANY = "dynamic"


def _parse_batch(text: str) -> int | str:
    if text == _ANY:
        return text
    if text.isdecimal() and text.isascii() and 0 < len(text) < 5 and int(text) > 0:
        return int(text)
    raise typer.BadParameter(f"'{text}' is neither 'dynamic' nor a number from 1 to 9999")


@guarded
def command(
    source: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.zoo_entries,
            help="Conversion, trial, Hub repo (org/name@revision) or zoo entry.",
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="TARGET",
            autocompletion=completion.export_targets,
            help="onnx, torch-export, monai-vit or monai-bundle.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Output folder [default: <name>-<target>].")
    ] = None,
    volume: Volume = None,
    batch: Annotated[
        Any,
        typer.Option(
            parser=_parse_batch, metavar="dynamic|N", help="Volumes at a time: any number, or N."
        ),
    ] = _ANY,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an export to the same target.")
    ] = False,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    quiet: Quiet = False,  # noqa: ARG001 - read by `guarded`
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Export a network for other programs, proved from the file that is written.

    inflate-zoo export builtin-dino-3d-center --to onnx --volume 32,64,64

    inflate-zoo export runs/my-run/trials/0123456789abcdef --to torch-export --batch 1

    inflate-zoo export ./my-conversion --to monai-vit

    inflate-zoo export runs/my-run/trials/0123456789abcdef --to monai-bundle
    """
    from inflate_zoo.exporting.exporting import ExportRequest, export_source

    number = None if batch == _ANY else batch
    request = ExportRequest(source, to, out, volume, number, force)
    folder, record = export_source(request)
    if format is OutputFormat.json:
        print_json({"folder": str(folder), **record.model_dump(mode="json")})
    else:
        _report(folder, record)


def _report(folder: Path, record: ExportRecord) -> None:
    tell(f"{folder}")
    tell(f"  source   {record.source.name} ({record.source.kind}: {record.source.network})")
    for name, file in record.files.items():
        opset = f", opset {record.opset}" if record.opset and name.endswith(".onnx") else ""
        amount = size(file.bytes) if file.bytes >= 1 << 20 else f"{file.bytes:,} B"
        tell(f"  file     {name}, {amount}{opset}")
    for tensor in record.inputs:
        tell(f"  input    {_shown(tensor)}, {record.input.told}")
    for tensor in record.outputs:
        tell(f"  output   {_shown(tensor)}")
    if record.classes:
        tell(f"  classes  {', '.join(each.name for each in record.classes)}")
    for note in record.notes:
        tell(f"  note     {note}")
    tell(f"  proof    {proof_text(record)}")


def _shown(tensor: Tensor) -> str:
    return f"{tensor.name} [{', '.join(map(str, tensor.shape))}]"


def proof_text(record: ExportRecord) -> str:
    """One sentence on what was measured."""
    proof = record.proof
    return (
        f"passed: greatest error {proof.error_over_rms:.1e} of the RMS (tolerance "
        f"{proof.tolerance:.0e}), by {', '.join(proof.by)}"
    )

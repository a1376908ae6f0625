"""inflate-zoo predict: segment new images with a trained trial."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inflate_zoo.cli.bench.options import Device
from inflate_zoo.cli.bench.watching import board
from inflate_zoo.cli.common import (
    Debug,
    Format,
    OutputFormat,
    Quiet,
    guarded,
    needs_bench,
    print_json,
    say,
    tell,
)

if TYPE_CHECKING:
    from inflate_zoo.bench.prediction.predicting import Predicted

NAME = "predict"


@guarded
def command(
    trial: Annotated[
        Path,
        typer.Argument(help="Folder below <out>/trials, or a run with one trial that is done."),
    ],
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE...", help="NIfTI files or folders; _0000, _0001: channels."),
    ],
    out: Annotated[Path, typer.Option(help="Gets CASE.nii.gz for every case.")],
    references: Annotated[
        Path | None, typer.Option(help="Labels to score against: writes summary.json as nnU-Net.")
    ] = None,
    device: Device = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files of the same names.")
    ] = False,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    quiet: Quiet = False,  # noqa: ARG001 - read by `guarded`
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Segment images with a trained network of 'inflate-zoo bench'.

    inflate-zoo predict runs/my-run/trials/0123456789abcdef scans --out predictions
    """
    needs_bench()
    from inflate_zoo.bench.prediction.images import find_jobs
    from inflate_zoo.bench.prediction.predicting import find_trial, predict
    from inflate_zoo.bench.training.devices import Resources

    found = find_trial(trial)
    jobs = find_jobs(images, references, found.spec.task)
    with board() as shown:
        predicted, summary = predict(found, jobs, out, Resources(device), shown.count, force=force)
    if format is OutputFormat.json:
        print_json({"predictions": [asdict(entry) for entry in predicted], "summary": summary})
        return
    for entry in predicted:
        tell(_line(entry))
    if summary is not None:
        dice = summary["foreground_mean"]["Dice"]
        say(f"mean Dice {'unknown' if dice is None else f'{dice:.3f}'}: {out / 'summary.json'}")


def _line(entry: Predicted) -> str:
    volumes = ", ".join(f"{name} {volume:.3f} ml" for name, volume in entry.volumes_ml.items())
    return f"{entry.file}  {volumes}"

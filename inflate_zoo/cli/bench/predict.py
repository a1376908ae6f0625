"""inflate-zoo predict: segment new images with a trained trial."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inflate_zoo.cli import completion
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
from inflate_zoo.texts import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inflate_zoo.bench.definitions.trial_folder import TrialFolder
    from inflate_zoo.bench.prediction.predicting import Predicted

NAME = "predict"


@guarded
def command(
    trial: Annotated[
        Path,
        typer.Argument(help="Folder below <out>/trials, or a run, whose trials --arm chooses."),
    ],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...",
            help="NIfTI files, DICOM series (folders), or folders of them; _0000, _0001: channels.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Gets CASE.nii.gz for every case; what is done is kept.")
    ],
    arm: Annotated[
        list[str] | None,
        typer.Option(
            "--arm",
            autocompletion=completion.arms,
            metavar="ARM",
            help="Arm of the run, as its report calls it. Repeatable: an ensemble.",
        ),
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Seed of it. Repeatable [default: all, an ensemble].")
    ] = None,
    fold: Annotated[
        list[int] | None, typer.Option(help="Fold of it. Repeatable [default: all, an ensemble].")
    ] = None,
    mirror: Annotated[
        bool,
        typer.Option("--mirror", help="Mean over the image and its 7 flips: 8 times the work."),
    ] = False,
    save_probabilities: Annotated[
        bool,
        typer.Option("--save-probabilities", help="Also CASE.npz, class probabilities as nnU-Net."),
    ] = False,
    references: Annotated[
        Path | None, typer.Option(help="Labels to score against: writes summary.json as nnU-Net.")
    ] = None,
    device: Device = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that this command did not make.")
    ] = False,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    quiet: Quiet = False,  # noqa: ARG001 - read by `guarded`
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Segment images with trained networks of 'inflate-zoo bench'.

    inflate-zoo predict runs/my-run/trials/0123456789abcdef scans --out predictions

    inflate-zoo predict runs/my-run --arm "dino-vitb16 center" --seed 0 scans --out predictions

    Several seeds or folds are an ensemble: the mean of their class probabilities.
    Whatever is interrupted goes on with the same command.
    """
    needs_bench()
    from inflate_zoo.bench.prediction.choosing import Choice, find_trials
    from inflate_zoo.bench.prediction.images import find_jobs
    from inflate_zoo.bench.prediction.predicting import Options, predict
    from inflate_zoo.bench.training.devices import Resources

    trials = find_trials(trial, Choice(tuple(arm or ()), tuple(seed or ()), tuple(fold or ())))
    jobs = find_jobs(images, references, trials[0].spec.task)
    for line in _beforehand(trials, mirror=mirror):
        say(line)
    if mirror and any(each.spec.protocol.augment.flip == 0 for each in trials):
        say("warning: it was trained without flips, so mirrored images are new to it", urgent=True)
    options = Options(mirror, save_probabilities, force)
    with board() as shown:
        predicted, summary = predict(trials, jobs, out, Resources(device), shown.count, options)
    if format is OutputFormat.json:
        _print_json(trials, mirror, predicted, summary)
        return
    for entry in predicted:
        tell(_line(entry))
    if kept := sum(entry.kept for entry in predicted):
        say(f"{kept} of {plural(len(predicted), 'case')} had been predicted before")
    if summary is not None:
        dice = summary["foreground_mean"]["Dice"]
        say(f"mean Dice {'unknown' if dice is None else f'{dice:.3f}'}: {out / 'summary.json'}")


def _beforehand(trials: Sequence[TrialFolder], *, mirror: bool) -> Iterator[str]:
    """What is to be known before it begins: which networks, and what they cost."""
    if len(trials) > 1:
        from inflate_zoo.bench.prediction.choosing import names_of

        yield f"mean of {len(trials)} networks: {'; '.join(names_of(trials))}"
    if mirror:
        who = plural(len(trials), "network")
        yield f"each image is segmented {8 * len(trials)} times: in 8 mirrored forms, by {who}"


def _print_json(
    trials: Sequence[TrialFolder],
    mirror: bool,
    predicted: Sequence[Predicted],
    summary: dict[str, Any] | None,
) -> None:
    from inflate_zoo.bench.definitions.trials import labels_of

    arms = labels_of([trial.spec for trial in trials])
    networks = [
        {"trial": t.hash, "arm": arm, "seed": t.spec.seed, "fold": t.spec.fold}
        for t, arm in zip(trials, arms, strict=True)
    ]
    print_json(
        {
            "networks": networks,
            "mirror": mirror,
            "predictions": [asdict(entry) for entry in predicted],
            "summary": summary,
        }
    )


def _line(entry: Predicted) -> str:
    volumes = ", ".join(f"{name} {volume:.3f} ml" for name, volume in entry.volumes_ml.items())
    return f"{entry.file}  {volumes}"

"""The options of the commands of the ranking."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None, typer.Option(help="Data set, or with --download the folder it goes into.")
]
DatasetName = Annotated[
    str | None, typer.Option(help="Task (msd-task04) or task file [default: derived].")
]
Download = Annotated[
    bool,
    typer.Option(
        "--download",
        help="Fetch the task's data set unless it is there: into --data, INFLATE_ZOO_DATA or "
        "the user's cache.",
    ),
]
Sources = Annotated[
    list[str] | None,
    typer.Option(
        help="2D source, converted weights, SOURCE:2d, SOURCE:average, FILE:arch=NAME or "
        "random. Repeatable."
    ),
]
Schemes = Annotated[
    list[str] | None, typer.Option(help="Inflation scheme. Repeatable [default: center].")
]
SuiteName = Annotated[str | None, typer.Option(help="Suite or suite file [default: objectives].")]
ProtocolName = Annotated[
    str | None, typer.Option(help="volume, quick, probe, paper, file [default: volume].")
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Change the protocol: train.steps=500.")
]
Seeds = Annotated[int, typer.Option(min=1, help="Trainings per arm and fold.")]
Folds = Annotated[str, typer.Option(help="Folds, e.g. 0,1,2, or all.")]
RuleName = Annotated[str, typer.Option(help="Several channels: sum, or RGB (rgb).")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps [default: the best].")]
Workers = Annotated[int | None, typer.Option(min=0, help="Processes that make windows.")]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="CPU threads of a trial [default: a share].",
    ),
]
AtOnce = Annotated[
    int | None,
    typer.Option(min=1, help="Trials at a time [default: as many as fit]."),
]
PerGpu = Annotated[int | None, typer.Option(min=1, help="Trials at a time on each GPU.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile networks: for long trainings on a GPU.")
]
RunFolder = Annotated[
    Path | None, typer.Option(help="Run folder [default: runs/<task>-<protocol>].")
]
Cache = Annotated[
    Path | None, typer.Option(help="Prepared data and conversions [default: user cache].")
]
Plan = Annotated[bool, typer.Option("--plan", help="Write the trials' folders, and stop.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="List the trials and estimate time, memory, disk.")
]

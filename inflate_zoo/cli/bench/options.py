"""The options of the commands of the ranking."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from inflate_zoo.cli import completion
from inflate_zoo.cli.help import COMPARED, DATA, MACHINE, RUN, TRAINING

SLURM, RAY = "SLURM", "Ray"  # panels of options that one engine alone takes


class On(StrEnum):
    """Where trials run."""

    here = "here"
    slurm = "slurm"
    ray = "ray"


Data = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=DATA, help="Data set, or with --download the folder it goes into."
    ),
]
DatasetName = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=DATA,
        autocompletion=completion.tasks,
        help="Task (msd-task04) or task file [default: derived].",
    ),
]
Download = Annotated[
    bool,
    typer.Option(
        "--download",
        rich_help_panel=DATA,
        help="Fetch the task's data set unless it is there: into --data, INFLATE_ZOO_DATA or "
        "the user's cache.",
    ),
]
Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        rich_help_panel=COMPARED,
        autocompletion=completion.compared,
        metavar="SOURCE",
        help="2D source, converted weights, SOURCE:2d, SOURCE:average, FILE:arch=NAME or "
        "random. Repeatable.",
    ),
]
Schemes = Annotated[
    list[str] | None,
    typer.Option(
        "--scheme",
        rich_help_panel=COMPARED,
        autocompletion=completion.schemes,
        metavar="SCHEME",
        help="Inflation scheme. Repeatable [default: center].",
    ),
]
SuiteName = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=COMPARED,
        autocompletion=completion.suites,
        help="Suite or suite file [default: objectives].",
    ),
]
ProtocolName = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=TRAINING,
        autocompletion=completion.protocols,
        help="volume, quick, probe, paper, file [default: volume].",
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        rich_help_panel=TRAINING,
        autocompletion=completion.changes,
        metavar="FIELD=VALUE",
        help="Change the protocol: train.steps=500. Repeatable.",
    ),
]
Seeds = Annotated[
    int, typer.Option(min=1, rich_help_panel=TRAINING, help="Trainings per arm and fold.")
]
Folds = Annotated[str, typer.Option(rich_help_panel=TRAINING, help="Folds, e.g. 0,1,2, or all.")]
RuleName = Annotated[
    str,
    typer.Option(
        rich_help_panel=COMPARED,
        autocompletion=completion.channel_rules,
        help="Several channels: sum, or RGB (rgb).",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=MACHINE,
        autocompletion=completion.devices,
        help="cpu, cuda, cuda:1 or mps [default: the best].",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=0, rich_help_panel=MACHINE, help="Processes that make windows."),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        rich_help_panel=MACHINE,
        help="CPU threads of a trial [default: a share].",
    ),
]
AtOnce = Annotated[
    int | None,
    typer.Option(
        min=1, rich_help_panel=MACHINE, help="Trials at a time [default: as many as fit]."
    ),
]
PerGpu = Annotated[
    int | None,
    typer.Option(min=1, rich_help_panel=MACHINE, help="Trials at a time on each GPU."),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        rich_help_panel=MACHINE,
        help="Compile networks: for long trainings on a GPU.",
    ),
]
TrackerNames = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        rich_help_panel=RUN,
        autocompletion=completion.trackers,
        metavar="NAME",
        help="Tell the curves to wandb or mlflow too. Repeatable.",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        rich_help_panel=RUN,
        help="Flags in a TOML file, e.g. RUN/run.toml; those typed go first.",
    ),
]
RunFolder = Annotated[
    Path | None,
    typer.Option(rich_help_panel=RUN, help="Run folder [default: runs/<task>-<protocol>]."),
]
Cache = Annotated[
    Path | None,
    typer.Option(rich_help_panel=RUN, help="Prepared data and conversions [default: user cache]."),
]
Plan = Annotated[
    bool,
    typer.Option("--plan", rich_help_panel=RUN, help="Write the trials' folders, and stop."),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        rich_help_panel=RUN,
        help="List the trials and estimate time, memory, disk.",
    ),
]
Engine = Annotated[
    On,
    typer.Option(
        "--on",
        rich_help_panel=MACHINE,
        help="Where trials run: this machine, jobs of SLURM, a Ray cluster.",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Workers: jobs of one array.", rich_help_panel=SLURM),
]
Time = Annotated[
    str | None,
    typer.Option(help="Time limit of a job, e.g. 12:00:00.", rich_help_panel=SLURM),
]
Partition = Annotated[str | None, typer.Option(help="Partition.", rich_help_panel=SLURM)]
Account = Annotated[str | None, typer.Option(help="Account.", rich_help_panel=SLURM)]
Qos = Annotated[str | None, typer.Option(help="Quality of service.", rich_help_panel=SLURM)]
GpusPerTask = Annotated[
    str | None, typer.Option(help="GPUs of a job, e.g. 1 or a100:1.", rich_help_panel=SLURM)
]
Gres = Annotated[
    str | None, typer.Option(help="The same, where it is asked as gpu:1.", rich_help_panel=SLURM)
]
CpusPerTask = Annotated[
    int | None,
    typer.Option(min=1, help="Cores of a job [default: SLURM's].", rich_help_panel=SLURM),
]
Mem = Annotated[str | None, typer.Option(help="Memory of a job, e.g. 16G.", rich_help_panel=SLURM)]
Constraint = Annotated[
    str | None, typer.Option(help="Features of its node.", rich_help_panel=SLURM)
]
Sbatch = Annotated[
    list[str] | None,
    typer.Option(help="Any other option of sbatch: '--nice=10'.", rich_help_panel=SLURM),
]
Setup = Annotated[
    str | None,
    typer.Option(help="Shell lines before a worker: 'module load cuda'.", rich_help_panel=SLURM),
]
Container = Annotated[
    str | None,
    typer.Option(help="Put before a worker: 'apptainer exec --nv zoo.sif'.", rich_help_panel=SLURM),
]
Detach = Annotated[
    bool, typer.Option("--detach", help="Submit the jobs, and leave.", rich_help_panel=SLURM)
]
Cpus = Annotated[float | None, typer.Option(help="CPUs of a task.", rich_help_panel=RAY)]
Gpus = Annotated[
    float | None, typer.Option(help="GPUs of a task, or a part of one.", rich_help_panel=RAY)
]
Resource = Annotated[
    list[str] | None,
    typer.Option(help="NAME=N of a task. Repeatable.", rich_help_panel=RAY),
]

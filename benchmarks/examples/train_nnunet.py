r"""nnU-Net v2 on a backbone: from raw volumes to predictions, by nnU-Net's own commands.

    python benchmarks/examples/train_nnunet.py --out nnunet

lays the embedded MRI volumes of the hippocampus out as nnU-Net wants them, converts a builtin
checkpoint (without --fold-normalization: nnU-Net normalises intensities itself), and runs what
`inflate-zoo nnunet` prints: plan and preprocess, train fold 0, predict cases that were held out.
Its defaults are a rehearsal for a CPU: few iterations, small batches. For a real training give
`--epochs 1000 --iterations 250 --batch 0`, where 0 leaves the batch to nnU-Net's plans. How nnU-Net
is installed stands in the README beside this file.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

import inflate_zoo

EMBEDDED = Path(__file__).parents[1] / "builtin" / "hippocampus-mini"
NUMBER, NAME = 104, "Dataset104_Hippocampus"
CONFIGURATION, FOLD, PLANS = "3d_fullres", "0", "nnUNetPlans.json"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for all of it")
    parser.add_argument("--backbone", help="converted weights [default: builtin/clip is converted]")
    parser.add_argument("--cases", type=int, default=15, help="use the first so many only")
    parser.add_argument("--held-out", type=int, default=3, help="so many of them are predicted")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=5, help="of an epoch")
    parser.add_argument("--batch", type=int, default=2, help="0: as nnU-Net plans it")
    parser.add_argument("--decoder", choices=["unetr", "linear"], default="unetr")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    return parser.parse_args()


def lay_out(raw: Path, cases: int, held_out: int) -> Path:
    """Write the data set in nnU-Net's raw layout; returns the folder of the references held out."""
    folder = raw / NAME
    for name in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    images = sorted((EMBEDDED / "imagesTr").glob("*.nii.gz"))[:cases]
    for index, image in enumerate(images):
        part = "Tr" if index < len(images) - held_out else "Ts"
        case = image.name.removesuffix(".nii.gz")
        shutil.copy(image, folder / f"images{part}" / f"{case}_0000.nii.gz")
        shutil.copy(EMBEDDED / "labelsTr" / image.name, folder / f"labels{part}" / image.name)
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "anterior": 1, "posterior": 2},
        "numTraining": len(images) - held_out,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=2), encoding="utf-8")
    return folder / "labelsTs"


def instructions(backbone: str, decoder: str) -> dict[str, dict[str, object]]:
    """What `inflate-zoo nnunet` says, as programs read it."""
    words = ["nnunet", backbone, "--dataset", str(NUMBER), "--decoder", decoder]
    done = subprocess.run(
        [sys.executable, "-m", "inflate_zoo", *words, "--format", "json"],
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def run(name: str, *words: object, env: dict[str, str]) -> None:
    """One of nnU-Net's commands, of the environment that runs this script."""
    command = [str(Path(sys.executable).with_name(name)), *map(str, words)]
    print("$", name, *words, file=sys.stderr)
    subprocess.run(command, env=env, stdout=sys.stderr, check=True)


def dice(found: Path, reference: Path, label: int) -> float:
    """Of one label in one case; 1 where neither has it."""
    a, b = (np.asarray(nibabel.load(path).dataobj) == label for path in (found, reference))
    return 2 * (a & b).sum() / (a.sum() + b.sum()) if a.any() or b.any() else 1.0


def mean_dice(found: Path, references: Path, labels: Sequence[int]) -> list[float]:
    """Of each label over all cases that have a reference."""
    paths = sorted(references.glob("*.nii.gz"))
    return [float(np.mean([dice(found / p.name, p, label) for p in paths])) for label in labels]


def main() -> None:
    args = arguments()
    home = args.out.resolve()
    places = {f"nnUNet_{name}": home / name for name in ("raw", "preprocessed", "results")}
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    references = lay_out(places["nnUNet_raw"], args.cases, args.held_out)

    backbone = args.backbone
    if backbone is None:
        backbone = str(home / "builtin-clip-3d")
        if not Path(backbone).exists():
            inflate_zoo.convert("builtin/clip", out=backbone, volume=(32, 48, 32))
    told = instructions(backbone, args.decoder)

    env = {**os.environ, **told["environment"]}
    env |= {name: str(place) for name, place in places.items()}
    if args.device == "cpu":
        env |= {"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1"}
    planning = ["-d", NUMBER, "-c", CONFIGURATION, "--verify_dataset_integrity"]
    run("nnUNetv2_plan_and_preprocess", *planning, "-np", 1, "-npfp", 1, env=env)

    prepared = places["nnUNet_preprocessed"] / NAME
    choice = told["file"]["content"] | {
        "epochs": args.epochs,
        "iterations": args.iterations,
        "validation_iterations": max(1, args.iterations // 5),
    }
    (prepared / "inflate_zoo.json").write_text(json.dumps(choice, indent=2), encoding="utf-8")
    if args.batch:
        plans = json.loads((prepared / PLANS).read_text(encoding="utf-8"))
        plans["configurations"][CONFIGURATION]["batch_size"] = args.batch
        (prepared / PLANS).write_text(json.dumps(plans, indent=2), encoding="utf-8")

    trainer = ["-tr", "nnUNetTrainerInflated", "-device", args.device]
    run("nnUNetv2_train", NUMBER, CONFIGURATION, FOLD, *trainer, env=env)
    images, found = places["nnUNet_raw"] / NAME / "imagesTs", home / "predictions"
    where = ["-i", images, "-o", found, "-d", NUMBER, "-c", CONFIGURATION, "-f", FOLD]
    run("nnUNetv2_predict", *where, *trainer, "-npp", 1, "-nps", 1, env=env)
    scores = mean_dice(found, references, (1, 2))
    print(f"Dice anterior: {scores[0]:.3f}\nDice posterior: {scores[1]:.3f}")


if __name__ == "__main__":
    main()

r"""Fine-tune a segmenter on a backbone of the zoo, in a plain MONAI loop.

    python benchmarks/examples/finetune_monai.py

trains the smallest backbone on the embedded MRI volumes of the hippocampus: two minutes of one CPU
core, for a mean Dice of 0.8. Your own data is a folder with a dataset.json in the Decathlon's
layout; say the voxel size to train at in mm and a window in voxels that the backbone's patch
divides. The backbone may also be a folder that `inflate-zoo convert` wrote, or a Hub repo of one:

    python benchmarks/examples/finetune_monai.py --data Task09_Spleen --spacing 3 1.5 1.5 \
        --window 32 128 128 --backbone dino-vitb16-3d-center --steps 5000 --frozen 250

Needs `pip install ".[bench]"`. To find out which backbone helps, there is `inflate-zoo bench`.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from monai.data import CacheDataset, DataLoader, load_decathlon_datalist
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.metrics import DiceMetric
from monai.networks.utils import one_hot
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    Orientationd,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandShiftIntensityd,
    ScaleIntensityRangePercentilesd,
    Spacingd,
    SpatialPadd,
)
from torch import Tensor, nn

import inflate_zoo

EMBEDDED = Path(__file__).parents[1] / "builtin" / "hippocampus-mini"
KEYS = ("image", "label")
BATCH = 4
LEARNING_RATE = 1e-3  # of the decoder; for a backbone of ViT-B's size rather 3e-4
LAYER_DECAY = 0.85  # each block learns this much slower than the one above it


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    axes = ("DEPTH", "HEIGHT", "WIDTH")
    parser.add_argument("--backbone", default="builtin-clip-3d-center", help="zoo name or folder")
    parser.add_argument("--data", type=Path, default=EMBEDDED, help="folder with a dataset.json")
    parser.add_argument("--cases", type=int, help="use the first so many only")
    parser.add_argument("--spacing", type=float, nargs=3, metavar=axes, default=[1.5] * 3)
    parser.add_argument("--window", type=int, nargs=3, metavar=axes, default=[24, 36, 24])
    parser.add_argument("--steps", type=int, default=200, help="with the frozen ones")
    parser.add_argument("--frozen", type=int, default=30, help="steps that train the decoder alone")
    parser.add_argument("--out", type=Path, default=Path("segmenter"), help="folder")
    args = parser.parse_args()
    if not 0 <= args.frozen <= args.steps:
        parser.error(f"--frozen {args.frozen} is not between 0 and the {args.steps} steps")
    return args


def transforms(spacing: Sequence[float], window: Sequence[int]) -> tuple[Compose, Compose]:
    """For training and for validation. Volumes come out as [channels, depth, height, width]."""
    common = [
        LoadImaged(KEYS),
        EnsureChannelFirstd(KEYS),
        # A NIfTI file has the axes x, y, z. These networks want depth first, the axis across the
        # slices: superior, anterior, right for axial slices (ASR for coronal, RSA for sagittal).
        Orientationd(KEYS, axcodes="SAR", labels=None),
        Spacingd(KEYS, pixdim=spacing, mode=("bilinear", "nearest")),
        # A backbone with the normalisation of its source folded in takes intensities in [0, 1].
        # For CT, a fixed window in HU is better: ScaleIntensityRanged.
        ScaleIntensityRangePercentilesd("image", 0.5, 99.5, b_min=0.0, b_max=1.0, clip=True),
        SpatialPadd(KEYS, spatial_size=window),
    ]
    random = [
        RandCropByPosNegLabeld(KEYS, "label", spatial_size=window, pos=2, neg=1, num_samples=1),
        RandFlipd(KEYS, prob=0.5, spatial_axis=2),
        RandShiftIntensityd("image", offsets=0.1, prob=0.5),
    ]
    return Compose(common + random), Compose(common)


def endless(loader: DataLoader) -> Iterator[dict[str, Tensor]]:
    while True:
        yield from loader


def fit(model: nn.Module, batches: Iterator[dict[str, Tensor]], steps: int) -> None:
    """Train what is not frozen, with an optimizer and a schedule of its own."""
    device = next(model.parameters()).device
    # Layer-wise decay of the learning rate; no weight decay on norms, biases, tokens and tables.
    groups = inflate_zoo.param_groups(
        model, learning_rate=LEARNING_RATE, weight_decay=0.05, layer_decay=LAYER_DECAY
    )
    optimizer = torch.optim.AdamW(groups)
    warm_up = max(1, steps // 10)

    def share(step: int) -> float:  # of the learning rate: linear warm-up, then cosine
        return min(1, (step + 1) / warm_up) * (1 + math.cos(math.pi * step / max(1, steps))) / 2

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    loss_of = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
    model.train()
    for step, batch in enumerate(islice(batches, steps), 1):
        images, labels = (batch[key].as_tensor().to(device) for key in KEYS)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = model(images)
        loss = loss_of(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % 10 == 0 or step == steps:
            print(f"step {step}/{steps}  loss {loss.item():.3f}", file=sys.stderr)


@torch.inference_mode()
def dice_per_class(model: nn.Module, loader: DataLoader, window: Sequence[int]) -> Tensor:
    """Mean Dice over cases of each class but the background, at the spacing trained at."""
    device = next(model.parameters()).device
    metric = DiceMetric(include_background=False, reduction="mean_batch")
    model.eval()
    for batch in loader:
        image, label = (batch[key].as_tensor().to(device) for key in KEYS)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = sliding_window_inference(image, window, BATCH, model, overlap=0.5)
        found = logits.argmax(1, keepdim=True)
        metric(one_hot(found, model.classes), one_hot(label, model.classes))
    return metric.aggregate()


def main() -> None:
    args = arguments()
    torch.manual_seed(0)  # the decoder's initial weights, the order of the cases, crops and flips
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    labels = json.loads((args.data / "dataset.json").read_text(encoding="utf-8"))["labels"]
    cases = load_decathlon_datalist(args.data / "dataset.json")[: args.cases]
    if len(cases) < 2:
        sys.exit(f"{len(cases)} case(s) in '{args.data}': 2 or more are needed, to hold one out")
    held_out = max(1, len(cases) // 5)
    for_training, for_validation = transforms(args.spacing, args.window)
    train = CacheDataset(cases[:-held_out], for_training, progress=False)
    validation = CacheDataset(cases[-held_out:], for_validation, progress=False)
    batches = endless(DataLoader(train, batch_size=BATCH, shuffle=True))

    # The position tables are resized to the window's token grid, whatever the file holds.
    backbone = inflate_zoo.load(args.backbone, volume=args.window)
    model = inflate_zoo.segmenter(backbone, classes=len(labels), decoder="unetr").to(device)

    # The decoder starts from random weights: its first gradients would spoil the backbone.
    model.backbone.requires_grad_(False)
    fit(model, batches, args.frozen)
    model.backbone.requires_grad_(True)
    fit(model, batches, args.steps - args.frozen)

    model.save_pretrained(args.out)
    trained = inflate_zoo.load(args.out, device=device)  # and this is how it comes back
    scores = dice_per_class(trained, DataLoader(validation, batch_size=1), args.window)
    for name, score in zip(list(labels.values())[1:], scores.tolist(), strict=True):
        print(f"Dice {name}: {score:.3f}")


if __name__ == "__main__":
    main()

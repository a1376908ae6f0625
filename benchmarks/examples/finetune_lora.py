r"""Adapt a backbone of the zoo by LoRA, in the Trainer of transformers.

    python benchmarks/examples/finetune_lora.py

The backbone's own weights stay; beside the linear layers of its blocks small matrices learn (Hu et
al. 2022), and so does the decoder. At the end they are merged: what is saved is a segmenter like
any other, which `inflate_zoo.load` reads without peft. By default it is the smallest backbone on
the embedded MRI volumes of the hippocampus. Your own data is a folder with a dataset.json in the
Decathlon's layout; say the voxel size to train at in mm and a window in voxels that the backbone's
patch divides:

    python benchmarks/examples/finetune_lora.py --data Task09_Spleen --spacing 3 1.5 1.5 \
        --window 32 128 128 --backbone dino-vitb16-3d-center --steps 5000

Needs `pip install ".[bench]" peft`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import CacheDataset, load_decathlon_datalist
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
    ScaleIntensityRangePercentilesd,
    Spacingd,
    SpatialPadd,
)
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

import inflate_zoo

EMBEDDED = Path(__file__).parents[1] / "builtin" / "hippocampus-mini"
KEYS = ("image", "label")
LEARNING_RATE = 2e-3  # of the decoder; LoRA's matrices start from zero and bear more than weights


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
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rank", type=int, default=8, help="of LoRA's matrices")
    parser.add_argument("--out", type=Path, default=Path("segmenter-lora"), help="folder")
    return parser.parse_args()


def transforms(spacing: Sequence[float], window: Sequence[int]) -> tuple[Compose, Compose]:
    """For training and for validation. Volumes come out as [channels, depth, height, width]."""
    common = [
        LoadImaged(KEYS),
        EnsureChannelFirstd(KEYS),
        Orientationd(KEYS, axcodes="SAR", labels=None),  # depth first: the axis across the slices
        Spacingd(KEYS, pixdim=spacing, mode=("bilinear", "nearest")),
        ScaleIntensityRangePercentilesd("image", 0.5, 99.5, b_min=0.0, b_max=1.0, clip=True),
        SpatialPadd(KEYS, spatial_size=window),
    ]
    crop = RandCropByPosNegLabeld(KEYS, "label", spatial_size=window, pos=2, neg=1, num_samples=1)
    return Compose([*common, crop]), Compose(common)


def collate(windows: Sequence[list[dict[str, Tensor]]]) -> dict[str, Tensor]:
    """A batch by the names of the segmenter's argument and of what the loss takes."""
    (images, labels) = (torch.stack([w[0][key].as_tensor() for w in windows]) for key in KEYS)
    return {"x": images, "labels": labels}


def loss_of(logits: Tensor, labels: Tensor, **_: Any) -> Tensor:
    loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
    return loss(logits.float(), labels)


def train(model: nn.Module, cases: CacheDataset, steps: int, out: Path) -> None:
    # Layer-wise decay of the learning rate, LoRA's matrices with their blocks; what is frozen is
    # left out.
    groups = inflate_zoo.param_groups(
        model, learning_rate=LEARNING_RATE, weight_decay=0.05, layer_decay=0.85
    )
    cuda = torch.cuda.is_available()
    settings = TrainingArguments(
        output_dir=str(out),
        max_steps=steps,
        per_device_train_batch_size=4,
        warmup_steps=max(1, steps // 10),
        lr_scheduler_type="cosine",
        bf16=cuda,
        use_cpu=not cuda,
        remove_unused_columns=False,
        save_strategy="no",
        logging_steps=10,
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )
    trainer = Trainer(
        model,
        settings,
        train_dataset=cases,
        data_collator=collate,
        compute_loss_func=loss_of,
        optimizers=(torch.optim.AdamW(groups), None),
    )
    trainer.train()


@torch.inference_mode()
def dice_per_class(model: nn.Module, cases: CacheDataset, window: Sequence[int]) -> Tensor:
    """Mean Dice over cases of each class but the background, at the spacing trained at."""
    device = next(model.parameters()).device
    metric = DiceMetric(include_background=False, reduction="mean_batch")
    model.eval()
    for case in cases:
        image, label = (case[key].as_tensor().unsqueeze(0).to(device) for key in KEYS)
        logits = sliding_window_inference(image, window, 4, model, overlap=0.5)
        found = logits.argmax(1, keepdim=True)
        metric(one_hot(found, model.classes), one_hot(label, model.classes))
    return metric.aggregate()


def main() -> None:
    args = arguments()
    torch.manual_seed(0)
    labels = json.loads((args.data / "dataset.json").read_text(encoding="utf-8"))["labels"]
    cases = load_decathlon_datalist(args.data / "dataset.json")[: args.cases]
    if len(cases) < 2:
        sys.exit(f"{len(cases)} case(s) in '{args.data}': 2 or more are needed, to hold one out")
    held_out = max(1, len(cases) // 5)
    for_training, for_validation = transforms(args.spacing, args.window)
    for_training.set_random_state(seed=0)

    backbone = inflate_zoo.load(args.backbone, kind="backbone", volume=args.window)
    segmenter = inflate_zoo.segmenter(backbone, classes=len(labels))
    adapted = get_peft_model(
        segmenter,
        LoraConfig(
            r=args.rank,
            lora_alpha=2 * args.rank,
            target_modules=["qkv", "proj", "fc1", "fc2"],  # of every block, in all our networks
            modules_to_save=["decoder"],  # trained as it is, and saved with the matrices
        ),
    )
    adapted.print_trainable_parameters()
    training = CacheDataset(cases[:-held_out], for_training, progress=False)
    validation = CacheDataset(cases[-held_out:], for_validation, progress=False)
    train(adapted, training, args.steps, args.out)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    adapted.merge_and_unload().save_pretrained(args.out)
    trained = inflate_zoo.load(args.out, kind="segmenter", device=device)  # without peft
    scores = dice_per_class(trained, validation, args.window)
    for name, score in zip(list(labels.values())[1:], scores.tolist(), strict=True):
        print(f"Dice {name}: {score:.3f}")


if __name__ == "__main__":
    main()

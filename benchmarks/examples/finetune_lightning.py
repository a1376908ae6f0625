r"""Fine-tune a segmenter with PyTorch Lightning.

    pip install lightning
    python benchmarks/examples/finetune_lightning.py

Data, window and backbone are those of finetune_monai.py, which says more of them. Lightning does
the rest: devices, precision, clipping, checkpoints and loggers are arguments of its Trainer.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from finetune_monai import EMBEDDED, KEYS, LAYER_DECAY, LEARNING_RATE, transforms
from lightning.pytorch import LightningModule, Trainer, seed_everything
from monai.data import CacheDataset, DataLoader, load_decathlon_datalist
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.metrics import DiceMetric
from monai.networks.utils import one_hot
from torch import Tensor

import inflate_zoo
from inflate_zoo.segmentation.segmenter import Segmenter

Batch = dict[str, Tensor]


class Segmentation(LightningModule):
    """A segmenter, how it is trained, and its Dice on whole volumes."""

    def __init__(self, model: Segmenter, names: Sequence[str], steps: int) -> None:
        super().__init__()
        self.model, self.names, self.steps = model, names, steps
        self.loss_of = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
        self.dice = DiceMetric(include_background=False, reduction="mean_batch")

    def training_step(self, batch: Batch) -> Tensor:
        images, labels = (batch[key].as_tensor() for key in KEYS)
        loss = self.loss_of(self.model(images).float(), labels)
        self.log("loss", loss, prog_bar=True, batch_size=len(images))
        return loss

    def validation_step(self, batch: Batch) -> None:
        image, label = (batch[key].as_tensor() for key in KEYS)
        logits = sliding_window_inference(image, self.model.volume, 4, self.model, overlap=0.5)
        found = logits.argmax(1, keepdim=True)
        self.dice(one_hot(found, self.model.classes), one_hot(label, self.model.classes))

    def on_validation_epoch_end(self) -> None:
        scores = dict(zip(self.names, self.dice.aggregate(), strict=True))
        self.log_dict({f"Dice {name}": score for name, score in scores.items()})
        self.dice.reset()

    def configure_optimizers(self) -> dict[str, object]:
        # Layer-wise decay of the rate; no weight decay on norms, biases, tokens and tables.
        groups = inflate_zoo.param_groups(
            self.model, learning_rate=LEARNING_RATE, weight_decay=0.05, layer_decay=LAYER_DECAY
        )
        optimizer = torch.optim.AdamW(groups)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, self.steps))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


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
    parser.add_argument("--out", type=Path, default=Path("segmenter"), help="folder")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    seed_everything(0, verbose=False)
    labels = json.loads((args.data / "dataset.json").read_text(encoding="utf-8"))["labels"]
    cases = load_decathlon_datalist(args.data / "dataset.json")[: args.cases]
    if len(cases) < 2:
        sys.exit(f"{len(cases)} case(s) in '{args.data}': 2 or more are needed, to hold one out")
    held_out = max(1, len(cases) // 5)
    for_training, for_validation = transforms(args.spacing, args.window)
    train = CacheDataset(cases[:-held_out], for_training, progress=False)
    validation = CacheDataset(cases[-held_out:], for_validation, progress=False)

    backbone = inflate_zoo.load(args.backbone, volume=args.window)
    model = inflate_zoo.segmenter(backbone, classes=len(labels), decoder="unetr")
    module = Segmentation(model, list(labels.values())[1:], args.steps)
    trainer = Trainer(
        max_steps=args.steps,
        devices=1,  # Lightning trains on several as well: devices=-1
        precision="bf16-mixed" if torch.cuda.is_available() else "32-true",
        gradient_clip_val=1.0,
        limit_val_batches=0,  # while it trains; `validate` below sees all
        logger=False,
        enable_checkpointing=False,
    )
    trainer.fit(module, DataLoader(train, batch_size=4, shuffle=True))
    trainer.limit_val_batches = 1.0
    (scores,) = trainer.validate(module, DataLoader(validation, batch_size=1), verbose=False)
    model.save_pretrained(args.out)
    for name, score in scores.items():
        print(f"{name}: {score:.3f}")


if __name__ == "__main__":
    main()

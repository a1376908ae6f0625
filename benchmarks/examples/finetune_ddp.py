r"""Fine-tune a segmenter in several processes, with torch's DistributedDataParallel and torchrun.

    torchrun --nproc-per-node 2 benchmarks/examples/finetune_ddp.py

trains on two GPUs, or on two CPU cores where there is none. Each process takes its share of the
cases; gradients are averaged, so a batch is `--batch` volumes times the processes. Data, window and
backbone are those of finetune_monai.py, which says more of them. What a decoder does not read of a
backbone is frozen, so DistributedDataParallel needs no `find_unused_parameters`.
"""

import argparse
import json
import os
import sys
from itertools import count
from pathlib import Path

import torch
from finetune_monai import EMBEDDED, KEYS, LAYER_DECAY, LEARNING_RATE, dice_per_class, transforms
from monai.data import CacheDataset, DataLoader, load_decathlon_datalist
from monai.losses import DiceCELoss
from torch import distributed, nn
from torch.utils.data import DistributedSampler

import inflate_zoo
from inflate_zoo.segmentation.segmenter import Segmenter


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
    parser.add_argument("--batch", type=int, default=2, help="volumes of each process")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("segmenter"), help="folder")
    return parser.parse_args()


def shares(train: CacheDataset, batch: int, rank: int, processes: int) -> DataLoader:
    """The batches of one process: its own cases of each epoch, cropped and flipped its own way."""
    # A loader of MONAI's seeds the transforms, by torch's generator if it is given no other: that
    # one is in the same state in every process.
    return DataLoader(
        train,
        batch_size=batch,
        sampler=DistributedSampler(train, processes, rank, seed=0),
        generator=torch.Generator().manual_seed(rank),
    )


def fit(
    model: Segmenter, train: CacheDataset, batch: int, steps: int, device: torch.device
) -> None:
    """Train in step with the other processes: all of them call this."""
    groups = inflate_zoo.param_groups(
        model, learning_rate=LEARNING_RATE, weight_decay=0.05, layer_decay=LAYER_DECAY
    )
    optimizer = torch.optim.AdamW(groups)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    parallel = nn.parallel.DistributedDataParallel(
        model, device_ids=[device] if device.type == "cuda" else None
    )
    loss_of = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
    loader = shares(train, batch, distributed.get_rank(), distributed.get_world_size())
    parallel.train()
    done = 0
    for epoch in count():
        loader.sampler.set_epoch(epoch)  # another order, the same in every process
        for volumes in loader:
            if done == steps:
                return
            images, labels = (volumes[key].as_tensor().to(device) for key in KEYS)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = parallel(images)
            loss = loss_of(logits.float(), labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parallel.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            done += 1
            if distributed.get_rank() == 0 and (done % 10 == 0 or done == steps):
                print(f"step {done}/{steps}  loss {loss.item():.3f}", file=sys.stderr)


def main() -> None:
    args = arguments()
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    distributed.init_process_group("nccl" if cuda else "gloo")
    rank, processes = distributed.get_rank(), distributed.get_world_size()

    labels = json.loads((args.data / "dataset.json").read_text(encoding="utf-8"))["labels"]
    cases = load_decathlon_datalist(args.data / "dataset.json")[: args.cases]
    held_out = max(processes, len(cases) // 5)
    if len(cases) <= held_out:
        each = f"{held_out + 1} or more are needed, to hold one out for each process"
        sys.exit(f"{len(cases)} case(s) in '{args.data}': {each}")
    for_training, for_validation = transforms(args.spacing, args.window)
    train = CacheDataset(cases[:-held_out], for_training, progress=False)
    mine = cases[-held_out:][rank::processes]
    validation = CacheDataset(mine, for_validation, progress=False)

    torch.manual_seed(0)
    backbone = inflate_zoo.load(args.backbone, volume=args.window)
    model = inflate_zoo.segmenter(backbone, classes=len(labels), decoder="unetr").to(device)
    fit(model, train, args.batch, args.steps, device)

    scores = dice_per_class(
        model, DataLoader(validation, batch_size=1), args.window
    )  # of all cases
    if rank == 0:
        model.save_pretrained(args.out)
        for name, score in zip(list(labels.values())[1:], scores.tolist(), strict=True):
            print(f"Dice {name}: {score:.3f}")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()

"""Train the builtin sources: four small vision transformers on CIFAR-10.

    python benchmarks/builtin/train.py --data cifar10_jpeg.npz --work runs/builtin

What was interrupted goes on with the same command. Every source ends as a folder with a timm
checkpoint in float16, a card, and result.json: seed, versions, device, seconds, linear probe.
"""

import argparse
import copy
import json
import math
import time
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from cards import card
from objectives import ARCHITECTURE, OBJECTIVES, SHAPE, Objective, make_encoder
from pictures import MEAN, STD, Pictures, load, normalized
from timm.layers import set_fused_attn
from timm.models import save_for_hf
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

SEED, WARMUP, CLIP_NORM = 0, 0.05, 1.0
SAVE_EVERY_SECONDS = 60.0


def main() -> None:
    """Train, probe and save what was asked for."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("names", nargs="*", default=list(OBJECTIVES), help="which [default: all]")
    asked.add_argument("--data", type=Path, required=True, help="CIFAR-10 as an archive of JPEGs")
    asked.add_argument("--work", type=Path, required=True, help="where checkpoints and results go")
    asked.add_argument("--epochs", type=float, default=1.0, help="times each source's own number")
    asked.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = asked.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    device = torch.device(given.device)
    set_fused_attn(device.type == "cuda")  # on a CPU bfloat16 is three times as fast without
    train, test = load(given.data, device)
    torch.manual_seed(SEED)
    chance = probe(make_encoder().to(device), train, test)
    print(f"random network: linear probe {chance:.1%}", flush=True)
    for name in given.names:
        folder = given.work / name
        objective = OBJECTIVES[name]
        epochs = max(1, round(objective.epochs * given.epochs))
        checkpoint = given.work / f"{name}.pt"
        encoder, seconds = train_one(objective, epochs, train, checkpoint, name)
        accuracy = probe(save(encoder, folder).to(device), train, test)
        result = {
            "objective": objective.__doc__.splitlines()[0],
            "linear_probe": round(accuracy, 4),
            "linear_probe_of_a_random_network": round(chance, 4),
            "epochs": epochs,
            "batch": objective.batch,
            "learning_rate": objective.learning_rate,
            "weight_decay": objective.weight_decay,
            "seed": SEED,
            "seconds": round(seconds, 1),
            "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
            "versions": {"torch": torch.__version__, "timm": timm.__version__},
        }
        (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")
        (folder / "README.md").write_text(card(name, result))
        print(f"{name}: linear probe {accuracy:.1%}, {seconds:.0f} s", flush=True)


def train_one(
    kind: type[Objective], epochs: int, data: Pictures, checkpoint: Path, name: str
) -> tuple[VisionTransformer, float]:
    """Train from the checkpoint, if there is one, to the end; the encoder and the seconds."""
    device = data.images.device
    torch.manual_seed(SEED)
    trainer = Trainer(kind().to(device), epochs, data)
    first, before = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        trainer.load(state["objective"], state["optimizer"])
        first, before = state["epoch"], state["seconds"]
    began = saved = time.perf_counter()
    for epoch in range(first, epochs):
        mean = trainer.epoch(epoch)
        now = time.perf_counter()
        if (epoch + 1) % max(1, epochs // 20) == 0:
            print(f"{name}: epoch {epoch + 1} of {epochs}, loss {mean:.4f}", flush=True)
        if now - saved > SAVE_EVERY_SECONDS or epoch + 1 == epochs:
            saved = now
            state = {"epoch": epoch + 1, "seconds": before + now - began}
            state["objective"] = trainer.objective.state_dict()
            write(state | {"optimizer": trainer.optimizer.state_dict()}, checkpoint)
    return trainer.objective.result, before + time.perf_counter() - began


class Trainer:
    """Steps of one objective; on a GPU one CUDA graph, as launches would take most of the time.

    Every random choice follows from seed, epoch and step, so a resumed training repeats it.
    """

    def __init__(self, objective: Objective, epochs: int, data: Pictures) -> None:
        self.objective, self._data, self._epochs = objective, data, epochs
        self._steps = len(data.labels) // objective.batch
        device = self._device = data.images.device
        self._rate = torch.tensor(0.0, device=device)
        trained = [p for p in objective.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": objective.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups, lr=self._rate, betas=(0.9, 0.95), fused=True, capturable=device.type == "cuda"
        )
        self._generator = torch.Generator(device)
        self._chosen = torch.zeros(objective.batch, dtype=torch.long, device=device)
        self._progress, self._total = (torch.zeros((), device=device) for _ in range(2))
        self._graph: torch.cuda.CUDAGraph | None = None

    def epoch(self, epoch: int) -> float:
        """One pass over the pictures; the mean loss."""
        batch, seed = self.objective.batch, SEED * 1_000_003 + epoch
        shuffled = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self._data.labels), generator=shuffled).to(self._device)
        if self._device.type == "cuda" and self._graph is None:
            self._capture()
        self._generator.manual_seed(seed)
        self._total.zero_()
        for step in range(self._steps):
            self._chosen.copy_(order[step * batch : (step + 1) * batch])
            self._progress.fill_((epoch + step / self._steps) / self._epochs)
            if self._graph is None:
                self._step()
            else:
                self._graph.replay()
        return float(self._total) / self._steps

    def load(self, objective: dict[str, Any], optimizer: dict[str, Any]) -> None:
        """Go on from saved states."""
        self.objective.load_state_dict(objective)
        self.optimizer.load_state_dict(optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate  # loading put a copy in its place

    def _capture(self) -> None:
        before = copy.deepcopy((self.objective.state_dict(), self.optimizer.state_dict()))
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):  # what is made at first use may not be made in the graph
                self._step()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self._step()
        self._restore(before)
        self._graph = graph

    @torch.no_grad()
    def _restore(self, states: tuple[dict[str, Any], dict[str, Any]]) -> None:
        """Undo the steps of the warm-up in place, as the graph knows these tensors by address."""
        self.objective.load_state_dict(states[0])
        for index, state in self.optimizer.state_dict()["state"].items():
            for key, value in state.items():
                old = states[1]["state"].get(index)
                value.copy_(old[key]) if old else value.zero_()

    def _step(self) -> None:
        objective, progress = self.objective, self._progress
        fall = (1 + torch.cos(math.pi * (progress - WARMUP).clamp(min=0) / (1 - WARMUP))) / 2
        self._rate.copy_(objective.learning_rate * torch.minimum(progress / WARMUP, fall) + 1e-6)
        batch = Pictures(self._data.images[self._chosen], self._data.labels[self._chosen])
        with torch.autocast(self._device.type, torch.bfloat16, cache_enabled=False):
            loss = objective.loss(batch, self._generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), CLIP_NORM)
        self.optimizer.step()
        objective.after_step(progress)
        self._total += loss.detach()


def write(state: dict[str, Any], file: Path) -> None:
    """Write a checkpoint, whole or not at all."""
    beside = file.with_suffix(".part")
    torch.save(state, beside)
    beside.replace(file)


def save(encoder: VisionTransformer, folder: Path) -> VisionTransformer:
    """Write a timm checkpoint in float16, and return the network as it was written."""
    kept = timm.create_model(ARCHITECTURE, num_classes=0, **SHAPE)
    kept.load_state_dict(encoder.state_dict())
    kept.pretrained_cfg = {  # in place of the architecture's own, which tells of other weights
        "architecture": ARCHITECTURE,
        "mean": MEAN,
        "std": STD,
        "input_size": (3, 32, 32),
    }
    arguments = {**SHAPE, "num_classes": 0}
    save_for_hf(kept.half(), str(folder), model_args=arguments, safe_serialization=True)
    return kept.float().eval()


@torch.no_grad()
def features(encoder: VisionTransformer, images: Tensor) -> Tensor:
    """Class token and mean of the patch tokens, [count, 2 * width]."""
    found = []
    for part in images.split(1000):
        tokens = encoder.forward_features(normalized(part))
        found.append(torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1).float())
    return torch.cat(found)


def probe(encoder: VisionTransformer, train: Pictures, test: Pictures) -> float:
    """Accuracy on the test pictures of a linear layer trained on frozen features."""
    seen, held = features(encoder.eval(), train.images), features(encoder, test.images)
    mean, spread = seen.mean(0), seen.std(0) + 1e-6
    seen, held = (seen - mean) / spread, (held - mean) / spread
    torch.manual_seed(SEED)
    layer = torch.nn.Linear(seen.shape[1], 10).to(seen.device)
    epochs, batch = 20, 500
    optimizer = torch.optim.AdamW(layer.parameters(), lr=2e-3, weight_decay=1e-2)
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(seen) // batch)
    for _ in range(epochs):
        for chosen in torch.randperm(len(seen)).to(seen.device).split(batch):
            loss = F.cross_entropy(layer(seen[chosen]), train.labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            plan.step()
    return float((layer(held).argmax(1) == test.labels).float().mean())


if __name__ == "__main__":
    main()

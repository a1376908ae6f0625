"""Trial folders with MADE-UP values, for tests of what reads them; nothing here was measured."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from inflate_zoo.bench.definitions.results import Result, Run, new_record
from inflate_zoo.bench.definitions.trials import trial_hash
from inflate_zoo.files.writing.contents import form_text

SURFACES = [f"surface_dice_{mm}mm" for mm in (1, 2, 3, 5, 7)]


@dataclass(frozen=True)
class Arm:
    """What competes; `quality` is the mean Dice that is made up for it."""

    label: str
    kind: str
    source: str
    scheme: str | None
    quality: float


def arms_of(sources=("made-up/vit-one", "made-up/vit-two"), schemes=("center", "average")):
    """Inflated arms of every source and scheme, `2d` of every source, one `random`."""
    arms = []
    for place, source in enumerate(sources):
        name = source.split("/")[-1]
        arms += [
            Arm(f"{name} {scheme}", "inflated", source, scheme, 0.86 - 0.05 * place - 0.02 * index)
            for index, scheme in enumerate(schemes)
        ]
        arms.append(Arm(f"{name} 2d", "2d", source, None, 0.78 - 0.03 * place))
    return [*arms, Arm("random", "random", "random", None, 0.7)]


def task(name="made-up", regions=("anterior", "posterior")) -> dict[str, Any]:
    return {
        "name": name, "title": "Made-up hippocampus, no real data", "modality": "MRI",
        "channels": ["MRI"],
        "labels": {"background": 0} | {region: i + 1 for i, region in enumerate(regions)},
        "regions": {region: [i + 1] for i, region in enumerate(regions)},
        "intensity": {"rule": "percentiles", "low": 0.5, "high": 99.5},
        "spacing": [1.0, 1.0, 1.0], "slices": "coronal", "surface_tolerance_mm": 1.0,
        "split": {"rule": "hash", "folds": 5, "digest": None}, "license": "CC-BY-SA-4.0",
        "citation": "Nobody, A. Made-up values for tests. Journal of Nothing (2026)",
        "address": "https://example.org/made-up.tar", "checksum": "md5:00",
    }  # fmt: skip


def protocol(name="quick", steps=150) -> dict[str, Any]:
    return {
        "name": name, "summary": "small windows and few steps", "backbone": "made-up/vit-one",
        "deviations": ["made up: half the steps of the paper, to save time"],
        "data": {"spacing": "task", "intensity": "task"},
        "network": {"decoder": "unetr", "features": 8, "window": [32, 64, 64],
                    "patch_depth": "spacing", "drop_path": 0.0, "freeze": False},
        "augment": {"flip": 0.5, "turn": 0.5, "degrees": 15.0, "zoom": [0.8, 1.25],
                    "intensity": 0.5, "brightness": 0.1, "gamma": [0.7, 1.5], "noise": 0.05},
        "loss": {"dice": 1.0, "cross_entropy": 1.0, "focal": 0.0, "background": False},
        "train": {"steps": steps, "batch": 2, "dice_group": 2, "foreground": 0.67,
                  "windows_per_case": 1, "learning_rate": 1e-3, "layer_decay": 0.85,
                  "weight_decay": 0.05, "schedule": "cosine", "warmup_ratio": 0.05, "clip": 1.0,
                  "precision": "bf16", "validate_every": 50, "validation_cases": 4,
                  "select": "last", "checkpoint_every": 25},
        "evaluation": {"overlap": 0.5, "batch": 4},
    }  # fmt: skip


def config(kind="inflated", **changes) -> dict[str, Any]:
    """A backbone as trials name it; a random one has no tables, one slice by slice no depth."""
    depth = changes.get("patch_depth", 1 if kind == "2d" else 4)
    rows = (1, 1) if kind == "random" else (14, 14)
    return {
        "embed_dim": 384, "depth": 12, "num_heads": 6, "mlp": "mlp", "mlp_dim": 1536,
        "in_channels": 1, "patch_size": [16, 16], "patch_depth": depth,
        "position_grid": [*rows], "depth_positions": 0,
        "volume": [depth, 16 * rows[0], 16 * rows[1]], "pool": "cls",
        "activation": "gelu", "norm_eps": 1e-6, "position_prefix": 1, "cls_token": True,
        "dist_token": False, "reg_tokens": 0, "qkv_bias": True, "layer_scale": False,
        "stem_bias": True, "pre_norm": False, "final_norm": "tokens",
    } | changes  # fmt: skip


def record(arm: Arm, seed=0, cases=12, task=None, protocol=None, fold=0, cases_named=None):
    """One record with values made up from the arm's quality and the seed."""
    task, protocol = task or globals()["task"](), protocol or globals()["protocol"]()
    names = cases_named or [f"{task['name']}_{place:03d}" for place in range(cases)]
    difficulty = np.random.default_rng(7).normal(0, 0.03, len(names))
    key = f"{arm.label} {seed} {fold} {task['name']} {protocol['name']}".encode()
    rng = np.random.default_rng(int(hashlib.sha256(key).hexdigest()[:16], 16))
    shift = rng.normal(0, 0.004)
    results = []
    for name, hard in zip(names, difficulty, strict=True):
        found = {}
        for place, region in enumerate(task["regions"]):
            dice = float(np.clip(arm.quality + shift + hard - 0.03 * place
                                 + rng.normal(0, 0.012), 0, 1))  # fmt: skip
            surface = float(np.clip(dice + 0.06 + rng.normal(0, 0.01), 0, 1))
            volume = float(rng.uniform(900, 2200))
            found[region] = {
                "dice": dice, "surface_dice": surface, **dict.fromkeys(SURFACES, surface),
                "hd95_mm": 6 * (1 - dice), "volume_mm3": volume,
                "reference_volume_mm3": volume * 1.02,
            }  # fmt: skip
        dice = float(np.mean([scores["dice"] for scores in found.values()]))
        results.append({"case": name, "regions": found, "mean_dice": dice, "slice": 0})
    return _whole(arm, seed, fold, task, protocol, results, rng)


def _whole(arm, seed, fold, task, protocol, results, rng):
    weights = hashlib.sha256(arm.label.encode()).hexdigest()  # all trials of an arm have the same
    steps, names = protocol["train"]["steps"], [entry["case"] for entry in results]
    mean = {
        region: {
            metric: float(np.mean([entry["regions"][region][metric] for entry in results]))
            for metric in ("dice", "surface_dice")
        }
        for region in task["regions"]
    }
    noise = rng.normal(0, 0.03, steps)
    loss = [
        [s + 1, float(1.6 * np.exp(-s / 40) + 1 - arm.quality + noise[s])] for s in range(steps)
    ]
    validation = [
        [s, float(arm.quality * (1 - np.exp(-s / 45)) + rng.normal(0, 0.01))]
        for s in range(50, steps + 1, 50)
    ]
    trial = {
        "task": task, "protocol": protocol, "fold": fold, "seed": seed,
        "arm": {"label": arm.label, "kind": arm.kind, "source": arm.source, "scheme": arm.scheme,
                "architecture": "12 blocks of width 384, patch 4x16x16",
                "config": config(arm.kind),
                "weights": "" if arm.kind == "random" else weights},
        "cases": {"train": [f"t{i}" for i in range(40)], "validation": [f"v{i}" for i in range(4)],
                  "test": names},
        "channel_rule": "sum", "entries": dict.fromkeys(names, "ab" * 8),
    }  # fmt: skip
    result = {
        "cases": results, "mean": mean,
        "pooled": {name: {"dice": min(1, values["dice"] + 0.01)} for name, values in mean.items()},
        "curves": {"loss": loss, "validation_dice": validation}, "selected_step": steps,
        "parameters": 22_000_000, "trained_parameters": 22_000_000, "window": [32, 64, 64],
        "flops": 41_234_567_890, "encoder_flops": 31_234_567_890,
    }  # fmt: skip
    run = {
        "command": ["inflate-zoo", "bench", "--task", task["name"], "--protocol", protocol["name"]],
        "seconds": {"training": float(rng.uniform(80, 95)), "evaluation": 12.5,
                    "waiting_for_data": 1.25},
        "windows_per_second": float(rng.uniform(3, 4)), "peak_memory_bytes": 1_610_612_736,
        "device": "cpu", "host": "made-up-host",
        "versions": {"torch": "2.10.0", "monai": "1.5.0", "inflate-zoo": "0.1.0"},
        "started": "2026-01-02T03:04:05Z", "finished": "2026-01-02T03:06:05Z",
    }  # fmt: skip
    return {"hash": trial_hash(trial), "trial": trial, "result": result, "run": run}


def save_overlays(path: Path, record: dict[str, Any], size=48, *, names=None) -> None:
    """Made-up discs for every case, the worse the further from where they belong.

    Args:
        path: The file.
        record: The trial's.
        size: Pixels of a side.
        names: Name in the file to place of the case; all are numbered by default.
    """
    rows, columns = np.mgrid[:size, :size]
    cases = record["result"]["cases"]
    named = names or {f"{place:04d}": place for place in range(len(cases))}
    tensors, state = {}, {}
    for name, place in named.items():
        dice = cases[place]["mean_dice"] or 0.0
        away = 24 * (1 - dice)
        distance = np.hypot(rows - size / 2, columns - size / 2)
        moved = np.hypot(rows - size / 2 + away, columns - size / 2 + away / 2)
        grey = np.clip(200 - 5 * distance + 20 * np.sin(rows / 3), 0, 255).astype(np.uint8)
        tensors[f"{name}.image"] = torch.from_numpy(grey)
        for kind, far in (("reference", distance), ("prediction", moved)):
            classes = np.where(far < 7, 1, np.where(far < 12, 2, 0)).astype(np.uint8)
            tensors[f"{name}.{kind}"] = torch.from_numpy(classes)
        state[name] = {"case": cases[place]["case"], "dice": dice, "slice": 17 + place}
    save_file(tensors, path, metadata={"state": json.dumps(state)})


def save(folder: Path, record: dict[str, Any], *, overlays=True) -> Path:
    """Write a finished trial, whatever was changed of it since; returns its folder."""
    place = save_pending(folder, record)
    made = new_record(record["trial"], Result(**record["result"]), Run(**record["run"]))
    (place / "record.json").write_text(form_text(made))
    if overlays:
        save_overlays(place / "overlays.safetensors", record)
    return place


def save_pending(folder: Path, record: dict[str, Any]) -> Path:
    """Write a trial that has not run."""
    record["hash"] = trial_hash(record["trial"])
    place = folder / "trials" / record["hash"]
    place.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**record["trial"], "hash": record["hash"]})
    (place / "trial.json").write_text(text)
    return place


def save_failed(folder: Path, record: dict[str, Any], reason="made-up failure", case=None) -> Path:
    """Write a trial that failed."""
    place = save_pending(folder, record)
    failure = {"kind": "nan_loss", "reason": reason, "case": case, "when": "2026-01-02T03:04:05Z"}
    (place / "failure.json").write_text(json.dumps(failure))
    return place


def save_run(
    folder: Path, *, arms=None, seeds=3, cases=12, incomplete=True, overlays=True, **settings
) -> Path:
    """Write a run; if `incomplete`, the last two arms lack a trial: one failed, one pending."""
    arms = arms or arms_of()
    for place, arm in enumerate(arms):
        for seed in range(seeds):
            made = record(arm, seed, cases, **settings)
            if incomplete and seed == seeds - 1 and place == len(arms) - 2:
                save_failed(folder, made, "loss became NaN at step 7", "made-up_003")
            elif incomplete and seed == seeds - 1 and place == len(arms) - 1:
                save_pending(folder, made)
            else:
                save(folder, made, overlays=overlays and seed == 0)
    return folder

"""Small sources and data for `tests.same_bytes`: most of them the same on every machine."""

import json
import zlib
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.support import checkpoints
from tests.support.clip_towers import save_clip
from tests.support.datasets import LABELS, write_nifti, write_table

DEEP = ("swin3d", "video-swin")  # 3D already: no scheme is theirs
KEYS = Path(__file__).parents[1] / "keys"
RECORDED_KINDS = {
    "dino": "dino_backbone", "hf_clip": "clip", "hf_deit": "deit", "hf_dinov2": "dinov2",
    "hf_dinov2_with_registers": "dinov2_with_registers", "hf_ijepa": "ijepa",
    "hf_siglip": "siglip", "hf_vit": "vit", "hf_vit_mae": "vit_mae", "hf_vit_msn": "vit_msn",
    "moco_v3": "moco_v3", "timm_vit": "augreg",
}  # fmt: skip


def exact(name: str, shape: Sequence[int]) -> Tensor:
    """Multiples of 2**-12 in [-0.5, 0.5), by name and place: no arithmetic on the way rounds."""
    mixed = torch.arange(prod(shape), dtype=torch.int64) * 0x9E3779B1 + zlib.crc32(name.encode())
    mixed = mixed & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
    return (((mixed >> 12) % 4096 - 2048).float() / 4096).reshape(tuple(shape))


def recorded_source(definition: str, kind: str, folder: Path) -> tuple[Path, dict[str, str]]:
    """A checkpoint with the names and shapes that its library wrote, and what `convert` needs.

    Those that carry no config are bare state dicts, in a pickle.
    """
    recording = json.loads((KEYS / f"{definition}.json").read_text("utf-8"))
    case = next(case for case in recording["cases"] if case["kind"] == kind)
    made = {name: exact(name, entry["shape"]) for name, entry in case["tensors"].items()}
    folder.mkdir(parents=True)
    if case["config"] is None:
        torch.save(made, folder / f"{kind}.pth")
        return folder / f"{kind}.pth", {"family": definition}
    save_file(made, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(case["config"], indent=2) + "\n")
    return folder, {}


def volumes(folder: Path, cases: int = 10, shape: tuple[int, int, int] = (14, 12, 6)) -> Path:
    """A small data set in the Decathlon's layout: two boxes in noise, whole numbers, no gzip."""
    names = [f"case_{number:02d}" for number in range(cases)]
    for number, name in enumerate(names):
        noise = exact(name, shape).numpy() * 4096
        label = np.zeros(shape, np.uint8)
        label[1 + number % 3 : 7, 2:11, 1:5] = 1
        label[7 : 13 - number % 2, 2:11, 1:5] = 2
        image = (noise // 64 + 100 + 40 * label).astype(np.int16)
        write_nifti(folder / "imagesTr" / f"{name}.nii", image)
        write_nifti(folder / "labelsTr" / f"{name}.nii", label)
    training = [{"image": f"imagesTr/{n}.nii", "label": f"labelsTr/{n}.nii"} for n in names]
    table = {
        "name": "Boxes",
        "modality": {"0": "MRI"},
        "labels": {str(value): name for name, value in LABELS.items()},
        "training": training,
    }
    return write_table(folder, table)


def sources(root: Path) -> Iterator[tuple[str, Path, dict[str, str]]]:
    """Every kind of small checkpoint as its own library saves it: name, source, options."""
    for kind in checkpoints.TRANSFORMERS:
        yield kind, checkpoints.save_transformers(kind, root / kind), {}
    for kind in (*checkpoints.TIMM, *checkpoints.TIMM_STAGED, *checkpoints.TIMM_HIERA):
        yield f"timm-{kind}", checkpoints.save_timm(kind, root / f"timm-{kind}"), {}
    yield "open-clip", save_clip(root / "open-clip"), {}
    yield "swin3d", checkpoints.save_swin3d(root / "swin3d"), {}
    yield "dino-full", checkpoints.save_dino_pth(root / "dino-full"), {}
    bare = checkpoints.save_dino_pth(root / "dino-bare", full=False)
    yield "dino-bare", bare, {"family": "dino"}
    for name, family, content in (
        ("dinov2-original", "dino", checkpoints.dinov2_original(registers=False)),
        ("dinov2-original-reg", "dino", checkpoints.dinov2_original()),
        ("dinov3-original", None, checkpoints.dinov3_original()),
        ("moco-v3", None, checkpoints.moco_v3()),
        ("beit-original", "beit", checkpoints.beit_original(finetuned=True)),
        ("swin-original", None, checkpoints.swin_original()),
        ("swinv2-original", None, checkpoints.swinv2_original()),
        ("sam-original", None, checkpoints.sam_original()),
        ("video-swin", None, checkpoints.video_swin_original()),
    ):
        (root / name).mkdir()
        torch.save(content, root / name / f"{name}.pth")
        yield name, root / name / f"{name}.pth", {"family": family} if family else {}
    with checkpoints.as_published():  # while the last ones are converted
        for name, content in (
            ("sam2-original", checkpoints.sam2_original()),
            ("hiera-original", checkpoints.hiera_original(masked=True)),
        ):
            (root / name).mkdir()
            torch.save(content, root / name / f"{name}.pth")
            yield name, root / name / f"{name}.pth", {}

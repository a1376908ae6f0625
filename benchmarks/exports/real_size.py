"""Time and peak memory of an export at real size, with random weights.

    python benchmarks/exports/real_size.py onnx --blocks 12 --width 768 --volume 96,96,96

Prints one line of JSON: what was exported, seconds of the clock and of processors, the peak of the
process in MiB, sizes, error.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import torch

from inflate_zoo.exporting.exporting import ExportRequest, export_source
from inflate_zoo.networks.backbone import Backbone
from inflate_zoo.networks.vit.config import VitConfig
from inflate_zoo.segmentation.segmenter import segmenter


def backbone(blocks: int, width: int, patch: int, volume: tuple[int, ...]) -> Backbone:
    """A ViT as timm's, with a class token and heads of 64 channels."""
    depth, height, side = volume
    config = VitConfig(
        embed_dim=width, depth=blocks, num_heads=width // 64, mlp="mlp", mlp_dim=4 * width,
        activation="gelu", norm_eps=1e-6, in_channels=1, patch_size=(patch, patch),
        position_grid=(height // patch, side // patch), position_prefix=1, cls_token=True,
        dist_token=False, reg_tokens=0, qkv_bias=True, layer_scale=False, stem_bias=True,
        pre_norm=False, final_norm="tokens", pool="cls", patch_depth=patch,
        volume=(depth, height, side),
    )  # fmt: skip
    return Backbone(config)


def main() -> None:
    """Make, save, export, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--patch", type=int, default=16)
    parser.add_argument("--volume", default="96,96,96")
    parser.add_argument("--decoder", help="a segmenter of 3 classes instead of the backbone")
    asked = parser.parse_args()
    volume = tuple(map(int, asked.volume.split(",")))
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as home:
        network = backbone(asked.blocks, asked.width, asked.patch, volume)
        if asked.decoder:
            segmenter(network, classes=3, decoder=asked.decoder).save_pretrained(f"{home}/source")
        else:
            network.save_pretrained(f"{home}/source")
        weights = sum(parameter.numel() for parameter in network.parameters())
        del network
        began, worked = time.perf_counter(), time.process_time()
        request = ExportRequest(f"{home}/source", asked.target, Path(home, "out"))
        _, record = export_source(request)
        told = {
            **vars(asked),
            "million_weights": round(weights / 1e6),
            "seconds": round(time.perf_counter() - began, 1),
            "processor_seconds": round(time.process_time() - worked, 1),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            "mib": {name: file.bytes >> 20 for name, file in record.files.items()},
            "error": record.proof.error_over_rms,
            "by": record.proof.by,
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()

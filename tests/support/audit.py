"""Feeds odd values to every argument of the foreign constructors, and writes down what happens.

Run in a process of its own, as an audit hook stays for good:
`python audit.py FOLDER OUTSIDE`, where OUTSIDE is a file that must not be opened. Prints JSON.
"""

import dataclasses
import functools
import inspect
import json
import math
import os
import pickle
import resource
import socket
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import transformers
from timm.models._builder import build_model_with_cfg, load_pretrained
from timm.models._pretrained import PretrainedCfg
from timm.models.vision_transformer import VisionTransformer

from inflate_zoo.conversion.originals.original import original_of
from inflate_zoo.errors import InflateZooError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.understanding import Understood, understand
from tests.support import recorded
from tests.support.recorded import Case

FOLDER, OUTSIDE = sys.argv[1:]
case = functools.cache(recorded.case)  # nothing here changes one
KINDS = {  # recorded file -> the config class that reads its config
    "vit": "ViTConfig", "vit_mae": "ViTMAEConfig", "vit_msn": "ViTMSNConfig", "deit": "DeiTConfig",
    "dinov2": "Dinov2Config", "dinov2_with_registers": "Dinov2WithRegistersConfig",
    "clip": "CLIPConfig", "clip_vision": "CLIPVisionConfig", "siglip": "SiglipConfig",
    "siglip_vision": "SiglipVisionConfig", "ijepa": "IJepaConfig",
}  # fmt: skip
TOWERS = {"clip": "CLIPVisionConfig", "siglip": "SiglipVisionConfig"}
ODD: list[Any] = [
    None, True, -1, 20_000, 3_000_000, 2**70, math.nan, "", "builtins.exec", OUTSIDE,
    "http://127.0.0.1:9/x", "a/b", [], [0, 0], {"x": OUTSIDE},
]  # fmt: skip
MORE = {
    "auto_map", "quantization_config", "attn_implementation", "_attn_implementation", "num_labels",
    "torch_dtype", "custom_pipelines", "trust_remote_code", "kernel_config", "model_type",
}  # fmt: skip
ARCHITECTURES = [
    "", ".", "timm/", "hf-hub:a/b", "hf_hub:a/b", "local-dir:/", "http://127.0.0.1:9/x", OUTSIDE,
    "vit_tiny_patch16_224.../x", "vit_base_patch16_224\0", "x" * 1_000_000, "resnet50", "test_vit",
    "vit_huge_patch14_224_in21k", "vit_gigantic_patch14_clip_quickgelu_224",
]  # fmt: skip

_plain = sysconfig.get_paths()
LIBRARIES = {os.path.realpath(path) for path in (*_plain.values(), sys.prefix, sys.base_prefix)}
OWN = (
    *LIBRARIES,
    str(Path(__file__).parents[2]),
    os.path.realpath(FOLDER),
    "/proc",
    "/sys",
    "/dev",
)
FORBIDDEN = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork",
    "pickle.", "urllib.", "http.", "shutil.", "os.remove", "os.rename",
)  # fmt: skip
seen: list[str] = []
watching = [""]  # what is being fed, empty where nothing is


def hook(event: str, args: tuple[Any, ...]) -> None:
    if not watching[0]:
        return
    if event.startswith(FORBIDDEN):
        seen.append(f"{event} {args!r:.200} while {watching[0]}")
    elif event == "open" and isinstance(args[0], str | bytes | os.PathLike):
        path = os.path.realpath(os.fsdecode(args[0]))
        if not any(path == own or path.startswith(own + os.sep) for own in OWN):
            seen.append(f"open {path:.200} while {watching[0]}")


class Memory:
    """A checkpoint of random tensors with the recorded names and shapes."""

    def __init__(self, header: Mapping[str, TensorInfo]) -> None:
        self.header = header

    def read(self, name: str) -> torch.Tensor:
        return torch.randn(self.header[name].shape)


def parameters(*kinds: Any) -> set[str]:
    found = [inspect.signature(kind).parameters.values() for kind in kinds]
    return {p.name for some in found for p in some if p.kind is not p.VAR_KEYWORD} - {"self"}


def timm_configs() -> Iterator[tuple[str, dict[str, Any]]]:
    config = case("augreg").config or {}
    constructors = (timm.create_model, VisionTransformer, build_model_with_cfg, load_pretrained)
    names = parameters(*constructors) | {"features_only", "out_indices", "feature_cls", "pruned"}
    yield from odd(config, "model_args", names)
    yield from odd(config, "pretrained_cfg", {f.name for f in dataclasses.fields(PretrainedCfg)})
    yield from odd(config, "", {"architecture", "model_args", "pretrained_cfg", "checkpoint_path"})


def transformers_configs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """By kind; a field that one kind has had is not fed to the next."""
    loading = parameters(transformers.PreTrainedModel.from_pretrained)
    done: dict[str, set[str]] = {"": set(), "vision_config": set()}
    for kind, read in KINDS.items():
        config = case(kind).config or {}
        parts = {"": read, "vision_config": TOWERS[kind]} if kind in TOWERS else {"": read}
        for part, name in parts.items():
            keys = loading | MORE | parameters(getattr(transformers, name).__init__) | set(config)
            for what, changed in odd(config, part, keys - done[part]):
                yield kind, f"{kind}: {what}", changed
            done[part] |= keys


def odd(config: dict[str, Any], part: str, keys: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key in sorted(keys):
        for value in ODD:
            changed = (
                {**config, part: {**config[part], key: value}} if part else {**config, key: value}
            )
            yield f"{part}.{key} = {value!r:.80}".lstrip("."), changed


class Feeder:
    """Feeds one config after the other to what `inspect` and the proof do with it."""

    def __init__(self) -> None:
        self.tried, self.accepted = 0, 0
        self.slowest: tuple[float, str] = (0.0, "")  # CPU seconds
        self.bugs: list[str] = []
        self.built: set[str] = set()

    def __call__(
        self, what: str, source: Case, config: dict[str, Any] | None, arch: str | None = None
    ) -> None:
        watching[0], began = what, time.process_time()
        try:
            understood = understand(source.header, config, None, arch)
            self.accepted += 1
            self.build(understood, source)
        except InflateZooError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever comes is what is looked for
            self.bugs.append(f"{what}: {type(error).__name__}: {error!s:.200}")
        self.tried += 1
        self.slowest = max(self.slowest, (time.process_time() - began, what))
        watching[0] = ""

    def build(self, understood: Understood, source: Case) -> None:
        new = repr((source.kind, sorted(understood.raw.items()), sorted(understood.arguments)))
        if new not in self.built:
            self.built.add(new)
            grid = understood.plan.architecture.position_grid
            original_of(understood, Memory(source.header), grid)


def checked_hook() -> int:
    """How much of three forbidden things the hook sees."""
    sys.addaudithook(hook)
    watching[0] = "checking the hook"
    Path(OUTSIDE).read_bytes()
    socket.socket().close()
    pickle.loads(pickle.dumps(Path))
    return len(seen)


def main() -> None:
    noticed, feed = checked_hook(), Feeder()
    for warm in ("", " again"):
        feed.slowest, seen[:] = (0.0, ""), []  # the first round imports what is imported late
        for kind in ("augreg", *KINDS):
            feed(f"{kind} as it is{warm}", case(kind), case(kind).config)
    right, before = feed.accepted, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for what, config in timm_configs():
        feed(what, case("augreg"), config)
    for arch in ARCHITECTURES:
        feed(f"--arch {arch:.60}", case("augreg"), None, arch)
    for kind, what, config in transformers_configs():
        feed(what, case(kind), config)
    report = {
        "noticed": noticed,
        "right": right,
        "tried": feed.tried,
        "accepted": feed.accepted,
        "seen": seen[:9],
        "bugs": feed.bugs[:20],
        "slowest": feed.slowest,
        "grown_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before,
        "built": len(feed.built),
    }
    print(json.dumps(report))


main()

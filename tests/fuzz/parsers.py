"""Every reader of what strangers write: how its input is spoilt, and how it is called."""
# ruff: noqa: E501 - its tables

import gzip
import io
import json
import shutil
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from inflate_zoo.files import locations
from tests.fuzz.mutations import NUMBERS, TEXTS, json_of, odd, spoil_bytes, spoil_text, spoil_tree
from tests.support import recorded

Run = Callable[[Path, Random], None]


@dataclass(frozen=True)
class Parser:
    """One reader: `run` spoils an input into an empty folder and reads it."""

    name: str
    run: Run
    share: float = 1.0  # of the time


def _safetensors(header: dict, data: int) -> bytes:
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + b"\0" * data


_HEADER = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b.weight": {"dtype": "BF16", "shape": [], "data_offsets": [24, 26]},
    "c": {"dtype": "I64", "shape": [0, 4], "data_offsets": [26, 26]},
}


def safetensors_header(folder: Path, random: Random) -> None:
    from inflate_zoo.files.header import read_header

    path = folder / "model.safetensors"
    if random.random() < 0.5:
        path.write_bytes(spoil_bytes(random, _safetensors(_HEADER, 26)))
    else:
        text = json_of(random, _HEADER)
        path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 26)
    read_header(path)


@cache
def _recorded(timm: bool) -> list:
    cases = [case for name in recorded.definitions() for case in recorded.cases(name)]
    wanted = [case for case in cases if case.config is not None]
    return [case for case in wanted if ("architecture" in case.config) == timm]


def _write_header(path: Path, header: dict) -> None:
    """The header of a whole checkpoint; its data are a hole in the file."""
    from inflate_zoo.files.dtypes import ITEM_BYTES

    entries, position = {}, 0
    for name, info in header.items():
        size = ITEM_BYTES[info.dtype]
        for extent in info.shape:
            size *= extent
        entries[name] = {
            "dtype": info.dtype, "shape": list(info.shape),
            "data_offsets": [position, position + size],
        }  # fmt: skip
        position += size
    content = _safetensors(entries, 0)
    with path.open("wb") as file:
        file.write(content)
        file.truncate(len(content) + position)


_PREPROCESSOR = {
    "do_normalize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 3,
    "size": {"height": 224, "width": 224}, "image_processor_type": "ViTImageProcessor",
}  # fmt: skip


def _inspect(folder: Path, random: Random, *, timm: bool, spoil: str) -> None:
    from inflate_zoo.conversion.inspection import inspect_source

    case = random.choice(_recorded(timm))
    _write_header(folder / "model.safetensors", case.header)
    contents = {"config": case.config, "preprocessor_config": _PREPROCESSOR}
    contents["processor_config"] = {"image_processor": _PREPROCESSOR}
    for name, value in contents.items():
        spoilt = json_of(random, value) if name.startswith(spoil) else json.dumps(value).encode()
        if name != "processor_config" or spoil == "processor_config":
            (folder / f"{name}.json").write_bytes(spoilt)
    inspect_source(folder)


def config(folder: Path, random: Random) -> None:
    _inspect(folder, random, timm=False, spoil="config")


def preprocessor_config(folder: Path, random: Random) -> None:
    spoil = random.choice(["preprocessor_config", "processor_config"])
    _inspect(folder, random, timm=False, spoil=spoil)


_TIMM = {
    "architecture": "vit_tiny_patch16_224", "num_classes": 10, "num_features": 192,
    "pretrained_cfg": {
        "tag": "augreg", "input_size": [3, 224, 224], "fixed_input_size": True, "num_classes": 10,
        "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "first_conv": "patch_embed.proj",
        "classifier": "head", "pool_size": None, "interpolation": "bicubic",
    },
    "model_args": {
        "img_size": 32, "patch_size": 8, "in_chans": 3, "num_classes": 0, "embed_dim": 48,
        "depth": 2, "num_heads": 4, "mlp_ratio": 2.0, "qkv_bias": True, "init_values": 1e-5,
        "class_token": True, "reg_tokens": 0, "global_pool": "token", "pre_norm": False,
    },
}  # fmt: skip


def model_args(folder: Path, random: Random) -> None:
    from inflate_zoo.conversion.inspection import inspect_source

    _write_header(folder / "model.safetensors", _recorded(True)[0].header)
    (folder / "config.json").write_bytes(json_of(random, _TIMM))
    inspect_source(folder)


@cache
def _open_clip_header(own: bool = False) -> dict:
    from inflate_zoo.files.header import TensorInfo
    from tests.support.checkpoints import open_clip_trunk
    from tests.support.clip_towers import clip_state, clip_tower

    trunk = {} if own else open_clip_trunk().state_dict()
    state = {f"visual.trunk.{name}": tensor for name, tensor in trunk.items()}
    state |= clip_state(clip_tower()) if own else {}
    return {name: TensorInfo("F32", tuple(tensor.shape)) for name, tensor in state.items()}


def open_clip_config(folder: Path, random: Random) -> None:
    from inflate_zoo.conversion.inspection import inspect_source
    from tests.support import checkpoints

    _write_header(folder / "open_clip_model.safetensors", _open_clip_header())
    config = checkpoints.open_clip_config()
    (folder / "open_clip_config.json").write_bytes(json_of(random, config))
    inspect_source(folder)


def open_clip_own(folder: Path, random: Random) -> None:
    from inflate_zoo.conversion.inspection import inspect_source
    from tests.support.clip_towers import clip_config

    _write_header(folder / "open_clip_model.safetensors", _open_clip_header(own=True))
    (folder / "open_clip_config.json").write_bytes(json_of(random, clip_config()))
    inspect_source(folder)


def index(folder: Path, random: Random) -> None:
    from inflate_zoo.files.checkpoints import open_checkpoint

    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for name in names:
        shard = {f"{name[:11]}.w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
        (folder / name).write_bytes(_safetensors(shard, 1))
    weight_map = {f"{name[:11]}.w": name for name in names}
    content = {"metadata": {"total_size": 2}, "weight_map": weight_map}
    path = folder / "model.safetensors.index.json"
    path.write_bytes(json_of(random, content))
    open_checkpoint(path, folder)


@cache
def _pickles() -> list[bytes]:
    import argparse

    import numpy as np
    import torch

    weight = torch.arange(24.0).reshape(2, 3, 4)
    content = {
        "model": {"a.weight": weight, "a.bias": weight[0].t(), "h": weight.half()[:, 1:]},
        "epoch": 3, "args": argparse.Namespace(lr=0.1), "best": np.float64(1), "n": torch.Size([2]),
        "names": [(1, 2), "x"], "p": torch.nn.Parameter(weight), "kinds": {1, 2}, "b": b"\0\xff",
    }  # fmt: skip
    made = []
    for new in (True, False):
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=new)
        made.append(file.getvalue())
    return made


_STEPS = [
    b"cbuiltins\nbytearray\n", b"cos\nsystem\n", b"ctorch\nFloatTensor\n", b"cnumpy\ndtype\n", b"R",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"\x81", b"b", b"e", b"u",
    b"a", b"s", b"(", b"t", b"\x85", b"\x86", b"\x87", b"N", b"]", b"}", b")", b"Q", b"h\x00", b"q\x00",
    b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"J\xff\xff\xff\x7f", b"X\xff\xff\xff\xff", b"K\x02", b".",
    b"U\x03V99", b"X\x06\x00\x00\x00latin1", b"ctorch._tensor\n_rebuild_from_type_v2\n", b"\x8f", b"0",
    b"cbuiltins\nset\n", b"c_codecs\nencode\n", b"ctorch\nSize\n", b"\x86" * 64, b"h\x01\x86q\x01" * 40,
    b"ctorch.nn.parameter\nParameter\n", b"ctorch\ndevice\n", b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff",
]  # fmt: skip


def _spoil_pickle(random: Random, data: bytes) -> bytes:
    spoilt = data
    for _ in range(random.choice([1, 1, 2, 5])):
        if random.random() < 0.5:
            spoilt = spoil_bytes(random, spoilt)
        else:
            place = random.randrange(len(spoilt) + 1)
            cut = random.choice([0, 0, 1, 2, 5])
            spoilt = spoilt[:place] + random.choice(_STEPS) + spoilt[place + cut :]
    return spoilt


def pickles(folder: Path, random: Random) -> None:
    from inflate_zoo.files.pickles import load_pickle

    new, old = _pickles()
    path = folder / "model.pth"
    if random.random() < 0.4:
        end = random.choice([len(old), 700])  # beyond these are the data
        path.write_bytes(_spoil_pickle(random, old[:end]) + old[end:])
    elif random.random() < 0.3:
        path.write_bytes(spoil_bytes(random, new))
    else:
        with zipfile.ZipFile(io.BytesIO(new)) as whole, zipfile.ZipFile(path, "w") as spoilt:
            for name in whole.namelist():
                data = whole.read(name)
                mine = name.endswith("data.pkl")
                spoilt.writestr(name, _spoil_pickle(random, data) if mine else data)
    load_pickle(path)


_YAML = [str(n) for n in NUMBERS] + [repr(t) for t in TEXTS] + [
    "!!timestamp x", "!!bool x", "!!int ''", "!!float x", "!!binary x", "!!set {a, b}", "!!omap [a]",
    "!!python/object/apply:os.system [id]", "&a", "*a", "<<: *a", "? [a, b]", "- ", "|", ">", "---", "...",
    "%YAML 9.9", "%TAG ! x", "[" * 300, "{a: " * 300, "'", '"', "\\", "\t", "{", "}", "[", "]", "#", "@", "`",
    "2001-99-99", "0x", "1_000", "1:60:60", "~", "null", "=", "!", "!<>", "!!map", "&a [*a]", ",",
]  # fmt: skip
_CARD = (
    "---\nlicense: apache-2.0\nlicense_name: x\ntags:\n- vision\n- vit\ndatasets: [imagenet-1k]\n"
    "model-index:\n- name: x\n  results:\n  - task: {type: a}\n    metrics: &m [1, 2.5]\n"
    "description: >\n  long\n  text\n---\n# Title\n"
)


def model_card(folder: Path, random: Random) -> None:
    from inflate_zoo.hub.cards import license_fields

    (folder / "README.md").write_bytes(spoil_text(random, _CARD, _YAML))
    license_fields(folder / "README.md")


def zoo_card(folder: Path, random: Random) -> None:
    from inflate_zoo.files.locations import data_folder
    from inflate_zoo.registry.entries import read_card

    text = (data_folder("model_cards") / "builtin-dino-3d-center.md").read_text()
    path = folder / "builtin-dino-3d-center.md"
    path.write_bytes(spoil_text(random, text, _YAML))
    read_card(path)


_TOML = [
    "inf", "-nan", "1e999", "9" * 5000, "[" * 400, "{a=" * 200, "'''", '"""', "[x]", "[[x]]", "true",
    "1979-99-99", "0x", "a.b.c = 1", "'a{99999999999}'", "'(a+)+$'", "'((('", "[1.0, inf, 1.0]", "{}",
    "[]", '""', "'\\u0000'", '"\\ud800"', "#", "=", ".", "a" + ".a" * 1500, "1e-300", "4611686018427387904",
    *(json.dumps(n) for n in NUMBERS[:15]), *(json.dumps(t) for t in TEXTS),
]  # fmt: skip


def _definition(kind: str, ending: str = "benchmarks/") -> Run:
    def run(folder: Path, random: Random) -> None:
        from inflate_zoo.bench.definitions import catalog as definitions
        from inflate_zoo.naming import catalog

        read = {
            "tasks": definitions.load_task, "protocols": definitions.load_protocol,
            "suites": definitions.load_suite, "converters": lambda p: catalog.parse_family("x", Path(p).read_bytes()),
        }[kind]  # fmt: skip
        files = sorted(locations.data_folder(f"{ending}{kind}").glob("*.toml"))
        path = folder / "x.toml"
        path.write_bytes(spoil_text(random, random.choice(files).read_text(), _TOML))
        read(str(path))

    return run


def overrides(_: Path, random: Random) -> None:
    from inflate_zoo.bench.definitions.catalog import load_protocol

    keys = ["train.steps", "network.window", "data.spacing", "loss.dice", "augment.zoom", "train",
            "task_steps", "network.window.0", "name", "data.intensity.low", "", "evaluation.overlap"]  # fmt: skip
    word = random.choice([*_TOML, *TEXTS, json.dumps(odd(random))])
    load_protocol("quick", [f"{random.choice(keys)}{random.choice(['=', ' = ', ''])}{word}"])


@cache
def _conversion(folder: Path) -> Path:
    from inflate_zoo.conversion.converting import convert
    from inflate_zoo.files.locations import data_folder

    target = folder.parent / "conversion"
    return convert(data_folder("benchmarks/builtin") / "dino", target, verify=False)


def _copied(folder: Path, name: str, random: Random) -> Path:
    whole = _conversion(folder)
    for path in whole.iterdir():
        if path.name != name:
            (folder / path.name).symlink_to(path) if path.suffix == ".safetensors" else shutil.copy(
                path, folder
            )
    (folder / name).write_bytes(json_of(random, json.loads((whole / name).read_text())))
    return folder


def conversion_json(folder: Path, random: Random) -> None:
    from inflate_zoo.bench.definitions.results import require_believed
    from inflate_zoo.conversion.record import read_record
    from inflate_zoo.registry.listing import find_card
    from inflate_zoo.registry.parcels import read_parcel

    _copied(folder, "conversion.json", random)
    weights = folder / "model.safetensors"
    target = weights.readlink()
    weights.unlink()
    weights.hardlink_to(target)
    entry, _ = find_card("builtin-dino-3d-center")
    record = read_record(folder)
    entry.describes(record)
    read_parcel(folder, "conversion", None, require_believed)


def network_config(folder: Path, random: Random) -> None:
    from inflate_zoo.registry.loading import load_network

    _copied(folder, "config.json", random)
    weights = folder / "model.safetensors"
    target = weights.readlink()
    weights.unlink()
    weights.hardlink_to(target)
    load_network(folder, device="meta")


@cache
def _record() -> dict:
    from tests.support import records

    return records.record(records.arms_of()[0], cases=4)


def records_of_trials(folder: Path, random: Random) -> None:
    from inflate_zoo.bench.definitions.trial_folder import TrialFolder
    from inflate_zoo.bench.report.collect import collect
    from tests.support import records

    place = records.save(folder / "trials", _record(), overlays=False)
    place = next((folder / "trials").glob("*/record.json")).parent if place is None else place
    place = place if place.is_dir() else place.parent
    name = random.choice([p.name for p in place.glob("*.json")])
    (place / name).write_bytes(json_of(random, json.loads((place / name).read_text())))
    trial = TrialFolder(place)
    _ = trial.spec, trial.failure(), trial.believed()
    collect([folder])


def overlays(folder: Path, random: Random) -> None:
    from inflate_zoo.bench.report.drawings.overlays import read
    from tests.support import records

    path = folder / "overlays.safetensors"
    records.save_overlays(path, _record(), 8)
    path.write_bytes(spoil_bytes(random, path.read_bytes()))
    read(path, "trial")


_DATASETS = [
    {
        "name": "X", "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "x"},
        "numTraining": 1, "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
        "test": [], "licence": "mit", "reference": "none", "tensorImageSize": "3D",
    },
    {
        "channel_names": {"0": "CT"}, "labels": {"background": 0, "x": 1, "whole": [1, 2], "y": 2},
        "numTraining": 1, "file_ending": ".nii.gz", "regions_class_order": [1, 2],
    },
]  # fmt: skip


def dataset_json(folder: Path, random: Random) -> None:
    from inflate_zoo.bench.data.layouts import read_dataset
    from inflate_zoo.bench.definitions.datasets import refuse_problems

    for name in ("imagesTr/a.nii.gz", "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "dataset.json").write_bytes(json_of(random, random.choice(_DATASETS)))
    refuse_problems(read_dataset(folder))


@cache
def _volumes() -> list[bytes]:
    import nibabel as nib
    import numpy as np

    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    kinds = (nib.Nifti1Image, nib.Nifti2Image)
    return [kind(array, np.diag([1.0, 2.0, 3.0, 1.0])).to_bytes() for kind in kinds]


def nifti(folder: Path, random: Random) -> None:
    from inflate_zoo.bench.data.volumes import read_grid, read_volume

    data = random.choice(_volumes())
    cut = random.choice([352, 544, len(data)])
    data = spoil_bytes(random, data[:cut]) + data[cut:]
    packed = random.random() < 0.5
    path = folder / ("v.nii.gz" if packed else "v.nii")
    content = gzip.compress(data, 1) if packed else data
    path.write_bytes(spoil_bytes(random, content) if random.random() < 0.3 else content)
    read_grid(path)
    read_volume(path, random.choice(["axial", "coronal", "sagittal"]))


@cache
def _archives() -> dict[str, bytes]:
    tar, zipped = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as file:
        for name in ("D/x", "D/" + "y" * 120, "D/é"):
            info = tarfile.TarInfo(name)
            info.size = 700
            file.addfile(info, io.BytesIO(b"a" * 700))
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("D/x", "D/sub/y", "D/é"):
            file.writestr(name, b"abc" * 300)
    return {".tar": tar.getvalue(), ".tar.gz": tar.getvalue(), ".zip": zipped.getvalue()}


def archives(folder: Path, random: Random) -> None:
    from inflate_zoo.files.archives import extract

    ending, data = random.choice(sorted(_archives().items()))
    data = bytearray(spoil_bytes(random, data))
    if ending != ".zip" and random.random() < 0.7 and len(data) >= 512:
        block = 512 * random.randrange(len(data) // 512)
        total = sum(data[block : block + 148]) + 256 + sum(data[block + 156 : block + 512])
        data[block + 148 : block + 156] = b"%06o\0 " % total  # so that its checksum is right
    path = folder / f"a{ending}"
    packed = gzip.compress(data, 1) if ending == ".tar.gz" else bytes(data)
    path.write_bytes(spoil_bytes(random, packed) if random.random() < 0.2 else packed)
    try:
        extract(path, folder / "out")
    except Exception:
        left = [p.name for p in folder.iterdir() if p != path]
        if left:
            raise AssertionError(f"left behind: {left}") from None
        raise


def front_matter_of_toml(_: Path, random: Random) -> None:
    """Definitions as trees: fields of the right name with the wrong value."""
    from pydantic import ValidationError

    from inflate_zoo.bench.definitions.protocols import Protocol
    from inflate_zoo.bench.definitions.tasks import Task
    from inflate_zoo.files.locations import data_folder

    kind, form = random.choice([("tasks", Task), ("protocols", Protocol)])
    name = {"tasks": "acdc", "protocols": "volume"}[kind]
    text = (data_folder(f"benchmarks/{kind}") / f"{name}.toml").read_text()
    try:
        form.model_validate({"name": "x", **spoil_tree(random, tomllib.loads(text))})
    except (ValidationError, TypeError):  # `**` takes tables alone
        return


PARSERS = (
    Parser("safetensors", safetensors_header),
    Parser("config", config, 2),
    Parser("preprocessor_config", preprocessor_config),
    Parser("model_args", model_args, 2),
    Parser("open_clip_config", open_clip_config),
    Parser("open_clip_own", open_clip_own),
    Parser("index", index),
    Parser("pickles", pickles, 3),
    Parser("model_card", model_card),
    Parser("zoo_card", zoo_card),
    Parser("tasks", _definition("tasks")),
    Parser("protocols", _definition("protocols")),
    Parser("suites", _definition("suites"), 0.5),
    Parser("converters", _definition("converters", ""), 0.5),
    Parser("forms", front_matter_of_toml, 0.5),
    Parser("overrides", overrides),
    Parser("conversion_json", conversion_json),
    Parser("network_config", network_config),
    Parser("records", records_of_trials),
    Parser("overlays", overlays, 0.5),
    Parser("dataset_json", dataset_json),
    Parser("nifti", nifti),
    Parser("archives", archives),
)

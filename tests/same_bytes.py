"""What conversions and trials are on the outside, to the byte: a change of the inside keeps it.

    python -m tests.same_bytes --write before.json     record all of it; takes some minutes
    python -m tests.same_bytes --compare before.json   make it again and show what differs
    python -m tests.same_bytes --record                write same_bytes.json, what the tests compare

It sees the public surface alone: `inflate_zoo.convert`, the commands, the files they write.

What may differ between two runs is replaced before anything is hashed: versions of packages, and
digests of other files once they are found to be right. Dates, hosts, durations and the command of
a trial are left out (its record's `run`; of that the fields' names stay). No path is
replaced: none may occur. The errors that the proof measures, and what a training comes to, depend
on the processor; they stand apart (`MACHINE`), and only one machine can compare them with itself.
"""

import argparse
import difflib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import inflate_zoo
from tests.support.same_sources import DEEP, RECORDED_KINDS, recorded_source, sources, volumes

RECORDED = Path(__file__).with_suffix(".json")
BUNDLED = Path(__file__).parents[1] / "benchmarks"
MACHINE = ("measured", "result", "network")  # parts that depend on the processor
PACKAGES = ("torch", "safetensors", "transformers", "timm", "numpy", "nibabel", "monai")
Artifacts = dict[str, str]  # "what/part" -> text, normalised
Command = Callable[[Sequence[str]], None]


def command(words: Sequence[str]) -> None:
    """Run `inflate-zoo` in a process of its own; what it prints is shown where it fails."""
    ran = subprocess.run(
        [sys.executable, "-m", "inflate_zoo", *words], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise SystemExit(f"inflate-zoo {' '.join(words)}\n{ran.stdout}{ran.stderr}")


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Sums come in one order, here and in the commands that are started."""
    before, wished = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        torch.set_num_threads(before)
        os.environ.pop("OMP_NUM_THREADS")
        if wished is not None:
            os.environ["OMP_NUM_THREADS"] = wished


# What is compared of a folder.


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tensors(file: Path) -> str:
    """A safetensors file: its own digest, its metadata, each tensor's type, shape and digest."""
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    lines = [f"file {sha256(content)}", f"metadata {header.pop('__metadata__', None)}"]
    for name, entry in header.items():
        first, last = (start + offset for offset in entry["data_offsets"])
        lines.append(f"{name} {entry['dtype']} {entry['shape']} {sha256(content[first:last])}")
    return "\n".join(lines) + "\n"


def conversion(folder: Path, source: Path) -> Artifacts:
    """The four files of a conversion, and apart from them what the proof measured."""
    text, card = ((folder / n).read_text("utf-8") for n in ("conversion.json", "README.md"))
    record = json.loads(text)
    inputs = source if source.is_dir() else source.parent
    for where, files in (("source", record["source"]["sha256"]), ("new", written(record))):
        for name, digest in files.items():
            if sha256(((inputs if where == "source" else folder) / name).read_bytes()) == digest:
                text = text.replace(f'"{digest}"', f'"<of the {where} {name}>"')
    for package, number in record["versions"].items():
        text = text.replace(f'"{package}": "{number}"', f'"{package}": "<version>"')
        text, card = (
            t.replace(f"{package} {number}", f"{package} <version>") for t in (text, card)
        )
    measured = numbers(record["verification"])
    for name, value in measured.items():
        text = text.replace(f'"{name}": {json.dumps(value)}', f'"{name}": "<measured>"')
    card = re.sub(
        r"(greatest absolute error|rounding by dtype adds) [\d.e+-]+", r"\1 <measured>", card
    )
    return {
        "model.safetensors": tensors(folder / "model.safetensors"),
        "config.json": (folder / "config.json").read_text("utf-8"),
        "conversion.json": text,
        "README.md": card,
        "measured": json.dumps(measured, indent=2) + "\n",
    }


def written(record: Mapping[str, Any]) -> dict[str, str]:
    return {name: entry["sha256"] for name, entry in record["files"].items()}


def numbers(verification: Mapping[str, Any] | None) -> dict[str, float]:
    """What a proof measured, by the name of the field."""
    if verification is None:
        return {}
    names = ("max_error_over_rms", "rounding_error_over_rms")
    found = {name: verification[name] for name in names if verification[name] is not None}
    return found | verification["errors"]


def trial(folder: Path) -> Artifacts:
    """A trial that is done; `record` is the form of its record, without what was measured."""
    record = json.loads((folder / "record.json").read_text("utf-8"))
    result, run = record.pop("result"), record.pop("run")
    sizes = {name: result[name] for name in ("parameters", "trained_parameters", "window")}
    text = json.dumps(result, indent=2, sort_keys=True, ensure_ascii=False).replace("\n", "\n  ")
    digest = record["hash"] + text  # as it stands in the file
    form = {
        "hash": record["hash"],
        "format": record["format"],
        "fields": sorted([*record, "result", "run"]),
        "digest": "<right>" if record["digest"] == sha256(digest.encode()) else "<wrong>",
        "run": sorted(run),
        "result": sorted(result),
        "cases": [
            [case["case"], sorted(case), sorted(case["regions"])] for case in result["cases"]
        ],
        "metrics": sorted(next(iter(result["cases"][0]["regions"].values()))),
        **sizes,
    }
    return {
        "hash": folder.name,
        "trial.json": (folder / "trial.json").read_text("utf-8"),
        "config.json": (folder / "config.json").read_text("utf-8"),
        "record": json.dumps(form, indent=2) + "\n",
        "result": json.dumps(result, indent=2) + "\n",
        "network": tensors(folder / "model.safetensors"),
    }


def below(name: str, parts: Artifacts) -> Artifacts:
    return {f"{name}/{part}": text for part, text in parts.items()}


# What is made.


def builtin_entries(root: Path, run: Command = command) -> Artifacts:
    """Every entry of the zoo whose source ships with the package, as `zoo build` makes it."""
    entries = [entry for entry in inflate_zoo.zoo() if entry.source.startswith("builtin/")]
    run(["zoo", "build", *(entry.name for entry in entries), "--out", str(root / "zoo")])
    artifacts: Artifacts = {}
    for entry in entries:
        parts = conversion(root / "zoo" / entry.name, BUNDLED / entry.source)
        artifacts |= below(f"zoo/{entry.name}", parts)
    return artifacts


def converted(name: str, source: Path, out: Path, **options: Any) -> Artifacts:
    """One conversion by `inflate_zoo.convert`; the folder is named like what is made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the source states no license, and the like
        return below(name, conversion(inflate_zoo.convert(source, out, **options), source))


def recorded_families(root: Path) -> Artifacts:
    """Each family and scheme, from tensors that every machine makes alike; nothing is proven."""
    artifacts: Artifacts = {}
    for definition, kind in RECORDED_KINDS.items():
        source, options = recorded_source(definition, kind, root / "exact" / kind)
        for scheme in inflate_zoo.SCHEMES:
            name = f"exact/{definition}-{scheme}"
            out = root / f"{definition}-{scheme}"
            artifacts |= converted(
                name, source, out, scheme=scheme, fold_normalization=True, verify=False, **options
            )
    return artifacts


VARIANTS: dict[str, dict[str, Any]] = {
    "folded": {"fold_normalization": True, "patch_depth": 3},
    "given": {"fold_normalization": True, "mean": [0.25], "std": [0.5]},
    "half": {"dtype": "float16", "scheme": "average"},
    "bfloat": {"dtype": "bfloat16", "channels": 2, "fold_normalization": True},
    "rgb": {"channels": 3, "volume": [16, 64, 48]},
}


def library_families(root: Path) -> Artifacts:
    """Each kind by each scheme, proven; of some kinds each further option.

    Raises:
        SystemExit: A family has no small checkpoint here.
    """
    artifacts: Artifacts = {}
    seen = set()
    for folder in ("sources", "out"):
        (root / folder).mkdir()
    for kind, source, options in sources(root / "sources"):
        asked: dict[str, dict[str, Any]] = {name: {"scheme": name} for name in inflate_zoo.SCHEMES}
        if kind in DEEP:
            asked = {"as-it-is": {}}
        if kind in ("vit", "dinov2", "siglip", "timm-augreg", "timm-clip", "dino-bare"):
            asked |= VARIANTS
        for variant, recipe in asked.items():
            out = root / "out" / f"{kind}-{variant}"
            artifacts |= converted(f"library/{kind}-{variant}", source, out, **recipe, **options)
        record = json.loads((out / "conversion.json").read_text("utf-8"))
        seen.add(record["source"]["family"])
    names = {family.name for family in inflate_zoo.families()}
    if names != seen:
        raise SystemExit(f"no small checkpoint of {sorted(names - seen)}; unknown: {seen - names}")
    return artifacts


FEW = (
    "train.steps=6", "train.batch=4", "train.dice_group=2", "train.warmup_ratio=0.34",
    "train.validate_every=3", "train.validation_cases=1", "train.checkpoint_every=2",
)  # fmt: skip
WINDOW = ("network.window=[4,8,8]", "network.patch_depth=2")
PROTOCOLS: dict[str, tuple[str, ...]] = {
    "volume": (*FEW, *WINDOW),
    "quick": (*FEW, *WINDOW),
    "probe": (*FEW, *WINDOW, "train.windows_per_case=2"),
    "paper": (*FEW, "network.features=32"),
}
TASK = """\
title = "Boxes"
modality = "MRI"
channels = ["MRI"]
labels = { background = 0, front = 1, back = 2 }
regions = { front = [1], back = [2], both = [1, 2] }
intensity = { rule = "percentiles", low = 0.5, high = 99.5 }
spacing = [1.0, 1.0, 1.0]
slices = "axial"
slice_size = 16
surface_tolerance_mm = 1.0
license = "CC0-1.0"
citation = "nobody"

[split]
folds = 5

[paper_split]
rule = "shuffle"
before = [4]
"""


def trials(root: Path, run: Command = command, arms: Sequence[str] = ("", ":2d")) -> Artifacts:
    """A trial of each protocol and arm; `paper` on a task file, the others on a derived task.

    Args:
        root: For everything.
        run: What runs a command.
        arms: What follows the source's name; a random network comes with more than one.
    """
    source = shutil.copytree(BUNDLED / "builtin" / "clip", root / "clip")
    data, task = volumes(root / "boxes"), root / "squares.toml"
    task.write_text(TASK)
    asked = [*(f"{source}{arm}" for arm in arms), *(["random"] if len(arms) > 1 else [])]
    artifacts: Artifacts = {}
    for protocol, changes in PROTOCOLS.items():
        out = root / f"run-{protocol}"
        words = ["bench", "--protocol", protocol, "--data", str(data), "--seeds", "1"]
        words += ["--dataset", str(task)] * (protocol == "paper")
        words += ["--device", "cpu", "--workers", "0", "--cache", str(root / "cache")]
        words += [word for name in asked for word in ("--source", name)]
        words += [word for change in changes for word in ("--set", change)]
        run([*words, "--out", str(out)])
        for folder in sorted((out / "trials").iterdir()):
            parts = trial(folder)
            kind = json.loads(parts["trial.json"])["arm"]["kind"]
            artifacts |= below(f"trials/{protocol}-{kind}", parts)
    return artifacts


# Recording and comparing.


def everything(root: Path) -> Artifacts:
    """All that can be compared on one machine."""
    artifacts: Artifacts = {}
    for what in (builtin_entries, recorded_families, library_families, trials):
        part = root / what.__name__
        part.mkdir()
        artifacts |= what(part)
        print(f"{what.__name__}: {len(artifacts)} files so far", file=sys.stderr)
    if paths := [name for name, text in artifacts.items() if str(root) in text]:
        raise SystemExit(f"a path of this machine stands in {paths}")
    return artifacts


def portable(artifacts: Artifacts) -> dict[str, str]:
    """Digests of what every machine makes alike."""
    kept = {n: text for n, text in artifacts.items() if n.rpartition("/")[2] not in MACHINE}
    return {name: sha256(text.encode()) for name, text in sorted(kept.items())}


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Names of what is new, gone or different."""
    return sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))


def circumstances() -> dict[str, str]:
    named = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "machine": platform.machine(), **named}


def show(before: Artifacts, after: Artifacts, most: int = 40) -> int:
    """Print what differs; returns in how many files."""
    names = changed(before, after)
    for name in names:
        old, new = (side.get(name, "").splitlines() for side in (before, after))
        lines = list(
            difflib.unified_diff(old, new, f"before/{name}", f"after/{name}", "", "", 1, "")
        )
        print("\n".join(lines[:most]))
        print(f"... and {len(lines) - most} more lines" if len(lines) > most else "")
    print(f"{len(names)} of {len(before.keys() | after.keys())} files differ")
    return len(names)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--write", type=Path, metavar="FILE")
    asked.add_argument("--compare", type=Path, metavar="FILE")
    asked.add_argument("--record", action="store_true")
    options = parser.parse_args()
    before = json.loads(options.compare.read_text("utf-8")) if options.compare else None
    with tempfile.TemporaryDirectory() as name, on_one_thread():
        root = Path(name).resolve()
        if options.record:
            found = portable(cheap(root))
            RECORDED.write_text(json.dumps(found, indent=0) + "\n", "utf-8")
            return 0
        made = {"circumstances": circumstances(), "artifacts": everything(root)}
    if options.write:
        made["digests"] = {n: sha256(t.encode()) for n, t in made["artifacts"].items()}
        options.write.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n", "utf-8")
        return 0
    for name in changed(before["circumstances"], made["circumstances"]):
        print(f"warning: another {name}: {before['circumstances'].get(name)} before")
    return 1 if show(before["artifacts"], made["artifacts"]) else 0


def cheap(root: Path, run: Command = command) -> Artifacts:
    """What the tests make: quick, and for the most part the same on every machine."""
    artifacts = builtin_entries(root, run) | recorded_families(root)
    return artifacts | trials(root, run, arms=("",))


if __name__ == "__main__":
    raise SystemExit(main())

"""`inflate-zoo inspect`."""

from typing import Annotated, Any

import typer

from inflate_zoo.cli.common import (
    Arch,
    Channels,
    Debug,
    DepthWindow,
    Family,
    Format,
    MergeDepth,
    OutputFormat,
    PatchDepth,
    PatchSize,
    Quiet,
    Revision,
    Scheme,
    Source,
    Volume,
    Weights,
    dropped_text,
    guarded,
    parse_spacing,
    print_json,
    taken_text,
    tell_facts,
)
from inflate_zoo.cli.help import NETWORK
from inflate_zoo.inflation.schemes import scheme_text
from inflate_zoo.texts import size

NAME = "inspect"


@guarded
def command(
    source: Source,
    scheme: Scheme = None,
    patch_depth: PatchDepth = None,
    depth_window: DepthWindow = None,
    merge_depth: MergeDepth = False,
    patch_size: PatchSize = None,
    volume: Volume = None,
    channels: Channels = None,
    spacing: Annotated[
        Any,
        typer.Option(
            parser=parse_spacing,
            metavar="D,H,W",
            rich_help_panel=NETWORK,
            help="Voxel size in mm: proposes a patch depth.",
        ),
    ] = None,
    revision: Revision = None,
    family: Family = None,
    arch: Arch = None,
    weights: Weights = None,
    format: Format = OutputFormat.human,  # noqa: A002 - the flag's name
    quiet: Quiet = False,  # noqa: ARG001 - read by `guarded`
    debug: Debug = False,  # noqa: ARG001 - read by `guarded`
) -> None:
    """Show what a source is and what convert would do; reads only headers, also of a Hub repo.

    inflate-zoo inspect facebook/dino-vitb16 --volume 96,224,224 --spacing 3,1,1
    """
    from inflate_zoo.conversion.inspection import inspect_source

    found = inspect_source(
        source,
        scheme=scheme,
        patch_depth=patch_depth,
        depth_window=depth_window,
        merge_depth=merge_depth,
        patch_size=patch_size,
        volume=volume,
        channels=channels,
        spacing=spacing,
        revision=revision,
        family=family,
        arch=arch,
        weights=weights,
    )
    if format is OutputFormat.json:
        words = ("described", "native_grid")  # told by the architecture already
        print_json({name: value for name, value in found.items() if name not in words})
    else:
        _report(found)


def _times(values: list[int]) -> str:
    return "x".join(map(str, values))


def _parameters(plane: int | None, volume: int) -> str:
    return f"{volume:,}" if plane is None else f"{plane:,} (2D), {volume:,} (3D)"


def _report(found: dict[str, Any]) -> None:
    form, made = found["architecture"], found["conversion"]
    fed = found["normalization"]
    mean, std = (", ".join(f"{value:g}" for value in fed[name]) for name in ("mean", "std"))
    guessed = "a guess, " if fed["basis"] == "guessed" else ""
    resized = "" if made["patch_size"] == form["patch_size"] else ", its patch resized"
    commit = f" at {found['commit'][:12]}" if found["commit"] else ""
    rows = [
        ("source", f"{found['source']}{commit} ({found['weights']})"),
        ("family", found["family"] + (f" ({found['arch']})" if found["arch"] else "")),
        ("license", found["license"]),
        (
            "network",
            found["described"],
        ),
        (
            "tokens",
            f"patch {_times(form['patch_size'])}, grid {_times(found['native_grid'])}, "
            f"{made['prefix_tokens']} prefix",
        ),
        ("parameters", _parameters(found["parameters_2d"], made["parameters"])),
        ("normalised", f"mean {mean}; std {std} ({guessed}{fed['from']})"),
        ("dropped", dropped_text(found["taken"], found["dropped"])),
        ("3D stem", f"{_times(made['stem'])}, {scheme_text(made['scheme'])}{resized}"),
        (
            "volume",
            f"{_times(made['volume'])} voxels: grid {_times(made['grid'])}, "
            f"{made['tokens']:,} tokens",
        ),
        (
            "memory",
            f"weights {size(made['weights_bytes'])}; estimated, float32, batch 1: inference "
            f"{size(made['estimated_inference_bytes'])}, training with AdamW "
            f"{size(made['estimated_training_bytes'])}",
        ),
    ]
    if taken := taken_text(found["taken"], found["copies"], found["weights"]):
        rows.insert(1, ("weights", taken))
    if found["proposed_patch_depth"]:
        rows.append(("proposed", f"--patch-depth {found['proposed_patch_depth']} for this spacing"))
    rows += [("note", note) for note in found["notes"]]
    tell_facts(rows, 11)

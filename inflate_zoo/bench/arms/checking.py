"""What a source may not be asked for where networks are compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from inflate_zoo.bench.arms.arm_sources import SLICES, ArmSource
from inflate_zoo.bench.arms.resolving import FoundSources
from inflate_zoo.bench.definitions.protocols import Protocol
from inflate_zoo.errors import UsageError
from inflate_zoo.inflation.schemes import AS_IT_IS
from inflate_zoo.naming.definition import Normalization


def require_arm(source: ArmSource, found: FoundSources) -> None:
    """Refuse an arm, a patch, or what a source cannot become over depth.

    Raises:
        UsageError: It is 3D already, or has no windows.
    """
    name = Path(source.plain).name
    if source.arm == SLICES and found.converted(source):
        raise UsageError(
            f"'{name}' holds converted weights; '{SLICES}' needs the 2D checkpoint",
            hint=f"name the 2D source, e.g. facebook/dino-vitb16:{SLICES}",
        )
    if source.patch_size is not None and found.converted(source):
        raise UsageError(
            f"'{name}' holds converted weights, whose patch is what it is",
            hint="name the 2D source, or convert it again with --patch-size",
        )
    if source.arm and found.is_3d(source):
        raise UsageError(
            f"'{name}' is 3D already and has one arm, {AS_IT_IS}: ':{source.arm}' has no use",
            hint=f"leave out ':{source.arm}'",
        )
    if source.over_depth:
        _require_depth(source, found)


def _require_depth(source: ArmSource, found: FoundSources) -> None:
    """Refuse what is said of patches and windows over depth where none are made here.

    Raises:
        UsageError: The weights are 3D, or the network has no windows.
    """
    words = source.over_depth
    if found.converted(source):
        why = "holds converted weights"
    elif found.is_3d(source):
        why = "is 3D already"
    elif source.windows and found.form(source).window is None:
        why, words = "is a network without windows", source.windows
    else:
        return
    said = ":".join(words)
    raise UsageError(
        f"'{Path(source.plain).name}' {why}: ':{said}' has no use", hint=f"leave out ':{said}'"
    )


def require_one_use(
    normalization: Normalization | None,
    named: Sequence[ArmSource],
    protocol: Protocol,
    found: FoundSources,
) -> None:
    """Refuse a normalisation that is not that of the one source whose weights are made here.

    Raises:
        UsageError: It would be folded nowhere, or into weights of different origin.
    """
    if normalization is None:
        return
    what = "--mean and --std"
    sources = {source.plain: source for source in named}
    if not protocol.network.fold_normalization:
        raise UsageError(
            f"{what} have no use: protocol '{protocol.name}' folds no normalisation",
            hint="leave them out, or add --set network.fold_normalization=true",
        )
    if len(sources) != 1:
        raise UsageError(
            f"{what} are those of one source, and {len(sources)} are compared",
            hint=f"convert each with its own {what} and --fold-normalization, and name the folders",
        )
    (source,) = sources.values()
    if found.converted(source):
        raise UsageError(
            f"{what} have no use: '{Path(source.plain).name}' holds converted weights",
            hint="name the 2D source, or convert it again with them",
        )

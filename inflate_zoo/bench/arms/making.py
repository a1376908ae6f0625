"""Arms: the sources, schemes and baselines that are compared, with their converted weights."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from inflate_zoo.bench.arms.arm_sources import RANDOM, SLICES, ArmSource, parse_arm
from inflate_zoo.bench.arms.sources import RECIPE, find_any
from inflate_zoo.bench.definitions.protocols import ChannelRule, Protocol
from inflate_zoo.bench.definitions.tasks import Task
from inflate_zoo.bench.definitions.trials import ArmSpec, Fed
from inflate_zoo.conversion.converting import (
    Planned,
    Request,
    convert_source,
    plan_source,
)
from inflate_zoo.conversion.inspection import propose_patch_depth, understand_source
from inflate_zoo.conversion.record import FILES, read_conversion
from inflate_zoo.conversion.sources import Source
from inflate_zoo.errors import AmbiguousSourceError, ConfigError, UnknownNameError, UsageError
from inflate_zoo.files.digests import sha256
from inflate_zoo.files.locations import data_folder
from inflate_zoo.files.reading import reading
from inflate_zoo.files.writing.store import store_of
from inflate_zoo.inflation.recipe import Options
from inflate_zoo.inflation.schemes import SCHEMES
from inflate_zoo.naming.definition import Normalization
from inflate_zoo.networks.backbone import read_backbone_config
from inflate_zoo.networks.base import BackboneConfig
from inflate_zoo.networks.known import CONFIGS
from inflate_zoo.version import __version__

_SAID = "in a comparison it stands behind the source: FILE:arch=NAME, :family=NAME, :weights=NAME"


@dataclass(frozen=True, slots=True)
class ArmRequest:
    """What is to be compared.

    Attributes:
        sources: Any `convert` source or converted weights, `random`, `SOURCE:2d`, or
            `SOURCE:<scheme>` for one scheme only; `SOURCE:arch=NAME` and the like, see `parse_arm`.
        schemes: For the sources that have to be inflated and name none.
        random: Whether `random` runs beside them.
        slices: Whether `2d` runs beside each source.
        normalization: What is folded instead of what the source states; there is one source then.
    """

    sources: tuple[str, ...]
    schemes: tuple[str, ...]
    random: bool = False
    slices: bool = False
    normalization: Normalization | None = None


@dataclass(frozen=True, slots=True)
class Arm:
    """An arm and where its weights are on this machine."""

    spec: ArmSpec
    weights: Path | None


def make_arms(
    wanted: ArmRequest,
    task: Task,
    protocol: Protocol,
    rule: ChannelRule,
    cache: Path,
    say: Callable[[str], None],
) -> list[Arm]:
    """Find and convert everything that is compared.

    Args:
        wanted: What is to be compared.
        task: The task, its spacing as the protocol has it.
        protocol: The protocol.
        rule: How the stem takes the task's channels.
        cache: Conversions are kept there, by recipe.
        say: Told what is being converted.

    Returns:
        The arms, in the order asked for, `random` last.

    Raises:
        UsageError: A source cannot be used, or is named twice.
        HubError: The Hub could not be reached, or refused.
        VerificationError: A conversion is not right.
    """
    for scheme in wanted.schemes:
        if scheme not in SCHEMES:
            raise UnknownNameError("scheme", scheme, SCHEMES)
    if rule == "rgb" and len(task.channels) != 3:
        raise UsageError(
            f"--channel-rule rgb needs 3 channels, '{task.name}' has {len(task.channels)}",
            hint="leave it out, or use sum",
        )
    channels = 3 if rule == "rgb" else 1
    maker = _Maker(task, protocol, channels, cache, say, wanted.normalization)
    named = [parse_arm(source) for source in dict.fromkeys(wanted.sources) if source != RANDOM]
    _require_one_use(wanted, named, protocol, maker)
    arms: list[Arm] = []
    for source in named:
        if source.arm == SLICES:
            arms.append(maker.slices(source))
            continue
        arms += maker.inflated(source, [source.arm] if source.arm else wanted.schemes)
        if (
            wanted.slices
            and not source.arm
            and replace(source, arm=SLICES) not in named
            and not maker.converted(source)
        ):
            arms.append(maker.slices(source))
    if wanted.random or RANDOM in wanted.sources:
        arms += _random(arms, maker)
    if not arms:
        raise UsageError(
            "nothing to compare", hint="name a source, e.g. --source facebook/dino-vitb16"
        )
    _require_fitting(arms, task)
    return _told_apart(arms)


class _Maker:
    """Makes arms of one task and protocol; every source is found once."""

    def __init__(
        self,
        task: Task,
        protocol: Protocol,
        channels: int,
        cache: Path,
        say: Callable[[str], None],
        normalization: Normalization | None,
    ) -> None:
        self._task, self._protocol, self._channels = task, protocol, channels
        self._cache, self._say, self._normalization = cache, say, normalization
        self._found: dict[str, Source] = {}
        self._last: tuple[ArmSource, Planned] | None = None

    def _find(self, source: ArmSource) -> Source:
        if source.plain not in self._found:
            self._found[source.plain] = find_any(source.plain)
        return self._found[source.plain]

    def converted(self, source: ArmSource) -> bool:
        """Whether a source is converted already."""
        return (self._find(source).config or {}).get("model_type") in CONFIGS

    def patch_depth(self, patch: tuple[int, int]) -> int:
        """Patch depth of the protocol, in voxels."""
        asked = self._protocol.network.patch_depth
        return propose_patch_depth(patch, self._task.spacing) if asked == "spacing" else asked

    def inflated(self, source: ArmSource, schemes: Sequence[str]) -> list[Arm]:
        """One arm per scheme; one for converted weights, whatever theirs is."""
        if not self.converted(source):
            return [self._arm(source, scheme, None) for scheme in schemes]
        found = self._find(source)
        scheme = None
        if (found.folder / RECIPE).exists():
            recipe = read_conversion(found.folder, found.name).recipe
            scheme = recipe.scheme
            wanted = self._protocol.network.fold_normalization
            if wanted and not recipe.fold_normalization:
                self._say(
                    f"warning: '{found.name}' was converted without --fold-normalization, but "
                    "takes intensities in [0, 1] here"
                )
        return [self._described(found, found.folder, "inflated", scheme, source.weights)]

    def slices(self, source: ArmSource) -> Arm:
        """The slice-by-slice baseline of a source."""
        if self.converted(source):
            name = Path(source.plain).name
            raise UsageError(
                f"'{name}' holds converted weights; '2d' needs the 2D checkpoint",
                hint="name the 2D source, e.g. facebook/dino-vitb16:2d",
            )
        return self._arm(source, "center", 1)

    def _arm(self, source: ArmSource, scheme: str, patch_depth: int | None) -> Arm:
        found = self._find(source)
        try:
            return self._made(source, found, scheme, patch_depth)
        except (AmbiguousSourceError, ConfigError) as error:
            if found.config is None:  # what is to be added has no flag here
                error.details = (*error.details, _SAID)
            raise

    def _made(self, source: ArmSource, found: Source, scheme: str, patch_depth: int | None) -> Arm:
        if patch_depth is None:
            architecture = self._planned(source, found).understood.plan.architecture
            depth = self.patch_depth(architecture.patch_size)
        else:
            depth = patch_depth
        fold = self._protocol.network.fold_normalization
        options = Options(
            scheme,
            depth,
            None,
            self._channels,
            fold_normalization=fold,
            normalization=self._normalization,
        )
        folder = self._convert(source, found, options)
        kind: Literal["inflated", "2d"] = "2d" if patch_depth == 1 else "inflated"
        return self._described(found, folder, kind, scheme, source.weights)

    def _described(
        self,
        found: Source,
        folder: Path,
        kind: Literal["inflated", "2d"],
        scheme: str | None,
        weights: str | None,
    ) -> Arm:
        config = read_backbone_config(folder, found.name)
        origin = f"{found.address}@{found.commit}" if found.repo else found.name
        arm = "2d" if kind == "2d" else scheme or "converted"
        label = " ".join(filter(None, (found.name, weights, arm)))
        spec = ArmSpec(
            label=label,
            kind=kind,
            source=origin,
            scheme=scheme,
            architecture=config.summary(),
            config=config,
            weights=sha256(folder / "model.safetensors"),
            normalization=_fed(folder) if self._protocol.network.fold_normalization else None,
        )
        return Arm(spec, folder)

    def _planned(self, source: ArmSource, found: Source) -> Planned:
        """The source understood; of the last one only, as its tensors may lie in memory."""
        plain = replace(source, arm="")
        if self._last is None or self._last[0] != plain:
            self._last = None
            said = (source.family, source.arch, source.weights)
            self._last = plain, plan_source(found, *said, partial(self._digests, found))
        return self._last[1]

    def _digests(self, found: Source) -> dict[str, str]:
        """SHA-256 of a source's files by name; what is known of unchanged ones is kept."""
        digests, files = store_of(self._cache).digests, {}
        for path in found.files():
            with reading(path):
                files[path.name] = digests.of(path)
        return files

    def _convert(self, source: ArmSource, found: Source, options: Options) -> Path:
        store, files = store_of(self._cache), self._digests(found)
        said = [source.family, source.arch, source.weights]
        recipe = [__version__, found.address, found.commit, files, repr(options), said]
        key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
        folder, told = self._cache / "weights" / key, False

        def make() -> None:
            nonlocal told
            told = True  # the conversion itself says what it guesses
            self._say(
                f"converting {found.name}, {options.scheme}, patch depth {options.patch_depth}"
            )
            convert_source(self._planned(source, found), folder, Request(options))
            if self._digests(found) != files:
                raise UsageError(
                    f"'{found.name}' changed while it was converted",
                    hint="run the same command again once its files are whole",
                )

        store.keep(folder, FILES, make)
        if not told and _fed(folder) == "guessed":
            self._say(f"warning: the input normalisation of {found.name} is a guess")
        return folder

    def lone_config(self) -> BackboneConfig:
        """The architecture of the protocol's own backbone: ours to know, or the Hub's to tell."""
        if (known := _known_backbone(self._protocol.backbone)) is not None:
            depth = self.patch_depth(known.patch_size)
            volume = (depth, *known.volume[1:])
            channels = self._channels
            return known.model_copy(
                update={"in_channels": channels, "patch_depth": depth, "volume": volume}
            )
        form = understand_source(self._protocol.backbone).plan.architecture
        depth = self.patch_depth(form.patch_size)
        height, width = (n * step for n, step in zip(form.native_grid, form.stride, strict=True))
        return form.inflated(
            channels=self._channels,
            patch_depth=depth,
            volume=(depth, height, width),
            stem_bias=True,
        )


def _known_backbone(name: str) -> BackboneConfig | None:
    """The 3D architecture of a 2D source, where a file under benchmarks/backbones says it."""
    folder = data_folder("benchmarks/backbones")
    known = {path.parent.relative_to(folder).as_posix() for path in folder.glob("*/*/config.json")}
    return read_backbone_config(folder / name, name) if name in known else None


def _fed(folder: Path) -> Fed:
    """Who says which normalisation converted weights hold."""
    if not (folder / RECIPE).exists():
        return "unknown"
    recipe = read_conversion(folder).recipe
    return (recipe.normalization_basis or "unknown") if recipe.fold_normalization else "unfolded"


def _require_one_use(
    wanted: ArmRequest, named: Sequence[ArmSource], protocol: Protocol, maker: _Maker
) -> None:
    """Refuse a normalisation that is not that of the one source whose weights are made here.

    Raises:
        UsageError: It would be folded nowhere, or into weights of different origin.
    """
    if wanted.normalization is None:
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
    if maker.converted(source):
        raise UsageError(
            f"{what} have no use: '{Path(source.plain).name}' holds converted weights",
            hint="name the 2D source, or convert it again with them",
        )


def _random(arms: Sequence[Arm], maker: _Maker) -> list[Arm]:
    """One arm with random weights per distinct architecture; schemes do not multiply it.

    Slice-by-slice baselines do not count, as they share the architecture of their source, unless
    that is not inflated; what runs alone has the architecture of the protocol's backbone.
    """
    inflated = [arm.spec.config for arm in arms if arm.spec.kind == "inflated"]
    sliced = [
        arm.spec.config.model_copy(
            update={"patch_depth": maker.patch_depth(arm.spec.config.patch_size)}
        )
        for arm in arms
        if arm.spec.kind == "2d"
    ]
    distinct: list[BackboneConfig] = []
    for config in inflated or sliced or [maker.lone_config()]:
        plain = config.without_weights()
        if plain not in distinct:
            distinct.append(plain)
    return [
        Arm(
            ArmSpec(
                label=" ".join(["random", *distinguishing_fields(config, distinct)]),
                kind="random",
                source="random",
                scheme=None,
                architecture=config.summary(),
                config=config,
                weights="",
            ),
            None,
        )
        for config in distinct
    ]


def _require_fitting(arms: Sequence[Arm], task: Task) -> None:
    count = len(task.channels)
    for arm in arms:
        channels = arm.spec.config.in_channels
        if channels not in (1, count):
            raise UsageError(
                f"'{arm.spec.label}' takes {channels} channels, '{task.name}' has {count}",
                hint=f"convert it again with --channels {count}",
            )


def _told_apart(arms: Sequence[Arm]) -> list[Arm]:
    """Labels that name one arm each: the full source where short names are shared."""
    counts = Counter(arm.spec.label for arm in arms)
    told: list[Arm] = []
    for arm in arms:
        label = arm.spec.label
        if counts[label] > 1:
            label = f"{label} ({arm.spec.source.partition('@')[0]} {arm.spec.weights[:8]})"
        told.append(replace(arm, spec=arm.spec.model_copy(update={"label": label})))
    if len({arm.spec.label for arm in told}) < len(told):
        raise UsageError("a source is named twice", hint="name each source once")
    return told


def distinguishing_fields(
    config: BackboneConfig, all_of_them: Sequence[BackboneConfig]
) -> list[str]:
    """What tells a network from the others, in words; nothing where it is the only one."""
    if len(all_of_them) == 1:
        return []
    line = config.summary()
    alike = [other.model_dump() for other in all_of_them if other.summary() == line]
    own = config.model_dump()
    differing = [name for name in own if any(own[name] != other.get(name) for other in alike)]
    return [line, *(f"{name}={own[name]}" for name in differing)]

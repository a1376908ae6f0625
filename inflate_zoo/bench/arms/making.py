"""Arms: the sources, schemes and baselines that are compared, with their converted weights."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from inflate_zoo.bench.arms.arm_sources import RANDOM, SLICES, ArmSource, parse_arm
from inflate_zoo.bench.arms.checking import require_arm, require_one_use
from inflate_zoo.bench.arms.resolving import FoundSources, lone_backbone
from inflate_zoo.bench.arms.sources import RECIPE
from inflate_zoo.bench.definitions.progress import Say
from inflate_zoo.bench.definitions.protocols import ChannelRule, Protocol
from inflate_zoo.bench.definitions.tasks import Task
from inflate_zoo.bench.definitions.trials import ArmSpec, Fed
from inflate_zoo.conversion.converting import Request, convert_source
from inflate_zoo.conversion.inspection import propose_patch_depth
from inflate_zoo.conversion.record import FILES, read_conversion
from inflate_zoo.conversion.sources import Source
from inflate_zoo.errors import UnknownNameError, UsageError
from inflate_zoo.files.reading import reading
from inflate_zoo.files.writing.store import store_of
from inflate_zoo.inflation.recipe import Options
from inflate_zoo.inflation.schemes import AS_IT_IS, SCHEMES, scheme_text
from inflate_zoo.naming.definition import Normalization
from inflate_zoo.networks.backbone import read_backbone_config
from inflate_zoo.networks.base import BackboneConfig
from inflate_zoo.version import __version__


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


@dataclass(frozen=True, slots=True)
class ResolvedArms:
    """What is compared, known before any data are read.

    Attributes:
        wanted: What was asked for.
        named: Its sources, each once.
        channels: Input channels of the stems.
        found: Their files and architectures.
        backbones: One per source, or that of the protocol where there is none; how deep its
            patches are to be, the data will say.
        count: Arms that will be made.
    """

    wanted: ArmRequest
    named: tuple[ArmSource, ...]
    channels: int
    found: FoundSources
    backbones: tuple[BackboneConfig, ...]
    count: int

    def make(self, task: Task, protocol: Protocol, cache: Path, say: Say) -> list[Arm]:
        """Convert everything that is compared.

        Args:
            task: The task, its spacing as the protocol has it.
            protocol: The protocol.
            cache: Conversions are kept there, by recipe.
            say: Told what is being converted.

        Returns:
            The arms, in the order asked for, `random` last.

        Raises:
            UsageError: A source cannot be used, or is named twice.
            HubError: The Hub could not be reached, or refused.
            VerificationError: A conversion is not right.
        """
        if self.channels == 3 and len(task.channels) != 3:
            raise UsageError(
                f"--channel-rule rgb needs 3 channels, '{task.name}' has {len(task.channels)}",
                hint="leave it out, or use sum",
            )
        maker = _Maker(
            task, protocol, self.channels, cache, say, self.wanted.normalization, self.found
        )
        arms: list[Arm] = []
        for source in self.named:
            for scheme in _arms_of(source, self.wanted, self.named, self.found):
                arms += maker.slices(source) if scheme == SLICES else maker.inflated(source, scheme)
        if _random_too(self.wanted):
            arms += _random(arms, maker, self.backbones)
        _require_fitting(arms, task, self.channels)
        return _told_apart(arms)


def resolve_arms(
    wanted: ArmRequest, protocol: Protocol, rule: ChannelRule, cache: Path
) -> ResolvedArms:
    """Find and understand everything that is compared, from headers alone where there are any.

    Args:
        wanted: What is to be compared.
        protocol: The protocol.
        rule: How the stem takes the task's channels.
        cache: Digests of sources are kept there.

    Raises:
        UsageError: A source cannot be used.
        HubError: The Hub could not be reached, or refused.
    """
    for scheme in wanted.schemes:
        if scheme not in SCHEMES:
            raise UnknownNameError("scheme", scheme, SCHEMES)
    names = dict.fromkeys(wanted.sources)
    named = tuple(parse_arm(source) for source in names if source != RANDOM)
    found, channels = FoundSources(cache), 3 if rule == "rgb" else 1
    require_one_use(wanted.normalization, named, protocol, found)
    asked = protocol.network.patch_depth
    depth = None if asked == "spacing" else asked  # which the data will say
    backbones, count = [], 0
    inflated: set[tuple[str, bool]] = set()  # networks, and whether their depth is known
    for source in named:
        require_arm(source, found)
        config = found.backbone(source, channels, depth)
        backbones.append(config)
        arms = _arms_of(source, wanted, named, found)
        if arms != [SLICES]:
            known = depth is not None or found.has_depth(source)
            inflated.add((config.without_weights().model_dump_json(), known))
        count += len(arms)
    if _random_too(wanted):
        backbones = backbones or [lone_backbone(protocol.backbone, channels)]
        # As `_random` makes them.
        count += len(inflated or {c.without_weights().model_dump_json() for c in backbones})
    if not count:
        raise UsageError(
            "nothing to compare", hint="name a source, e.g. --source facebook/dino-vitb16"
        )
    return ResolvedArms(wanted, named, channels, found, tuple(backbones), count)


def _random_too(wanted: ArmRequest) -> bool:
    return wanted.random or RANDOM in wanted.sources


def _arms_of(
    source: ArmSource, wanted: ArmRequest, named: Sequence[ArmSource], found: FoundSources
) -> list[str]:
    """Schemes and `2d` of a source; weights that are 3D are one arm, whatever their scheme is."""
    if found.converted(source) or found.is_3d(source):
        return [""]
    if source.arm:
        return [source.arm]
    # Whatever its windows over depth, slice by slice a source is one network.
    alike = [other for other in named if other.bare == source.bare]
    beside = wanted.slices and not any(other.arm == SLICES for other in alike)
    beside = beside and next(other for other in alike if not other.arm) is source
    return [*wanted.schemes, *[SLICES] * beside]


class _Maker:
    """Makes arms of one task and protocol."""

    def __init__(
        self,
        task: Task,
        protocol: Protocol,
        channels: int,
        cache: Path,
        say: Say,
        normalization: Normalization | None,
        sources: FoundSources,
    ) -> None:
        self._task, self._protocol, self._channels = task, protocol, channels
        self._cache, self._say, self._normalization = cache, say, normalization
        self._sources = sources

    def patch_depth(self, patch: tuple[int, int]) -> int:
        """Patch depth of the protocol, in voxels."""
        asked = self._protocol.network.patch_depth
        return propose_patch_depth(patch, self._task.spacing) if asked == "spacing" else asked

    def inflated(self, source: ArmSource, scheme: str) -> list[Arm]:
        """The arm of a source and scheme; of converted weights, whatever theirs is."""
        found = self._sources.find(source)
        if not self._sources.converted(source):
            form = self._sources.form(source)
            if form.own_depth is not None:
                return [self._made(source, "inflated", AS_IT_IS)]
            depth = source.patch_depth or self.patch_depth(form.patch_size)
            return [self._made(source, "inflated", scheme, depth, self._channels)]
        stated = None
        if recipe := self._sources.recipe(source):
            stated = scheme_text(recipe.scheme)
            wanted = self._protocol.network.fold_normalization
            if wanted and not recipe.fold_normalization:
                self._say(
                    f"warning: '{found.name}' was converted without --fold-normalization, but "
                    "takes intensities in [0, 1] here",
                    urgent=True,
                )
        return [self._described(source, found.folder, "inflated", stated)]

    def slices(self, source: ArmSource) -> list[Arm]:
        """The slice-by-slice baseline of a source."""
        return [self._made(source.bare, "2d", "center", 1, self._channels)]

    def _made(
        self,
        source: ArmSource,
        kind: Literal["inflated", "2d"],
        scheme: str,
        depth: int | None = None,
        channels: int | None = None,
    ) -> Arm:
        """A source converted; one that is 3D already as it is, without depth and channels."""
        found = self._sources.find(source)
        fold = self._protocol.network.fold_normalization
        options = Options(
            None if scheme == AS_IT_IS else scheme,
            depth,
            None,
            channels,
            fold_normalization=fold,
            normalization=self._normalization,
            depth_window=source.depth_window,
            merge_depth=source.merge_depth,
            patch_size=source.patch_size,
        )
        folder = self._convert(source, found, options)
        return self._described(source, folder, kind, scheme)

    def _described(
        self,
        source: ArmSource,
        folder: Path,
        kind: Literal["inflated", "2d"],
        scheme: str | None,
    ) -> Arm:
        found = self._sources.find(source)
        config = read_backbone_config(folder, found.name)
        if scheme == AS_IT_IS:  # channels are summed when a trial is built, as others' were before
            config = config.model_copy(update={"in_channels": self._channels})
        origin = f"{found.address}@{found.commit}" if found.repo else found.name
        arm = "2d" if kind == "2d" else scheme or "converted"
        label = " ".join((source.label or found.name, *source.words, arm))
        path = folder / "model.safetensors"
        with reading(path):  # once for all folds
            digest = store_of(self._cache).digests.of(path)
        spec = ArmSpec(
            label=label,
            kind=kind,
            source=origin,
            scheme=scheme,
            architecture=config.summary(),
            config=config,
            weights=digest,
            normalization=_fed(folder) if self._protocol.network.fold_normalization else None,
            source_digest=self._sources.digest(source),
        )
        return Arm(spec, folder)

    def _convert(self, source: ArmSource, found: Source, options: Options) -> Path:
        store, files = store_of(self._cache), self._sources.digests(found)
        said = [source.family, source.arch, source.weights]
        recipe = [__version__, found.address, found.commit, files, repr(options), said]
        key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
        folder, told = self._cache / "weights" / key, False

        def make() -> None:
            nonlocal told
            told = True  # the conversion itself says what it guesses
            deep = f", patch depth {options.patch_depth}" if options.patch_depth else ""
            self._say(f"converting {found.name}, {scheme_text(options.scheme)}{deep}")
            convert_source(self._sources.planned(source), folder, Request(options))
            if self._sources.digests(found) != files:
                raise UsageError(
                    f"'{found.name}' changed while it was converted",
                    hint="run the same command again once its files are whole",
                )

        store.keep(folder, FILES, make)
        if not told and _fed(folder) == "guessed":
            guess = f"warning: the input normalisation of {found.name} is a guess"
            self._say(guess, urgent=True)
        return folder

    def placed(self, config: BackboneConfig) -> BackboneConfig:
        """A backbone without weights, its patches as deep as the protocol has them."""
        depth = self.patch_depth(config.patch_size)
        return config.model_copy(
            update={"patch_depth": depth, "volume": (depth, *config.volume[1:])}
        )


def _fed(folder: Path) -> Fed:
    """Who says which normalisation converted weights hold."""
    if not (folder / RECIPE).exists():
        return "unknown"
    recipe = read_conversion(folder).recipe
    return (recipe.normalization_basis or "unknown") if recipe.fold_normalization else "unfolded"


def _random(arms: Sequence[Arm], maker: _Maker, alone: Sequence[BackboneConfig]) -> list[Arm]:
    """One arm with random weights per distinct architecture; schemes do not multiply it.

    Slice-by-slice baselines do not count where anything is inflated: nothing of random weights is
    held against them. `alone` is what it has where nothing else runs.
    """
    inflated = [arm.spec.config for arm in arms if arm.spec.kind == "inflated"]
    sliced = [maker.placed(arm.spec.config) for arm in arms if arm.spec.kind == "2d"]
    distinct: list[BackboneConfig] = []
    for config in inflated or sliced or [maker.placed(config) for config in alone]:
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


def _require_fitting(arms: Sequence[Arm], task: Task, stem: int) -> None:
    """Refuse weights of other channels than the task's; one is spread over all but colours."""
    count = len(task.channels)
    for arm in arms:
        channels = arm.spec.config.in_channels
        if channels not in (stem, count):
            has = f"{count} colours" if stem > 1 else count
            raise UsageError(
                f"'{arm.spec.label}' takes {channels} channel(s), '{task.name}' has {has}",
                hint=f"convert it again with --channels {count}",
            )


def _told_apart(arms: Sequence[Arm]) -> list[Arm]:
    """Labels that name one arm each: the full source where short names are shared.

    All arms of a source are marked alike.
    """
    counts = Counter(arm.spec.label for arm in arms)
    told: list[Arm] = []
    for arm in arms:
        label = arm.spec.label
        if counts[label] > 1:
            label = arm.spec.marked(arm.spec.source_digest)
        told.append(replace(arm, spec=arm.spec.model_copy(update={"label": label})))
    labels, networks = {arm.spec.label for arm in told}, {arm.spec.identity for arm in told}
    if len(labels) < len(told) or len(networks) < len(told):
        raise UsageError("a source is named twice", hint="name each source once")
    return told


def distinguishing_fields(
    config: BackboneConfig, all_of_them: Sequence[BackboneConfig]
) -> list[str]:
    """What tells a network from the others, in few words; nothing where it is the only one."""
    if len(all_of_them) == 1:
        return []
    line, own, told = config.summary(), config.model_dump(), []
    left = [other.model_dump() for other in all_of_them if other.summary() == line]
    names = sorted(own, key=lambda name: name != "model_type")  # it says most to people
    while left := [other for other in left if other != own]:
        best = max(names, key=lambda name: sum(own[name] != other.get(name) for other in left))
        told.append(f"{best}={own[best]}")
        left = [other for other in left if own[best] == other.get(best)]
    return [line, *told]

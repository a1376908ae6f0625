"""Sources that are compared, found and understood before any data are read."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path

from inflate_zoo.bench.arms.arm_sources import ArmSource
from inflate_zoo.bench.arms.sources import RECIPE, find_any
from inflate_zoo.conversion.converting import Planned, plan_source
from inflate_zoo.conversion.inspection import understand_source
from inflate_zoo.conversion.record import RecordedRecipe, read_conversion
from inflate_zoo.conversion.sources import Source
from inflate_zoo.errors import AmbiguousSourceError, ConfigError
from inflate_zoo.files.locations import data_folder
from inflate_zoo.files.reading import reading
from inflate_zoo.files.writing.store import store_of
from inflate_zoo.inflation.recipe import form_with_patch
from inflate_zoo.networks.backbone import read_backbone_config
from inflate_zoo.networks.base import BackboneConfig, Form2D, Windows
from inflate_zoo.networks.known import is_known

_SAID = "in a comparison it stands behind the source: FILE:arch=NAME, :family=NAME, :weights=NAME"


class FoundSources:
    """Every source is found and understood once, however many arms and folds it has.

    Args:
        cache: Digests of unchanged files are kept there.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._found: dict[str, Source] = {}
        self._forms: dict[ArmSource, tuple[Form2D, str]] = {}  # and the prefix of its tensors
        self._last: tuple[ArmSource, dict[str, str], Planned] | None = None

    def find(self, source: ArmSource) -> Source:
        """Where it is."""
        if source.plain not in self._found:
            self._found[source.plain] = find_any(source.plain)
        return self._found[source.plain]

    def converted(self, source: ArmSource) -> bool:
        """Whether a source is converted already."""
        return is_known((self.find(source).config or {}).get("model_type"))

    def recipe(self, source: ArmSource) -> RecordedRecipe | None:
        """How weights that are converted already were, as far as they say.

        Raises:
            UsageError: Their record is incomplete.
        """
        found = self.find(source)
        if not (found.folder / RECIPE).exists():
            return None
        return read_conversion(found.folder, found.name).recipe

    def is_3d(self, source: ArmSource) -> bool:
        """Whether a source that is to be converted is 3D already."""
        return not self.converted(source) and self.form(source).own_depth is not None

    def form(self, source: ArmSource) -> Form2D:
        """The architecture of a source that is to be converted, its patch as it is asked for.

        Raises:
            UsageError: The source cannot be used, or takes no such patch.
        """
        return self._understood(source)[0]

    def _understood(self, source: ArmSource) -> tuple[Form2D, str]:
        plain = source.bare
        if plain not in self._forms:
            plan = self.planned(source).understood.plan
            self._forms[plain] = form_with_patch(plan, source.patch_size), plan.prefix
        return self._forms[plain]

    def digest(self, source: ArmSource) -> str:
        """What tells a source from others of its name: SHA-256 of its files and the copy taken."""
        copy = "" if self.converted(source) else self._understood(source)[1]
        text = json.dumps([self.digests(self.find(source)), copy], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def planned(self, source: ArmSource) -> Planned:
        """The source understood; of the last one only, as its tensors may lie in memory."""
        plain, found = source.bare, self.find(source)
        files = self.digests(found)  # what was understood may have changed since
        if self._last is None or self._last[:2] != (plain, files):
            self._last, said = None, (source.family, source.arch, source.weights)
            try:
                made = plan_source(found, *said, partial(self.digests, found))
            except (AmbiguousSourceError, ConfigError) as error:
                if found.config is None:  # what is to be added has no flag here
                    error.details = (*error.details, _SAID)
                raise
            self._last = plain, files, made
        return self._last[2]

    def digests(self, found: Source) -> dict[str, str]:
        """SHA-256 of a source's files by name; what is known of unchanged ones is kept."""
        digests, files = store_of(self._cache).digests, {}
        for path in found.files():
            with reading(path):
                files[path.name] = digests.of(path)
        return files

    def has_depth(self, source: ArmSource) -> bool:
        """Whether it says itself how deep its patches are."""
        return source.patch_depth is not None or self.converted(source) or self.is_3d(source)

    def backbone(
        self, source: ArmSource, channels: int, patch_depth: int | None = None
    ) -> BackboneConfig:
        """The backbone of a source, as deep as a patch where it is not converted yet.

        Args:
            source: The source.
            channels: Of its input.
            patch_depth: In voxels, where the source says none; as they are high by default.
        """
        if self.converted(source):
            found, recipe = self.find(source), self.recipe(source)
            config = read_backbone_config(found.folder, found.name)
            # What was 3D already kept its colours; a trial sums them.
            own = recipe is not None and recipe.scheme is None
            return config.model_copy(update={"in_channels": channels}) if own else config
        form = self.form(source)
        windows = None
        if form.window is not None and form.own_depth is None:
            windows = Windows(source.depth_window or form.window, source.merge_depth)
        return sketch(form, channels, windows, source.patch_depth or patch_depth)


def lone_backbone(name: str, channels: int) -> BackboneConfig:
    """The backbone of random weights that run alone.

    Args:
        name: A 2D source, whose architecture it has: ours to know, where a file under
            benchmarks/backbones says it, or the Hub's to tell.
        channels: Of its input.

    Raises:
        UsageError: The source cannot be used.
        HubError: The Hub could not be reached, or refused.
    """
    folder = data_folder("benchmarks/backbones")
    known = {path.parent.relative_to(folder).as_posix() for path in folder.glob("*/*/config.json")}
    if name in known:
        config = read_backbone_config(folder / name, name)
        return config.model_copy(update={"in_channels": channels})
    return sketch(understand_source(name).plan.architecture, channels)


def sketch(
    form: Form2D, channels: int, windows: Windows | None = None, patch_depth: int | None = None
) -> BackboneConfig:
    """A backbone of an architecture; how deep its patches are to be, the data will say.

    Args:
        form: The architecture.
        channels: Of its input.
        windows: Over depth; those of the form by default.
        patch_depth: In voxels, where it is known already.
    """
    own, side = form.own_depth, form.patch_size[0]
    patch, depth = (patch_depth or side,) * 2 if own is None else (own.patch, own.volume)
    if windows is not None and windows.merge_depth:
        depth *= form.stride[0] // side  # one token in the end
    height, width = (n * step for n, step in zip(form.native_grid, form.stride, strict=True))
    made = form.inflated(
        channels=channels, patch_depth=patch, volume=(depth, height, width), stem_bias=True
    )
    return made if windows is None else made.with_windows(windows)

"""What determines a trial, and the hash that names it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from inflate_zoo.bench.definitions.protocols import ChannelRule, Protocol, Voxels
from inflate_zoo.bench.definitions.tasks import Task
from inflate_zoo.naming.configs.normalization import Basis
from inflate_zoo.networks.known import AnyBackboneConfig

RESULT_VERSION: Literal[1] = 1  # raised when the same specification would give another result
# What a trial is called changes no result: its arm's label depends on the other arms.
WORDS: Mapping[str, frozenset[str]] = {
    "task": frozenset({"title", "license", "citation", "address", "checksum", "access"})
    | {"cases", "split", "paper_split"},  # the parts stand by name in the specification
    "protocol": frozenset({"summary", "overrides", "deviations"}),
    "arm": frozenset({"label", "normalization", "source_digest"}),  # the weights hold both
}
_DEPTHS = frozenset({"patch_depth", "volume", "depth_positions"})  # a derived task decides them
Fed = Basis | Literal["unknown", "unfolded"]
"""Who says how a source is fed. Of weights that were converted before nothing may be recorded, or
nothing folded, although the network is fed intensities in [0, 1]."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ArmSpec(_Strict):
    """What is compared.

    Attributes:
        label: Name in tables.
        kind: `inflated`, `2d` (slice by slice) or `random` (the same network, random weights).
        source: Repo and commit, or the name of a local folder.
        scheme: Inflation scheme; `as it is` of a source that was 3D already, `None` where the
            source says none.
        architecture: The network in one line.
        config: The backbone, for one input channel unless the channels are RGB.
        weights: SHA-256 of the backbone's file; empty for random weights.
        normalization: Who says which normalisation was folded; `None` for random weights, and
            where the protocol folds none.
        source_digest: SHA-256 of the source's files and of the copy in them that was taken, as
            several sources may bear one name; empty for random weights, and in trials that were
            planned before this was noted.
    """

    label: str
    kind: Literal["inflated", "2d", "random"]
    source: str
    scheme: str | None
    architecture: str
    config: AnyBackboneConfig
    weights: str
    normalization: Fed | None = None
    source_digest: str = ""

    @property
    def identity(self) -> str:
        """What tells an arm from others, whatever it is called."""
        return self.model_dump_json(exclude={*WORDS["arm"]})

    def is_arm_of(self, other: ArmSpec) -> bool:
        """Whether two are one arm: alike, or in two folds whose tasks have patches of other depths.

        Args:
            other: Of another trial of the same task and protocol.
        """
        if self.identity == other.identity:
            return True
        if self.config.patch_depth == other.config.patch_depth:
            return False
        noted = {self.source_digest, other.source_digest} - {""}
        plain = [
            (arm.kind, arm.source, arm.scheme, arm.config.model_dump(exclude={*_DEPTHS}))
            for arm in (self, other)
        ]
        return len(noted) <= 1 and plain[0] == plain[1]

    def marked(self, digest: str) -> str:
        """Its label where another arm bears it, too: with what it is of, and a digest."""
        named = self.architecture if self.kind == "random" else self.source.partition("@")[0]
        return f"{self.label} ({named} {digest[:8]})"

    @property
    def told_apart(self) -> str:
        """Its label, marked by its weights: commands that did not know of each other gave it."""
        return self.marked(self.weights or hashlib.sha256(self.identity.encode()).hexdigest())


class CaseNames(_Strict):
    """The cases of one fold."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


class TrialSpec(_Strict):
    """Everything that determines a trial's result.

    Attributes:
        entries: Case name to its content key in the cache: the data's digest.
    """

    task: Task
    protocol: Protocol
    arm: ArmSpec
    cases: CaseNames
    entries: Mapping[str, str]
    fold: int
    seed: int
    channel_rule: ChannelRule

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return self.model_dump(mode="json")

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits."""
        return trial_hash(self.plain())


class Place(_Strict):
    """Where this machine has what a trial needs; no part of its specification.

    Attributes:
        cache: Cache folder.
        weights: Folder of the backbone's weights; `None` for random weights.
        command: The command that planned the trial, without local paths.
    """

    cache: str
    weights: str | None
    command: tuple[str, ...]


def trial_hash(spec: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that name a trial.

    Args:
        spec: The specification, as JSON values.
    """
    own = {
        name: {key: inner for key, inner in value.items() if key not in WORDS.get(name, ())}
        if isinstance(value, dict)
        else value
        for name, value in spec.items()
    }
    text = json.dumps([RESULT_VERSION, own], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def labels_of(specs: Sequence[TrialSpec]) -> list[str]:
    """What the arm of each trial is called: one label for all trials of an arm, and for no other.

    It was planned beside other arms in one command than in another, and its label tells it from
    those: of several the longest stands, which tells it from most. Where commands gave one label to
    two arms of a study, both say of what they are.

    Args:
        specs: The trials, of one run or several.
    """
    arms = [(told.task.name, told.protocol.name, told.arm.identity) for told in specs]
    longest: dict[tuple[str, str, str], ArmSpec] = {}
    for arm, told in zip(arms, specs, strict=True):
        known = longest.setdefault(arm, told.arm)
        longest[arm] = max(known, told.arm, key=lambda each: (len(each.label), each.label))
    sharing: dict[tuple[str, str, str], list[list[ArmSpec]]] = {}  # the forms of each arm
    for (task, protocol, _), named in longest.items():
        groups = sharing.setdefault((task, protocol, named.label), [])
        own = next((group for group in groups if named.is_arm_of(group[0])), None)
        if own is None:
            groups.append([named])
        else:
            own.append(named)
    labels = {
        (task, protocol, form.identity): label if len(groups) == 1 else group[0].told_apart
        for (task, protocol, label), groups in sharing.items()
        for group in groups
        for form in group
    }
    return [labels[arm] for arm in arms]


def window_of(spec: TrialSpec) -> Voxels:
    """The window a trial's network sees: the protocol's, rounded up to whole patches."""
    config, settings, task = spec.arm.config, spec.protocol.network, spec.task
    asked, height, width = settings.window
    if task.whole_slices:
        height = width = task.slice_size
    # Not from the patch: sources with other patches are to see the same.
    deep = max(1, round(height * task.spacing[1] / task.spacing[0]))
    depth = deep if asked == "spacing" else asked
    if settings.centre_slice and spec.arm.kind == "2d":
        depth = 1  # the other slices would be computed for nothing
    patch = config.levels[-1].stride
    rounded = [-(-n // step) * step for n, step in zip((depth, height, width), patch, strict=True)]
    return rounded[0], rounded[1], rounded[2]

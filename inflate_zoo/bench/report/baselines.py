"""Which arm is compared with which baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inflate_zoo.bench.definitions.trials import ArmSpec, TrialSpec
from inflate_zoo.bench.ranking.types import Contestant
from inflate_zoo.networks.base import BackboneConfig

_OUTSIDE = (
    "under decoder 'linear' its patches of depth 1 give it more token planes than the inflated "
    "arms have, so its resolution is another"
)
Networks = Mapping[str, Mapping[int, BackboneConfig]]  # arm, fold


def contestants(trials: Sequence[TrialSpec]) -> dict[str, Contestant]:
    """Each arm with its baselines.

    Args:
        trials: All of one task and protocol.

    Returns:
        Label to contestant.
    """
    arms = {told.arm.label: told.arm for told in reversed(trials)}
    networks: dict[str, dict[int, BackboneConfig]] = {}
    for told in trials:
        networks.setdefault(told.arm.label, {})[told.fold] = told.arm.config.without_weights()
    linear = any(told.protocol.network.decoder == "linear" for told in trials)
    return {label: _contestant(arm, arms, networks, linear=linear) for label, arm in arms.items()}


def _contestant(
    arm: ArmSpec, arms: Mapping[str, ArmSpec], networks: Networks, *, linear: bool
) -> Contestant:
    if arm.kind != "inflated":
        outside = _OUTSIDE if arm.kind == "2d" and linear else None
        return Contestant(arm.label, arm.kind, outside=outside)
    others = sorted(arms.values(), key=lambda each: each.label)
    same = (each for each in others if each.kind == "random"
            and _same_network(networks[arm.label], networks[each.label]))  # fmt: skip
    own = (each for each in others if each.kind == "2d" and _same_source(arm, each)
           and each.config.patch_size == arm.config.patch_size)  # fmt: skip
    random, flat = next(same, None), next(own, None)
    return Contestant(
        arm=arm.label,
        kind=arm.kind,
        random=None if random is None else random.label,
        flat=None if flat is None else flat.label,
    )


def _same_source(arm: ArmSpec, other: ArmSpec) -> bool:
    """Whether two arms are of the same 2D weights; by name alone where no more was noted."""
    noted = {arm.source_digest, other.source_digest} - {""}
    return arm.source == other.source and len(noted) <= 1


def _same_network(arm: Mapping[int, BackboneConfig], random: Mapping[int, BackboneConfig]) -> bool:
    """Whether two arms have the same network in every fold that both have."""
    shared = arm.keys() & random.keys()
    return bool(shared) and all(arm[fold] == random[fold] for fold in shared)

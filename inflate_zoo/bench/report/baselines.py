"""Which arm is compared with which baseline."""

from __future__ import annotations

from inflate_zoo.bench.ranking.types import Comparison
from inflate_zoo.bench.report.results import Study
from inflate_zoo.networks.base import BackboneConfig


def to_baselines(study: Study) -> list[Comparison]:
    """Each arm against `random` of its network and `2d` of its source."""
    arms = study.arms

    def wanted(one: Comparison) -> bool:
        if one.first not in arms or one.second not in arms:
            return False
        first, second = arms[one.first], arms[one.second]
        if second.kind == "2d":
            return first.kind == "inflated" and first.source == second.source
        if second.kind == "random":
            return first.kind != "random" and _same_network(study, one.first, one.second)
        return False

    place = {name: index for index, name in enumerate(arms)}
    kept = [one for one in study.ranking.comparisons if wanted(one)]
    return sorted(kept, key=lambda c: (c.metric, arms[c.second].kind == "2d", place[c.first]))


def _same_network(study: Study, arm: str, random: str) -> bool:
    """Whether an arm has the network of a random one, in every fold that both have.

    Slice by slice it is that network with a patch that is one voxel deep.
    """
    forms: dict[str, dict[int, BackboneConfig]] = {arm: {}, random: {}}
    for told in (trial.described for trial in study.trials):
        if told.arm.label in forms:
            form = told.arm.config.without_weights()
            if study.arms[arm].kind == "2d":
                form = form.model_copy(update={"patch_depth": 1, "volume": ()})
            forms[told.arm.label][told.fold] = form
    shared = forms[arm].keys() & forms[random].keys()
    return bool(shared) and all(forms[arm][fold] == forms[random][fold] for fold in shared)

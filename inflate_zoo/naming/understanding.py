"""From a source's header and config to a plan, and how its original is fed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from inflate_zoo.errors import ConfigError, UnknownNameError, UsageError
from inflate_zoo.files.header import Header
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.claims import read_claims
from inflate_zoo.naming.configs import normalization
from inflate_zoo.naming.configs.from_config import CONFIG_FILE, Statement
from inflate_zoo.naming.configs.gate import transformers_fields
from inflate_zoo.naming.configs.normalization import OPEN_CLIP_CONFIG, Feeding, Preprocessor
from inflate_zoo.naming.configs.open_clip import (
    OPEN_CLIP_FILE,
    SECTION,
    OpenClip,
    OwnTower,
    TimmTower,
    timm_tower,
)
from inflate_zoo.naming.configs.timm_models import (
    describe_timm,
    finetuned,
    notes_of,
    passed_in_code,
    published_cfg,
    tagged,
    timm_arguments,
)
from inflate_zoo.naming.definition import Family
from inflate_zoo.naming.detection import (
    choose_family,
    known_by_wrapper,
    require_names,
    section_of,
)
from inflate_zoo.naming.plan import Plan, make_plan
from inflate_zoo.naming.towers import best_matching
from inflate_zoo.networks.vit.config import VitForm

_TIMM_CONFIG = Statement(
    CONFIG_FILE.name,
    f"{CONFIG_FILE.hint}; what its code passes to timm.create_model is stated under model_args, in "
    "a copy of config.json",
)


@dataclass(frozen=True, slots=True)
class Understood:
    """A source whose tensors are accounted for.

    Attributes:
        plan: The plan.
        raw: Of the config's part on the image tower, what shapes an encoder; timm's own
            description for timm.
        arch: timm's architecture name; empty for others.
        arguments: Arguments of `timm.create_model`.
        named: The architecture as it was named, with its tag if any.
        open_clip: What OpenCLIP's config says of it, if there is one.
    """

    plan: Plan
    raw: Mapping[str, Any]
    arch: str
    arguments: Mapping[str, Any]
    named: str = ""
    open_clip: OpenClip | None = None


def understand(
    header: Header,
    config: Mapping[str, Any] | None,
    family: str | None,
    arch: str | None,
    weights: str | None = None,
    open_clip: OpenClip | None = None,
) -> Understood:
    """Choose the family of a source and plan its conversion.

    Raises:
        UsageError: See `choose_family`, `best_matching` and `make_plan`.
    """
    families = families_by_name()
    stated = open_clip.architecture if isinstance(open_clip, TimmTower) else None
    chosen = choose_family(families, header, config, family=family, arch=arch, stated=stated)
    if chosen.library != "timm":
        if arch is not None:
            raise UsageError(
                f"--arch names a timm architecture; {chosen.name} has no use for it",
                hint="leave out --arch",
            )
        raw, section = section_of(chosen, config or {})
        if chosen.library == "transformers":
            foreign = (config or {}).get("model_type") not in chosen.model_types
            raw = transformers_fields(config or {}, raw, section, foreign=foreign)
        told = CONFIG_FILE if config is not None else _taken_for_granted(chosen)
        plan = make_plan(chosen, header, raw, section, statement=told, weights=weights)
        return Understood(plan, raw, "", {})
    if isinstance(open_clip, OwnTower) and arch is None:
        return _by_own_tower(chosen, header, open_clip, weights)
    if isinstance(open_clip, TimmTower):
        arch = arch and arch.removeprefix("timm/")
        if arch in (None, open_clip.architecture):  # the same name: the file says more of it
            return _by_timm_tower(chosen, header, open_clip, weights)
    name = arch or (config or {}).get("architecture")
    if not isinstance(name, str):
        raise ConfigError(
            "a timm checkpoint needs its architecture's name, which no config.json states",
            hint=chosen.bare,
        )
    found = _by_architecture(chosen, header, name, None if arch else config or {}, weights)
    return replace(found, open_clip=open_clip)


def _by_architecture(
    family: Family,
    header: Header,
    name: str,
    config: Mapping[str, Any] | None,
    weights: str | None,
) -> Understood:
    """The plan of an architecture of timm's, by its config.json or, where that is `None`, alone."""
    base, arguments = timm_arguments(family, name, config or {})
    raw = describe_timm(family, base, arguments)
    require_names(families_by_name(), family, header, base)
    matching = best_matching(family, header, weights, raw["embed_dim"])
    if config is None:
        more = finetuned(family, matching)
    else:
        shown = passed_in_code(family, matching, header, raw)
        more = {field: value for field, value in shown.items() if field not in arguments}
    if more:
        arguments = {**arguments, **more}
        raw = describe_timm(family, base, arguments)
    told = _named(name) if config is None else _TIMM_CONFIG
    plan = make_plan(family, header, raw, f"{base}: ", statement=told, weights=weights)
    _warn_of_heads(plan, base)
    if more and config is not None:
        plan = _with_note_of_code(plan, more)
    named = name.removeprefix("timm/")
    plan = _with_notes_of_timm(plan, named, config or {})
    return Understood(plan, raw, base, arguments, named)


def _by_own_tower(
    family: Family, header: Header, tower: OwnTower, weights: str | None
) -> Understood:
    """The plan of OpenCLIP's own image tower, as its config states it."""
    raw = tower.described
    plan = make_plan(family, header, raw, f"{SECTION}: ", statement=OPEN_CLIP_FILE, weights=weights)
    note = f"{OPEN_CLIP_CONFIG} states the architecture, its activation too: {raw['activation']}."
    plan = replace(plan, notes=(*plan.notes, note))
    return Understood(plan, raw, "", {}, open_clip=tower)


def _by_timm_tower(
    family: Family, header: Header, tower: TimmTower, weights: str | None
) -> Understood:
    """The plan of timm's image tower that OpenCLIP's config names."""
    base, arguments, raw = timm_tower(family, tower)
    plan = make_plan(family, header, raw, f"{base}: ", statement=OPEN_CLIP_FILE, weights=weights)
    note = f"{OPEN_CLIP_CONFIG} states the architecture: timm's {tower.architecture}."
    plan = replace(plan, notes=(*plan.notes, note))
    plan = _with_notes_of_timm(plan, tower.architecture, {})
    return Understood(plan, raw, base, arguments, tower.architecture, tower)


def _with_note_of_code(plan: Plan, more: Mapping[str, Any]) -> Plan:
    """The plan with a note of what config.json leaves out, and a warning: it may be another's."""
    note = (
        f"config.json does not state what the tensors show: {', '.join(more)}. Code that loads "
        "these weights with timm has to pass it."
    )
    warnings.warn(f"{note} Are both files of one repo?", stacklevel=4)
    return replace(plan, notes=(*plan.notes, note))


def _named(arch: str) -> Statement:
    return Statement(
        f"--arch {arch}",
        "name the architecture that the file was saved from; one with arguments of its own needs "
        "its config.json beside the file",
    )


def _taken_for_granted(family: Family) -> Statement:
    return Statement(
        f"what {family.name} takes for granted",
        "is it the right family? 'inflate-zoo families' lists them; --family overrides",
    )


def _warn_of_heads(plan: Plan, arch: str) -> None:
    """Warn where the files of this kind have another number of heads, which no tensor tells."""
    form = plan.architecture
    if not isinstance(form, VitForm):
        return
    for family in known_by_wrapper(families_by_name(), plan.prefix):
        with suppress(ConfigError):
            heads = read_claims(family, {}, "", form.embed_dim).values["num_heads"]
            if heads != form.num_heads:
                warnings.warn(
                    f"networks of {family.name} have {heads} heads at this width, {arch} has "
                    f"{form.num_heads}; if the file is one of them, leave out --arch",
                    stacklevel=5,
                )


def _with_notes_of_timm(plan: Plan, named: str, config: Mapping[str, Any]) -> Plan:
    """The plan with what timm notes of the weights, and a warning: no tensor tells an activation.

    Args:
        plan: The plan.
        named: The architecture, with its tag if any.
        config: timm's config.json; empty where the architecture was named by hand.
    """
    form = plan.architecture
    # All that timm notes of transformers is that their own activation is this one.
    if not isinstance(form, VitForm) or form.activation == "quick_gelu":
        return plan
    notes = tuple(
        f"timm notes of these weights: {note}; this network has {form.activation}. Another "
        "variant is named with --arch."
        for note in notes_of(plan.family, named, config)
    )
    for note in notes:
        warnings.warn(note, stacklevel=5)
    return replace(plan, notes=(*plan.notes, *notes))


def find_feeding(
    understood: Understood,
    config: Mapping[str, Any] | None,
    preprocessor: Preprocessor | None,
) -> Feeding:
    """How the original is fed: the source's own files first, then timm's registry, then a guess.

    Raises:
        ConfigError: The file that states it is malformed.
        UnknownNameError: timm has no such tag.
    """
    if understood.open_clip is not None:
        return normalization.from_open_clip(understood.open_clip.preprocess)
    family = understood.plan.family
    of_timm = _in_timm_config(config or {}, legacy=family.library == "timm")
    of_processor = None
    if preprocessor is not None and (of_timm is None or family.library != "timm"):
        of_processor = normalization.from_preprocessor(preprocessor, family.processor)
    found = of_processor or of_timm or _published(understood, config or {})
    if family.conditioner is not None:
        return normalization.conditioned(
            found, understood.raw, family.conditioner, family.normalization, family.processor
        )
    if found is not None:
        return found
    return Feeding(family.normalization, "guessed", f"default of {family.name}")


def _in_timm_config(config: Mapping[str, Any], *, legacy: bool) -> Feeding | None:
    """What timm's config.json states; before `pretrained_cfg` its fields stood one level up."""
    cfg = config.get("pretrained_cfg")
    if isinstance(cfg, Mapping):
        return normalization.from_timm(cfg, "config.json: pretrained_cfg")
    return normalization.from_timm(config, "config.json") if legacy else None


def _published(understood: Understood, config: Mapping[str, Any]) -> Feeding | None:
    """What timm says of the weights that bear this name."""
    if not understood.arch:
        return None
    family, name = understood.plan.family, understood.named
    if "architecture" in config and name == config["architecture"]:
        try:
            found = published_cfg(family, tagged(name, config))
        except UnknownNameError:  # a tag of the file's author, or of a newer timm
            found = published_cfg(family, name.partition(".")[0])
    else:
        found = published_cfg(family, name)
    if found is None:
        return None
    fields, label, told = found
    return normalization.from_timm(fields, label, "stated" if told else "guessed")

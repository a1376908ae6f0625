"""What timm's own registry says of published weights, by architecture and tag."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from inflate_zoo.errors import UnknownNameError


def published_cfg(name: str) -> tuple[Mapping[str, Any], str, bool] | None:
    """The pretrained_cfg that timm has for an architecture.

    Args:
        name: `architecture.tag`, or `architecture` for the tag that timm takes by itself.

    Returns:
        The cfg, what it is called in full, and whether the name is that of the very weights;
        `None` where timm has published none.

    Raises:
        UnknownNameError: No such tag.
    """
    import timm

    arch, _, tag = name.removeprefix("timm/").partition(".")
    known = {found.partition(".")[2] for found in timm.list_models(f"{arch}.*", include_tags=True)}
    if tag and tag not in known:
        if not known:
            return None
        raise UnknownNameError(f"pretrained tag of timm's {arch}", tag, known)
    found = timm.get_pretrained_cfg(f"{arch}.{tag}" if tag else arch)
    cfg: Mapping[str, Any] = vars(found) if found is not None else _of_old_name(arch)
    if not cfg:
        return None
    told = bool(tag) or found is None  # an old name stands for one tag
    full = ".".join(filter(None, (cfg.get("architecture") or arch, cfg.get("tag"))))
    return cfg, f"timm's pretrained_cfg of {full}", told


def _of_old_name(arch: str) -> Mapping[str, Any]:
    """The cfg behind a name of earlier releases, which the registry does not hold itself."""
    import timm
    import torch

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = timm.create_model(arch, pretrained=False)
    cfg: Mapping[str, Any] = getattr(model, "pretrained_cfg", {})
    return cfg if cfg.get("tag") else {}

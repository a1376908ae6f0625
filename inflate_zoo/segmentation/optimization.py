"""Parameter groups for an optimizer: what decays, and how fast each layer learns."""

from __future__ import annotations

from typing import Any

from torch import nn

from inflate_zoo.errors import UsageError
from inflate_zoo.networks.network import Network3D
from inflate_zoo.networks.tables import COMPILED


def param_groups(
    model: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    layer_decay: float = 1.0,
    decay_norms: bool = False,
) -> list[dict[str, Any]]:
    """Parameter groups of a backbone, or of whatever holds one, for any torch optimizer.

    No weight decay falls on norms, biases and LayerScale (all that is 1-D), on prefix tokens, on
    position and depth tables, and on what makes them (SwinV2). With a layer-wise decay (BEiT, Bao
    et al. 2022) the learning rate is multiplied, for n blocks, by

    - 1 in the decoder, the final norm and whatever is no part of the backbone,
    - `layer_decay ** (n - i)` in block i from 0 with the tables of its own, as BEiT and SAM have
      them, so `layer_decay` in the last one,
    - `layer_decay ** (n + 1)` in the stem, the prefix tokens, all other tables and a norm before
      the blocks.

    Args:
        model: What `load` or `segmenter` gave, or a module that holds it however deep: a wrapper
            (peft's, `DistributedDataParallel`, `torch.compile`) or one of your own. Parameters
            without `requires_grad` are left out.
        learning_rate: Of the decoder and the final norm.
        weight_decay: Of what decays.
        layer_decay: Above 0, at most 1.
        decay_norms: Let the weights of norms and LayerScale decay too, as Zhang et al. (2022) do.

    Returns:
        Groups with `params`, `name` (`stem.decay`, `stem.no_decay`, `block.0.decay`, ...,
        `head.no_decay`; those without parameters are left out), `lr` and `weight_decay`, from the
        stem upwards, parameters in the model's order.

    Raises:
        UsageError: The model holds no backbone or several, or `layer_decay` is out of range.
    """
    backbone = _backbone_in(model)
    if not 0 < layer_decay <= 1:
        raise UsageError(
            f"layer_decay {layer_decay} is not above 0 and at most 1", hint="1 turns it off"
        )
    blocks = backbone.layers
    layers = ["stem", *(f"block.{index}" for index in range(blocks)), "head"]
    groups: dict[str, dict[str, Any]] = {}
    for level, layer in enumerate(layers):
        rate = learning_rate * layer_decay ** (blocks + 1 - level)
        for kind, decay in (("decay", weight_decay), ("no_decay", 0.0)):
            name = f"{layer}.{kind}"
            groups[name] = {"params": [], "name": name, "lr": rate, "weight_decay": decay}
    names = {id(p): n.replace(COMPILED, "") for n, p in backbone.named_parameters()}
    for full_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            own = names.get(id(parameter))
            scale = decay_norms and parameter.ndim == 1 and not full_name.endswith("bias")
            decays = (parameter.ndim > 1 and own not in backbone.tables) or scale
            kind = "decay" if decays else "no_decay"
            level = -1 if own is None else backbone.layer_of(own)
            groups[f"{layers[level]}.{kind}"]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]


def _backbone_in(model: nn.Module) -> Network3D:
    """The one backbone among all that a module holds.

    Raises:
        UsageError: There is none, or there are several.
    """
    found = [(n, part) for n, part in model.named_modules() if isinstance(part, Network3D)]
    if not found:
        raise UsageError(
            f"param_groups takes a backbone, a segmenter or what holds one, not "
            f"{type(model).__name__}",
            hint="give the module whose part is what load(...) or segmenter(...) gave",
        )
    if len(found) > 1:
        raise UsageError(
            f"{type(model).__name__} holds {len(found)} backbones",
            details=[f"'{name}'" for name, _ in found],
            hint="make groups of each part that holds one, and join the lists",
        )
    return found[0][1]

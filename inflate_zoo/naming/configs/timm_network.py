"""What is asked of whoever describes one of timm's networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from inflate_zoo.errors import UnsupportedModelError

if TYPE_CHECKING:
    from torch import nn

    from inflate_zoo.files.header import Header
    from inflate_zoo.naming.patterns import Matching


def _nothing(_: Matching, __: Header, ___: Mapping[str, Any]) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class TimmNetwork:
    """How timm's models of one class are built and described.

    Attributes:
        building: Arguments of `timm.create_model` beside those that shape the network.
        describe: From the architecture's name and the model, built without memory, to the fields
            that the family's definition reads; raises UnsupportedModelError for what has the names
            of the network but other arithmetic.
        finetuned: What the names in a file say that fine-tuning changed of a bare architecture, as
            arguments of `timm.create_model`.
        nearest: What to do instead with an architecture that is refused.
        pooled_norm: The argument that puts the last norm behind the pooling; empty where it stays
            on the tokens.
        passed_in_code: What the tensors show that neither the architecture nor config.json has, as
            arguments of `timm.create_model`; see `timm_models.passed_in_code`.
    """

    building: Mapping[str, Any]
    describe: Callable[[str, Any], dict[str, Any]]
    finetuned: Callable[[Matching], dict[str, Any]]
    nearest: str
    pooled_norm: str = ""
    passed_in_code: Callable[[Matching, Header, Mapping[str, Any]], dict[str, Any]] = _nothing


def require_class(
    arch: str, model: Any, classes: Sequence[type], wanted: str, nearest: str
) -> None:
    """Refuse a model of another class; one that is derived is another too.

    Args:
        arch: Architecture name.
        model: What timm builds of it.
        classes: Those that will do.
        wanted: What it should be, with its article.
        nearest: What to do instead.

    Raises:
        UnsupportedModelError: Names the class.
    """
    if type(model) not in classes:
        raise UnsupportedModelError(
            f"'{arch}' is timm's {type(model).__name__}, not {wanted}", hint=_step(arch, nearest)
        )


def final_norm_of(model: Any) -> Literal["tokens", "pooled", "none"]:
    """What a model norms last: all tokens, or the pooled vector."""
    from torch import nn

    if isinstance(model.norm, nn.LayerNorm):
        return "tokens"
    return "pooled" if isinstance(model.fc_norm, nn.LayerNorm) else "none"


def refuse_special(arch: str, kind: str, odd: Sequence[str], nearest: str) -> None:
    """Refuse what has the names of a network but other arithmetic.

    Args:
        arch: Architecture name.
        kind: What it is no example of.
        odd: The parts that differ; none is none.
        nearest: What to do instead.

    Raises:
        UnsupportedModelError: Names the parts.
    """
    if odd:
        raise UnsupportedModelError(
            f"'{arch}' is no {kind}: special {', '.join(odd)}", hint=_step(arch, nearest)
        )


def _step(arch: str, nearest: str) -> str:
    """What to do instead; where that names the very architecture, its arguments are to blame."""
    refused = arch in nearest.split()
    return f"{nearest} as timm defines it, without model_args of its own" if refused else nearest


def activation_of(arch: str, act: nn.Module) -> str:
    """Our name of an activation.

    Raises:
        UnsupportedModelError: We have none.
    """
    kind = type(act).__name__
    if kind == "GELU":
        return "gelu" if getattr(act, "approximate", "none") == "none" else "gelu_tanh"
    known = {"GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu", "SiLU": "silu", "ReLU": "relu"}
    if kind not in known:
        raise UnsupportedModelError(
            f"'{arch}' has the activation {kind}", hint=f"known: GELU, {', '.join(known)}"
        )
    return known[kind]

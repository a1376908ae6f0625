"""What is asked of whoever describes one of timm's networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inflate_zoo.errors import UnsupportedModelError

if TYPE_CHECKING:
    from torch import nn

    from inflate_zoo.naming.patterns import Matching


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
    """

    building: Mapping[str, Any]
    describe: Callable[[str, Any], dict[str, Any]]
    finetuned: Callable[[Matching], dict[str, Any]]
    nearest: str


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
            f"'{arch}' is no {kind}: special {', '.join(odd)}", hint=nearest
        )


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

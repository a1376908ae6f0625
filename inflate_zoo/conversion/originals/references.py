"""What a 2D original is built of, and what it tells the proof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from inflate_zoo.naming.configs.timm_models import create_timm
from inflate_zoo.naming.patterns import bare_name, sources_of

if TYPE_CHECKING:
    from torch import Tensor

    from inflate_zoo.naming.plan import Plan, TensorPlan
    from inflate_zoo.naming.understanding import Understood

State = dict[str, "Tensor"]


@dataclass(frozen=True, slots=True)
class Reference:
    """A 2D original, or one that is 3D already and takes volumes.

    Attributes:
        built_by: Library, version and class.
        tokens: Images [batch, channels, height, width], or volumes [batch, channels, depth, height,
            width], to tokens [batch, prefix + patches, dim].
        pooled: Tokens to the pooled vector [batch, dim], or `None` where the original's is dropped.
        conditioner: How it normalises images itself; `tokens` leaves that out.
    """

    built_by: str
    tokens: Callable[[Tensor], Tensor]
    pooled: Callable[[Tensor], Tensor] | None
    conditioner: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What an original is built of.

    Attributes:
        understood: The source, understood.
        state: The library's name to float32 tensor, position tables already at the grid.
        grid: Token grid (height, width) that it is to take.
    """

    understood: Understood
    state: State
    grid: tuple[int, int]

    @property
    def plan(self) -> Plan:
        """How the source was understood."""
        return self.understood.plan

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images that it is to take, in pixels."""
        height, width = self.plan.architecture.stride
        return self.grid[0] * height, self.grid[1] * width

    def held(self, kept: TensorPlan) -> Tensor:
        """One tensor of the 2D network, as the state has it."""
        return self.state[library_name(self.plan, kept)]


class CannotError(Exception):
    """A library cannot take tensors and fields that are in order."""


Build = Callable[[Asked], Reference | None]


def library_name(plan: Plan, kept: TensorPlan) -> str:
    """What the library calls a tensor that is kept; of a joined one the first part."""
    if plan.family.library == "transformers":
        return bare_name(plan.prefix, kept.sources[0])
    return sources_of(plan.family, "", kept.name)[0]


def named_by_timm(asked: Asked) -> Any:
    """The source's architecture as timm names it, built without memory."""
    fields = {**asked.understood.arguments, "num_classes": 0, "img_size": list(asked.size)}
    return create_timm(asked.plan.family, asked.understood.arch, fields)


def filled(model: Any, state: State) -> Any:
    """A model of timm's that was built without memory, with its tensors and its own buffers."""
    model.to_empty(device="cpu")
    for module in model.modules():
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()
    model.load_state_dict(state, strict=True)
    return model.eval()


def called(model: Any, library: str) -> str:
    """What built an original: library, version and class."""
    return f"{library} {version(library)} {type(model).__name__}"


def mean_of_tokens(tokens: Tensor) -> Tensor:
    """How networks without a class token pool: [batch, patches, dim] to [batch, dim]."""
    return tokens.mean(dim=1)

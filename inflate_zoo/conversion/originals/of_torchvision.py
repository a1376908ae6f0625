"""The originals of sources that are 3D already, as torchvision builds them, for the proof."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from inflate_zoo.conversion.originals.references import Reference, called, library_name
from inflate_zoo.errors import UsageError, VerificationError
from inflate_zoo.extras import install_hint
from inflate_zoo.networks.swin.config import VideoSwinForm

if TYPE_CHECKING:
    from torch import Tensor

    from inflate_zoo.conversion.originals.references import Asked

_INDEX = "relative_position_index"  # a buffer that follows from the windows


def torchvision_swin3d(asked: Asked) -> Reference | None:
    """Torchvision's SwinTransformer3d; `None` of another form.

    Raises:
        UsageError: torchvision is not installed.
        VerificationError: It builds no network of these tensors.
    """
    form = asked.plan.architecture
    if not isinstance(form, VideoSwinForm):
        return None
    if find_spec("torchvision") is None:
        raise UsageError(
            "the proof of a network that is 3D already needs torchvision, which is not installed",
            hint=f"{install_hint(['torchvision'])}; --no-verify goes without a proof",
        )
    model = _built(form)
    spelled = _own_names(asked)
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    needed = {name for name in wanted if not name.startswith("head.") and _INDEX not in name}
    differing = {n for n in needed & spelled.keys() if wanted[n] != spelled[n].shape}
    if problems := sorted((needed ^ spelled.keys()) | differing):
        raise VerificationError(
            "torchvision builds no such network, so nothing can be proved",
            details=[f"differs: '{name}'" for name in problems[:8]],
            hint="--no-verify converts it without a proof",
        )
    model.load_state_dict(spelled, strict=False)
    return Reference(called(model, "torchvision"), partial(_tokens, model.eval()), _mean)


def _built(form: VideoSwinForm) -> Any:
    import torch
    from torchvision.models.video.swin_transformer import PatchEmbed3d, SwinTransformer3d

    with torch.random.fork_rng(devices=[]):  # it draws weights first
        return SwinTransformer3d(
            patch_size=[form.patch_depth, *form.patch_size],
            embed_dim=form.embed_dim,
            depths=list(form.depths),
            num_heads=list(form.num_heads),
            window_size=[form.depth_window, *form.windows[0]],
            mlp_ratio=form.mlp_dims[0] / form.embed_dim,
            num_classes=1,
            norm_layer=partial(torch.nn.LayerNorm, eps=form.norm_eps),
            patch_embed=partial(PatchEmbed3d, in_channels=form.in_channels),
        )


def _own_names(asked: Asked) -> dict[str, Tensor]:
    """The tensors under torchvision's names, whoever's file they come from."""
    from inflate_zoo.naming.catalog import families_by_name
    from inflate_zoo.naming.patterns import sources_of

    spelled = families_by_name()["torchvision_swin3d"]
    return {
        sources_of(spelled, "", kept.name)[0]: asked.state[library_name(asked.plan, kept)]
        for kept in asked.plan.kept
    }


def _tokens(model: Any, volumes: Tensor) -> Tensor:
    """Volumes (B, C, D, H, W) to the last grid as tokens (B, d h w, E), normed."""
    tokens: Tensor = model.norm(model.features(model.patch_embed(volumes)))
    return tokens.flatten(1, 3)


def _mean(tokens: Tensor) -> Tensor:
    return tokens.mean(dim=1)

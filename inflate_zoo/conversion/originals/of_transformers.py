"""The 2D originals as transformers builds them, for the proof."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from inflate_zoo.conversion.originals import sam
from inflate_zoo.conversion.originals.references import (
    Asked,
    CannotError,
    Reference,
    State,
    called,
    mean_of_tokens,
)
from inflate_zoo.files.foreign import parsing
from inflate_zoo.networks.aimv2.config import Aimv2Form
from inflate_zoo.networks.beit.config import BeitForm
from inflate_zoo.networks.hiera.config import HieraForm

if TYPE_CHECKING:
    from torch import Tensor

UNUSED = ("pooler.", "head.", "embeddings.mask_token")
Tokens = Callable[[Any, "Tensor", int], "Tensor"]


def _last(model: Any, images: Tensor, _: int) -> Tensor:
    tokens: Tensor = model(images).last_hidden_state
    return tokens


def unmasked_tokens(model: Any, images: Tensor, patches: int) -> Tensor:
    """ViT-MAE's would mask and shuffle: keep every patch, in order."""
    import torch

    model.config.mask_ratio = 0.0
    noise = torch.arange(float(patches)).expand(images.shape[0], -1)
    tokens: Tensor = model(images, noise=noise).last_hidden_state
    return tokens


def tokens_of_patches(model: Any, images: Tensor, patches: int) -> Tensor:
    """SigLIP 2 NaFlex takes patches, all of them valid, and the grid they are of."""
    import torch

    size, batch = model.config.patch_size, images.shape[0]
    grid = torch.tensor([[side // size for side in images.shape[2:]]] * batch)
    values = images.unfold(2, size, size).unfold(3, size, size).permute(0, 2, 3, 4, 5, 1)
    mask = torch.ones(batch, patches, dtype=torch.long)
    tokens: Tensor = model(values.reshape(batch, patches, -1), mask, grid).last_hidden_state
    return tokens


def all_normed_tokens(model: Any, images: Tensor, _: int) -> Tensor:
    """CLIP's norms the pooled token only; ours norm all of them."""
    tokens = model(images).last_hidden_state
    normed: Tensor = getattr(model, "vision_model", model).post_layernorm(tokens)
    return normed


def encoder(
    asked: Asked,
    tokens: Tokens = _last,
    unused: tuple[str, ...] = UNUSED,
    pooled: Callable[[Tensor], Tensor] | None = None,
    *,
    sized: bool = True,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> Reference | None:
    """A class of transformers; `None` where transformers cannot take its tensors, or such images.

    Args:
        asked: What it is built of; of the config what the gate admits.
        tokens: From the model, images and the number of patches to the tokens.
        unused: What the names of tensors begin with that the tokens do not need.
        pooled: From tokens to the pooled vector, where the model pools without weights.
        sized: Whether it takes images of the size alone that its config states.
        changes: Fields that are to be others than those of the config.
    """
    size = asked.size
    told = {"image_size": size[0] if size[0] == size[1] else size} if sized else {}
    fields = {**asked.understood.raw, **told, **changes}
    state = {name: held for name, held in asked.state.items() if not name.startswith(unused)}
    model = _model_of(asked, fields, state, unused)
    if model is None:
        return None
    return _tried(
        asked,
        Reference(
            called(model, "transformers"),
            lambda images: tokens(model, images, prod(asked.grid)),
            pooled,
        ),
    )


def _tried(asked: Asked, built: Reference) -> Reference | None:
    """An original that takes such images; `None` where it was built, but raises when it is run."""
    import torch

    images = torch.zeros(1, asked.plan.architecture.in_channels, *asked.size)
    try:
        with parsing(lambda _: CannotError()), torch.inference_mode():
            built.tokens(images)
    except CannotError:
        return None
    return built


def _model_of(
    asked: Asked, fields: Mapping[str, Any], state: State, unused: tuple[str, ...], **options: Any
) -> Any | None:
    """A model of transformers in evaluation; `None` where it cannot take its tensors.

    Args:
        asked: Names its class.
        fields: Of its config.
        state: Its tensors.
        unused: What the names of tensors begin with that may be missing.
        options: Of its class.
    """
    import torch
    import transformers

    kind = getattr(transformers, asked.plan.family.reference, None)
    if kind is None:  # early releases have no RADIO
        return None
    with _quiet():
        try:
            with parsing(lambda _: CannotError()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                config = kind.config_class(**fields)
                model, info = kind.from_pretrained(
                    None, config=config, state_dict=state, dtype=torch.float32,
                    attn_implementation="eager", output_loading_info=True, **options,
                )  # fmt: skip
        except CannotError:
            return None
    lacking = [name for name in info["missing_keys"] if not name.startswith(unused)]
    if lacking or info["mismatched_keys"] or info.get("error_msgs"):
        return None
    return model.eval()


def aimv2(asked: Asked) -> Reference | None:
    """AIMv2 of transformers, whose computed positions follow the images."""
    form = asked.plan.architecture
    computed = isinstance(form, Aimv2Form) and form.positions == "sincos"
    return encoder(asked, sized=not computed)


def radio(asked: Asked) -> Reference | None:
    """RADIO of transformers, which normalises its input itself and resizes its table."""
    fields = asked.understood.raw
    model = _model_of(asked, fields, asked.state, ("summary_idxs",))
    if model is None:
        return None
    conditioner = model.make_preprocessor_external()
    tokens = partial(_last, model)
    told = called(model, "transformers")
    return _tried(asked, Reference(told, lambda images: tokens(images, 0), None, conditioner))


def beit(asked: Asked) -> Reference | None:
    """BEiT or data2vec of transformers, which resizes its bias tables in every pass."""
    form = asked.plan.architecture
    if not isinstance(form, BeitForm) or form.patch_size[0] != form.patch_size[1]:
        return None
    # A patch as a pair is taken by the stem, but not by the tables.
    fields = {**asked.understood.raw, "patch_size": form.patch_size[0]}
    model = _model_of(asked, fields, asked.state, ("pooler.",), add_pooling_layer=True)
    if model is None:
        return None
    pooled = None if asked.plan.repooled else model.pooler
    told = called(model, "transformers")
    return _tried(asked, Reference(told, lambda images: _last(model, images, 0), pooled))


def swin(asked: Asked) -> Reference | None:
    """Swin of transformers; in a larger model another norm than its own is the last."""
    own, last = "swin.layernorm.", "hidden_states_norms.stage4."
    state = {
        name.replace(last, "layernorm."): held
        for name, held in asked.state.items()
        if not name.startswith(own)
    }
    return encoder(replace(asked, state=state), pooled=mean_of_tokens)


def pixio(asked: Asked) -> Reference | None:
    """Pixio of transformers; `None` where images are no squares, for which it reads its table."""
    count = asked.understood.raw.get("n_cls_tokens", 8)
    if asked.size[0] != asked.size[1]:
        return None
    return encoder(asked, pooled=lambda tokens: tokens[:, :count].mean(dim=1))


def sam_encoder(asked: Asked) -> Reference | None:
    """SAM's encoder of transformers, built at its own size and then told to take another."""
    from torch import nn

    table = "vision_encoder.pos_embed"
    state = {f"vision_encoder.{name}": held for name, held in asked.state.items()}
    positions = state.pop(table)
    model = _model_of(asked, asked.understood.raw, state, (table,))
    if model is None:
        return None
    encoder = model.vision_encoder
    encoder.patch_embed.image_size = asked.size
    encoder.pos_embed = nn.Parameter(positions, requires_grad=False)
    told = called(model, "transformers")
    return _tried(
        asked,
        Reference(told, lambda images: sam.tokens_of(model(images).last_hidden_state), None),
    )


def sam2_encoder(asked: Asked) -> Reference | None:
    """SAM 2's encoder of transformers, which takes images of any size and gives a map."""
    return encoder(
        asked, tokens=lambda model, images, _: _last(model, images, 0).flatten(1, 2), sized=False
    )


def hiera_encoder(asked: Asked) -> Reference | None:
    """Hiera of transformers, pooled in every stage after the first, as it is used; see its reader.

    It resizes its table where it is asked to, and takes it for a square.
    """
    form = asked.plan.architecture
    if not isinstance(form, HieraForm):
        return None
    return encoder(
        asked, tokens=_of_hiera, unused=("pooler.", "hidden_states_norms."), sized=False,
        changes={"num_query_pool": len(form.depths) - 1},
    )  # fmt: skip


def _of_hiera(model: Any, images: Tensor, _: int) -> Tensor:
    own = tuple(images.shape[-2:]) == tuple(model.config.image_size)
    tokens: Tensor = model(images, interpolate_pos_encoding=not own).last_hidden_state
    return tokens


@contextmanager
def _quiet() -> Iterator[None]:
    """Transformers tells what it leaves out, and shows bars."""
    import transformers

    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.utils.logging.enable_progress_bar()

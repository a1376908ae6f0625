"""The 2D originals, as timm or transformers build them, for the proof."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

from inflate_zoo.conversion import sam_originals, staged_originals
from inflate_zoo.conversion.references import (
    Asked,
    Build,
    Reference,
    State,
    called,
    filled,
    library_name,
    named_by_timm,
)
from inflate_zoo.conversion.volume_originals import torchvision_swin3d
from inflate_zoo.files.dtypes import FLOATS
from inflate_zoo.files.foreign import parsing
from inflate_zoo.inflation.recipe import Recipe
from inflate_zoo.inflation.tensors import network_in_memory, stacked
from inflate_zoo.naming.patterns import bare_name, match_header
from inflate_zoo.networks.aimv2.config import Aimv2Form
from inflate_zoo.networks.base import Windows
from inflate_zoo.networks.beit.config import BeitForm
from inflate_zoo.networks.vit.config import VitForm

if TYPE_CHECKING:
    from torch import Tensor

    from inflate_zoo.files.checkpoints import Checkpoint
    from inflate_zoo.naming.plan import Plan
    from inflate_zoo.naming.understanding import Understood


def original_of(understood: Understood, checkpoint: Checkpoint, grid: tuple[int, int]) -> Reference:
    """The 2D original of a source at a grid.

    Position tables are resized by timm, whose rule ours is, unless the original does it itself, as
    with bias tables.

    Args:
        understood: The source, understood.
        checkpoint: The source's tensors.
        grid: Token grid (height, width).

    Returns:
        Built by its library; where that cannot, the 2D form of our own network, which its
        `built_by` then says.
    """
    plan = understood.plan
    state, native = _state(plan, checkpoint), plan.architecture.native_grid
    for kept in plan.kept:
        if kept.role == "position_table" and plan.family.reference not in _RESIZING:
            name = library_name(plan, kept)
            state[name] = _resized_by_timm(state[name], native, grid)
    built = ORIGINALS[plan.family.reference](Asked(understood, state, grid))
    return built or _own_reference(understood, checkpoint, grid)


def tables_of(plan: Plan, checkpoint: Checkpoint) -> State:
    """The position and bias tables of a source in float32, under our names and shapes."""
    tables = [kept for kept in plan.kept if kept.role in ("position_table", "bias_table")]
    return {
        kept.name: stacked(kept, [checkpoint.read(name) for name in kept.sources]).float()
        for kept in tables
    }


def _state(plan: Plan, checkpoint: Checkpoint) -> State:
    """The tower's tensors in float32, under the names its library has for them."""
    inside = match_header(plan.family, plan.prefix, checkpoint.header, plan.copies)
    names = [*inside.dropped, *(name for sources in inside.kept.values() for name in sources)]
    state = {
        bare_name(plan.prefix, name): checkpoint.read(name).float()
        for name in names
        if checkpoint.header[name].dtype in FLOATS
    }
    if plan.family.library != "transformers":
        for kept in plan.kept:  # originals that timm reads under names of their own
            state[library_name(plan, kept)] = checkpoint.read(kept.sources[0]).float()
    return state


def _resized_by_timm(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    if old == new:
        return table
    from timm.layers import resample_abs_pos_embed

    flat = table.reshape(1, -1, table.shape[-1])
    prefix = flat.shape[1] - prod(old)
    resized: Tensor = resample_abs_pos_embed(flat, list(new), list(old), num_prefix_tokens=prefix)
    if table.ndim == 4:  # height and width apart
        return resized.reshape(1, *new, table.shape[-1])
    return resized.reshape(*table.shape[:-2], -1, table.shape[-1])


def _own_reference(
    understood: Understood, checkpoint: Checkpoint, grid: tuple[int, int]
) -> Reference:
    """The 2D form of our own network, for what its library cannot build."""
    form = understood.plan.architecture
    library = "transformers" if understood.plan.family.library == "transformers" else "timm"
    height, width = (n * step for n, step in zip(grid, form.stride, strict=True))
    native_size = [n * s for n, s in zip(form.native_grid, form.stride, strict=True)]
    windows = None if form.window is None else Windows(1, merge_depth=False)
    volume = (1, native_size[0], native_size[1])
    flat = Recipe("center", 1, volume, form.in_channels, windows=windows)
    network = network_in_memory(understood, checkpoint, flat, (1, height, width)).eval()
    return Reference(
        f"inflate-zoo's own 2D form ({library} cannot build this source)",
        lambda images: network.forward_features(images.unsqueeze(2)),
        None,
    )


# Classes that resize their position table themselves, in every pass.
_RESIZING = frozenset({"NaFlexVit", "RadioModel", "Siglip2VisionModel"})


class _CannotError(Exception):
    """A library cannot take tensors and fields that are in order."""


def _timm_vit(asked: Asked) -> Reference | None:
    """A vision transformer of timm's; `None` where timm cannot take its tensors."""
    import torch
    from timm.models.vision_transformer import VisionTransformer

    form, arch = asked.plan.architecture, asked.understood.arch
    if isinstance(form, Aimv2Form):
        return _timm_as_named(asked)
    if not isinstance(form, VitForm):
        return None
    if arch:
        model = named_by_timm(asked)
    else:
        norm = partial(torch.nn.LayerNorm, eps=form.norm_eps)
        with torch.device("meta"):
            model = VisionTransformer(
                img_size=list(asked.size), patch_size=form.patch_size, in_chans=form.in_channels,
                num_classes=0, embed_dim=form.embed_dim, depth=form.depth,
                num_heads=form.num_heads, mlp_ratio=form.mlp_dim / form.embed_dim,
                qkv_bias=form.qkv_bias, norm_layer=norm, reg_tokens=form.reg_tokens,
                no_embed_class=form.reg_tokens > 0, init_values=1.0 if form.layer_scale else None,
                pre_norm=form.pre_norm, act_layer=form.activation,
                global_pool="avg" if form.pool == "mean" else "token", fc_norm=False,
            )  # fmt: skip
    wanted = model.state_dict()
    state = _folded(_as_timm_reads(asked.state, model), wanted)
    if any(name not in state for name in wanted):
        return None
    model.load_state_dict({name: state[name] for name in wanted}, strict=True, assign=True)
    return _of_timm(model.eval(), asked)


def _as_timm_reads(state: State, model: Any) -> State:
    """Tensors under OpenCLIP's names as timm itself reads such files; all others as they are."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    if "class_embedding" not in state:
        return state
    # The table is at the grid already: timm, which goes by published grids, might resize it.
    table = "positional_embedding"
    others = {
        f"visual.{name}".replace(".ls_", ".ls"): held  # layer scale, which timm does not rename
        for name, held in state.items()
        if name != table
    }
    read: State = checkpoint_filter_fn(others, model)
    return {**read, "pos_embed": state[table].unsqueeze(0)}


def _folded(state: State, wanted: State) -> State:
    """The cls token's row of the table added to the token, where timm's table has none for it."""
    table, token = state["pos_embed"], state.get("cls_token")
    if token is None or table.shape[1] != wanted["pos_embed"].shape[1] + 1:
        return state
    return {**state, "cls_token": token + table[:, :1], "pos_embed": table[:, 1:]}


def _timm_beit(asked: Asked) -> Reference | None:
    """BEiT of timm's, its bias tables resized by timm; `None` where it cannot take its tensors."""
    import torch
    from timm.models.beit import Beit

    form, arch, size = asked.plan.architecture, asked.understood.arch, list(asked.size)
    if not isinstance(form, BeitForm):
        return None
    if arch:
        model = named_by_timm(asked)
    else:
        with torch.device("meta"):
            model = Beit(
                img_size=size, patch_size=form.patch_size, in_chans=form.in_channels,
                num_classes=0, global_pool="avg" if form.pool == "mean" else "token",
                embed_dim=form.embed_dim, depth=form.depth, num_heads=form.num_heads,
                qkv_bias=form.qv_bias, mlp_ratio=form.mlp_dim / form.embed_dim,
                norm_layer=partial(torch.nn.LayerNorm, eps=form.norm_eps),
                init_values=1.0 if form.layer_scale else None, use_abs_pos_emb=False,
                use_rel_pos_bias=form.block_tables, use_shared_rel_pos_bias=form.shared_table,
                use_fc_norm=form.final_norm == "pooled",
            )  # fmt: skip
    wanted = model.state_dict()
    state = _tables_by_timm(asked, wanted)
    if state is None or any(name not in state for name in wanted):
        return None
    return _of_timm(filled(model, {name: state[name] for name in wanted}), asked)


def _timm_as_named(asked: Asked) -> Reference | None:
    """A model of timm's that the source names; `None` where it cannot take its tensors."""
    model = named_by_timm(asked)
    wanted = model.state_dict()
    if any(name not in asked.state for name in wanted):
        return None
    return _of_timm(filled(model, {name: asked.state[name] for name in wanted}), asked)


def _of_timm(model: Any, asked: Asked) -> Reference:
    return Reference(
        called(model, "timm"),
        model.forward_features,
        None if asked.plan.repooled else partial(model.forward_head, pre_logits=True),
    )


def _tables_by_timm(asked: Asked, wanted: State) -> State | None:
    """The tensors, bias tables at the grid; `None` where timm resizes none, as of no square."""
    from timm.layers import resize_rel_pos_bias_table

    native, grid = asked.plan.architecture.native_grid, asked.grid
    if native == grid:
        return asked.state
    if native[0] != native[1]:
        return None
    resize = partial(resize_rel_pos_bias_table, new_window_size=grid)
    with warnings.catch_warnings():  # of how timm calls torch
        warnings.simplefilter("ignore")
        try:
            with parsing(lambda _: _CannotError()):
                tables = {
                    name: resize(table, new_bias_shape=tuple(wanted[name].shape))
                    for name, table in asked.state.items()
                    if name.endswith("relative_position_bias_table") and name in wanted
                }
        except _CannotError:
            return None
    return {**asked.state, **tables}


Tokens = Callable[[Any, "Tensor", int], "Tensor"]


def _last(model: Any, images: Tensor, _: int) -> Tensor:
    tokens: Tensor = model(images).last_hidden_state
    return tokens


def _unmasked(model: Any, images: Tensor, patches: int) -> Tensor:
    """ViT-MAE's would mask and shuffle: keep every patch, in order."""
    import torch

    model.config.mask_ratio = 0.0
    noise = torch.arange(float(patches)).expand(images.shape[0], -1)
    tokens: Tensor = model(images, noise=noise).last_hidden_state
    return tokens


def _patched(model: Any, images: Tensor, patches: int) -> Tensor:
    """SigLIP 2 NaFlex takes patches, all of them valid, and the grid they are of."""
    import torch

    size, batch = model.config.patch_size, images.shape[0]
    grid = torch.tensor([[side // size for side in images.shape[2:]]] * batch)
    values = images.unfold(2, size, size).unfold(3, size, size).permute(0, 2, 3, 4, 5, 1)
    mask = torch.ones(batch, patches, dtype=torch.long)
    tokens: Tensor = model(values.reshape(batch, patches, -1), mask, grid).last_hidden_state
    return tokens


def _all_normed(model: Any, images: Tensor, _: int) -> Tensor:
    """CLIP's norms the pooled token only; ours norm all of them."""
    tokens = model(images).last_hidden_state
    normed: Tensor = getattr(model, "vision_model", model).post_layernorm(tokens)
    return normed


def _timm_staged(asked: Asked, build: Callable[[Asked], Any | None]) -> Reference | None:
    """Swin of timm's; `None` where it cannot take its tensors."""
    model = build(asked)
    if model is None:
        return None
    pooled = None if asked.plan.repooled else _mean
    return Reference(called(model, "timm"), partial(staged_originals.tokens_of, model), pooled)


def _mean(tokens: Tensor) -> Tensor:
    return tokens.mean(dim=1)


def _transformers(
    asked: Asked,
    tokens: Tokens = _last,
    unused: tuple[str, ...] = (),
    pooled: Callable[[Tensor], Tensor] | None = None,
    *,
    sized: bool = True,
) -> Reference | None:
    """A class of transformers; `None` where transformers cannot take its tensors.

    Args:
        asked: What it is built of; of the config what the gate admits.
        tokens: From the model, images and the number of patches to the tokens.
        unused: What the names of tensors begin with that the tokens do not need.
        pooled: From tokens to the pooled vector, where the model pools without weights.
        sized: Whether it takes images of the size alone that its config states.
    """
    size = asked.size
    told = {"image_size": size[0] if size[0] == size[1] else size} if sized else {}
    fields = {**asked.understood.raw, **told}
    state = {name: held for name, held in asked.state.items() if not name.startswith(unused)}
    model = _model_of(asked, fields, state, unused)
    if model is None:
        return None
    return Reference(
        called(model, "transformers"),
        lambda images: tokens(model, images, prod(asked.grid)),
        pooled,
    )


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
            with parsing(lambda _: _CannotError()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                config = kind.config_class(**fields)
                model, info = kind.from_pretrained(
                    None, config=config, state_dict=state, dtype=torch.float32,
                    attn_implementation="eager", output_loading_info=True, **options,
                )  # fmt: skip
        except _CannotError:
            return None
    lacking = [name for name in info["missing_keys"] if not name.startswith(unused)]
    if lacking or info["mismatched_keys"] or info.get("error_msgs"):
        return None
    return model.eval()


def _aimv2(asked: Asked) -> Reference | None:
    """AIMv2 of transformers, whose computed positions follow the images."""
    form = asked.plan.architecture
    computed = isinstance(form, Aimv2Form) and form.positions == "sincos"
    return _encoder(asked, sized=not computed)


def _radio(asked: Asked) -> Reference | None:
    """RADIO of transformers, which normalises its input itself and resizes its table."""
    fields = asked.understood.raw
    model = _model_of(asked, fields, asked.state, ("summary_idxs",))
    if model is None:
        return None
    conditioner = model.make_preprocessor_external()
    tokens = partial(_last, model)
    return Reference(
        called(model, "transformers"), lambda images: tokens(images, 0), None, conditioner
    )


def _beit(asked: Asked) -> Reference | None:
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
    return Reference(
        called(model, "transformers"), lambda images: model(images).last_hidden_state, pooled
    )


def _pixio(asked: Asked) -> Reference | None:
    """Pixio of transformers; `None` where images are no squares, for which it reads its table."""
    count = asked.understood.raw.get("n_cls_tokens", 8)
    if asked.size[0] != asked.size[1]:
        return None
    return _encoder(asked, pooled=lambda tokens: tokens[:, :count].mean(dim=1))


def _sam(asked: Asked) -> Reference | None:
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
    return Reference(
        called(model, "transformers"),
        lambda images: sam_originals.tokens_of(model(images).last_hidden_state),
        None,
    )


def _timm_sam(asked: Asked) -> Reference | None:
    """SAM's encoder of timm, which pools by a mean; `None` where it cannot take its tensors."""
    model = sam_originals.timm_sam(asked)
    if model is None:
        return None
    by_timm = asked.plan.family.library == "timm" and not asked.plan.repooled
    return Reference(
        called(model, "timm"),
        lambda images: sam_originals.tokens_of(model.forward_features(images)),
        _mean if by_timm else None,
    )


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


_UNUSED = ("pooler.", "head.", "embeddings.mask_token")
_encoder = partial(_transformers, unused=_UNUSED)
# What differs between the classes of the libraries, by what a definition's `reference` names.
ORIGINALS: dict[str, Build] = {
    "Aimv2VisionModel": _aimv2,
    "Beit": _timm_beit,
    "BeitModel": _beit,
    "BlipVisionModel": _encoder,
    "CLIPVisionModel": partial(_encoder, tokens=_all_normed),
    "Data2VecVisionModel": _beit,
    "DINOv3ViTModel": _encoder,
    "DeiTModel": _encoder,
    "Dinov2Model": _encoder,
    "Dinov2WithRegistersModel": _encoder,
    "Eva": _timm_as_named,
    "IJepaModel": _encoder,
    "NaFlexVit": _timm_as_named,
    "RadioModel": _radio,
    "Siglip2VisionModel": partial(_encoder, tokens=_patched),
    "MetaClip2VisionModel": partial(_encoder, tokens=_all_normed),
    "PixioModel": _pixio,
    "SiglipVisionModel": _encoder,
    "ViTMAEModel": partial(_encoder, tokens=_unmasked),
    "ViTMSNModel": _encoder,
    "ViTModel": _encoder,
    "SwinTransformer": partial(_timm_staged, build=staged_originals.timm_swin),
    "SwinTransformerV2": partial(_timm_staged, build=staged_originals.timm_swinv2),
    "SwinTransformer3d": torchvision_swin3d,
    "Swinv2Model": partial(_encoder, pooled=_mean),
    "SwinModel": partial(_encoder, pooled=_mean),
    "SamVisionModel": _sam,
    "VisionTransformer": _timm_vit,
    "VisionTransformerSAM": _timm_sam,
}

"""Fields of configs: what shapes an encoder, and what real ones hold besides, for the gate.

Each has a rule of its type and range; a field of no table is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from inflate_zoo.files.dtypes import DTYPES
from inflate_zoo.naming.configs import rules
from inflate_zoo.naming.configs.from_config import ACTIVATION_NAMES

_BLOCKS, _HEADS = rules.whole(0, rules.MOST_BLOCKS), rules.whole(1, rules.MOST_HEADS)
_POOLS = ("avg", "avgmax", "max", "token", "map", "prr")


def _known(names: str, rule: rules.Rule = rules.ANY) -> dict[str, rules.Rule]:
    return dict.fromkeys(names.split(), rule)


# What create_model passes to VisionTransformer, Beit or Eva, and what it is built of in the end.
TIMM_ADMITTED: Mapping[str, rules.Rule] = MappingProxyType(
    {
        "img_size": rules.PIXELS,
        "patch_size": rules.PIXELS,
        "in_chans": rules.whole(1, rules.MOST_CHANNELS),
        "num_classes": rules.LABELS,
        "global_pool": rules.word("", *_POOLS),
        "embed_dim": rules.WIDTH,
        "depth": rules.whole(1, rules.MOST_BLOCKS),
        "num_heads": rules.either(rules.whole(1, rules.MOST_HEADS), rules.STAGES),
        "mlp_ratio": rules.RATIO,
        "depths": rules.DEPTHS,
        "window_size": rules.either(rules.whole(1, rules.MOST_WINDOW), rules.SIDES),
        "pretrained_window_sizes": rules.TRAINED,
        "head_dim": rules.NULL,
        "always_partition": rules.UNSET,
        "strict_img_size": rules.FLAG,
        "init_values": rules.number(0, 1e6),
        "pos_embed": rules.word("", "none", "learn", "learned"),
        "reg_tokens": rules.whole(0, rules.MOST_REGISTERS),
        "norm_layer": rules.word("layernorm"),
        "act_layer": rules.word("gelu", "gelu_tanh", "quick_gelu", "relu", "silu", "swish"),
        "mlp_layer": rules.word("SwiGLUPacked"),
        **_known(
            "qkv_bias qk_norm scale_attn_norm scale_mlp_norm proj_bias class_token", rules.FLAG
        ),
        **_known("no_embed_class pre_norm final_norm fc_norm pool_include_prefix", rules.FLAG),
        **_known("dynamic_img_size dynamic_img_pad", rules.FLAG),
        **_known(
            "use_abs_pos_emb use_rel_pos_bias use_shared_rel_pos_bias use_fc_norm", rules.FLAG
        ),
        **_known("swiglu_mlp scale_mlp scale_attn_inner qkv_fused", rules.FLAG),
        **_known("use_rot_pos_emb rope_rotate_half", rules.FLAG),
        "swiglu_align_to": rules.whole(0, rules.MOST_WIDTH),
        "num_reg_tokens": rules.whole(0, rules.MOST_REGISTERS),
        "rope_type": rules.word("cat", "dinov3"),
        **_known("use_abs_pos use_rel_pos", rules.FLAG),
        "use_rope": rules.UNSET,
        "global_attn_indexes": rules.INDICES,
        "neck_chans": rules.WIDTH,
        "head_hidden_size": rules.NULL,
        "rope_temperature": rules.number(1, 1e6),
        "ref_feat_shape": rules.PIXELS,
        "pos_embed_grid_size": rules.PIXELS,
        "pos_embed_interp_mode": rules.word("bicubic", "bilinear"),
        **_known("pos_embed_ar_preserving pos_embed_antialias", rules.FLAG),
        "pos_embed_align_corners": rules.FLAG,
        "stages": rules.DEPTHS,
        "window_spec": rules.each_of(rules.MOST_WINDOW),
        "global_att_blocks": rules.INDICES,
        "mask_unit_size": rules.PIXELS,
        "mask_unit_attn": rules.FLAGS,
        **_known("use_expand_proj sep_pos_embed abs_win_pos_embed", rules.FLAG),
        "q_pool": rules.whole(0, rules.MOST_STAGES),
        **_known("q_stride global_pos_size patch_kernel patch_stride patch_padding", rules.PIXELS),
    }
)
# Training only: of no effect on an encoder whose weights are given.
TIMM_LEFT_OUT: Mapping[str, rules.Rule] = MappingProxyType(
    {
        **_known("drop_rate pos_drop_rate patch_drop_rate proj_drop_rate", rules.SHARE),
        **_known("attn_drop_rate drop_path_rate", rules.SHARE),
        "fix_init": rules.FLAG,
        "head_init_scale": rules.number(0, 1e6),
        "weight_init": rules.word("", "skip", "reset", "jax", "jax_nlhb", "moco"),
    }
)
CFG_ADMITTED: Mapping[str, rules.Rule] = MappingProxyType(
    {
        "input_size": rules.INPUT,
        "fixed_input_size": rules.FLAG,
        "num_classes": rules.whole(-1, rules.MOST_LABELS),
    }
)
CFG_LEFT_OUT: Mapping[str, rules.Rule] = MappingProxyType(
    {
        **_known("file state_dict", rules.NULL),
        **_known("url hf_hub_id hf_hub_filename source architecture tag custom_load"),
        **_known("test_input_size min_input_size interpolation crop_pct test_crop_pct crop_mode"),
        **_known("mean std label_offset pool_size test_pool_size first_conv classifier license"),
        **_known("description origin_url paper_name paper_ids notes"),
        **_known("label_names label_descriptions", rules.at_most(rules.MOST_LABELS)),
    }
)

_ATTENTION = rules.word("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
_DTYPE = rules.word("auto", *(p + t for p in ("", "torch.") for t in DTYPES))
# What transformers writes into the config of any model, from release 4 on.
COMMON: Mapping[str, rules.Rule] = MappingProxyType(
    {
        "num_labels": rules.LABELS,
        **_known("id2label label2id label_names", rules.or_null(rules.at_most(rules.MOST_LABELS))),
        **_known("dtype torch_dtype", rules.or_null(_DTYPE)),
        **_known("attn_implementation _attn_implementation", rules.or_null(_ATTENTION)),
        "_attn_implementation_internal": rules.or_null(_ATTENTION),
        **_known("auto_map custom_pipelines quantization_config", rules.NULL),
        **_known("_name_or_path _commit_hash _auto_class _attn_implementation_autoset"),
        **_known("_experts_implementation_internal _output_attentions _num_labels"),
        **_known("_out_features _out_indices"),
        **_known("model_type architectures transformers_version problem_type finetuning_task"),
        **_known("return_dict use_return_dict output_hidden_states output_attentions use_cache"),
        **_known("torchscript use_bfloat16 tf_legacy_loss xla_device gradient_checkpointing"),
        **_known("pruned_heads chunk_size_feed_forward loss_type task_specific_params"),
        **_known("is_encoder_decoder is_decoder is_composition add_cross_attention"),
        **_known("cross_attention_hidden_size tie_word_embeddings tie_encoder_decoder"),
        **_known(
            "tokenizer_class padding prefix bos_token_id pad_token_id eos_token_id sep_token_id"
        ),
        **_known("decoder_start_token_id max_length min_length do_sample early_stopping"),
        **_known("num_beams num_beam_groups diversity_penalty temperature top_k top_p typical_p"),
        **_known("repetition_penalty length_penalty no_repeat_ngram_size output_scores"),
        **_known("encoder_no_repeat_ngram_size bad_words_ids num_return_sequences"),
        **_known("return_dict_in_generate forced_bos_token_id forced_eos_token_id"),
        **_known("remove_invalid_values exponential_decay_length_penalty suppress_tokens"),
        **_known("begin_suppress_tokens"),
        **_known("license license_name license_link tags language library_name pipeline_tag"),
    }
)
ENCODER: Mapping[str, rules.Rule] = MappingProxyType(
    {
        "hidden_size": rules.WIDTH,
        "intermediate_size": rules.WIDTH,
        "num_hidden_layers": rules.whole(1, rules.MOST_BLOCKS),
        "num_attention_heads": rules.whole(1, rules.MOST_HEADS),
        "num_channels": rules.whole(1, rules.MOST_CHANNELS),
        "image_size": rules.PIXELS,
        "patch_size": rules.PIXELS,
        **_known("layer_norm_eps rms_norm_eps", rules.EPSILON),
        "hidden_act": rules.word(*sorted(ACTIVATION_NAMES)),
        "mlp_ratio": rules.RATIO,
        "num_register_tokens": rules.whole(0, rules.MOST_REGISTERS),
        "n_cls_tokens": rules.whole(0, rules.MOST_REGISTERS),
        "layer_scale_init_value": rules.number(0, 1e6),
        **_known("qkv_bias use_swiglu_ffn use_mean_pooling is_native", rules.FLAG),
        **_known("use_relative_position_bias use_shared_relative_position_bias", rules.FLAG),
        "use_absolute_position_embeddings": rules.FLAG,
        "rope_theta": rules.number(1, 1e6),
        **_known("query_bias key_bias value_bias proj_bias mlp_bias use_gated_mlp", rules.FLAG),
        "embed_dim": rules.WIDTH,
        "depths": rules.DEPTHS,
        "num_heads": rules.STAGES,
        "window_size": rules.whole(1, rules.MOST_WINDOW),
        "pretrained_window_sizes": rules.TRAINED,
        "use_absolute_embeddings": rules.UNSET,
        "num_patches": rules.whole(1, rules.MOST_WIDTH),
        "max_img_size": rules.whole(1, rules.MOST_PIXELS),
        **_known("num_cls_tokens num_registers", rules.whole(0, rules.MOST_REGISTERS)),
        "summary_idxs": rules.or_null(rules.INDICES),
        **_known("norm_mean norm_std", rules.PER_CHANNEL),
        "output_channels": rules.WIDTH,
        **_known("use_abs_pos use_rel_pos", rules.FLAG),
        "global_attn_indexes": rules.INDICES,
        "mlp_dim": rules.or_null(rules.WIDTH),
        **_known("patch_kernel_size patch_stride patch_padding query_stride", rules.PIXELS),
        "window_positional_embedding_background_size": rules.PIXELS,
        "num_query_pool_stages": rules.whole(0, rules.MOST_STAGES),
        "blocks_per_stage": rules.DEPTHS,
        "embed_dim_per_stage": rules.each_of(rules.MOST_WIDTH),
        "num_attention_heads_per_stage": rules.STAGES,
        "window_size_per_stage": rules.each_of(rules.MOST_WINDOW),
        "global_attention_blocks": rules.INDICES,
        "embed_dim_multiplier": rules.RATIO,
        "masked_unit_size": rules.PIXELS,
        "masked_unit_attention": rules.FLAGS,
        "num_query_pool": rules.whole(0, rules.MOST_STAGES),
    }
)
# The parts of such a model that are not its encoder, and what matters in training only.
AROUND: Mapping[str, rules.Rule] = MappingProxyType(
    {
        **COMMON,
        **_known("hidden_dropout_prob attention_probs_dropout_prob attention_dropout", rules.SHARE),
        **_known("dropout drop_path_rate classifier_dropout classifier_dropout_prob"),
        **_known("initializer_range initializer_factor layerscale_value encoder_stride num_layers"),
        **_known("pooler_output_size projection_dim", rules.or_null(rules.WIDTH)),
        "pooler_act": rules.word("tanh", *sorted(ACTIVATION_NAMES)),
        **_known("decoder_hidden_size decoder_intermediate_size", rules.or_null(rules.WIDTH)),
        **_known("decoder_num_hidden_layers decoder_depth", rules.or_null(_BLOCKS)),
        **_known("decoder_num_attention_heads decoder_num_heads", rules.or_null(_HEADS)),
        "path_norm": rules.FLAG,  # Swin's early releases: the norm itself is among the tensors
        **_known("mask_ratio norm_pix_loss vision_use_head use_head use_mask_token"),
        **_known("normalize_pixel_loss layer_norm_init"),
        **_known("apply_layernorm reshape_hidden_states out_features out_indices stage_names"),
        **_known("interpolate_antialias interpolate_offset semantic_loss_ignore_index"),
        **_known("logit_scale_init_value logit_bias_init_value max_logit_scale vocab_size"),
        **_known("pool_scales use_auxiliary_head auxiliary_loss_weight auxiliary_channels"),
        **_known("auxiliary_num_convs auxiliary_concat_input add_fpn segmentation_indices"),
        **_known("pos_embed_shift pos_embed_jitter pos_embed_rescale num_pos_feats scale"),
        **_known("image_text_hidden_size label_smoothing"),
        **_known("patch_dim video_patch_dim video_temporal_patch_size"),
        **_known("backbone_channel_list backbone_feature_sizes fpn_hidden_size fpn_kernel_size"),
        **_known("fpn_stride fpn_padding fpn_top_down_levels num_feature_levels"),
    }
)
CODE = ("auto_map", "custom_pipelines", "attn_implementation", "_attn_implementation")
TOWERS = _known(
    "vision_config text_config vision_config_dict text_config_dict prompt_encoder_config "
    "mask_decoder_config backbone_config",
    rules.or_null(rules.OBJECT),
)
TIMM_TOP: Mapping[str, rules.Rule] = MappingProxyType(
    {
        **COMMON,
        **CFG_LEFT_OUT,
        **CFG_ADMITTED,
        **_known("model_args pretrained_cfg", rules.or_null(rules.OBJECT)),
        **_known("architecture num_features global_pool do_pooling initializer_range"),
    }
)
# OpenCLIP's config: what it takes of its image tower's fields where that is timm's.
OPEN_CLIP_ADMITTED: Mapping[str, rules.Rule] = MappingProxyType(
    {
        "timm_model_name": rules.NAME,
        "timm_pool": rules.or_null(rules.word("", *_POOLS, "abs_attn", "rot_attn")),
        "timm_proj": rules.or_null(rules.word("", "none", "linear", "mlp")),
        "image_size": rules.or_null(rules.PIXELS),
    }
)
# Of the projection, for training, or of a tower of OpenCLIP's own, which timm's name overrides.
OPEN_CLIP_LEFT_OUT: Mapping[str, rules.Rule] = MappingProxyType(
    {
        **_known("timm_model_pretrained timm_proj_bias timm_drop timm_drop_path patch_dropout"),
        **_known("layers width head_width mlp_ratio patch_size ls_init_value no_ln_pre qk_norm"),
        **_known("attentional_pool attn_pooler_queries attn_pooler_heads n_queries pool_type"),
        **_known("global_average_pool input_patchnorm final_ln_after_pool pos_embed_type"),
        **_known("output_tokens act_kwargs norm_kwargs block_type scaled_cosine_attn"),
        **_known("scale_heads scale_attn_inner scale_attn scale_fc"),
    }
)
# What a tower of OpenCLIP's own takes of the same fields; no family has what is to be unset.
OPEN_CLIP_OWN: Mapping[str, rules.Rule] = MappingProxyType(
    {
        "layers": rules.whole(1, rules.MOST_BLOCKS),
        **_known("width head_width", rules.WIDTH),
        **_known("patch_size image_size", rules.PIXELS),
        "mlp_ratio": rules.RATIO,
        "ls_init_value": rules.or_null(rules.number(0, 1e6)),
        "pool_type": rules.word("tok", "avg"),
        **_known("no_ln_pre global_average_pool final_ln_after_pool", rules.FLAG),
    }
)
OPEN_CLIP_OWN_LEFT_OUT: Mapping[str, rules.Rule] = MappingProxyType(
    {
        **_known("timm_model_name timm_model_pretrained timm_pool timm_proj timm_proj_bias"),
        **_known("timm_drop timm_drop_path patch_dropout output_tokens n_queries"),
        **_known("attn_pooler_queries attn_pooler_heads"),
        "pos_embed_type": rules.word("learnable", "sin_cos_2d"),  # both stand in the file
        **_known("attentional_pool input_patchnorm qk_norm scaled_cosine_attn", rules.UNSET),
        **_known("scale_heads scale_attn_inner scale_attn scale_fc", rules.UNSET),
        "block_type": rules.or_null(rules.word("default")),
        **_known("act_kwargs norm_kwargs", rules.NULL),
    }
)
OPEN_CLIP_AROUND: Mapping[str, rules.Rule] = MappingProxyType(
    {
        **_known("vision_cfg text_cfg", rules.OBJECT),
        "multimodal_cfg": rules.or_null(rules.OBJECT),
        "quick_gelu": rules.or_null(rules.FLAG),
        **_known("embed_dim custom_text init_logit_scale init_logit_bias pad_id"),
        **_known("nonscalar_logit_scale cast_dtype output_dict"),
    }
)
OPEN_CLIP_TOP: Mapping[str, rules.Rule] = MappingProxyType(
    {"model_cfg": rules.OBJECT, "preprocess_cfg": rules.or_null(rules.OBJECT)}
)
OPEN_CLIP_FED: Mapping[str, rules.Rule] = MappingProxyType(
    {
        "mode": rules.or_null(rules.word("RGB")),
        **_known("size mean std interpolation resize_mode fill_color"),
    }
)

"""What config.json of published repos states, by family: the fields that the releases wrote.

Long values are cut short, and the sections of text towers left empty.
"""

from typing import Any

_VIT: dict[str, Any] = {
    "_name_or_path": "google/vit-base-patch16-224", "attention_probs_dropout_prob": 0.0,
    "encoder_stride": 16, "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "hidden_size": 768,
    "image_size": 224, "initializer_range": 0.02, "intermediate_size": 3072,
    "layer_norm_eps": 1e-12, "num_attention_heads": 12, "num_channels": 3,
    "num_hidden_layers": 12, "patch_size": 16, "qkv_bias": True, "torch_dtype": "float32",
    "transformers_version": "4.13.0.dev0", "id2label": {"0": "tench"}, "label2id": {"tench": 0},
}  # fmt: skip
_BEIT: dict[str, Any] = {
    **_VIT, "auxiliary_channels": 256, "auxiliary_concat_input": False,
    "auxiliary_loss_weight": 0.4, "auxiliary_num_convs": 1, "drop_path_rate": 0.1,
    "layer_scale_init_value": 0.1, "out_indices": [3, 5, 7, 11], "pool_scales": [1, 2, 3, 6],
    "semantic_loss_ignore_index": 255, "use_absolute_position_embeddings": False,
    "use_auxiliary_head": True, "use_mask_token": False, "use_mean_pooling": True,
    "use_relative_position_bias": True, "use_shared_relative_position_bias": False,
    "vocab_size": 8192, "problem_type": "single_label_classification", "finetuning_task": None,
}  # fmt: skip
_DINOV2: dict[str, Any] = {
    **_VIT, "apply_layernorm": True, "drop_path_rate": 0.0, "layerscale_value": 1.0,
    "mlp_ratio": 4, "out_features": ["stage12"], "out_indices": [12], "patch_size": 14,
    "reshape_hidden_states": True, "stage_names": ["stem", "stage1", "stage12"],
    "use_swiglu_ffn": False, "use_mask_token": True,
}  # fmt: skip
_SWIN: dict[str, Any] = {
    "architectures": ["SwinForImageClassification"], "attention_probs_dropout_prob": 0.0,
    "depths": [2, 2, 6, 2], "drop_path_rate": 0.1, "embed_dim": 96, "encoder_stride": 32,
    "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "hidden_size": 768,
    "id2label": {"0": "tench"}, "label2id": {"tench": 0}, "image_size": 224,
    "initializer_range": 0.02, "layer_norm_eps": 1e-05, "mlp_ratio": 4.0, "num_channels": 3,
    "num_heads": [3, 6, 12, 24], "num_layers": 4, "patch_size": 4, "path_norm": True,
    "qkv_bias": True, "torch_dtype": "float32", "transformers_version": "4.16.0.dev0",
    "use_absolute_embeddings": False, "window_size": 7,
}  # fmt: skip
_TOWER: dict[str, Any] = {
    "_name_or_path": "", "add_cross_attention": False, "architectures": None,
    "attention_dropout": 0.0, "dropout": 0.0, "hidden_act": "quick_gelu", "hidden_size": 768,
    "image_size": 224, "initializer_factor": 1.0, "initializer_range": 0.02,
    "intermediate_size": 3072, "layer_norm_eps": 1e-05, "num_attention_heads": 12,
    "num_channels": 3, "num_hidden_layers": 12, "patch_size": 16, "projection_dim": 512,
    "pruned_heads": {}, "tf_legacy_loss": False, "typical_p": 1.0, "use_bfloat16": False,
}  # fmt: skip
_PAIR: dict[str, Any] = {
    "_commit_hash": None, "initializer_factor": 1.0, "logit_scale_init_value": 2.6592,
    "projection_dim": 512, "text_config": {}, "torch_dtype": "float32",
    "transformers_version": None, "vision_config": _TOWER,
}  # fmt: skip

# Family to the configs of repos: their fields, without those that every release writes.
HUB_CONFIGS: dict[str, list[dict[str, Any]]] = {
    "hf_vit": [
        {**_VIT, "model_type": "vit", "pooler_act": "tanh", "pooler_output_size": 768},
        # As AutoTrain writes it.
        {**_VIT, "model_type": "vit", "max_length": 128, "padding": "max_length"},
    ],
    "hf_vit_msn": [{**_VIT, "model_type": "vit_msn", "layer_norm_eps": 1e-6}],
    "hf_vit_mae": [
        {
            **_VIT, "model_type": "vit_mae", "decoder_hidden_size": 512,
            "decoder_intermediate_size": 2048, "decoder_num_attention_heads": 16,
            "decoder_num_hidden_layers": 8, "mask_ratio": 0.75, "norm_pix_loss": False,
        }
    ],
    "hf_deit": [{**_VIT, "model_type": "deit"}],
    "hf_ijepa": [{**_VIT, "model_type": "ijepa", "pooler_act": "tanh", "pooler_output_size": 1280}],
    "hf_dinov2": [
        {**_DINOV2, "model_type": "dinov2"},
        # microsoft/rad-dino
        {**_DINOV2, "model_type": "dinov2", "image_size": 518, "architectures": ["Dinov2Model"]},
    ],
    "hf_dinov2_with_registers": [
        {
            **_DINOV2, "model_type": "dinov2_with_registers", "num_register_tokens": 4,
            "interpolate_antialias": True, "interpolate_offset": 0.0,
        }
    ],
    "hf_dinov3": [
        {
            "architectures": ["DINOv3ViTModel"], "attention_dropout": 0.0, "drop_path_rate": 0.0,
            "hidden_act": "gelu", "hidden_size": 384, "image_size": 224,
            "initializer_range": 0.02, "intermediate_size": 1536, "key_bias": False,
            "layer_norm_eps": 1e-05, "layerscale_value": 1.0, "mlp_bias": True,
            "model_type": "dinov3_vit", "num_attention_heads": 6, "num_channels": 3,
            "num_hidden_layers": 12, "num_register_tokens": 4, "patch_size": 16,
            "pos_embed_jitter": None, "pos_embed_rescale": 2.0, "pos_embed_shift": None,
            "proj_bias": True, "query_bias": True, "rope_theta": 100.0,
            "torch_dtype": "float32", "transformers_version": "4.56.0.dev0",
            "use_gated_mlp": False, "value_bias": True, "apply_layernorm": True,
            "out_features": ["stage12"], "out_indices": [12], "reshape_hidden_states": True,
            "stage_names": ["stem", "stage12"],
        }
    ],
    "hf_clip": [
        {**_PAIR, "model_type": "clip", "text_config_dict": None, "vision_config_dict": None},
        {
            **_PAIR, "model_type": "clip", "text_config_dict": {"projection_dim": 768},
            "vision_config_dict": {"hidden_size": 1024, "num_attention_heads": 16,
                                   "num_hidden_layers": 24, "patch_size": 14,
                                   "projection_dim": 768, "dropout": 0.0},
        },
        {**_TOWER, "model_type": "clip_vision_model"},
    ],
    "hf_metaclip_2": [{**_PAIR, "model_type": "metaclip_2"}],
    "hf_siglip": [
        {"architectures": ["SiglipModel"], "initializer_factor": 1.0, "model_type": "siglip",
         "text_config": {"model_type": "siglip_text_model", "vocab_size": 256000},
         "vision_config": {"hidden_size": 1152, "image_size": 384, "intermediate_size": 4304,
                           "model_type": "siglip_vision_model", "num_attention_heads": 16,
                           "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": True},
         "torch_dtype": "float32", "transformers_version": "4.37.0.dev0"},
    ],
    "hf_siglip2": [
        {"architectures": ["Siglip2Model"], "initializer_factor": 1.0, "model_type": "siglip2",
         "text_config": {"model_type": "siglip2_text_model", "projection_size": 768},
         "vision_config": {"model_type": "siglip2_vision_model", "num_patches": 256,
                           "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-06},
         "torch_dtype": "float32", "transformers_version": "4.49.0.dev0"},
    ],
    "hf_blip": [
        {
            **_PAIR, "model_type": "blip", "image_text_hidden_size": 256, "label_smoothing": 0.0,
            "architectures": ["BlipForConditionalGeneration"],
            "vision_config": {**_TOWER, "model_type": "blip_vision_model", "image_size": 384},
        }
    ],
    "hf_aimv2": [
        {
            "attention_dropout": 0.0, "hidden_act": "silu", "hidden_size": 1024,
            "image_size": 224, "initializer_range": 0.02, "intermediate_size": 2816,
            "is_native": False, "mlp_bias": False, "model_type": "aimv2_vision_model",
            "num_attention_heads": 8, "num_channels": 3, "num_hidden_layers": 24,
            "patch_size": 14, "qkv_bias": False, "rms_norm_eps": 1e-05, "use_head": False,
        }
    ],
    "hf_radio": [
        {
            **_VIT, "model_type": "radio", "max_img_size": 2048, "num_cls_tokens": 3,
            "num_registers": 7, "patch_dim": 768, "summary_idxs": [0, 1], "mlp_ratio": 4.0,
            "layerscale_value": 1.0, "use_swiglu_ffn": False, "drop_path_rate": 0.0,
            "video_patch_dim": None, "video_temporal_patch_size": None,
            "norm_mean": [0.48145466, 0.4578275, 0.40821073],
            "norm_std": [0.26862954, 0.26130258, 0.27577711],
        }
    ],
    "hf_pixio": [
        {
            **_VIT, "model_type": "pixio", "n_cls_tokens": 8, "mlp_ratio": 4,
            "apply_layernorm": True, "drop_path_rate": 0.0, "reshape_hidden_states": True,
            "out_features": ["stage32"], "out_indices": [32], "stage_names": ["stem", "stage32"],
        }
    ],
    "hf_beit": [{**_BEIT, "model_type": "beit", "architectures": ["BeitForImageClassification"]}],
    "hf_data2vec_vision": [{**_BEIT, "model_type": "data2vec-vision"}],
    "hf_swin": [
        {**_SWIN, "model_type": "swin"},
        {**_SWIN, "model_type": "swin", "out_features": ["stage4"], "out_indices": [4],
         "stage_names": ["stem", "stage1", "stage2", "stage3", "stage4"]},
    ],
    "hf_swinv2": [
        {**_SWIN, "model_type": "swinv2", "pretrained_window_sizes": [0, 0, 0, 0],
         "image_size": 256, "window_size": 8},
        {**_SWIN, "model_type": "swinv2", "pretrained_window_sizes": [12, 12, 12, 6],
         "image_size": 256, "window_size": 16},
    ],
    "hf_sam": [
        {
            "_commit_hash": None, "architectures": ["SamModel"], "initializer_range": 0.02,
            "model_type": "sam", "torch_dtype": "float32", "transformers_version": None,
            "mask_decoder_config": {"hidden_size": 256, "iou_head_depth": 3},
            "prompt_encoder_config": {"hidden_size": 256, "mask_input_channels": 16},
            "vision_config": {
                **_TOWER, "model_type": "", "global_attn_indexes": [2, 5, 8, 11],
                "hidden_act": "gelu", "image_size": 1024, "initializer_range": 1e-10,
                "intermediate_size": 6144, "mlp_dim": 3072, "mlp_ratio": 4.0,
                "num_pos_feats": 128, "output_channels": 256, "qkv_bias": True,
                "use_abs_pos": True, "use_rel_pos": True, "window_size": 14,
            },
        }
    ],
    "hf_hiera": [
        {
            "architectures": ["HieraForPreTraining"], "decoder_depth": 8,
            "decoder_hidden_size": 512, "decoder_num_heads": 16, "depths": [2, 3, 16, 3],
            "drop_path_rate": 0.0, "embed_dim": 96, "embed_dim_multiplier": 2.0,
            "hidden_act": "gelu", "hidden_size": 768, "image_size": [224, 224],
            "initializer_range": 0.02, "layer_norm_eps": 1e-06, "layer_norm_init": 1.0,
            "mask_ratio": 0.6, "masked_unit_attention": [True, True, False, False],
            "masked_unit_size": [8, 8], "mlp_ratio": 4.0, "model_type": "hiera",
            "normalize_pixel_loss": True, "num_channels": 3, "num_heads": [1, 2, 4, 8],
            "num_layers": 4, "num_query_pool": 2, "out_features": ["stage4"], "out_indices": [4],
            "patch_padding": [3, 3], "patch_size": [7, 7], "patch_stride": [4, 4],
            "query_stride": [2, 2], "torch_dtype": "float32", "transformers_version": "4.42.0.dev0",
            "stage_names": ["stem", "stage1", "stage2", "stage3", "stage4"],
        }
    ],
    "hf_sam2": [
        {
            "architectures": ["Sam2VideoModel"], "initializer_range": 0.02,
            "model_type": "sam2_video", "torch_dtype": "float32", "num_maskmem": 7,
            "memory_attention_rope_k_sizes": [16, 16], "memory_attention_rope_theta": 10000,
            "mask_decoder_config": {"hidden_size": 256}, "transformers_version": "4.56.0.dev0",
            "prompt_encoder_config": {"hidden_size": 256, "mask_input_channels": 16},
            "vision_config": {
                "backbone_channel_list": [768, 384, 192, 96], "fpn_hidden_size": 256,
                "model_type": "sam2_vision_model", "num_feature_levels": 3,
                "backbone_config": {
                    "blocks_per_stage": [1, 2, 7, 2], "embed_dim_per_stage": [96, 192, 384, 768],
                    "global_attention_blocks": [5, 7, 9], "hidden_act": "gelu",
                    "hidden_size": 96, "image_size": [1024, 1024], "initializer_range": 0.02,
                    "layer_norm_eps": 1e-06, "mlp_ratio": 4.0, "num_attention_heads": 1,
                    "model_type": "sam2_hiera_det_model", "num_channels": 3,
                    "num_attention_heads_per_stage": [1, 2, 4, 8], "num_query_pool_stages": 3,
                    "patch_kernel_size": [7, 7], "patch_padding": [3, 3], "patch_stride": [4, 4],
                    "query_stride": [2, 2], "window_size_per_stage": [8, 4, 14, 7],
                    "window_positional_embedding_background_size": [7, 7],
                },
            },
        }
    ],
}  # fmt: skip

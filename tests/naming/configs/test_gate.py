"""The gate before timm and transformers: what strangers' configs may say, and what it costs."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inflate_zoo.errors import ConfigError
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.configs.gate import timm_arguments, transformers_fields
from inflate_zoo.naming.detection import section_of
from inflate_zoo.naming.understanding import understand
from tests.support.hub_configs import HUB_CONFIGS
from tests.support.quick import within
from tests.support.recorded import case

ROOT = Path(__file__).parents[3]
LABELS = {str(i): f"n{i:08d}" for i in range(21_841)}


def understood(kind, config=None, arch=None):
    source = case(kind)
    return understand(source.header, source.config if config is None else config, None, arch)


def changed(kind, path, value):
    """The recorded config with the value at a dotted path."""
    config = copy.deepcopy(case(kind).config)
    *parts, last = path.split(".")
    inner = config
    for part in parts:
        inner = inner.setdefault(part, {})
    inner[last] = value
    return config


@pytest.fixture
def no_library(monkeypatch):
    """Neither library is asked to build anything."""
    import timm

    def never(*words, **named):
        raise AssertionError("the library saw it")

    monkeypatch.setattr(timm, "create_model", never)


TIMM_REFUSED = [
    "model_args.checkpoint_path",
    "model_args.pretrained",
    "model_args.pretrained_cfg_overlay",
    "model_args.cache_dir",
    "model_args.features_only",
    "model_args.block_fn",
    "model_args.embed_layer",
    "model_args.device",
    "model_args.weight_initt",
    "pretrained_cfg.filee",
    "checkpoint_path",
]
OTHERS_REFUSED = [
    ("vit", "trust_remote_code"),
    ("vit", "kernel_config"),
    ("vit", "_anything"),
    ("clip", "vision_config.cache_dir"),
    ("siglip", "vision_config.device_map"),
    ("dinov2", "state_dict"),
]


@pytest.mark.parametrize(
    ("kind", "path"), [*(("augreg", path) for path in TIMM_REFUSED), *OTHERS_REFUSED]
)
def test_what_shapes_no_encoder_is_refused_by_name(kind, path, no_library):
    with pytest.raises(ConfigError) as error:
        understood(kind, changed(kind, path, "/etc/hostname"))
    assert error.value.message == f"config.json: fields that shape no encoder are refused: {path}"


def test_a_gate_is_not_named_without_its_activation():
    """With timm's own, GELU, the file would be another network's."""
    arguments = {"mlp_layer": "SwiGLUPacked"}
    with pytest.raises(ConfigError, match=r"mlp_layer stands without model_args\.act_layer"):
        timm_arguments({"model_args": arguments})
    both = {**arguments, "act_layer": "silu"}
    assert timm_arguments({"model_args": both}) == both


def test_many_unknown_fields_are_counted(no_library):
    config = case("vit").config | {f"x{i}\n": i for i in range(1000)}
    with pytest.raises(ConfigError) as error:
        understood("vit", config)
    told = str(error.value).splitlines()
    assert len(told) == 2
    assert told[0].endswith("x4\\n and 995 more")


OUT_OF_RANGE = [
    ("augreg", "model_args.depth", 20_000),
    ("augreg", "model_args.depth", True),
    ("augreg", "model_args.patch_size", 0),
    ("augreg", "model_args.patch_size", [8, 8, 8]),
    ("augreg", "model_args.img_size", 10**9),
    ("augreg", "model_args.embed_dim", 2**70),
    ("augreg", "model_args.num_heads", 4.0),
    ("augreg", "model_args.in_chans", -3),
    ("augreg", "model_args.num_classes", 3_000_000),
    ("augreg", "model_args.reg_tokens", 10**6),
    ("augreg", "model_args.mlp_ratio", float("nan")),
    ("augreg", "model_args.mlp_ratio", float("inf")),
    ("augreg", "model_args.init_values", "1e-5"),
    ("augreg", "model_args.global_pool", "builtins.exec"),
    ("augreg", "model_args.act_layer", "builtins.exec"),
    ("augreg", "model_args.mlp_layer", "builtins.exec"),
    ("augreg", "model_args.mlp_layer", "GluMlp"),
    ("augreg", "model_args.norm_layer", ["layernorm"]),
    ("augreg", "model_args.qkv_bias", 1),
    ("augreg", "model_args.drop_rate", 7),
    ("augreg", "pretrained_cfg.input_size", [3, 224]),
    ("augreg", "pretrained_cfg.input_size", [3, 10**9, 10**9]),
    ("augreg", "pretrained_cfg.num_classes", 3_000_000),
    ("augreg", "pretrained_cfg.file", "/etc/hostname"),
    ("augreg", "num_classes", 3_000_000),
    ("augreg", "label_names", ["x"] * 100_001),
    ("augreg", "auto_map", {"AutoModel": "modeling.Evil"}),
    ("vit", "num_hidden_layers", 20_000),
    ("vit", "num_labels", 3_000_000),
    ("vit", "id2label", dict.fromkeys(map(str, range(100_001)), "")),
    ("vit", "label2id", "x"),
    ("vit", "pooler_output_size", 10**9),
    ("vit", "quantization_config", {"quant_method": "bitsandbytes"}),
    ("vit", "torch_dtype", "os.system"),
    ("vit", "attn_implementation", "someone/kernel"),
    ("vit", "layer_norm_eps", float("nan")),
    ("vit", "hidden_act", "builtins.exec"),
    ("vit_mae", "decoder_hidden_size", 10**9),
    ("dinov2", "mlp_ratio", 1e9),
    ("dinov2_with_registers", "num_register_tokens", 10**6),
    ("clip", "num_labels", 3_000_000),
    ("clip", "vision_config.num_labels", 3_000_000),
    ("clip", "vision_config.auto_map", {"AutoModel": "modeling.Evil"}),
    ("clip", "text_config.auto_map", {"AutoModel": "modeling.Evil"}),
    ("clip", "text_config", [1]),
    ("siglip", "vision_config.torch_dtype", 3),
    ("hiera", "masked_unit_attention", [1, 0, 0]),
    ("hiera", "masked_unit_attention", [True] * 9),
    ("hiera", "decoder_depth", 10**9),
    ("hiera_timm", "model_args.mask_unit_attn", "yes"),
]


@pytest.mark.parametrize(("kind", "path", "value"), OUT_OF_RANGE)
def test_what_is_out_of_its_range_is_refused_by_name(kind, path, value, no_library):
    config = changed(kind, path, value)
    with within(1), pytest.raises(ConfigError) as error:
        understood(kind, config)
    assert error.value.message.startswith(f"config.json: {path} must be ")


def test_a_thousand_blocks_are_not_built(monkeypatch):
    import timm

    monkeypatch.setattr(timm, "create_model", counted := Counted(timm.create_model))
    with within(2), pytest.raises(ConfigError, match="disagree") as error:
        understood("augreg", changed("augreg", "model_args.depth", 1_000))
    assert any("depth is 1000, " in line for line in error.value.details)
    assert counted.depths == [1]


class Counted:
    def __init__(self, create):
        self.create, self.depths = create, []

    def __call__(self, *words, **named):
        model = self.create(*words, **named)
        self.depths.append(len(model.blocks))
        return model


# What real configs hold: none of it may be taken for an attack.

RELEASE_4 = {  # the fields that transformers 4 wrote into every config inside a config
    "_name_or_path": "", "add_cross_attention": False, "architectures": None,
    "bad_words_ids": None, "bos_token_id": None, "chunk_size_feed_forward": 0,
    "cross_attention_hidden_size": None, "decoder_start_token_id": None, "diversity_penalty": 0.0,
    "do_sample": False, "early_stopping": False, "encoder_no_repeat_ngram_size": 0,
    "eos_token_id": None, "exponential_decay_length_penalty": None, "finetuning_task": None,
    "forced_bos_token_id": None, "forced_eos_token_id": None, "id2label": LABELS,
    "is_decoder": False, "is_encoder_decoder": False,
    "label2id": {name: int(number) for number, name in LABELS.items()},
    "length_penalty": 1.0, "max_length": 20, "min_length": 0, "no_repeat_ngram_size": 0,
    "num_beam_groups": 1, "num_beams": 1, "num_return_sequences": 1, "output_attentions": False,
    "output_hidden_states": False, "output_scores": False, "pad_token_id": None, "prefix": None,
    "problem_type": None, "pruned_heads": {}, "remove_invalid_values": False,
    "repetition_penalty": 1.0, "return_dict": True, "return_dict_in_generate": False,
    "sep_token_id": None, "task_specific_params": None, "temperature": 1.0,
    "tie_encoder_decoder": False, "tie_word_embeddings": True, "tokenizer_class": None,
    "top_k": 50, "top_p": 1.0, "torch_dtype": None, "torchscript": False, "typical_p": 1.0,
    "transformers_version": "4.16.0.dev0", "use_bfloat16": False,
}  # fmt: skip
REAL = [
    ("vit", {**RELEASE_4, "torch_dtype": "float32", "encoder_stride": 16, "pooler_act": "tanh"}),
    ("vit", {"_attn_implementation_autoset": True, "use_cache": False, "auto_map": None}),
    ("vit_mae", {"mask_ratio": 0.75, "norm_pix_loss": False, "decoder_intermediate_size": 2048}),
    ("dinov2", {"stage_names": ["stem"], "out_features": ["stage12"], "dtype": "float16",
                "layerscale_value": 1.0, "reshape_hidden_states": True, "use_mask_token": True}),
    ("dinov2_with_registers", {"interpolate_antialias": True, "interpolate_offset": 0.0}),
    ("clip", {"projection_dim": 512, "logit_scale_init_value": 2.6592, "initializer_factor": 1.0,
              "text_config_dict": None, "vision_config_dict": None}),
    ("siglip", {"initializer_factor": 1.0}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields"), REAL)
def test_what_real_configs_hold_is_let_through(kind, fields):
    plain = understood(kind)
    assert understood(kind, case(kind).config | fields) == plain
    if "vision_config" in case(kind).config:
        config = case(kind).config
        vision = {**RELEASE_4, **config["vision_config"], "dropout": 0.0, "projection_dim": 512}
        assert understood(kind, {**config, "vision_config": vision}) == plain


OF_TRANSFORMERS = sorted(
    name for name, family in families_by_name().items() if family.library == "transformers"
)


@pytest.mark.parametrize("family", OF_TRANSFORMERS)
def test_configs_of_published_repos_are_let_through(family):
    definition = families_by_name()[family]
    for config in HUB_CONFIGS[family]:
        assert config["model_type"] in definition.model_types
        part, section = section_of(definition, config)
        assert transformers_fields(config, part, section)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_a_field_of_early_releases_has_its_type(value):
    config = {"model_type": "swin", "path_norm": value}
    with pytest.raises(ConfigError, match="path_norm must be true or false"):
        transformers_fields(config, config, "")


def test_what_real_timm_configs_hold_is_let_through():
    plain, config = understood("augreg"), copy.deepcopy(case("augreg").config)
    config |= {"label_names": list(LABELS.values()), "label_descriptions": LABELS}
    config["model_args"] |= {"drop_path_rate": 0.1, "dynamic_img_size": None, "weight_init": ""}
    config["pretrained_cfg"] |= {
        "tag": "augreg_in21k", "custom_load": True, "pool_size": None, "crop_pct": 0.9,
        "hf_hub_id": "timm/vit", "url": "https://x", "license": "apache-2.0", "file": None,
    }  # fmt: skip
    assert understood("augreg", config) == plain


def test_no_argument_opens_a_file_or_a_socket(tmp_path):
    """Every parameter of the constructors, with odd values, under an audit hook."""
    folder, outside = tmp_path / "folder", tmp_path / "outside.pth"
    folder.mkdir()
    outside.write_bytes(b"\x80\x04N.")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, ROOT / "tests/support/audit.py", folder, outside],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["noticed"] >= 3  # the hook sees an open, a socket and a pickle of our own
    assert report["right"] == 24  # every source as it is
    assert report["tried"] > 3_000
    assert report["seen"] == []
    assert report["bugs"] == []
    assert report["slowest"][0] < 2
    assert report["grown_kb"] < 300_000

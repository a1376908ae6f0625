"""The image tower of a model that is no family's: its own part of the config describes it."""

import re

import pytest
import torch
import transformers as hf

import inflate_zoo
from inflate_zoo.conversion.converting import convert
from inflate_zoo.conversion.record import read_conversion
from inflate_zoo.errors import ConfigError, UnsupportedModelError
from inflate_zoo.naming.catalog import families_by_name
from tests.support.checkpoints import randomize

pytestmark = pytest.mark.filterwarnings("ignore:the source states no license:UserWarning")
WIDE = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32}
PLAIN = {**WIDE, "patch_size": 8, "intermediate_size": 96}
RATIO = {**WIDE, "patch_size": 8, "mlp_ratio": 2}
TEXT = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 60}


def llava(vision):
    text = hf.LlamaConfig(**TEXT, intermediate_size=96)
    config = hf.LlavaConfig(vision_config=vision, text_config=text, image_token_index=5)
    model = randomize(hf.LlavaForConditionalGeneration(config))
    return model, model.model.vision_tower


def dual(vision):
    text = hf.BertConfig(**TEXT, intermediate_size=96)
    config = hf.VisionTextDualEncoderConfig.from_vision_text_configs(vision, text)
    model = randomize(hf.VisionTextDualEncoderModel(config))
    return model, model.vision_model


def read(vision):
    text = hf.TrOCRConfig(
        d_model=48, decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=48, vocab_size=60
    )
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, text)
    model = randomize(hf.VisionEncoderDecoderModel(config))
    return model, model.encoder


def depth(vision):
    config = hf.DepthAnythingConfig(
        backbone_config=vision, reassemble_hidden_size=48, neck_hidden_sizes=[8, 8],
        reassemble_factors=[1, 0.5], fusion_hidden_size=8, head_hidden_size=8,
    )  # fmt: skip
    model = randomize(hf.DepthAnythingForDepthEstimation(config))
    return model, model.backbone


def upernet(vision):
    config = hf.UperNetConfig(backbone_config=vision, hidden_size=16, use_auxiliary_head=False)
    model = randomize(hf.UperNetForSemanticSegmentation(config))
    return model, model.backbone


def mask2former(vision):
    config = hf.Mask2FormerConfig(
        backbone_config=vision, feature_size=32, mask_feature_size=32, hidden_dim=32,
        encoder_layers=1, decoder_layers=2, num_queries=3, num_attention_heads=2,
        dim_feedforward=16, encoder_feedforward_dim=16,
    )  # fmt: skip
    model = randomize(hf.Mask2FormerForUniversalSegmentation(config))
    return model, model.model.pixel_level_module.encoder


@pytest.mark.parametrize(
    "larger, vision, family",
    [
        (llava, hf.Dinov2Config(**RATIO, layer_norm_eps=1e-3), "hf_dinov2"),
        (llava, hf.ViTConfig(**PLAIN, layer_norm_eps=1e-3, hidden_act="relu"), "hf_vit"),
        (llava, hf.DINOv3ViTConfig(**PLAIN, num_register_tokens=2), "hf_dinov3"),
        (dual, hf.ViTConfig(**PLAIN, qkv_bias=False), "hf_vit"),
        (dual, hf.CLIPVisionConfig(**PLAIN), "hf_clip"),
        (read, hf.ViTConfig(**PLAIN, layer_norm_eps=1e-3), "hf_vit"),
    ],
    ids=["llava_dinov2", "llava_vit", "llava_dinov3", "dual_vit", "dual_clip", "read_vit"],
)
@torch.inference_mode()
def test_the_hint_names_what_takes_the_tower(larger, vision, family, tmp_path):
    model, tower = larger(vision)
    model.save_pretrained(tmp_path / "source")
    with pytest.raises(UnsupportedModelError) as caught:
        convert(tmp_path / "source", tmp_path / "out")
    (named,) = re.findall(r"--family (\w+)", caught.value.hint)
    assert named == family
    folder = convert(tmp_path / "source", tmp_path / "out", family=named, channels=3)
    assert read_conversion(folder).verification.reference.endswith(type(tower).__name__)
    network = inflate_zoo.load(folder).eval()
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    volume = image[:, :, None].expand(-1, -1, network.config.volume[0], -1, -1)
    got = network.forward_features(volume)
    tokens = tower(image).last_hidden_state
    expected = tower.post_layernorm(tokens) if family == "hf_clip" else tokens
    prefix = network.num_prefix_tokens
    torch.testing.assert_close(got[:, :prefix], expected[:, :prefix], rtol=0, atol=1e-4)
    layers = got[:, prefix:].reshape(2, -1, 16, 48)
    alike = expected[:, None, prefix:].expand_as(layers)
    torch.testing.assert_close(layers, alike, rtol=0, atol=1e-4)


MAPS = {"out_features": ["stage1", "stage2"]}
STAGED = {
    "embed_dim": 16, "depths": [1, 1, 2, 2], "num_heads": [1, 2, 2, 4], "image_size": 128,
    "window_size": 2, "out_features": ["stage1", "stage2", "stage3", "stage4"],
}  # fmt: skip


@pytest.mark.parametrize(
    "larger, vision, family",
    [
        (depth, hf.Dinov2Config(**RATIO, **MAPS, layer_norm_eps=1e-3), "hf_dinov2"),
        (depth, hf.BeitConfig(**PLAIN, **MAPS, use_relative_position_bias=True), "hf_beit"),
        (upernet, hf.SwinConfig(**STAGED), "hf_swin"),
        (mask2former, hf.SwinConfig(**STAGED), "hf_swin"),
    ],
    ids=["depth_dinov2", "depth_beit", "upernet_swin", "mask2former_swin"],
)
@torch.inference_mode()
def test_the_last_map_of_a_backbone_is_the_towers(larger, vision, family, tmp_path):
    model, tower = larger(vision)
    model.save_pretrained(tmp_path / "source")
    with pytest.raises(UnsupportedModelError, match=f"image tower of type '{vision.model_type}'"):
        convert(tmp_path / "source", tmp_path / "out")
    folder = convert(tmp_path / "source", tmp_path / "out", family=family, channels=3)
    reference = families_by_name()[family].reference
    assert read_conversion(folder).verification.reference.endswith(reference)
    network = inflate_zoo.load(folder).eval()
    side = vision.image_size
    image = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(3))
    expected = tower(image).feature_maps[-1].flatten(2).mT
    volume = image[:, :, None].expand(-1, -1, network.config.volume[0], -1, -1)
    got = network.forward_features(volume)[:, network.num_prefix_tokens :]
    layers = got.reshape(2, -1, *expected.shape[1:])
    torch.testing.assert_close(layers, expected[:, None].expand_as(layers), rtol=0, atol=1e-4)


def chinese(vision):
    text = hf.ChineseCLIPTextConfig(**TEXT, intermediate_size=96)
    config = hf.ChineseCLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict())
    model = randomize(hf.ChineseCLIPModel(config))
    return model, lambda image: post_normed(model.vision_model, image)


def segmenting(vision):
    text = hf.CLIPSegTextConfig(**TEXT, intermediate_size=96)
    config = hf.CLIPSegConfig(text_config=text.to_dict(), vision_config=vision.to_dict())
    model = randomize(hf.CLIPSegForImageSegmentation(config))
    return model, lambda image: post_normed(model.clip.vision_model, image)


def post_normed(tower, image):
    return tower.post_layernorm(tower(image).last_hidden_state)[:, 1:]


def sam_hq(vision):
    small = {"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2}
    config = hf.SamHQConfig(
        vision_config=vision, prompt_encoder_config={"hidden_size": 16, "image_size": 32},
        mask_decoder_config={**small, "iou_head_hidden_dim": 16, "vit_dim": 48},
    )  # fmt: skip
    model = randomize(hf.SamHQModel(config))
    return model, lambda image: model.vision_encoder(image).last_hidden_state.flatten(2).mT


WINDOWS = {"global_attn_indexes": [1], "window_size": 2, "output_channels": 16, "mlp_dim": 96}


@pytest.mark.parametrize(
    "larger, vision, family",
    [
        (chinese, hf.ChineseCLIPVisionConfig(**PLAIN), None),
        (segmenting, hf.CLIPSegVisionConfig(**PLAIN), "hf_clip"),
        (sam_hq, hf.SamHQVisionConfig(**WIDE, **WINDOWS, patch_size=8), None),
    ],
)
@torch.inference_mode()
def test_heirs_have_the_tower_that_they_inherit(larger, vision, family, tmp_path):
    model, tokens = larger(vision)
    model.save_pretrained(tmp_path / "source")
    network = inflate_zoo.load(
        convert(tmp_path / "source", tmp_path / "out", family=family, channels=3)
    ).eval()
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    expected = tokens(image)
    volume = image[:, :, None].expand(-1, -1, network.config.volume[0], -1, -1)
    got = network.forward_features(volume)[:, network.num_prefix_tokens :]
    layers = got.reshape(2, -1, *expected.shape[1:])
    torch.testing.assert_close(layers, expected[:, None].expand_as(layers), rtol=0, atol=1e-4)


def test_code_that_the_towers_part_asks_for_is_refused(tmp_path):
    vision = hf.Dinov2Config(**RATIO)
    vision.auto_map = {"AutoModel": "theirs.Model"}
    llava(vision)[0].save_pretrained(tmp_path / "source")
    with pytest.raises(ConfigError, match=r"vision_config\.auto_map"):
        convert(tmp_path / "source", tmp_path / "out", family="hf_dinov2")

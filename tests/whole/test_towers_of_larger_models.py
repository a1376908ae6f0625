"""The image tower of a model that is no family's: its own part of the config describes it."""

import re

import pytest
import torch
import transformers as hf

import inflate_zoo
from inflate_zoo.conversion.converting import convert
from inflate_zoo.conversion.record import read_conversion
from inflate_zoo.errors import ConfigError, UnsupportedModelError
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


@pytest.mark.parametrize(
    "larger, vision, family",
    [
        (llava, hf.Dinov2Config(**RATIO, layer_norm_eps=1e-3), "hf_dinov2"),
        (llava, hf.ViTConfig(**PLAIN, layer_norm_eps=1e-3, hidden_act="relu"), "hf_vit"),
        (llava, hf.DINOv3ViTConfig(**PLAIN, num_register_tokens=2), "hf_dinov3"),
        (dual, hf.ViTConfig(**PLAIN, qkv_bias=False), "hf_vit"),
        (dual, hf.CLIPVisionConfig(**PLAIN), "hf_clip"),
    ],
    ids=["llava_dinov2", "llava_vit", "llava_dinov3", "dual_vit", "dual_clip"],
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


def test_code_that_the_towers_part_asks_for_is_refused(tmp_path):
    vision = hf.Dinov2Config(**RATIO)
    vision.auto_map = {"AutoModel": "theirs.Model"}
    llava(vision)[0].save_pretrained(tmp_path / "source")
    with pytest.raises(ConfigError, match=r"vision_config\.auto_map"):
        convert(tmp_path / "source", tmp_path / "out", family="hf_dinov2")

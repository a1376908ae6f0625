"""What no family covers is called what it is."""

import pytest

from inflate_zoo.errors import UnsupportedModelError
from inflate_zoo.files.header import TensorInfo
from inflate_zoo.naming.catalog import families_by_name
from inflate_zoo.naming.detection import choose_family
from inflate_zoo.naming.unsupported import MODEL_TYPES

SCHEMES = families_by_name()


def header_of(*names):
    return {name: TensorInfo("F32", (4, 4)) for name in names}


@pytest.mark.parametrize(
    "model_type, what, nearest",
    [
        ("segformer", "SegFormer", "hf_vit"),
        ("bert", r"text model \(BERT\)", "hf_clip"),
        ("resnet", r"CNN \(ResNet\)", "hf_vit"),
        ("perceiver", "model of type 'perceiver'", "hf_vit"),
        ("mlcd_vision_model", "MLCD", "hf_clip"),
    ],
)
def test_an_unsupported_model_type_is_named_with_the_nearest_supported(model_type, what, nearest):
    with pytest.raises(UnsupportedModelError, match=what) as caught:
        choose_family(SCHEMES, header_of("a"), {"model_type": model_type})
    assert caught.value.hint.startswith(f"nearest supported: {nearest};")


@pytest.mark.parametrize(
    "name, what",
    [  # from files that transformers, timm and torchvision wrote
        ("bert.encoder.layer.0.attention.self.query.weight", r"text model \(BERT\)"),
        ("transformer.h.0.attn.c_attn.weight", r"text model \(GPT-2\)"),
        ("model.layers.0.self_attn.q_proj.weight", r"text model \(Llama\)"),
        ("layer1.0.conv1.weight", r"CNN \(ResNet\)"),
        ("encoder.stages.0.layers.0.layer.0.convolution.weight", r"CNN \(ResNet\)"),
        ("stages.0.blocks.0.conv_dw.weight", r"CNN \(ConvNeXt\)"),
        ("preprocessor.patchifier.proj.weight", "AIMv2 under Apple's own names"),
        ("something.else", "no family knows"),
    ],
)
def test_names_alone_tell_what_a_source_is(name, what):
    with pytest.raises(UnsupportedModelError, match=what) as caught:
        choose_family(SCHEMES, header_of(name, "embeddings.position_embeddings"), None)
    assert name in caught.value.details[0]


def test_tips_v2_of_transformers_is_told_where_its_weights_are_taken_from():
    for model_type in ("tipsv2", "tipsv2_vision_model"):
        with pytest.raises(UnsupportedModelError, match="TIPS v2") as caught:
            choose_family(SCHEMES, header_of("cls_token"), {"model_type": model_type})
        assert "timm/vit_base_patch14_reg1_tipsv2.webli" in caught.value.hint


def test_a_clip_text_tower_is_not_called_llama():
    with pytest.raises(UnsupportedModelError, match="no family knows"):
        choose_family(
            SCHEMES, header_of("text_model.encoder.layers.0.self_attn.q_proj.weight"), None
        )


def test_unsupported_types_are_not_supported_and_their_nearest_exists():
    supported = {model for scheme in SCHEMES.values() for model in scheme.model_types}
    assert not supported & set(MODEL_TYPES)
    assert {nearest for _, nearest in MODEL_TYPES.values()} <= set(SCHEMES)

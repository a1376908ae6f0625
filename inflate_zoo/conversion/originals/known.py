"""What builds the original of each class that a definition's `reference` names."""

from functools import partial

from inflate_zoo.conversion.originals import hiera, staged
from inflate_zoo.conversion.originals.of_timm import (
    timm_as_named,
    timm_beit,
    timm_eva,
    timm_sam,
    timm_staged,
    timm_vit,
)
from inflate_zoo.conversion.originals.of_torchvision import torchvision_swin3d
from inflate_zoo.conversion.originals.of_transformers import (
    aimv2,
    all_normed_tokens,
    beit,
    encoder,
    hiera_encoder,
    pixio,
    radio,
    sam2_encoder,
    sam_encoder,
    swin,
    tokens_of_patches,
    unmasked_tokens,
)
from inflate_zoo.conversion.originals.references import Build, mean_of_tokens

# What differs between the classes of the libraries, by what a definition's `reference` names.
ORIGINALS: dict[str, Build] = {
    "Aimv2VisionModel": aimv2,
    "Beit": timm_beit,
    "BeitModel": beit,
    "BlipVisionModel": encoder,
    "CLIPVisionModel": partial(encoder, tokens=all_normed_tokens),
    "Data2VecVisionModel": beit,
    "DINOv3ViTModel": encoder,
    "DeiTModel": encoder,
    "Dinov2Model": encoder,
    "Dinov2WithRegistersModel": encoder,
    "Eva": timm_eva,
    "IJepaModel": encoder,
    "NaFlexVit": timm_as_named,
    "RadioModel": radio,
    "Siglip2VisionModel": partial(encoder, tokens=tokens_of_patches),
    "MetaClip2VisionModel": partial(encoder, tokens=all_normed_tokens),
    "PixioModel": pixio,
    "SiglipVisionModel": encoder,
    "ViTMAEModel": partial(encoder, tokens=unmasked_tokens),
    "ViTMSNModel": encoder,
    "ViTModel": encoder,
    "SwinTransformer": partial(timm_staged, build=staged.timm_swin),
    "SwinTransformerV2": partial(timm_staged, build=staged.timm_swinv2),
    "SwinTransformer3d": torchvision_swin3d,
    "Swinv2Model": partial(encoder, pooled=mean_of_tokens),
    "SwinModel": swin,
    "SamVisionModel": sam_encoder,
    "Sam2HieraDetModel": sam2_encoder,
    "HieraDet": partial(timm_staged, build=hiera.timm_hieradet),
    "HieraModel": hiera_encoder,
    "Hiera": partial(timm_staged, build=hiera.timm_hiera),
    "VisionTransformer": timm_vit,
    "VisionTransformerSAM": timm_sam,
}

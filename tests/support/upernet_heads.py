"""transformers' own UPerNet head with the weights of a decoder of ours."""

import torch
from torch import nn
from transformers.models.upernet.configuration_upernet import UperNetConfig
from transformers.models.upernet.modeling_upernet import UperNetHead

from inflate_zoo.segmentation.upernet import UpernetDecoder


def transformers_head(decoder: UpernetDecoder) -> nn.Module:
    """In evaluation; it takes the four rescaled maps of one plane. Ours must have batch norm."""
    classes, features = decoder.head.weight.shape[:2]
    settings = UperNetConfig(hidden_size=features, backbone_config={"model_type": "swin"})
    settings.num_labels = classes
    pooled = decoder.pools[0][0].weight.shape[1]
    dims = [conv.weight.shape[1] for conv, *_ in decoder.lateral]
    made = UperNetHead(settings, [*dims, pooled]).eval()
    pairs = [(made.bottleneck, decoder.bottleneck), (made.fpn_bottleneck, decoder.fuse)]
    pairs += zip(made.lateral_convs, decoder.lateral, strict=True)
    pairs += zip(made.fpn_convs, decoder.smooth, strict=True)
    pyramids = [list(block.children())[-1] for block in made.psp_modules.blocks]
    pairs += zip(pyramids, decoder.pools, strict=True)
    for module, (conv, norm, _) in pairs:
        module.conv.load_state_dict(conv.state_dict())
        counted = {**norm.state_dict(), "num_batches_tracked": torch.tensor(0)}
        module.batch_norm.load_state_dict(counted)
    made.classifier.load_state_dict(decoder.head.state_dict())
    return made

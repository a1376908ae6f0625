"""What autograd keeps of a forward pass."""

import torch
from torch import Tensor, nn


def saved_bytes(network: nn.Module) -> tuple[int, int]:
    """Bytes that one training pass of a backbone keeps beside its parameters, and its tokens."""
    parameters = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in parameters:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # held: no address is used twice
        return tensor

    config = network.train().config
    volume = torch.randn(1, config.in_channels, *config.volume)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        tokens = network.forward_features(volume)
    return sum(t.untyped_storage().nbytes() for t in kept.values()), tokens.shape[1]

"""What of CUDA graphs needs no GPU; `tests/whole/test_cuda.py` runs them on one."""

import pytest
import torch

from inflate_zoo.bench.training.graphs import GraphedUpdate, can_be_graphed


@pytest.mark.parametrize(
    "device, processes, graphed", [("cuda", 1, True), ("cuda:1", 1, True), ("cuda", 2, False),
                                   ("cpu", 1, False), ("mps", 1, False)],
)  # fmt: skip
def test_a_step_is_a_graph_on_one_gpu_alone(device, processes, graphed):
    assert can_be_graphed(torch.device(device), processes) == graphed


def test_the_first_step_is_a_plain_one():
    values = []
    for wrapped in (False, True):
        weight = torch.nn.Parameter(torch.ones(3))
        weight.grad = torch.tensor([1.0, -2.0, 3.0])
        optimizer = torch.optim.AdamW([weight], lr=0.1)
        (GraphedUpdate(optimizer) if wrapped else optimizer).step()
        values.append(weight.detach().clone())
    assert torch.equal(*values)
    assert not torch.equal(values[0], torch.ones(3))

"""Our group norm against torch's."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from inflate_zoo.segmentation import norms
from inflate_zoo.segmentation.norms import FEW_VALUES, GroupNorm, by_all, normalise

EPS = 1e-5
# The rounding of the type is the whole error; of bfloat16 values up to 20, 0.06 is half a step.
TOLERANCES = {torch.float64: 1e-12, torch.float32: 2e-5, torch.float16: 8e-3, torch.bfloat16: 7e-2}


def inputs(dtype, shape=(3, 12, 4, 5, 6)):
    """Channels that differ in mean and deviation, weights and biases."""
    random = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    ones = [1] * (len(shape) - 2)
    x = drawn(*shape) * (drawn(*shape[:2], *ones).abs() + 0.1) + 2 * drawn(*shape[:2], *ones)
    exact = torch.promote_types(dtype, torch.float32)
    rest = drawn(shape[1]).to(exact), drawn(shape[1]).to(exact)
    return [part.requires_grad_() for part in (x.to(dtype), *rest)], drawn(*shape).to(dtype)


@pytest.mark.parametrize("shape", [(3, 12, 4, 5, 6), (2, 12, 7, 9), (2, 12, 2, 3)])
@pytest.mark.parametrize("groups", [1, 3, 6])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_values_and_gradients_are_torchs(dtype, groups, shape):
    own, slope = inputs(dtype, shape)
    theirs = [part.detach().double().requires_grad_() for part in own]
    got, wanted = (
        normalise(own[0], groups, *own[1:], EPS),
        F.group_norm(theirs[0], groups, *theirs[1:], EPS),
    )
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), wanted, atol=TOLERANCES[dtype], rtol=TOLERANCES[dtype])
    found = torch.autograd.grad(got, own, slope)
    for part, reference in zip(
        found, torch.autograd.grad(wanted, theirs, slope.double()), strict=True
    ):
        error = (part.double() - reference).norm() / reference.norm()
        assert error <= TOLERANCES[dtype]


def test_gradients_are_the_slopes_of_the_values():
    own, _ = inputs(torch.float64, (2, 4, 2, 3, 2))
    assert torch.autograd.gradcheck(lambda x, w, b: normalise(x, 2, w, b, EPS), own)


def test_a_channel_far_from_zero_keeps_its_variance():
    x = torch.randn(1, 8, 30, 30, 30, generator=torch.Generator().manual_seed(0)) + 1000
    got = normalise(x, 2, torch.ones(8), torch.zeros(8), EPS)
    wanted = F.group_norm(x.double(), 2, eps=EPS)
    torch.testing.assert_close(got.double(), wanted, atol=1e-3, rtol=0)


def test_the_layout_stays():
    own, _ = inputs(torch.float32)
    last = own[0].detach().contiguous(memory_format=torch.channels_last_3d)
    got = normalise(last, 3, *own[1:], EPS)
    assert got.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(got, normalise(own[0], 3, *own[1:], EPS))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_follows_may_change_its_result_in_place(monkeypatch, dtype, compiled):
    """As MONAI's blocks do; a view from a custom gradient would be refused."""
    monkeypatch.setattr(norms, "by_all", lambda x, groups: True)
    (x, weight, bias), slope = inputs(dtype)
    module = GroupNorm(3, 12)
    with torch.no_grad():
        module.weight.copy_(weight)
        module.bias.copy_(bias)

    def run(x):
        return F.leaky_relu(module(x), 0.1, inplace=True)

    got = (torch.compile(run, backend="aot_eager", fullgraph=True) if compiled else run)(x)
    exact = [part.detach().double().requires_grad_() for part in (x, weight, bias)]
    wanted = F.leaky_relu(F.group_norm(exact[0], 3, *exact[1:], EPS), 0.1)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), wanted, atol=TOLERANCES[dtype], rtol=TOLERANCES[dtype])
    found = torch.autograd.grad(got, (x, module.weight, module.bias), slope)
    for part, reference in zip(
        found, torch.autograd.grad(wanted, exact, slope.double()), strict=True
    ):
        assert (part.double() - reference).norm() / reference.norm() <= TOLERANCES[dtype]


def test_only_large_groups_on_a_gpu_take_all_of_it():
    for is_cuda, groups, expected in ((True, 2, True), (True, 4, False), (False, 1, False)):
        x = SimpleNamespace(is_cuda=is_cuda, shape=(2, 4, FEW_VALUES))
        assert by_all(x, groups) == expected


def test_on_a_cpu_it_is_torchs_own():
    module = GroupNorm(3, 12)
    own, _ = inputs(torch.float32)
    assert torch.equal(module(own[0]), F.group_norm(own[0], 3, module.weight, module.bias, EPS))
    assert module.state_dict().keys() == torch.nn.GroupNorm(3, 12).state_dict().keys()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_as_under_autocast(dtype):
    own, slope = inputs(dtype, (2, 16, 20, 33, 34))
    theirs = [part.detach().double().requires_grad_() for part in own]
    module = GroupNorm(2, 16).cuda()
    with torch.no_grad():
        module.weight.copy_(own[1])
        module.bias.copy_(own[2])
    x = own[0].detach().cuda().requires_grad_()
    assert by_all(x, 2)
    with torch.autocast("cuda", torch.bfloat16):
        got = module(x)
    assert got.dtype == dtype
    found = torch.autograd.grad(got, (x, module.weight, module.bias), slope.cuda())
    wanted = F.group_norm(theirs[0], 2, *theirs[1:], EPS)
    torch.testing.assert_close(
        got.cpu().double(), wanted, atol=TOLERANCES[dtype], rtol=TOLERANCES[dtype]
    )
    for part, reference in zip(
        found, torch.autograd.grad(wanted, theirs, slope.double()), strict=True
    ):
        assert (part.cpu().double() - reference).norm() / reference.norm() <= TOLERANCES[dtype]

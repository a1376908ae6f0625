"""Self-attention in which prefix keys count several times."""

import math
from functools import partial

import pytest
import torch

from inflate_zoo.networks.layers import attention

close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)  # of float64


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def attention_by_hand(query, key, value, prefix, copies):
    logits = torch.einsum("bhqd,bhkd->bhqk", query, key) / math.sqrt(query.shape[-1])
    counts = torch.ones(key.shape[2], dtype=key.dtype)
    counts[:prefix] = copies
    weights = logits.exp() * counts
    return torch.einsum("bhqk,bhkd->bhqd", weights, value) / weights.sum(-1, keepdim=True)


def query_key_value(dtype=torch.float64, tokens=11):
    return torch.randn(3, 2, 4, tokens, 8, dtype=dtype).unbind(0)


ATTENTIONS = [attention.attend, attention.attend_repeated, attention.attend_plainly]


@pytest.mark.parametrize("prefix, copies", [(0, 1), (0, 4), (1, 1), (1, 2), (3, 5), (11, 3)])
@pytest.mark.parametrize("function", ATTENTIONS, ids=lambda function: function.__name__)
def test_prefix_keys_count_as_many_times_as_there_are_depth_tokens(function, prefix, copies):
    qkv = query_key_value()
    close(function(*qkv, prefix, copies), attention_by_hand(*qkv, prefix, copies))


@pytest.mark.parametrize("function", ATTENTIONS, ids=lambda function: function.__name__)
def test_attention_gradients(function):
    qkv = [x.requires_grad_() for x in query_key_value(tokens=5)]
    weight = torch.randn_like(qkv[0])
    got = torch.autograd.grad((function(*qkv, 2, 3) * weight).sum(), qkv)
    expected = torch.autograd.grad((attention_by_hand(*qkv, 2, 3) * weight).sum(), qkv)
    close(got, expected)


@pytest.mark.parametrize(
    "tokens, repeats", [(attention.MASKED_TOKENS, 0), (attention.MASKED_TOKENS + 1, 1)]
)
def test_on_a_gpu_few_tokens_are_masked(monkeypatch, tokens, repeats):
    calls = []
    repeated = attention.attend_repeated
    monkeypatch.setattr(
        attention, "attend_repeated", lambda *rest: calls.append(1) or repeated(*rest)
    )
    qkv = query_key_value(tokens=tokens)

    class OnGpu(torch.Tensor):
        is_cuda = True

    got = attention.attend(qkv[0].as_subclass(OnGpu), *qkv[1:], 2, 4)
    assert len(calls) == repeats
    close(got.as_subclass(torch.Tensor), attention_by_hand(*qkv, 2, 4))


@pytest.mark.parametrize("plain_tokens", [0, 2048])
@pytest.mark.parametrize("prefix", [0, 2])
def test_both_ways_of_attention_in_bfloat16(monkeypatch, prefix, plain_tokens):
    monkeypatch.setattr(attention, "PLAIN_TOKENS", plain_tokens)
    calls = []
    plainly = attention.attend_plainly
    monkeypatch.setattr(
        attention, "attend_plainly", lambda *rest: calls.append(1) or plainly(*rest)
    )
    qkv = query_key_value(torch.bfloat16)
    got = attention.attend(*qkv, prefix, 4)
    assert bool(calls) == bool(plain_tokens)
    assert got.dtype == torch.bfloat16
    expected = attention_by_hand(*(x.double() for x in qkv), prefix, 4)
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("shape", [(1, 4, 11, 11), (1, 1, 1, 11)])
@pytest.mark.parametrize("learns", [False, True])
def test_a_bias_is_added_to_the_logits_and_learns(learns, shape):
    query, key, value = (x.requires_grad_() for x in query_key_value())
    bias = torch.randn(shape, dtype=torch.float64, requires_grad=learns)
    assert attention.learns_unfused(bias) == learns
    got = attention.attend_biased(query, key, value, bias)
    logits = torch.einsum("bhqd,bhkd->bhqk", query, key) / math.sqrt(8) + bias
    expected = torch.einsum("bhqk,bhkd->bhqd", logits.softmax(-1), value)
    close(got, expected)
    weight, inputs = torch.randn_like(got), [query, key, value, *([bias] if learns else [])]
    grads = [torch.autograd.grad((each * weight).sum(), inputs) for each in (got, expected)]
    close(*grads)


def test_a_bias_that_learns_has_a_fused_kernel_on_other_devices():
    on_meta = torch.empty(1, requires_grad=True, device="meta")  # as good as a GPU
    assert not attention.learns_unfused(on_meta)
    with torch.no_grad():
        assert not attention.learns_unfused(torch.ones(1, requires_grad=True) * 2)


@pytest.mark.parametrize("plain_tokens", [0, 2048])
def test_both_ways_of_biased_attention_in_bfloat16(monkeypatch, plain_tokens):
    monkeypatch.setattr(attention, "PLAIN_TOKENS", plain_tokens)
    calls, products = [], attention.attend_by_products
    monkeypatch.setattr(
        attention, "attend_by_products", lambda *a, **k: calls.append(1) or products(*a, **k)
    )
    query, key, value = query_key_value(torch.bfloat16)
    got = attention.attend_biased(query, key, value, torch.zeros(1, 1, 1, 11))
    assert bool(calls) == bool(plain_tokens)
    assert got.dtype == torch.bfloat16
    expected = attention_by_hand(query.double(), key.double(), value.double(), 0, 1)
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("biased", [True, False])
def test_query_and_value_have_biases_and_the_key_has_none(biased):
    qkv, x = torch.nn.Linear(6, 18, bias=False), torch.randn(2, 5, 6)
    q_bias, v_bias = (torch.randn(6) if biased else None for _ in range(2))
    query, key, value = (
        heads.transpose(1, 2).flatten(2)
        for heads in attention.heads_of(attention.with_qv_bias(x, qkv, q_bias, v_bias), 3)
    )
    weights = qkv.weight.split(6)
    torch.testing.assert_close(query, x @ weights[0].T + (q_bias if biased else 0))
    torch.testing.assert_close(key, x @ weights[1].T)
    torch.testing.assert_close(value, x @ weights[2].T + (v_bias if biased else 0))
    assert torch.equal(attention.joined(attention.heads_of(x.repeat(1, 1, 3), 3)[0]), x)

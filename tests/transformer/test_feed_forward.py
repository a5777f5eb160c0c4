"""Feed-forward networks against PyTorch's modules and Hugging Face's LLaMA."""

import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped
from torch import nn
from torch.testing import assert_close

from mlsys_course import transformer as component

feed_forward = jaxtyped(typechecker=beartype)(component.feed_forward)
swiglu = jaxtyped(typechecker=beartype)(component.swiglu)
C, F = 6, 10
MODULES = {"relu": nn.ReLU(), "gelu": nn.GELU(), "gelu_tanh": nn.GELU(approximate="tanh"), "silu": nn.SiLU()}


@pytest.mark.parametrize("activation", MODULES)
@pytest.mark.parametrize("shape", [(2, 5, C), (C,)])
def test_equals_two_linear_layers_forward_and_backward(activation, shape, normal):
    x, cotangent = normal(*shape).requires_grad_(), normal(*shape)
    ours = [normal(*s).requires_grad_() for s in ((C, F), (F,), (F, C), (C,))]
    up, down = nn.Linear(C, F, dtype=torch.float64), nn.Linear(F, C, dtype=torch.float64)
    with torch.no_grad():
        up.weight.copy_(ours[0].T), up.bias.copy_(ours[1]), down.weight.copy_(ours[2].T), down.bias.copy_(ours[3])
    want = nn.Sequential(up, MODULES[activation], down)(x)
    got = feed_forward(x, *ours, activation)
    assert_close(got, want)
    wanted = torch.autograd.grad(want, (x, up.weight, up.bias, down.weight, down.bias), cotangent)
    found = torch.autograd.grad(got, (x, *ours), cotangent)
    assert_close([found[0], found[1].T, found[2], found[3].T, found[4]], list(wanted))


def test_swiglu_is_llamas(normal):
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    config = llama.LlamaConfig(hidden_size=C, intermediate_size=F, num_attention_heads=2)
    theirs = llama.LlamaMLP(config).double()
    x, cotangent = normal(2, 5, C).requires_grad_(), normal(2, 5, C)
    weights = (theirs.gate_proj.weight, theirs.up_proj.weight, theirs.down_proj.weight)
    got, want = swiglu(x, *(w.T for w in weights)), theirs(x)
    assert_close(got, want)
    assert_close(
        torch.autograd.grad(got, (x, *weights), cotangent), torch.autograd.grad(want, (x, *weights), cotangent)
    )


@pytest.mark.parametrize(("gated", "biases"), [(True, False), (True, True), (False, True), (False, False)])
def test_the_module_is_the_function(gated, biases, normal):
    config = component.llama(60, C, 1, 1, d_ffn=F)
    module = component.FeedForward(component.ModelConfig(**{**vars(config), "gated": gated, "mlp_biases": biases}))
    x, m = normal(3, C, dtype=torch.float32), module
    zeros = [torch.zeros(F), torch.zeros(C)]
    b_1, b_2 = (m.up.bias, m.down.bias) if biases else zeros
    if not gated:
        assert_close(m(x), feed_forward(x, m.up.weight.T, b_1, m.down.weight.T, b_2, "silu"))
    elif not biases:
        assert_close(m(x), swiglu(x, m.gate.weight.T, m.up.weight.T, m.down.weight.T))
    assert (m.up.bias is not None) == biases and (m.down.bias is not None) == biases


def test_tokens_do_not_see_each_other(normal):
    x, weights = normal(2, 5, C), [normal(C, F), normal(F), normal(F, C), normal(C)]
    whole = feed_forward(x, *weights)
    assert_close(torch.stack([feed_forward(x[:, t], *weights) for t in range(5)], 1), whole)


def test_half_precision(normal, device):
    x, weights = normal(2, 5, C), [normal(*s, scale=0.3) for s in ((C, F), (C, F), (F, C))]
    low = swiglu(*(t.to(device, torch.bfloat16) for t in (x, *weights)))
    assert low.dtype == torch.bfloat16
    assert_close(low.double().cpu(), swiglu(x, *weights), atol=5e-2, rtol=5e-2)


def test_an_unknown_non_linearity_is_told(normal):
    with pytest.raises(ValueError, match="activation='swish' is unknown; choose one of relu, gelu"):
        component.feed_forward(normal(2, C), normal(C, F), normal(F), normal(F, C), normal(C), "swish")

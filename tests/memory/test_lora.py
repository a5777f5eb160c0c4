"""``LoRALinear`` against ``peft``'s, forward and backward, merged and not."""

import pytest
import torch
from torch import nn

from mlsys_course.memory import LoRALinear, add_lora


def both(rank, alpha, normal, bias=True):
    """Ours and peft's around one layer, with one A and B."""
    peft = pytest.importorskip("peft")
    model = nn.Sequential(nn.Linear(6, 4, bias=bias).double())
    ours = LoRALinear(nn.Linear(6, 4, bias=bias).double(), normal(rank, 6), alpha)
    ours.base.load_state_dict(model[0].state_dict())
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=["0"], lora_dropout=0.0)
    theirs = peft.get_peft_model(model, config, autocast_adapter_dtype=False).base_model.model[0].double()
    with torch.no_grad():
        ours.b.copy_(normal(4, rank))
        theirs.lora_A["default"].weight.copy_(ours.a)
        theirs.lora_B["default"].weight.copy_(ours.b)
    return ours, theirs


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("rank", "alpha"), [(1, 1.0), (2, 16.0), (3, 4.0)])
def test_forward_and_backward_are_pefts(rank, alpha, bias, normal):
    ours, theirs = both(rank, alpha, normal, bias)
    results = []
    given = normal(2, 5, 6)
    for layer, names in ((ours, ("a", "b")), (theirs, ("lora_A.default.weight", "lora_B.default.weight"))):
        x = given.clone().requires_grad_()
        y = layer(x)
        y.square().sum().backward()
        results.append([y, x.grad, *(layer.get_parameter(name).grad for name in names)])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want)


def test_merged_is_pefts_and_back_is_bit_for_bit(normal):
    ours, theirs = both(2, 8.0, normal)
    x, before = normal(3, 6), ours.base.weight.clone()
    want = ours(x)
    ours.merge()
    theirs.merge()
    torch.testing.assert_close(ours.base.weight, theirs.base_layer.weight)
    torch.testing.assert_close(ours(x), want)
    ours.unmerge()
    assert torch.equal(ours.base.weight, before) and not ours.merged


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_base_of_16_bits_does_not_drift(dtype, normal):
    layer = LoRALinear(nn.Linear(6, 4).to(dtype), normal(2, 6).float(), 2.0)
    with torch.no_grad():
        layer.b.copy_(normal(4, 2))
    before, x = layer.base.weight.clone(), normal(3, 6).to(dtype)
    assert layer(x).dtype == dtype
    want = nn.functional.linear(
        x.double(), before.double() + layer.b.double() @ layer.a.double(), layer.base.bias.double()
    )
    torch.testing.assert_close(layer(x).double(), want, atol=0.05, rtol=0.02)
    for _ in range(20):
        layer.merge()
        torch.testing.assert_close(layer.base.weight, (before + layer.b @ layer.a).to(dtype))
        layer.unmerge()
    assert torch.equal(layer.base.weight, before)


def test_only_the_adapter_is_trained(normal):
    base = nn.Linear(6, 4).double()
    layer = LoRALinear(base, normal(2, 6), 4.0)
    before, x = base.weight.clone(), normal(8, 6)
    torch.testing.assert_close(layer(x), base(x))
    assert [name for name, p in layer.named_parameters() if p.requires_grad] == ["a", "b"]
    optimizer = torch.optim.SGD([p for p in layer.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        layer(x).square().mean().backward()
        optimizer.step()
    assert torch.equal(base.weight, before) and base.weight.grad is None and bool(layer.b.any())


def test_misuse_is_told(normal):
    with pytest.raises(TypeError, match="base is Conv1d, which"):
        LoRALinear(nn.Conv1d(2, 2, 1), normal(1, 2), 1.0)
    with pytest.raises(ValueError, match=r"a has shape \(2, 5\); it must be \(rank, 6\)"):
        LoRALinear(nn.Linear(6, 4), normal(2, 5), 1.0)
    layer = LoRALinear(nn.Linear(6, 4).double(), normal(2, 6), 1.0)
    with pytest.raises(RuntimeError, match="not merged"):
        layer.unmerge()
    layer.merge()
    with pytest.raises(RuntimeError, match="merged already"):
        layer.merge()


def test_add_lora_freezes_a_model_but_for_what_it_returns():
    model = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 8), nn.ReLU()), nn.Linear(8, 2))
    trained = add_lora(model, 2, 4.0, lambda name: not name.startswith("2"))
    assert sum(p.numel() for p in trained) == 2 * (4 + 8) + 2 * (8 + 8)
    assert {id(p) for p in trained} == {id(p) for p in model.parameters() if p.requires_grad}
    assert isinstance(model[1][0], LoRALinear) and isinstance(model[2], nn.Linear)
    with pytest.raises(ValueError, match="no linear layer"):
        add_lora(nn.Sequential(nn.ReLU()), 2, 4.0)

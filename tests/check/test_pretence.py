"""A pretended card does what a real one does: the same calls on both, where there is one."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlsys_course.desk.check.devices import CARD, DEVICE, PRETENDED, on_a_card

CARDS = ["pretended", pytest.param("real", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no card"))]
both = pytest.mark.parametrize("card", CARDS)


class Twice(torch.autograd.Function):
    """With new tensors in its backward pass."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.full((4,), 2.0, device=gradient.device) + torch.zeros_like(gradient)


def gradient_of(function, x):
    """By a leaf beside x."""
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad(function(leaf).sum(), leaf)[0]


def backward(function, x):
    leaf = x.detach().clone().requires_grad_()
    function(leaf).sum().backward()
    return leaf.grad


def cpu_leaf(x):
    """A leaf on the CPU that is moved: its gradient comes back."""
    leaf = torch.ones(4, requires_grad=True)
    (x * leaf.to(x.device)).sum().backward()
    assert leaf.grad is not None
    return leaf.grad + torch.ones(4)


def linear(x, **where):
    return nn.Linear(4, 2, **where)(x)


def moved_module(x):
    layer = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)).to(x.device)
    layer(x).sum().backward()
    optimizer = torch.optim.AdamW(layer.parameters())
    optimizer.step()
    return next(layer.parameters())


def with_buffer(x, persistent):
    module = nn.Module()
    if persistent:
        module.register_buffer("table", torch.ones(4))
    else:
        module.table = torch.ones(4)
    return x + module.to(x.device).table


def assigned(x, value):
    y = x.clone()
    y[0] = value
    return y


def in_default(x):
    with torch.device(x.device):
        return torch.arange(4) + x


def over_batch(x):
    return torch.func.vmap(lambda row: row * torch.arange(4, device=row.device))(x)


ones = torch.ones
HONEST = {  # where the result is
    "element by element": (lambda x: x + 1, "cuda"),
    "a number without dimensions": (lambda x: x * torch.tensor(2.0), "cuda"),
    "of the inputs' device": (lambda x: torch.arange(4, device=x.device) + x, "cuda"),
    "by the device's name": (lambda x: torch.ones(4, device="cuda") + x, "cuda"),
    "by the device's number": (lambda x: torch.ones(4, device=0) + x, "cuda"),
    "zeros_like": (lambda x: torch.zeros_like(x) + x, "cuda"),
    "new_zeros": (lambda x: x.new_zeros(4) + x, "cuda"),
    "new_tensor": (lambda x: x.new_tensor([1.0, 2, 3, 4]) + x, "cuda"),
    "new_full of int64": (lambda x: x.new_full((4,), 2, dtype=torch.int64) + x, "cuda"),
    "zeros_like on the CPU": (lambda x: torch.zeros_like(x, device="cpu") + ones(4), "cpu"),
    "new_zeros on the CPU": (lambda x: x.new_zeros(4, device="cpu") + ones(4), "cpu"),
    "tensor of a list": (lambda x: torch.tensor([1.0, 2, 3, 4], device=x.device) + x, "cuda"),
    "tensor of numbers from there": (lambda x: torch.tensor([x[0, 0], x[0, 1]]) + ones(2), "cpu"),
    "tensor of numbers, put back": (lambda x: torch.tensor(x.tolist(), device=x.device) + x, "cuda"),
    "as_tensor": (lambda x: torch.as_tensor([1.0, 2, 3, 4], device=x.device) + x, "cuda"),
    "as_tensor of a tensor": (lambda x: torch.as_tensor(x) + x, "cuda"),
    "as_tensor to the CPU": (lambda x: torch.as_tensor(x, device="cpu") + ones(4), "cpu"),
    "full with a number from there": (lambda x: torch.full((4,), x.max().item(), device=x.device) + x, "cuda"),
    "arange up to a number from there": (lambda x: torch.arange(int(x.numel())) + ones(12), "cpu"),
    "to the device": (lambda x: ones(4).to(x.device) + x, "cuda"),
    "to the device and dtype": (lambda x: ones(4, dtype=torch.float64).to(x.device, x.dtype) + x, "cuda"),
    "to the device by name": (lambda x: ones(4).to(device=x.device, dtype=torch.float16) + x, "cuda"),
    "to a tensor": (lambda x: ones(4, dtype=torch.int64).to(x) + x, "cuda"),
    "to a dtype": (lambda x: x.to(torch.float64).float() + x, "cuda"),
    "type_as": (lambda x: ones(4, dtype=torch.bool).type_as(x) + x, "cuda"),
    "cuda()": (lambda x: ones(4).cuda() + x, "cuda"),
    "cpu()": (lambda x: x.cpu() + ones(4), "cpu"),
    "to the CPU": (lambda x: x.to("cpu") + ones(4), "cpu"),
    "to NumPy by the CPU": (lambda x: torch.from_numpy(x.cpu().numpy()).to(x.device) + x, "cuda"),
    "cpu() leaves it there": (lambda x: (x.cpu(), x)[1] + x, "cuda"),
    "the same by to": (lambda x: x.to(x.device).mul_(0).sum() + x.abs().sum() * 0 + x, "cuda"),
    "a view": (lambda x: x.mT.reshape(-1)[None, :12], "cuda"),
    "rows by a list": (lambda x: x[[0, 2]], "cuda"),
    "rows by numbers on the CPU": (lambda x: x[torch.tensor([0, 2])], "cuda"),
    "rows by a mask on the CPU": (lambda x: x[torch.tensor([True, False, True])], "cuda"),
    "a mask of its own": (lambda x: x[x > 0].sum() + x, "cuda"),
    "a column assigned": (lambda x: assigned(x, 1.0), "cuda"),
    "a row copied from the CPU": (lambda x: assigned(x, ones(4)), "cuda"),
    "copy_ from the CPU": (lambda x: torch.empty_like(x).copy_(ones(3, 4)), "cuda"),
    "copy_ to the CPU": (lambda x: torch.empty(3, 4).copy_(x) + ones(4), "cpu"),
    "where with a number": (lambda x: torch.where(x > 0, x, 0.0), "cuda"),
    "where with -inf": (lambda x: torch.where(x > 0, x, torch.tensor(-torch.inf)).nan_to_num(0, 0, 0), "cuda"),
    "masked_fill": (lambda x: x.masked_fill(torch.ones_like(x, dtype=torch.bool).tril(), 0), "cuda"),
    "tril": (lambda x: torch.ones(3, 4, dtype=torch.bool, device=x.device).tril() & (x > 0), "cuda"),
    "one_hot": (lambda x: F.one_hot(torch.arange(3, device=x.device), 4) + x, "cuda"),
    "scatter": (lambda x: x.new_zeros(3, 4).scatter(1, (x > 0).long(), 1.0) + x, "cuda"),
    "gather": (lambda x: x.gather(1, torch.zeros(3, 1, dtype=torch.int64, device=x.device)) + x, "cuda"),
    "embedding": (lambda x: F.embedding(torch.tensor([0, 2], device=x.device), x), "cuda"),
    "topk and sort": (lambda x: x.sort().values + x.topk(4).values, "cuda"),
    "a split and a stack": (lambda x: torch.stack(x.split(1)) + x, "cuda"),
    "cat of its own": (lambda x: torch.cat([x, x.new_zeros(1, 4)]), "cuda"),
    "einsum": (lambda x: torch.einsum("ij,kj->ik", x, x), "cuda"),
    "attention": (lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True), "cuda"),
    "cross_entropy": (lambda x: F.cross_entropy(x, torch.tensor([0, 3, 1], device=x.device)), "cuda"),
    "pad": (lambda x: F.pad(x, (1, 2)), "cuda"),
    "loop over rows": (lambda x: torch.stack([row * i for i, row in enumerate(x)]), "cuda"),
    "a branch on a value": (lambda x: x if x.sum() > 0 and bool((x == x).all()) else -x, "cuda"),
    "a deep copy": (lambda x: copy.deepcopy(x) + x, "cuda"),
    "a module made there": (lambda x: linear(x, device=x.device), "cuda"),
    "a module moved": (moved_module, "cuda"),
    "a buffer": (lambda x: with_buffer(x, True), "cuda"),
    "a parameter": (lambda x: nn.Parameter(torch.ones(4, device=x.device)) * x, "cuda"),
    "a gradient": (lambda x: gradient_of(lambda y: y.softmax(-1)[:, :2] ** 2, x), "cuda"),
    "backward": (lambda x: backward(lambda y: y.max(-1).values * y[torch.tensor([0, 1, 1])].norm(), x), "cuda"),
    "a function with a backward of its own": (lambda x: backward(Twice.apply, x), "cuda"),
    "a gradient that goes home": (cpu_leaf, "cpu"),
    "other gradients": (lambda x: gradient_of(lambda y: y.cumprod(0) * y.prod(0) * y.sort().values, x), "cuda"),
    "a context that says where": (in_default, "cuda"),
    "vmap": (over_batch, "cuda"),
    "func.grad": (lambda x: torch.func.grad(lambda y: (y * torch.ones(4, device=y.device)).sum())(x), "cuda"),
    "in place": (lambda x: x.clone().add_(torch.ones(4, device=x.device)), "cuda"),
    "nothing of it": (lambda x: x[:0].sum(0) + torch.zeros(4, device=x.device), "cuda"),
    "an empty one": (lambda x: torch.cat([torch.zeros(0, 4, device=x.device), x]), "cuda"),
    "outer of ranges": (lambda x: torch.outer(torch.arange(3.0, device=x.device), x[0]), "cuda"),
    "double and half": (lambda x: (x.double().half() + x).float(), "cuda"),
    "printed": (lambda x: x * bool(repr(x) and str(x)), "cuda"),
    "a checkpoint": (lambda x: backward(lambda y: torch.utils.checkpoint.checkpoint(
        lambda z: z * torch.ones(4, device=z.device), y, use_reentrant=False), x), "cuda"),
}  # fmt: skip
MIXED = {
    "arange": lambda x: torch.arange(4) + x,
    "ones": lambda x: torch.ones(3, 4) * x,
    "tensor": lambda x: torch.tensor([1.0, 2, 3, 4]) * x,
    "tensor of numbers from there": lambda x: torch.tensor(x.tolist()) * x,
    "tensor of its elements": lambda x: torch.tensor([x[0, 0], x[0, 1], x[0, 2], x[0, 3]]) * x,
    "full of a number from there": lambda x: torch.full((4,), x.max().item()) * x,
    "arange up to one from there": lambda x: torch.arange(int(x[0, 0].item() * 0 + 4)) * x,
    "a product": lambda x: torch.eye(3) @ x,
    "a mask": lambda x: x.masked_fill(torch.ones(3, 4, dtype=torch.bool).tril(), 0),
    "where": lambda x: torch.where(torch.ones(3, 4, dtype=torch.bool).tril(), x, 0.0),
    "where's other": lambda x: torch.where(x > 0, x, torch.zeros(3, 4)),
    "cat": lambda x: torch.cat([x, torch.zeros(1, 4)]),
    "stack of numbers": lambda x: torch.stack([x[0, 0], torch.tensor(1.0)]),
    "gather": lambda x: x.gather(1, torch.zeros(3, 1, dtype=torch.int64)),
    "index_select": lambda x: x.index_select(0, torch.tensor([0, 1])),
    "embedding": lambda x: F.embedding(torch.tensor([0, 2]), x),
    "index of the CPU's by the card's": lambda x: torch.zeros(4)[(x > 0).long()],
    "a number of the card's": lambda x: torch.ones(4) * x.sum(),
    "rows assigned": lambda x: x.clone().index_put_((torch.tensor([0]),), torch.ones(1, 4)),
    "in place": lambda x: torch.zeros(3, 4).add_(x),
    "cross_entropy": lambda x: F.cross_entropy(x, torch.tensor([0, 3, 1])),
    "a module": linear,
    "an attribute that is no buffer": lambda x: with_buffer(x, False),
    "numpy": lambda x: x.numpy(),
    "scatter": lambda x: torch.zeros(3, 4).scatter(1, (x > 0).long(), 1.0),
    "bool masks": lambda x: (x > 0) & torch.ones(3, 4, dtype=torch.bool),
    "one_hot": lambda x: F.one_hot(torch.arange(3), 4) * x,
    "equal": lambda x: torch.equal(x, torch.zeros(3, 4)),
    "cpu()": lambda x: x.cpu() + x,
    "a number written to": lambda x: torch.zeros(()).add_(x.sum()),
    "a number written to by a product": lambda x: torch.ones(()).mul_(x.max()),
    "a cotangent": lambda x: torch.autograd.grad((y := x.clone().requires_grad_()) ** 2, y, torch.ones(3, 4)),
}  # fmt: skip


BY_NAME = ("by the device's name", "by the device's number", "cuda()")
VALUES = torch.tensor([[0.5, -1.25, 2.0, -0.75], [1.5, 0.25, -2.0, 1.0], [-0.5, 0.75, 1.25, -1.0]])


def called(function, card):
    """Where the result for VALUES is, and the result."""
    x = VALUES.clone()
    if card == "real":
        result = function(x.cuda())
        return result.device.type, result
    with on_a_card({"x": x, DEVICE: PRETENDED}) as (given, pretence):
        assert given[DEVICE] == CARD and given["x"].device == CARD and given["x"].is_cuda and not given["x"].is_cpu
        result = function(given["x"])
        assert pretence is not None
        return result.device.type, result


@both
@pytest.mark.parametrize("name", HONEST)
def test_honest_work_is_as_on_a_card(name, card):
    function, where = HONEST[name]
    torch.manual_seed(0)
    found, result = called(function, card)
    assert found == where
    if name not in BY_NAME:
        torch.manual_seed(0)
        torch.testing.assert_close(result.cpu().float(), function(VALUES).float(), rtol=1e-3, atol=1e-4)


@both
@pytest.mark.parametrize("name", MIXED)
def test_what_may_not_meet_does_not(name, card):
    with pytest.raises((RuntimeError, TypeError)):
        called(MIXED[name], card)


def test_nothing_is_left_behind():
    x = torch.ones(2)
    with on_a_card({"x": x, DEVICE: PRETENDED}) as (given, _):
        y = given["x"] * 2
    assert x.device.type == y.device.type == "cpu" and torch.equal(x + torch.ones(2), y)


def test_who_leaves_a_mode_of_theirs_leaves_none_of_ours():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Left(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    before = torch._C._len_torch_dispatch_stack()
    with on_a_card({"x": torch.ones(2), DEVICE: PRETENDED}):
        Left().__enter__()
    assert torch._C._len_torch_dispatch_stack() == before

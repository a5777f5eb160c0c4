"""``rnn`` against ``nn.RNN``, forward and backward, its properties, and the window that came before it."""

import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

from mlsys_course import sequence as component
from mlsys_course.sequence import first_layer_weights, length_mask

rnn_cell = jaxtyped(typechecker=beartype)(component.rnn_cell)
rnn = jaxtyped(typechecker=beartype)(component.rnn)
window_mlp = jaxtyped(typechecker=beartype)(component.window_mlp)

B, T, CX, C = 3, 7, 4, 5
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}


@pytest.fixture
def given(normal):
    """``given(T=..., dtype=...)``: x, h_0, w_xh, w_hh and b."""

    def draw(B=B, T=T, dtype=torch.float64):
        shapes = [(B, T, CX), (B, C), (CX, C), (C, C), (C,)]
        return [normal(*shape, dtype=dtype, scale=0.5) for shape in shapes]

    return draw


def module_of(w_xh, w_hh, b):
    module = nn.RNN(*w_xh.shape, batch_first=True, dtype=w_xh.dtype)
    names = {"weight_ih_l0": w_xh.T, "weight_hh_l0": w_hh.T, "bias_ih_l0": b, "bias_hh_l0": torch.zeros_like(b)}
    module.load_state_dict(names)
    return module


@pytest.mark.parametrize(("B", "T"), [(3, 7), (1, 1), (2, 40)])
def test_equals_torch_forward_and_backward(B, T, given, normal):
    tensors = [x.requires_grad_() for x in given(B, T)]
    x, h_0, *weights = tensors
    module, cotangent = module_of(*weights), normal(B, T, C)
    theirs, _ = module(x, h_0[None])
    ours = rnn(x, h_0, *weights)
    assert_close(ours, theirs)
    want = torch.autograd.grad(theirs, (x, h_0, *module.parameters()), cotangent)
    dx, dh, dw_xh, dw_hh, db = torch.autograd.grad(ours, tensors, cotangent)
    assert_close([dx, dh, dw_xh.T, dw_hh.T, db, db], list(want))


def test_padding_on_the_right_is_a_packed_sequence(given):
    x, h_0, *weights = given()
    lengths = torch.tensor([7, 1, 4])
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    theirs, last = module_of(*weights)(packed, h_0[None])
    theirs, _ = pad_packed_sequence(theirs, batch_first=True)  # zeros at padding
    mask = length_mask(lengths, T)
    ours = rnn(x, h_0, *weights, mask)
    assert_close(ours * mask[..., None], theirs)
    assert_close(ours[:, -1], last[0])


def test_padding_anywhere_changes_nothing(given):
    x, h_0, *weights = given()
    spread = torch.full((B, 3 * T, CX), torch.nan, dtype=x.dtype)
    mask = torch.zeros(B, 3 * T, dtype=torch.bool)
    places = torch.tensor([1, 2, 5, 9, 10, 11, 19])
    spread[:, places], mask[:, places] = x, True
    assert_close(rnn(spread, h_0, *weights, mask)[:, places], rnn(x, h_0, *weights))
    nothing = torch.zeros(B, T, dtype=torch.bool)
    assert_close(rnn(x, h_0, *weights, nothing), h_0[:, None].expand(B, T, C))


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_dtypes_and_devices(dtype, device, given):
    precise = given()
    cast = [x.to(device, dtype) for x in precise]
    found = rnn(*cast)
    assert found.dtype == dtype and found.device.type == device
    assert_close(found.cpu().double(), rnn(*precise), atol=TOLERANCES[dtype], rtol=0)


def test_order_matters_and_the_past_does_not_see_the_future(given):
    x, h_0, *weights = given()
    states = rnn(x, h_0, *weights)
    assert (rnn(x.flip(1), h_0, *weights)[:, -1] - states[:, -1]).abs().max() > 0.1
    changed = x.clone()
    changed[:, 4] += 1
    difference = (rnn(changed, h_0, *weights) - states).abs().amax((0, 2))
    assert (difference[:4] == 0).all() and (difference[4:] > 0).all()


def test_two_halves_make_a_whole(given):
    x, h_0, *weights = given()
    first = rnn(x[:, :3], h_0, *weights)
    second = rnn(x[:, 3:], first[:, -1], *weights)
    assert_close(torch.cat((first, second), 1), rnn(x, h_0, *weights))


def test_any_cell_may_be_used(given):
    x, h_0, *weights = given()

    def adding(x, h, w_xh, w_hh, b):
        return h + x @ w_xh

    assert_close(rnn(x, h_0, *weights, cell=adding), h_0[:, None] + (x @ weights[0]).cumsum(1))


WRONG = {
    "no step": (lambda g: g.update(x=g["x"][:, :0]), "T of at least 1"),
    "a step": (lambda g: g.update(x=g["x"][:, 0]), r"should be \(B, T, C\)"),
    "input width": (lambda g: g.update(x=g["x"][..., 1:]), "as wide as their weights"),
    "state width": (lambda g: g.update(h_0=g["h_0"][:, 1:]), "as wide as their weights"),
    "bias": (lambda g: g.update(b=g["b"][1:]), "b .4,.: give it one number"),
    "batches": (lambda g: g.update(h_0=g["h_0"][1:]), "3 sequences have 2 states"),
    "dtypes": (lambda g: g.update(h_0=g["h_0"].float()), "h torch.float32"),
    "mask of numbers": (lambda g: g.update(mask=torch.ones(B, T)), "expected torch.bool"),
    "mask of another shape": (lambda g: g.update(mask=torch.ones(B, T + 1).bool()), r"shape \(3, 7\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_named(name, given):
    spoil, message = WRONG[name]
    arguments = dict(zip(("x", "h_0", "w_xh", "w_hh", "b"), given(), strict=True))
    spoil(arguments)
    with pytest.raises(ValueError, match=message):
        component.rnn(**arguments)


def test_length_mask(device):
    mask = length_mask(torch.tensor([0, 3, 2], device=device), 3)
    assert mask.tolist() == [[False] * 3, [True] * 3, [True, True, False]] and mask.device.type == device
    for wrong in (
        torch.tensor([4]),
        torch.tensor([-1]),
        torch.tensor([1.0]),
        torch.tensor([[1]]),
        torch.tensor([True]),
    ):
        with pytest.raises(ValueError, match="lengths"):
            length_mask(wrong, 3)


def test_a_window_is_fixed_and_shares_nothing(normal):
    x, (w_1, b_1, w_2, b_2) = normal(B, 4, CX), (normal(4 * CX, 6), normal(6), normal(6, 2), normal(2))
    module = nn.Sequential(nn.Flatten(), nn.Linear(4 * CX, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    module.load_state_dict({"1.weight": w_1.T, "1.bias": b_1, "3.weight": w_2.T, "3.bias": b_2})
    assert_close(window_mlp(x, w_1, b_1, w_2, b_2), module(x))
    order = torch.tensor([2, 0, 3, 1])  # positions and their weights, moved alike
    moved = w_1.unflatten(0, (4, CX))[order].flatten(0, 1)
    assert_close(window_mlp(x[:, order], moved, b_1, w_2, b_2), window_mlp(x, w_1, b_1, w_2, b_2))
    with pytest.raises(ValueError, match="takes 16"):
        window_mlp(x[:, :3], w_1, b_1, w_2, b_2)


def test_weights_of_the_first_layer():
    mlp, recurrent = nn.Linear(9 * 4, 6), nn.RNN(4, 6)
    counted = {"mlp": mlp.weight.numel(), "rnn": recurrent.weight_ih_l0.numel() + recurrent.weight_hh_l0.numel()}
    assert first_layer_weights(9, 4, 6) == counted

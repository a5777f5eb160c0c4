"""``lstm``, both directions and several layers against ``nn.LSTM`` and ``nn.RNN``."""

import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

from mlsys_course import sequence as component
from mlsys_course.sequence import length_mask

lstm_cell = jaxtyped(typechecker=beartype)(component.lstm_cell)
lstm = jaxtyped(typechecker=beartype)(component.lstm)
bidirectional = jaxtyped(typechecker=beartype)(component.bidirectional)
multi_layer = jaxtyped(typechecker=beartype)(component.multi_layer)

B, T, CX, C = 3, 6, 4, 5
LENGTHS = torch.tensor([6, 1, 4])


@pytest.fixture
def given(normal):
    """``given()``: x, h_0, c_0, w_x, w_h, b."""
    shapes = [(B, T, CX), (B, C), (B, C), (CX, 4 * C), (C, 4 * C), (4 * C,)]
    return lambda dtype=torch.float64: [normal(*shape, dtype=dtype, scale=0.6) for shape in shapes]


def weights_of(module, layer=0, backward=False):
    """Rows as tokens; PyTorch's two biases as their sum."""
    end = f"_l{layer}{'_reverse' if backward else ''}"
    w_x, w_h, b_x, b_h = (getattr(module, f"{name}{end}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    return w_x.T, w_h.T, b_x + b_h


def states_of_lstm(x, h_0, w_x, w_h, b, mask):
    return lstm(x, h_0, torch.zeros_like(h_0), w_x, w_h, b, mask)[0]


@pytest.mark.parametrize("masked", [False, True])
def test_equals_torch_forward_and_backward(masked, given, normal):
    module = nn.LSTM(CX, C, batch_first=True, dtype=torch.float64)
    x, h_0, c_0, *_ = (tensor.requires_grad_() for tensor in given())
    entering = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False) if masked else x
    theirs, (_, c) = module(entering, (h_0[None], c_0[None]))
    mask = length_mask(LENGTHS, T) if masked else None
    if masked:
        theirs, _ = pad_packed_sequence(theirs, batch_first=True)
    ours, c_ours = lstm(x, h_0, c_0, *weights_of(module), mask)
    kept = ours if mask is None else ours * mask[..., None]
    assert_close((kept, c_ours), (theirs, c[0]))
    leaves, cotangent = (x, h_0, c_0, *module.parameters()), normal(B, T, C)
    want = torch.autograd.grad((theirs * cotangent).sum() + c.sum(), leaves)
    assert_close(torch.autograd.grad((kept * cotangent).sum() + c_ours.sum(), leaves), want)


def test_an_open_forget_gate_lets_memory_and_gradient_pass(given):
    x, h, c, w_x, w_h, _ = given()
    b = torch.tensor([-50.0, 50.0, 0.0, 0.0], dtype=x.dtype).repeat_interleave(C)  # i shut, f open
    c_0 = c.requires_grad_()
    _, last = lstm(x.repeat(1, 20, 1), h, c_0, w_x, w_h, b)
    assert_close(last, c_0)
    assert_close(torch.autograd.grad(last.sum(), c_0)[0], torch.ones_like(c_0))


@pytest.mark.parametrize("masked", [False, True])
def test_both_directions_equal_torch(masked, given):
    module, (x, *_) = nn.RNN(CX, C, batch_first=True, bidirectional=True, dtype=torch.float64), given()
    entering = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False) if masked else x
    theirs, last = module(entering)
    mask = length_mask(LENGTHS, T) if masked else None
    if masked:
        theirs, _ = pad_packed_sequence(theirs, batch_first=True)
    ours = bidirectional(x, *(weights_of(module, backward=backward) for backward in (False, True)), mask)
    assert_close(ours if mask is None else ours * mask[..., None], theirs)
    assert_close((ours[:, -1, :C], ours[:, 0, C:]), (last[0], last[1]))


def test_layers_equal_torch(given):
    module, (x, *_) = nn.LSTM(CX, C, num_layers=3, batch_first=True, dtype=torch.float64), given()
    layers = [weights_of(module, n) for n in range(3)]
    assert_close(multi_layer(x, layers, rnn=states_of_lstm), module(x)[0])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_dtypes_and_devices(dtype, tolerance, device, given):
    precise = given()
    states, c = lstm(*(tensor.to(device, dtype) for tensor in precise))
    assert states.dtype == c.dtype == dtype and states.device.type == device
    want, _ = lstm(*precise)
    assert_close(states.cpu().double(), want, atol=tolerance, rtol=0)


def test_bad_input_is_named(given):
    x, h, c, w_x, w_h, b = given()
    with pytest.raises(ValueError, match="four columns"):
        component.lstm_cell(x[:, 0], h, c, w_x[:, :C], w_h[:, :C], b[:C])
    with pytest.raises(ValueError, match="c has the shape of h"):
        component.lstm_cell(x[:, 0], h, c[:, 1:], w_x, w_h, b)
    with pytest.raises(ValueError, match="T of at least 1"):
        component.lstm(x[:, :0], h, c, w_x, w_h, b)
    with pytest.raises(ValueError, match="layers is empty"):
        component.multi_layer(x, [])

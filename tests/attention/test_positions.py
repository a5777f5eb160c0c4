"""Positions against closed forms and complex numbers, and what they are for."""

import math

import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped
from torch.testing import assert_close

from mlsys_course import attention as component
from mlsys_course.substrate.model_config import RotaryScaling
from mlsys_course.substrate.presets import llama31_8b

sinusoidal_positions = jaxtyped(typechecker=beartype)(component.sinusoidal_positions)
rotary_positions = jaxtyped(typechecker=beartype)(component.rotary_positions)
learned_positions = jaxtyped(typechecker=beartype)(component.learned_positions)


@pytest.mark.parametrize(("T", "C", "base"), [(1, 2, 10000.0), (50, 16, 10000.0), (9, 6, 100.0)])
def test_sinusoidal_entry_by_entry(T, C, base, device):
    want = torch.empty(T, C)
    for t in range(T):
        for channel in range(C):
            angle = t / base ** ((channel - channel % 2) / C)
            want[t, channel] = math.cos(angle) if channel % 2 else math.sin(angle)
    got = sinusoidal_positions(T, C, base, device=device)
    assert got.dtype == torch.float32
    assert_close(got.cpu(), want, atol=1e-5, rtol=0)


def test_sinusoidal_products_depend_on_distance_only():
    rows = sinusoidal_positions(40, 32)
    products = rows @ rows.T
    for distance in range(5):
        diagonal = products.diagonal(distance)
        assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=1e-4)


def by_complex_numbers(x, offset, base):
    """Halves as real and imaginary parts, times e^(i angle)."""
    T, D = x.shape[-2:]
    position = torch.arange(offset, offset + T, dtype=torch.float64)
    frequency = torch.tensor([math.exp(-2 * i / D * math.log(base)) for i in range(D // 2)], dtype=torch.float64)
    turned = torch.complex(*x.double().chunk(2, -1)) * torch.polar(
        torch.ones(()).double(), position[:, None] * frequency
    )
    return torch.cat((turned.real, turned.imag), -1)


@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 5, 8), (1, 2), (2, 7, 64)])
@pytest.mark.parametrize(("offset", "base"), [(0, 10000.0), (13, 10000.0), (3, 500.0)])
def test_rotary_is_a_complex_multiplication(shape, offset, base, normal):
    x = normal(*shape)
    assert_close(rotary_positions(x, offset, base), by_complex_numbers(x, offset, base))


def test_rotary_turns_gradients_back(normal):
    x, cotangent = normal(2, 5, 8).requires_grad_(), normal(2, 5, 8)
    (gradient,) = torch.autograd.grad(rotary_positions(x, 4), x, cotangent)
    assert_close(rotary_positions(gradient, 4), cotangent)  # a rotation's transpose is its inverse


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 1e-2), (torch.float64, 1e-9)])
def test_rotary_far_out_in_each_dtype(dtype, tolerance, device, normal):
    x = normal(3, 6, 8, dtype=dtype)
    got = rotary_positions(x.to(device), 1000)
    assert got.dtype == dtype
    assert_close(got.double().cpu(), by_complex_numbers(x, 1000, 10000.0), atol=tolerance, rtol=tolerance)


def test_rotary_offset_is_a_slice(normal):
    x = normal(2, 9, 8)
    assert_close(rotary_positions(x[:, 4:], offset=4), rotary_positions(x)[:, 4:])


def test_rotary_keeps_lengths(normal):
    x = normal(7, 12)
    assert_close(rotary_positions(x, 5).norm(dim=-1), x.norm(dim=-1))


def test_rotary_scores_depend_on_distance_only(normal):
    q, k = normal(1, 16), normal(1, 16)
    scores = [(rotary_positions(q, t + 3) @ rotary_positions(k, t).T).item() for t in range(0, 60, 7)]
    assert_close(scores, [scores[0]] * len(scores))
    other = (rotary_positions(q, 4) @ rotary_positions(k, 0).T).item()
    assert abs(other - scores[0]) > 1e-3


@pytest.mark.parametrize(("T", "offset"), [(5, 0), (3, 2), (1, 4), (0, 5)])
def test_learned_positions_are_an_embedding_of_the_positions(T, offset, normal):
    table = normal(5, 8).requires_grad_()
    got = learned_positions(table, T, offset)
    want = torch.nn.functional.embedding(torch.arange(offset, offset + T), table)
    cotangent = normal(T, 8)
    assert torch.equal(got, want)
    assert torch.equal(*(torch.autograd.grad(y, table, cotangent)[0] for y in (got, want)))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: component.sinusoidal_positions(4, 7), "C=7 is odd"),
    (lambda: component.rotary_positions(torch.zeros(4, 3)), "head_dim=3 is odd"),
    (lambda: component.learned_positions(torch.zeros(4, 2), 5), "positions 0 to 4 were asked of a table for 0 to 3"),
    (lambda: component.learned_positions(torch.zeros(4, 2), 2, 3), "shorten the sequence"),
    (lambda: component.learned_positions(torch.zeros(4, 2), 2, -1), "positions -1 to 0"),
])  # fmt: skip
def test_bad_widths_and_lengths_are_told(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_each_row_may_have_a_position_of_its_own(dtype, normal):
    """Two documents in one row, padding on the left, and rows in any order: each as if it stood alone."""
    x = normal(2, 3, 7, 8, dtype=dtype)
    packed = torch.tensor([[0, 1, 2, 0, 1, 2, 3], [0, 0, 0, 1, 2, 3, 4]])
    turned = rotary_positions(x, positions=packed[:, None])
    assert torch.equal(turned[0, :, :3], rotary_positions(x[0, :, :3]))
    assert torch.equal(turned[0, :, 3:], rotary_positions(x[0, :, 3:]))
    assert torch.equal(turned[1, :, 2:], rotary_positions(x[1, :, 2:]))
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    moved = rotary_positions(x[..., order, :], offset=5, positions=order)
    assert torch.equal(moved, rotary_positions(x, 5)[..., order, :])
    with pytest.raises(ValueError, match=r"positions \(6,\), but x has T=7 rows"):
        component.rotary_positions(x, positions=torch.arange(6))


def test_packed_documents_attend_as_if_alone(normal):
    """Turned by positions of their own and hidden from each other, they are what each is by itself."""
    from mlsys_course.attention import attention, document_mask

    x, documents = normal(1, 2, 7, 8), torch.tensor([[0, 0, 0, 1, 1, 1, 1]])
    q = rotary_positions(x, positions=torch.tensor([0, 1, 2, 0, 1, 2, 3]))
    together = attention(q, q, x, document_mask(documents))
    for piece in (slice(0, 3), slice(3, 7)):
        q = rotary_positions(x[..., piece, :])
        torch.testing.assert_close(together[..., piece, :], attention(q, q, x[..., piece, :], causal=True))


@pytest.mark.parametrize("scaling", [RotaryScaling(8.0), RotaryScaling(32.0, 0.5, 2.0, 64)], ids=["3.1", "another"])
def test_scaled_frequencies_are_hugging_faces(scaling):
    """Bit for bit up to rounding, in all three ranges: kept, mixed and divided."""
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    parameters = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": scaling.factor,
                  "low_freq_factor": scaling.low, "high_freq_factor": scaling.high,
                  "original_max_position_embeddings": scaling.original_context}  # fmt: skip
    config = llama.LlamaConfig(hidden_size=128, num_attention_heads=1, rope_parameters=parameters)
    theirs = llama.LlamaRotaryEmbedding(config)
    plain = 500000.0 ** (-torch.arange(0, 128, 2) / 128)
    got = component.scaled_frequencies(plain, scaling)
    assert_close(got, theirs.inv_freq, rtol=1e-6, atol=0)
    ratio = plain / got
    divided = torch.isclose(ratio, torch.tensor(scaling.factor), rtol=1e-4)
    assert (ratio == 1).any() and divided.any() and ((ratio > 1.01) & ~divided).any()


def test_scaled_positions_are_hugging_faces(normal):
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    preset = llama31_8b()
    scaling = preset.rotary_scaling
    parameters = {"rope_type": "llama3", "rope_theta": preset.rotary_base, "factor": 8.0, "low_freq_factor": 1.0,
                  "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}  # fmt: skip
    config = llama.LlamaConfig(hidden_size=128, num_attention_heads=1, rope_parameters=parameters)
    q, k = normal(1, 1, 6, 128).float(), normal(1, 1, 6, 128).float()
    at = torch.tensor([0, 1, 700, 8191, 8192, 131071])
    cos, sin = llama.LlamaRotaryEmbedding(config)(q, at[None])
    for mine, theirs in zip((q, k), llama.apply_rotary_pos_emb(q, k, cos, sin), strict=True):
        got = rotary_positions(mine, base=preset.rotary_base, positions=at, scaling=scaling)
        assert_close(got, theirs, atol=0.1, rtol=0)  # at 131071 an angle in float32 is good to 0.01
        assert_close(got[..., :3, :], theirs[..., :3, :], atol=2e-4, rtol=0)
        assert not torch.allclose(got, rotary_positions(mine, base=preset.rotary_base, positions=at), atol=0.2)


def test_scaling_that_cannot_be_is_told():
    with pytest.raises(ValueError, match="factor=0; give a number above 0"):
        RotaryScaling(0)
    with pytest.raises(ValueError, match=r"low=4.0 is not below high=4.0"):
        RotaryScaling(8.0, 4.0)
    with pytest.raises(ValueError, match="original_context=0 is no size"):
        RotaryScaling(8.0, original_context=0)

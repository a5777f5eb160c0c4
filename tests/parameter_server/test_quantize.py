"""Random rounding against NumPy, closed forms of mean and variance, and PyTorch's own quantization."""

import numpy as np
import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped

from mlsys_course import parameter_server as P

quantize = jaxtyped(typechecker=beartype)(P.quantize)
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
LEVELS = torch.tensor([-2.0, -0.5, 0.0, 0.25, 3.0])


def by_numpy(x: float, levels: list[float], u: float) -> int:
    """The definition, read off for one entry."""
    if x >= levels[-1]:
        return len(levels) - 1
    if x <= levels[0]:
        return 0
    below = max(i for i, level in enumerate(levels) if level <= x)
    return below + int(u < (x - levels[below]) / (levels[below + 1] - levels[below]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_entry_by_the_definition(normal, dtype):
    x, u = (2 * normal(6, 9)).to(dtype), torch.from_numpy(np.random.Generator(np.random.PCG64(3)).random((6, 9)))
    levels = LEVELS.to(dtype)
    codes = quantize(x, levels, u)
    wanted = [
        by_numpy(*pair) for pair in zip(x.flatten().tolist(), [levels.tolist()] * 54, u.flatten().tolist(), strict=True)
    ]
    assert codes.shape == x.shape and codes.dtype == torch.int64
    assert codes.flatten().tolist() == wanted


def test_the_mean_over_a_sweep_is_the_entry_and_the_variance_that_of_a_coin():
    """Over u = (i + 1/2) / n the mean is p to 1 / (2 n); a coin between a and b has the variance (x - a)(b - x)."""
    x, n = torch.linspace(-2, 3, 101).double(), 4000
    found = torch.stack([LEVELS[quantize(x, LEVELS.double(), (i + 0.5) / n)] for i in range(n)]).double()
    torch.testing.assert_close(found.mean(0), x, rtol=0, atol=2.75 / n)
    below = torch.stack([LEVELS[entry >= LEVELS][-1] for entry in x.tolist()[:-1]] + [LEVELS[-1]])
    above = torch.stack([LEVELS[entry <= LEVELS][0] for entry in x.tolist()])
    torch.testing.assert_close(found.var(0, correction=0), (x - below) * (above - x), rtol=0, atol=5e-3)


def test_an_entry_on_a_level_stays_there_whatever_is_drawn():
    for u in (0.0, 0.5, 1 - 2**-24):  # the largest float32 below 1
        assert quantize(LEVELS, LEVELS, u).tolist() == [0, 1, 2, 3, 4]


def test_one_half_rounds_to_the_nearest_level_and_down_between_two():
    x = torch.tensor([-2.0, -1.26, -1.25, -1.24, 0.125, 0.13, 1.62, 1.63, 9.0])
    assert quantize(x, LEVELS, 0.5).tolist() == [0, 0, 0, 1, 2, 3, 3, 4, 4]


def test_beyond_the_levels_and_other_edges():
    inf = float("inf")
    assert quantize(torch.tensor([-inf, -7.0, 7.0, inf]), LEVELS, 0.9999).tolist() == [0, 0, 4, 4]
    assert quantize(torch.tensor([-inf, -7.0, 1.0, 7.0, inf]), torch.tensor([1.0]), 0.0).tolist() == [0] * 5
    assert quantize(torch.zeros(0, 3), LEVELS, torch.zeros(0, 3)).shape == (0, 3)
    assert quantize(torch.tensor(0.2), LEVELS, 0.1).shape == ()
    with pytest.raises(ValueError, match="1 entries are NaN"):
        quantize(torch.tensor([0.0, float("nan")]), LEVELS, 0.5)


def test_strided_entries(normal):
    x, u = normal(6, 8), torch.rand(6, 8, dtype=torch.float64)
    assert torch.equal(quantize(x.T, LEVELS, u.T), quantize(x, LEVELS, u).T)
    assert torch.equal(quantize(x[::2, 1:5], LEVELS, u[::2, 1:5]), quantize(x, LEVELS, u)[::2, 1:5])


def test_nearest_on_even_levels_is_pytorchs_fake_quantization(normal):
    """Which rounds half to even; off the halves both must agree."""
    x = normal(4000).float()
    scale = float(x.abs().max()) / 127
    theirs = torch.fake_quantize_per_tensor_affine(x, scale, 0, -127, 127)
    off = ((x / scale).abs() % 1 - 0.5).abs() > 1e-3
    levels = torch.arange(-127.0, 128)
    assert off.sum() > 3900
    torch.testing.assert_close(scale * levels[quantize(x / scale, levels, 0.5)][off], theirs[off])


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("n", [0, 1, 7, 8, 33])
def test_codes_packed_as_numpy_packs_bits(bits, n):
    codes = torch.from_numpy(np.random.Generator(np.random.PCG64(bits)).integers(0, 2**bits, n))
    stream = (codes.numpy()[:, None] >> np.arange(bits)) & 1
    packed = P.pack_codes(codes, bits)
    assert packed.dtype == torch.uint8
    assert packed.tolist() == np.packbits(stream.astype(np.uint8).ravel(), bitorder="little").tolist()
    assert torch.equal(P.unpack_codes(packed, bits, n), codes)


def test_quantile_levels_have_equal_shares_between_them(normal):
    x = normal(20_001).float()
    levels = P.quantile_levels(x, 17)
    np.testing.assert_allclose(levels.numpy(), np.quantile(x.numpy(), np.linspace(0, 1, 17)), atol=1e-3)
    counts = torch.histogram(x, levels).hist
    assert counts.min() >= 1249 and counts.max() <= 1252


def test_quantile_levels_of_many_equal_values_are_each_there_once():
    x = torch.cat([torch.zeros(90), torch.arange(1.0, 11)])
    assert P.quantile_levels(x, 5).tolist() == [0.0, 10.0]

"""Every compressor: bytes by formula, unbiasedness by sweep and draw, known errors, and over real messages."""

import numpy as np
import pytest
import torch

from mlsys_course import parameter_server as P
from mlsys_course.parameter_server.compressed import ErrorFeedback, compressed_push_pull
from mlsys_course.substrate.ranks import RankRaised, run, run_in_threads

COMPRESSORS = {compressor.name: compressor for compressor in P.all_compressors()}
N = 1000
BYTES = {  # of 1,000 entries: buckets of 256 make four scales
    "none": 4 * N, "fp16": 2 * N, "uniform 8 bits": N + 16, "QSGD 4 bits": N // 2 + 16, "quantiles 4 bits": N // 2 + 64,
    "ternary": N // 4 + 16, "sign, scaled": N // 8 + 4, "sign": N // 8, "top-k 1%": 80, "random-k 1%": 80,
}  # fmt: skip


def uniforms(*shape: int, seed: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).random(shape, dtype=np.float32))


def test_each_is_in_the_table():
    assert COMPRESSORS.keys() == BYTES.keys()


@pytest.mark.parametrize("name", BYTES)
def test_bytes_are_what_the_formula_says_whatever_the_values(normal, name):
    compressor, x = COMPRESSORS[name], normal(N).float()
    for values in (x, torch.zeros(N), torch.ones(N), x * 1e-30):
        payload = compressor.encode(values, uniforms(N))
        assert P.bytes_sent(payload) == BYTES[name]
        assert [(b.shape, b.dtype) for b in compressor.buffers(N)] == [(p.shape, p.dtype) for p in payload]
        assert compressor.decode(payload, N).isfinite().all()


@pytest.mark.parametrize("name", BYTES)
@pytest.mark.parametrize("n", [0, 1, 257])
def test_any_length(normal, name, n):
    compressor = COMPRESSORS[name]
    decoded = compressor.decode(compressor.encode(normal(n).float(), uniforms(n)), n)
    assert decoded.shape == (n,) and decoded.dtype == torch.float32


@pytest.mark.parametrize("name", [c.name for c in COMPRESSORS.values() if c.unbiased])
def test_the_mean_over_draws_is_the_gradient(normal, name):
    compressor, x, draws = COMPRESSORS[name], normal(40).float(), 2000
    found = torch.stack([compressor.decode(compressor.encode(x, u), 40) for u in uniforms(draws, 40)]).double()
    spread = found.std(0) / draws**0.5
    assert ((found.mean(0) - x).abs() <= 4.5 * spread + 1e-6).all()


@pytest.mark.parametrize("name", [c.name for c in COMPRESSORS.values() if not c.unbiased])
def test_the_biased_ones_draw_nothing(normal, name):
    compressor, x = COMPRESSORS[name], normal(40).float()
    one, other = (compressor.decode(compressor.encode(x, uniforms(40, seed=s)), 40) for s in (1, 2))
    assert torch.equal(one, other)


def test_known_errors(normal):
    x = normal(N).float()
    decoded = {name: c.decode(c.encode(x, uniforms(N)), N) for name, c in COMPRESSORS.items()}
    assert torch.equal(decoded["none"], x)
    assert torch.equal(decoded["fp16"], x.half().float())
    assert ((decoded["uniform 8 bits"] - x).abs() <= x.abs().max() / 254 * 1.001).all()
    assert torch.equal(decoded["sign"], torch.where(x >= 0, 1.0, -1.0))
    torch.testing.assert_close(decoded["sign, scaled"], x.sign() * x.abs().mean())
    assert (decoded["top-k 1%"] != 0).sum() == 10
    assert COMPRESSORS["fp16"].decode(COMPRESSORS["fp16"].encode(torch.tensor([1e9]), uniforms(1)), 1) == 65504


def test_qsgds_variance_is_within_the_papers_bound(normal):
    """Lemma 3.1: E|Q(x) - x|^2 <= min(n / s^2, sqrt(n) / s) |x|^2, here in one bucket of 256 with s = 7."""
    x, compressor = normal(256).float(), P.qsgd(4)
    errors = [(compressor.decode(compressor.encode(x, u), 256) - x).square().sum() for u in uniforms(100, 256)]
    bound = min(256 / 49, 16 / 7) * x.square().sum()
    assert 0.1 * bound < torch.stack(errors).mean() < bound


def test_levels_at_the_quantiles_beat_even_ones_on_gradients_with_long_tails(normal):
    x = normal(4096).float() ** 3  # most are tiny and a few are large
    even = P.uniform_levels(16, float(x.min()), float(x.max()))
    errors = {}
    for name, levels in {"even": even, "quantiles": P.quantile_levels(x, 16)}.items():
        errors[name] = float((levels[P.quantize(x, levels, 0.5)] - x).abs().median())
    assert errors["quantiles"] < errors["even"] / 5


def mean_of_steps(comm, name, keeps, steps, n=64):
    """What a rank decodes over the steps, and what it would be without compression."""
    feedback = ErrorFeedback(COMPRESSORS[name], keeps)
    rows = []
    for step in range(steps):
        gradient = torch.from_numpy(np.random.Generator(np.random.PCG64([comm.rank, step])).standard_normal(n)).float()
        u = uniforms(n, seed=100 * step + comm.rank)
        rows.append(compressed_push_pull(gradient + torch.arange(n) / n, comm, feedback, u))
    return torch.stack(rows)


@pytest.mark.parametrize("name", BYTES)
def test_all_ranks_decode_the_same_bits_and_the_bytes_counted_are_those_sent(name):
    results, traffic = run_in_threads(lambda comm: mean_of_steps(comm, name, False, 2), 4)
    assert all(torch.equal(result, results[0]) for result in results)
    one = P.bytes_sent(COMPRESSORS[name].buffers(64))
    assert list(traffic.bytes_sent) == [2 * 3 * one, 2 * one, 2 * one, 2 * one]


def test_over_gloo_as_over_threads():
    over_gloo = run(mean_of_steps, 2, backend="gloo", args=("QSGD 4 bits", False, 3)).results
    threads, _ = run_in_threads(lambda comm: mean_of_steps(comm, "QSGD 4 bits", False, 3), 2)
    assert all(torch.equal(a, b) for a, b in zip(over_gloo, threads, strict=True))


@pytest.mark.parametrize("name", ["top-k 1%", "sign, scaled"])
def test_with_error_feedback_sums_over_steps_come_near_and_without_they_do_not(name):
    kept, lost, exact = (
        run_in_threads(lambda comm, n=n, k=k: mean_of_steps(comm, n, k, 300), 3)[0][0].sum(0)
        for n, k in ((name, True), (name, False), ("none", False))
    )
    assert (kept - exact).norm() < 0.5 * (lost - exact).norm()


def test_a_world_of_one_is_refused():
    with pytest.raises(RankRaised, match="no worker"):
        run_in_threads(lambda comm: mean_of_steps(comm, "none", False, 1), 1)

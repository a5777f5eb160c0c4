"""``chunked_cross_entropy`` against ``F.cross_entropy`` and autograd, forward and backward."""

import pytest
import torch
import torch.nn.functional as F
from beartype import beartype
from jaxtyping import jaxtyped

from mlsys_course import memory
from mlsys_course.desk.check.meter import peak_bytes
from mlsys_course.memory import ChunkedCrossEntropy
from mlsys_course.memory.fused_cross_entropy import fits
from mlsys_course.substrate.dtypes import NotFloating

chunked_cross_entropy = jaxtyped(typechecker=beartype)(memory.chunked_cross_entropy)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 1e-2}


def head(tokens: int, words: int, dtype: torch.dtype, device: str = "cpu", ignored: float = 0.0) -> dict:
    """A head's inputs; a share of about ``ignored`` targets is -100."""
    generator = torch.Generator().manual_seed(tokens)
    hidden, weight = (torch.randn(n, 8, generator=generator, dtype=torch.float64) for n in (tokens, words))
    targets = torch.randint(words, (tokens,), generator=generator)
    targets[torch.rand(tokens, generator=generator) < ignored] = -100
    return {"hidden": hidden.to(device, dtype), "weight": weight.to(device, dtype), "targets": targets.to(device)}


def pytorchs(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> list[torch.Tensor]:
    """Loss and gradients by PyTorch, in float64."""
    h, w = hidden.double().requires_grad_(), weight.double().requires_grad_()
    loss = F.cross_entropy(h @ w.T, targets)
    return [loss.detach(), *torch.autograd.grad(loss, (h, w))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("chunk", [1, 7, 20, 41, 1000])
def test_loss_and_gradients_are_pytorchs(chunk, dtype, device):
    given = head(41, 13, dtype, device, ignored=0.3)
    results = chunked_cross_entropy(**given, chunk=chunk)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert [result.dtype for result in results] == [wide, dtype, dtype]
    for got, want in zip(results, pytorchs(**given), strict=True):
        torch.testing.assert_close(got.double(), want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] / 5)


def test_logits_that_exp_cannot_hold():
    given = head(20, 9, torch.float32)
    given["hidden"] = given["hidden"] * 100
    for got, want in zip(chunked_cross_entropy(**given, chunk=6), pytorchs(**given), strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-4)


def test_another_ignore_index_and_nothing_that_counts():
    given = head(20, 9, torch.float64, ignored=0.5)
    other = {**given, "targets": given["targets"].where(given["targets"] != -100, 3)}
    want = pytorchs(**{**other, "targets": other["targets"].where(other["targets"] != 3, -100)})
    for got, expected in zip(chunked_cross_entropy(**other, chunk=6, ignore_index=3), want, strict=True):
        torch.testing.assert_close(got, expected)
    nothing = chunked_cross_entropy(given["hidden"], given["weight"], torch.full((20,), -100), chunk=6)
    assert not any(bool(result.any()) for result in nothing)
    empty = chunked_cross_entropy(given["hidden"][:0], given["weight"], given["targets"][:0])
    assert not any(bool(result.any()) for result in empty) and empty[1].shape == (0, 8)


def test_inputs_stay_as_they_are():
    given = head(20, 9, torch.float32, ignored=0.5)
    before = {name: tensor.clone() for name, tensor in given.items()}
    chunked_cross_entropy(**given, chunk=6)
    assert all(torch.equal(given[name], before[name]) for name in given)


def test_backward_goes_through_the_loss():
    given = head(11, 5, torch.float64, ignored=0.3)
    hidden, weight = (given[name].requires_grad_() for name in ("hidden", "weight"))

    def loss(hidden, weight):
        return 3 * ChunkedCrossEntropy.apply(hidden.tanh(), weight, given["targets"], 4)

    assert torch.autograd.gradcheck(loss, (hidden, weight))


def test_peak_memory_is_a_chunks_and_not_the_whole_texts():
    given = head(2048, 2048, torch.float32)
    whole = 4 * 2048 * 2048
    results = 4 * 2 * 2048 * 8
    peaks = {chunk: peak_bytes(memory.chunked_cross_entropy, **given, chunk=chunk) for chunk in (2048, 256, 32)}
    assert peaks[2048] > whole
    for chunk in (256, 32):
        assert peaks[chunk] < 3 * whole * chunk / 2048 + 3 * results


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": torch.ones(9, 7)}, r"shapes \(20, 8\), \(9, 7\), \(20,\); they must be"),
        ({"targets": torch.ones(19, dtype=torch.int64)}, r"\(19,\); they must be"),
        ({"chunk": 0}, "chunk=0 must be at least 1 token"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        memory.chunked_cross_entropy(**{**head(20, 9, torch.float32), **changes})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("chunk", [256, 5000])
def test_a_loss_scale_keeps_small_gradients(chunk, dtype):
    """Of words that are never a target, each token's part is below float16's least number, but for the scale."""
    given, scale = head(2000, 3000, dtype, ignored=0.1), 2.0**16
    given["weight"], given["targets"] = given["weight"] / 8, given["targets"].clamp(max=9)
    given["hidden"][:, 0], given["weight"][:, 0], given["weight"][:10, 0] = 1, 0, 6  # ten likely words
    leaves = [given[name].requires_grad_() for name in ("hidden", "weight")]
    (ChunkedCrossEntropy.apply(*leaves, given["targets"], chunk) * scale).backward()
    right = pytorchs(**{name: x.detach() for name, x in given.items()})[1:]
    close = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float32: 1e-5, torch.float64: 1e-10}[dtype]
    for leaf, want, first in zip(leaves, right, (0, 10), strict=True):
        assert leaf.grad.dtype == dtype
        error = (leaf.grad.double() / scale - want)[first:, 1:].norm() / want[first:, 1:].norm()
        assert error < close, float(error)


def test_many_tokens_of_one_word_do_not_overflow():
    given = head(4096, 3, torch.float16)
    given["hidden"], given["targets"] = given["hidden"].abs() * 40, torch.zeros(4096, dtype=torch.int64)
    given["weight"] = -given["weight"].abs() / 40 * torch.tensor([[1.0], [0.1], [0.1]]).half()
    for got, want in zip(chunked_cross_entropy(**given, chunk=4096), pytorchs(**given), strict=True):
        torch.testing.assert_close(got.double(), want, rtol=5e-3, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_inputs_that_require_a_gradient_are_taken(dtype):
    given = head(41, 13, dtype)
    plain = chunked_cross_entropy(**given, chunk=7)
    wanting = {name: x.requires_grad_() if x.is_floating_point() else x for name, x in given.items()}
    for got, want in zip(memory.chunked_cross_entropy(**wanting, chunk=7), plain, strict=True):
        assert not got.requires_grad and torch.equal(got, want)


TRUNCATING = {  # ours, and what PyTorch refuses alike
    "chunked_cross_entropy": (
        lambda x: memory.chunked_cross_entropy(x, x, torch.tensor([0, 1])),
        lambda x: F.cross_entropy(x @ x.mT, torch.tensor([0, 1])),
    ),
    "ChunkedCrossEntropy": (
        lambda x: memory.ChunkedCrossEntropy.apply(x, x, torch.tensor([0, 1])),
        lambda x: F.softmax(x, -1),
    ),
}


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.int64, torch.complex64], ids=str)
@pytest.mark.parametrize("name", TRUNCATING)
def test_numbers_without_fractions_are_refused(name, dtype):
    ours, theirs = TRUNCATING[name]
    x = torch.tensor([[1, 0, 1], [0, 1, 1]]).to(dtype)
    with pytest.raises(NotFloating, match=rf"is {dtype}; floating-point numbers are expected"):
        ours(x)
    if theirs and not dtype.is_complex:
        with pytest.raises((RuntimeError, NotImplementedError)):
            theirs(x)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("words", [37, 8192, 20_001])
def test_one_kernel_gives_pytorchs_numbers(words, dtype):
    """Rows of less than a block, of one, and of a part of the third."""
    given = head(300, words, dtype, "cuda", ignored=0.3)
    assert fits(given["hidden"], given["weight"])
    results = chunked_cross_entropy(**given, chunk=128)
    assert [result.dtype for result in results] == [torch.float32, dtype, dtype]
    for got, want in zip(results, pytorchs(**given), strict=True):
        tolerance = {"rtol": 2e-2, "atol": 2e-2 * want.abs().max().item()}
        torch.testing.assert_close(got.double(), want, **tolerance)
    nothing = chunked_cross_entropy(
        given["hidden"], given["weight"], torch.full_like(given["targets"], -100), chunk=128
    )
    assert not any(bool(result.any()) for result in nothing)

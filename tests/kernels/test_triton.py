"""The Triton kernels against PyTorch: on a card where there is one, else in Triton's interpreter."""

import importlib
import math
import os

import pytest
import torch
import torch.nn.functional as F

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read where Triton's own functions are made, at its import
pytest.importorskip("triton", reason="pip install triton")
DTYPE = torch.float16 if DEVICE == "cuda" else torch.float32  # the interpreter multiplies in NumPy


@pytest.fixture(scope="module")
def kernels():
    return importlib.import_module("mlsys_course.kernels.triton")


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    torch.testing.assert_close(got.float(), want.float(), atol=2e-2 if torch.float16 == DTYPE else 1e-4, rtol=1e-2)


@pytest.mark.parametrize("sizes", [(64, 32, 64), (100, 70, 130), (1, 5, 3), (65, 1, 64)])
def test_matmul(kernels, sizes, normal):
    m, k, n = sizes
    a, b = (normal(*shape).to(DEVICE, DTYPE) for shape in ((m, k), (k, n)))
    close(kernels.matmul(a, b), a.double() @ b.double())
    close(kernels.matmul(b.T, a.T), (a.double() @ b.double()).T)
    with pytest.raises(ValueError, match="shapes are"):
        kernels.matmul(a, a[:, :0])


@pytest.mark.parametrize("shape", [(3, 8), (2, 1), (4, 1000), (0, 5)])
def test_softmax(kernels, shape, normal):
    x = (normal(*shape) * 20).to(DEVICE, DTYPE)
    close(kernels.softmax(x), x.float().softmax(-1))
    with pytest.raises(ValueError, match="online"):
        kernels.softmax(torch.zeros(1, (1 << 16) + 1, device=DEVICE))


CASES = [(32, 32, 16, False), (40, 70, 16, False), (64, 64, 32, True), (45, 45, 16, True), (20, 75, 16, True),
         (75, 20, 16, True), (1, 33, 16, True), (33, 1, 16, False)]  # fmt: skip


@pytest.mark.parametrize(("T", "S", "D", "causal"), CASES)
def test_attention_and_its_gradients(kernels, T, S, D, causal, normal):
    ours = [normal(1, 2, n, D).to(DEVICE, DTYPE).requires_grad_() for n in (T, S, S)]
    others = [x.detach().double().requires_grad_() for x in ours]
    grad = normal(1, 2, T, D).to(DEVICE, DTYPE)
    mask = torch.ones(T, S, dtype=torch.bool, device=DEVICE)
    mask = mask.tril(S - T) if causal else mask
    empty = ~mask.any(1, keepdim=True)
    want = F.scaled_dot_product_attention(*others, mask | empty).masked_fill(empty, 0)
    got = kernels.attend(*ours, causal)
    close(got, want)
    (got * grad).sum().backward()
    (want * grad).sum().backward()
    for x, y in zip(ours, others, strict=True):
        assert x.grad is not None and y.grad is not None
        close(x.grad, y.grad)


def test_widths_that_the_kernels_do_not_take(kernels):
    for D in (8, 48, 256):
        x = torch.zeros(1, 1, 4, D, device=DEVICE)
        with pytest.raises(ValueError, match="16, 32, 64, 128"):
            kernels.attend(x, x, x)
    with pytest.raises(ValueError, match="twice"):
        kernels.attend(*(torch.zeros(1, h, 4, 16, device=DEVICE) for h in (1, 2, 2)))
    assert math.isfinite(float(kernels.attend(*[torch.zeros(1, 1, 4, 16, device=DEVICE)] * 3).sum()))

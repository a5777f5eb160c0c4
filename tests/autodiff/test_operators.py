"""Every operator agrees with PyTorch, forward and backward, over drawn shapes, dtypes and devices."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlsys_course.substrate.graph as G
from mlsys_course.autodiff import Evaluator, gradient

from . import operators as ops
from .operators import Twice, draw_input

DTYPES = [torch.float64, torch.float32]
CLOSE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.06}
SIZES = st.sampled_from([0, 1, 1, 2, 3])
few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def agrees(twice: Twice, shapes, dtype, seed, device="cpu") -> None:
    """Value and gradients of sum(value * cotangent), by ours and by PyTorch's."""
    generator = torch.Generator().manual_seed(seed)
    pairs = zip(twice.inputs, shapes, strict=True)
    tensors = [draw_input(kind, shape, dtype, generator).to(device) for kind, shape in pairs]
    nodes = [G.variable(f"x{n}", tuple(x.shape), x.dtype) for n, x in enumerate(tensors)]
    leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in tensors]
    theirs = twice.theirs(*leaves)
    ours = twice.ours(*nodes)
    assert ours.kind == (tuple(theirs.shape), theirs.dtype)
    cotangent = torch.randn(theirs.shape, generator=generator, dtype=torch.float64).to(dtype).to(device)
    wanted = [x for x in leaves if x.requires_grad]
    seed_node = G.variable("cotangent", ours.shape, ours.dtype)
    found = gradient(ours, [node for node, x in zip(nodes, leaves, strict=True) if x.requires_grad], seed=seed_node)
    got = Evaluator([ours, *found])({**dict(zip(nodes, tensors, strict=True)), seed_node: cotangent})
    right = [theirs.detach(), *torch.autograd.grad(theirs, wanted, cotangent, materialize_grads=True)]
    for mine, other in zip(got, right, strict=True):
        assert mine.shape == other.shape and mine.dtype == other.dtype
        torch.testing.assert_close(mine, other, rtol=CLOSE[dtype], atol=CLOSE[dtype], equal_nan=True)


@st.composite
def broadcasting(draw):
    """Two shapes that broadcast: some axes missing, some of size one, some empty."""
    whole = draw(st.lists(SIZES, max_size=3))

    def part():
        kept = whole[draw(st.integers(0, len(whole))) :]
        return tuple(draw(st.sampled_from([size, 1])) for size in kept)

    return part(), part()


@pytest.mark.parametrize("dtype", DTYPES)
@given(shape=st.lists(SIZES, max_size=3).map(tuple), seed=st.integers(0, 99))
@few
def test_functions_of_one(device, dtype, shape, seed):
    for twice in ops.UNARY.values():
        agrees(twice, [shape], dtype, seed, device)


@pytest.mark.parametrize("dtype", DTYPES)
@given(shapes=broadcasting(), seed=st.integers(0, 99))
@few
def test_functions_of_two_broadcast(device, dtype, shapes, seed):
    for twice in ops.BINARY.values():
        agrees(twice, shapes, dtype, seed, device)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), keepdims=st.booleans(), seed=st.integers(0, 99))
@few
def test_reductions(device, dtype, data, keepdims, seed):
    shape = tuple(data.draw(st.lists(SIZES, max_size=3)))
    axes = data.draw(st.none() | st.sets(st.integers(0, max(0, len(shape) - 1))).map(sorted)) if shape else None
    for name, twice in ops.reductions(axes, keepdims).items():
        if name != "max" or 0 not in shape:
            agrees(twice, [shape], dtype, seed, device)


@pytest.mark.parametrize("dtype", DTYPES)
@given(shape=st.lists(SIZES, min_size=2, max_size=3).map(tuple), seed=st.integers(0, 99))
@few
def test_changes_of_shape(device, dtype, shape, seed):
    for twice in ops.shapes(shape).values():
        agrees(twice, [shape], dtype, seed, device)


@pytest.mark.parametrize("dtype", DTYPES)
@given(batches=broadcasting(), sizes=st.tuples(SIZES, SIZES, SIZES), seed=st.integers(0, 99))
@few
def test_matrix_products(device, dtype, batches, sizes, seed):
    rows, inner, columns = sizes
    agrees(ops.MATRICES, [(*batches[0], rows, inner), (*batches[1], inner, columns)], dtype, seed, device)


@pytest.mark.parametrize("dtype", DTYPES)
@given(lead=st.lists(SIZES, max_size=2), width=st.integers(1, 4), seed=st.integers(0, 99))
@few
def test_what_networks_are_made_of(device, dtype, lead, width, seed):
    shape = (*lead, width)
    for twice in ops.NETWORK.values():
        agrees(twice, [shape], dtype, seed, device)
    agrees(ops.NORMS["layer_norm"], [shape, (width,), (width,)], dtype, seed, device)
    agrees(ops.NORMS["rms_norm"], [shape, (width,)], dtype, seed, device)
    agrees(ops.EMBEDDING, [(3, width), tuple(lead)], dtype, seed, device)
    if 0 not in lead:
        agrees(ops.CROSS_ENTROPY, [(*lead, width + 2), tuple(lead)], dtype, seed, device)


@pytest.mark.parametrize("name", ops.fixed())
def test_bfloat16_stays_within_its_precision(name):
    twice, shapes = ops.fixed()[name]
    agrees(twice, shapes, torch.bfloat16, 3)


def test_ties_share_the_gradient_of_a_maximum():
    x = G.variable("x", (4,), torch.float64)
    (found,) = gradient(G.max(x), [x])
    (got,) = Evaluator([found])({x: torch.tensor([2.0, 5.0, 5.0, 1.0], dtype=torch.float64)})
    assert got.tolist() == [0, 0.5, 0.5, 0]


def test_where_passes_nothing_to_what_was_not_chosen():
    x = G.variable("x", (2,), torch.float64)
    (found,) = gradient(G.sum(G.where(x > 0, G.log(x), x)), [x])
    (got,) = Evaluator([found])({x: torch.tensor([2.0, -1.0], dtype=torch.float64)})
    assert got.tolist() == [0.5, 1.0]


def test_a_cast_converts_the_gradient_back():
    x = G.variable("x", (2,), torch.float32)
    y = G.sum(G.cast(x, torch.float64) * 2.0)
    (found,) = gradient(y, [x])
    (got,) = Evaluator([found])({x: torch.ones(2)})
    assert y.dtype == torch.float64 and got.dtype == torch.float32 and got.tolist() == [2, 2]


HALVES = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2}  # twice the distance between neighbours
LARGE = {  # float16 ends at 65,504, and the squares or sums of these are beyond
    "layer_norm": (ops.NORMS["layer_norm"], [[300.0, -300, 200, -100]], [4, 4]),
    "rms_norm": (ops.NORMS["rms_norm"], [[300.0, -300, 200, -100], [2.0, 300, 300, 1]], [4]),
    "softmax": (ops.NETWORK["softmax"], [[3.0, 1, 2, 0], [-200, 100, 101, 102]], []),
    "log_softmax": (ops.NETWORK["log_softmax"], [[3.0, 1, 2, 0], [-200, 100, 101, 102]], []),
}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("weight", [1.0, 30_000.0])
def test_16_bits_hold_inputs_and_gradients_but_not_the_sums_between(name, dtype, weight):
    """The gradient in 16 bits is that in float64, rounded once: as exact as PyTorch's kernels."""
    twice, rows, widths = LARGE[name]
    tensors = [torch.tensor(rows, dtype=dtype), *(torch.linspace(0.5, 2, width).to(dtype) for width in widths)]
    nodes = [G.variable(f"x{n}", tuple(x.shape), dtype) for n, x in enumerate(tensors)]
    cotangent = torch.linspace(-1, 1, tensors[0].numel()).reshape(tensors[0].shape).mul(weight).to(dtype)
    found = gradient(twice.ours(*nodes), nodes, seed=(seed := G.variable("seed", tuple(cotangent.shape), dtype)))
    got = Evaluator(found)({**dict(zip(nodes, tensors, strict=True)), seed: cotangent})
    leaves = [x.double().requires_grad_() for x in tensors]
    right = torch.autograd.grad(twice.theirs(*leaves), leaves, cotangent.double())
    for mine, other in zip(got, right, strict=True):
        assert mine.dtype == dtype
        # softmax's rule starts from its own rounded result, and so does PyTorch's
        scale = weight if "softmax" in name else other.abs().max()
        torch.testing.assert_close(mine.double(), other, rtol=HALVES[dtype], atol=HALVES[dtype] * float(scale))


@pytest.mark.parametrize("dtype", HALVES)
def test_the_mean_loss_of_many_targets_in_16_bits(dtype):
    generator = torch.Generator().manual_seed(3)
    logits, ids = torch.randn(3000, 5, generator=generator).to(dtype), torch.randint(5, (3000,), generator=generator)
    x, y = G.variable("x", (3000, 5), dtype), G.variable("y", (3000,), torch.int64)
    (found,) = gradient(G.cross_entropy(x, y) * 2.0**12, [x])
    (got,) = Evaluator([found])({x: logits, y: ids})
    leaf = logits.double().requires_grad_()
    (right,) = torch.autograd.grad(2.0**12 * torch.nn.functional.cross_entropy(leaf, ids), leaf)
    torch.testing.assert_close(got.double(), right, rtol=HALVES[dtype], atol=1e-5)

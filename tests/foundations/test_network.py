"""The network by hand against autograd and the lecture's sum over paths; training and the pipelines."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from mlsys_course.foundations import (
    BadInput,
    backward,
    forward,
    initial,
    momentum_step,
    path_shares,
    pipeline,
    sentiment_classifier,
    train,
)
from mlsys_course.substrate import data
from tests.packages import RATINGS, needs

WIDTHS = [(4, 3), (3, 5, 4, 2), (2, 2, 2, 1), (4, 4, 4, 4), (3, 6, 5, 4, 3, 2)]


def parameters(normal, widths, device, dtype=torch.float64):
    weights = [normal(n, m, dtype=dtype).to(device) for n, m in itertools.pairwise(widths)]
    return weights, [normal(m, dtype=dtype).to(device) for m in widths[1:]]


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("batch", [0, 1, 6])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradients_are_autograds(normal, widths, batch, dtype, device):
    weights, biases = parameters(normal, widths, device, dtype)
    x, grad = normal(batch, widths[0], dtype=dtype).to(device), normal(batch, widths[-1], dtype=dtype).to(device)
    leaves = [p.clone().requires_grad_() for p in (*weights, *biases)]
    out = x
    for n in range(len(weights)):
        out = F.linear(out if n == 0 else F.relu(out), leaves[n].T, leaves[len(weights) + n])
    expected = torch.autograd.grad(out, leaves, grad)
    z, a = forward(x, weights, biases)
    torch.testing.assert_close(z[-1], out.detach())
    assert len(z) == len(a) == len(weights) and torch.equal(a[0], x)
    found = backward(weights, z, a, grad)
    for got, want in zip([*found[0], *found[1]], expected, strict=True):
        torch.testing.assert_close(got, want)


def test_in_bfloat16_near_float32(normal, device):
    weights, biases = parameters(normal, (4, 4, 4, 2), device, torch.float32)
    x, grad = normal(3, 4, dtype=torch.float32).to(device), normal(3, 2, dtype=torch.float32).to(device)
    z, a = forward(x, weights, biases)
    half = [[t.bfloat16() for t in group] for group in (weights, z, a)]
    for got, want in zip(backward(*half, grad.bfloat16())[0], backward(weights, z, a, grad)[0], strict=True):
        assert got.dtype == torch.bfloat16
        torch.testing.assert_close(got.float(), want, rtol=0.05, atol=0.2)


@pytest.mark.parametrize("widths", [(2, 2, 2, 1), (3, 4, 5, 2)])
def test_the_lectures_paths_add_up_to_the_matrix_form(normal, widths):
    alive = 0
    for _ in range(8):
        weights, biases = parameters(normal, widths, "cpu")
        z, a = forward(normal(1, widths[0]), weights, biases)
        grad = normal(1, widths[-1])
        (first, *_), _ = backward(weights, z, a, grad)
        for i, j in itertools.product(range(widths[0]), range(widths[1])):
            shares = path_shares(weights, z, a, grad, i, j)
            assert shares.shape == (widths[2], widths[3])
            torch.testing.assert_close(shares.sum(), first[i, j])
            alive += int(shares.count_nonzero())
    assert alive >= 4


@pytest.mark.parametrize(
    ("weights", "biases", "said"),
    [
        ([], [], "0 weights and 0 biases"),
        ([torch.zeros(3, 2)], [], "1 weights and 0 biases"),
        ([torch.zeros(4, 2)], [torch.zeros(2)], r"weight 0 has shape \(4,\), expected \(3,\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(weights, biases, said):
    with pytest.raises(BadInput, match=said):
        forward(torch.zeros(1, 3), weights, biases)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_are_those_of_pytorchs_sgd(normal, momentum):
    w = normal(3, 2)
    leaf = w.clone().requires_grad_()
    optimizer = torch.optim.SGD([leaf], lr=0.1, momentum=momentum)
    parameters, velocities = [w], [torch.zeros_like(w)]
    for _ in range(4):
        leaf.grad = normal(3, 2)
        parameters, velocities = momentum_step(parameters, [leaf.grad], velocities, 0.1, momentum)
        optimizer.step()
    torch.testing.assert_close(parameters[0], leaf.detach())


def test_digits_are_learned(device):
    images, digits = (tensor.to(device) for tensor in data.digits())
    generator = torch.Generator().manual_seed(0)
    weights, biases = initial([64, 32, 16, 10], generator, device)
    weights, biases, losses = train(
        images[360:], digits[360:], weights, biases, generator, epochs=6, lr=0.05, momentum=0.9
    )
    answers = forward(images[:360], weights, biases)[0][-1].argmax(-1)
    assert losses[-1] < 0.3 < 1.5 < losses[0] and (answers == digits[:360]).float().mean() > 0.85


def test_training_needs_an_example():
    with pytest.raises(BadInput, match="x has no rows"):
        train(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), [], [], torch.Generator(), epochs=1, lr=0.1)


def test_a_list_is_several_inputs_and_all_else_is_one():
    run = pipeline(lambda text: text.split(), len, lambda n: {"words": n})
    assert run("one two") == [{"words": 2}] and run(["a", "b c"]) == [{"words": 1}, {"words": 2}] and run([]) == []


@needs(RATINGS)
def test_the_lectures_sentence_is_positive(device):
    classifier = sentiment_classifier(device=device)
    (answer,) = classifier("I've been waiting for a machine learning system course my whole life.")
    assert answer["label"] == "POSITIVE" and 0.9 < answer["score"] <= 1
    found = classifier(["What a wonderful day!", "I hate this terrible, awful mess."])
    assert [a["label"] for a in found] == ["POSITIVE", "NEGATIVE"]
    with pytest.raises(BadInput, match="no word of 'qxzzy'"):
        classifier("qxzzy")

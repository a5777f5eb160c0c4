"""``accumulate`` against one backward pass of PyTorch over the whole batch."""

import contextlib

import pytest
import torch
import torch.nn.functional as F

from mlsys_course.desk.check.meter import peak_bytes
from mlsys_course.memory import accumulate


def batches(counts, normal, ignored=-100):
    """Six tokens each, of which so many count."""
    found = []
    for count in counts:
        targets = torch.arange(6) % 5
        targets[count:] = ignored
        found.append((normal(6, 4), targets))
    return found


def mean_loss(weight, ignored=-100):
    return lambda x, y: F.cross_entropy(x @ weight, y, ignore_index=ignored)


@pytest.mark.parametrize("counts", [(6,), (6, 6), (1, 6, 3), (4, 0, 2), (0, 0, 5), (2, 0)])
@pytest.mark.parametrize("ignored", [-100, 7])
def test_gradients_and_loss_are_those_of_the_whole_batch(counts, ignored, normal):
    start = normal(4, 5)
    ours, theirs = (start.clone().requires_grad_() for _ in range(2))
    given = batches(counts, normal, ignored)
    whole = mean_loss(theirs, ignored)(torch.cat([x for x, _ in given]), torch.cat([y for _, y in given]))
    whole.backward()
    got = accumulate(mean_loss(ours, ignored), given, ignored)
    torch.testing.assert_close(got, whole.detach())
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_it_adds_to_what_was_there_and_touches_nothing_where_no_token_counts(normal):
    weight = normal(4, 5).requires_grad_()
    given = batches((3, 5), normal)
    accumulate(mean_loss(weight), given)
    once = weight.grad.clone()
    accumulate(mean_loss(weight), given)
    torch.testing.assert_close(weight.grad, 2 * once)
    fresh = normal(4, 5).requires_grad_()
    assert accumulate(mean_loss(fresh), batches((0, 0), normal)).item() == 0 and fresh.grad is None
    assert accumulate(mean_loss(fresh), []).item() == 0 and fresh.grad is None


def test_only_the_last_backward_pass_is_outside_no_sync(normal):
    weight, inside, events = normal(4, 5).requires_grad_(), [], []

    @contextlib.contextmanager
    def no_sync():
        inside.append(True)
        yield
        inside.pop()

    weight.register_post_accumulate_grad_hook(lambda p: events.append(bool(inside)))
    accumulate(mean_loss(weight), batches((6, 0, 2, 4, 0), normal), no_sync=no_sync)
    assert events == [True, True, False]


def test_one_micro_batchs_activations_at_a_time(normal):
    weight = normal(4, 2048).float().requires_grad_()
    given = [(x.float(), y) for x, y in batches((6,) * 16, normal)]

    def loss(x, y):
        return F.cross_entropy((x @ weight).tanh().tanh().tanh(), y)

    def whole():
        torch.stack([loss(x, y) for x, y in given]).sum().backward()

    one = peak_bytes(accumulate, loss, given[:1])
    assert peak_bytes(accumulate, loss, given) < 2 * one < peak_bytes(whole)

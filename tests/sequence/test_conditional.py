"""Teacher forcing, the loss against ``F.cross_entropy``, and greedy decoding against a table that says what follows."""

import pytest
import torch
import torch.nn.functional as F
from beartype import beartype
from jaxtyping import jaxtyped
from torch.testing import assert_close

from mlsys_course import sequence as component

teacher_forcing = jaxtyped(typechecker=beartype)(component.teacher_forcing)
sequence_loss = jaxtyped(typechecker=beartype)(component.sequence_loss)
greedy_decode = jaxtyped(typechecker=beartype)(component.greedy_decode)

PADDING, START, END = 0, 1, 2


def test_teacher_forcing_shifts_by_one(device):
    target = torch.tensor([[5, 6, 7], [8, 0, 0], [0, 0, 0]], device=device)
    inputs, labels = teacher_forcing(target, START, END, PADDING)
    assert inputs.tolist() == [[1, 5, 6, 7], [1, 8, 0, 0], [1, 0, 0, 0]]
    assert labels.tolist() == [[5, 6, 7, 2], [8, 2, 0, 0], [2, 0, 0, 0]]
    assert target.tolist() == [[5, 6, 7], [8, 0, 0], [0, 0, 0]] and inputs.device.type == device
    with pytest.raises(ValueError, match="after padding=0"):
        teacher_forcing(torch.tensor([[0, 5]]), START, END, PADDING)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("padding", [0, 6])
def test_loss_equals_torch_forward_and_backward(dtype, padding, device, normal):
    logits = normal(3, 5, 7, dtype=dtype, scale=3.0).to(device).requires_grad_()
    labels = torch.tensor([[1, 2, 3, 4, 5], [4, 2, 6, 6, 6], [1, 0, 0, 0, 0]], device=device)
    found = sequence_loss(logits, labels, padding)
    precise = logits.to(torch.promote_types(dtype, torch.float32))
    want = F.cross_entropy(precise.flatten(0, 1), labels.flatten(), ignore_index=padding)
    assert_close(found, want)
    assert_close(torch.autograd.grad(found, logits), torch.autograd.grad(want, logits))


def test_teacher_forced_loss_is_torchs_on_the_shifted_words(normal):
    table, target = normal(9, 9), torch.tensor([[5, 6, 7], [8, 0, 0]])
    found = jaxtyped(typechecker=beartype)(component.teacher_forced_loss)(
        lambda read: table[read], target, START, END, PADDING
    )
    assert_close(found, F.cross_entropy(table[[1, 5, 6, 7, 1, 8]], torch.tensor([5, 6, 7, 2, 8, 2])))


def test_loss_weighs_tokens_alike_and_ignores_padding(normal):
    logits, labels = normal(2, 4, 7), torch.tensor([[1, 2, 3, 4], [5, 0, 0, 0]])
    total = 4 * sequence_loss(logits[:1], labels[:1], PADDING) + sequence_loss(logits[1:], labels[1:], PADDING)
    assert_close(sequence_loss(logits, labels, PADDING), total / 5)
    noisy = logits.masked_fill((labels == PADDING)[..., None], torch.nan)
    assert_close(sequence_loss(noisy, labels, PADDING), sequence_loss(logits, labels, PADDING))


@pytest.mark.parametrize(
    ("labels", "padding", "message"),
    [
        ([[1, 2, 7]], 0, "there are 7 classes"),
        ([[1, 2, -100]], 0, "run from -100"),
        ([[1, 2, 3]], 7, "padding=7 is outside"),
        ([[1, 2, 3]], -1, "padding=-1 is outside"),
        ([[0, 0, 0]], 0, "all labels are padding"),
        ([[1, 2]], 0, r"expected \(B, T, V\) and \(B, T\)"),
    ],
)
def test_bad_labels_are_named(labels, padding, message, normal):
    with pytest.raises(ValueError, match=message):
        component.sequence_loss(normal(1, 3, 7), torch.tensor(labels), padding)


def follows(table):
    """A step that says ``table[token]``, and counts in its state."""

    def step(token, state):
        return F.one_hot(table[token], 9).double(), state + 1

    return step


def test_greedy_decoding_follows_until_all_have_ended(device):
    table = torch.tensor([0, 5, 0, 4, 2, 6, 7, 2, 2], device=device)  # start, 5, 6, 7, end
    said = greedy_decode(follows(table), 0, 2, START, END, PADDING, 10, device)
    assert said.tolist() == [[5, 6, 7]] * 2 and said.device.type == device
    assert greedy_decode(follows(table), 0, 2, START, END, PADDING, 2, device).tolist() == [[5, 6]] * 2


def test_a_sequence_that_ended_is_padded_while_others_go_on():
    words = torch.tensor([[5, 2, 5, 5], [5, 6, 7, 2], [2, 6, 6, 6]])
    seen = []

    def step(token, t):
        seen.append(token.tolist())
        return F.one_hot(words[:, t], 9).double(), t + 1

    assert greedy_decode(step, 0, 3, START, END, PADDING, 9).tolist() == [[5, 0, 0], [5, 6, 7], [0, 0, 0]]
    assert seen[0] == [START] * 3 and [row[1] for row in seen] == [START, 5, 6, 7]  # what it said is what it reads


def test_decoding_of_nothing():
    assert greedy_decode(follows(torch.full((9,), END)), 0, 2, START, END, PADDING, 5).shape == (2, 0)
    with pytest.raises(ValueError, match="max_length=0"):
        component.greedy_decode(follows(torch.arange(9)), 0, 1, START, END, PADDING, 0)

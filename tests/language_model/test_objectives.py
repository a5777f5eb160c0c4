"""What is asked of a language model, against PyTorch and transformers, forward and backward."""

import pytest
import torch
import torch.nn.functional as F
from beartype import beartype
from jaxtyping import jaxtyped
from torch.testing import assert_close

from mlsys_course import language_model
from mlsys_course.foundations import BadInput
from mlsys_course.substrate.dtypes import NotFloating

causal_loss = jaxtyped(typechecker=beartype)(language_model.causal_loss)
mask_tokens = jaxtyped(typechecker=beartype)(language_model.mask_tokens)


def tokens(normal, *shape: int, V: int = 9) -> torch.Tensor:
    return (normal(*shape).abs() * 7).long() % V


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_loss_and_gradient_are_transformers(normal, dtype, device):
    loss_utils = pytest.importorskip("transformers.loss.loss_utils")
    logits, labels = normal(3, 6, 9).to(device, dtype).requires_grad_(), tokens(normal, 3, 6).to(device)
    labels[1, 3:], labels[0, 0] = -100, -100
    got = causal_loss(logits, labels)
    wide = torch.promote_types(dtype, torch.float32)
    want = loss_utils.ForCausalLMLoss(logits, labels, 9)
    if dtype == torch.float64:  # theirs is of float32
        want = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    assert got.dtype == wide
    assert_close(got, want.to(wide))
    assert_close(torch.autograd.grad(got, logits), torch.autograd.grad(want, logits))


def test_the_loss_is_the_product_of_the_lecture(normal):
    """exp of minus the sum is P(x_2 .. x_T | x_1), by multiplying."""
    logits, labels = normal(1, 5, 9), tokens(normal, 1, 5)
    product = torch.ones((), dtype=torch.float64)
    for t in range(4):
        product = product * logits[0, t].softmax(-1)[labels[0, t + 1]]
    assert_close(torch.exp(-4 * causal_loss(logits, labels)), product)


def test_what_is_not_asked_does_not_count(normal):
    logits, labels = normal(2, 4, 9).requires_grad_(), tokens(normal, 2, 4)
    nothing = causal_loss(logits, torch.full_like(labels, -100))
    assert nothing == 0 and not torch.autograd.grad(nothing, logits)[0].any()
    assert causal_loss(logits[:, :1], labels[:, :1]) == 0
    zeros = causal_loss(logits, labels, 0)
    assert_close(zeros, causal_loss(logits, labels.masked_fill(labels == 0, -100)))


def masked_by_transformers(monkeypatch, ids, u, V):
    """DataCollatorForLanguageModeling, where PyTorch's dice show our numbers."""
    collator = pytest.importorskip("transformers.data.data_collator").DataCollatorForLanguageModeling

    class Words:
        mask_token, pad_token, mask_token_id = "[MASK]", "[PAD]", 8

        def __len__(self):
            return V

        def convert_tokens_to_ids(self, token):
            return 8

    # The third throw is of what is left of the second: its numbers from 0.8 to 1, stretched.
    throws = iter([u[0], u[1], (u[1] - 0.8) / 0.2])
    monkeypatch.setattr(torch, "bernoulli", lambda p, generator=None: (next(throws) < p).float())
    monkeypatch.setattr(torch, "randint", lambda high, shape, dtype, generator=None: (u[2] * high).to(dtype))
    special = torch.zeros_like(ids, dtype=torch.bool)
    special[:, 0] = True
    made = collator(Words(), mlm=True, mlm_probability=0.4)
    return made.torch_mask_tokens(ids.clone(), special_tokens_mask=special), special


def test_masked_tokens_are_transformers(normal, monkeypatch):
    ids, u = tokens(normal, 40, 30, V=8), torch.frac(normal(3, 40, 30).abs() * 97)
    (inputs, labels), special = masked_by_transformers(monkeypatch, ids, u, 9)
    monkeypatch.undo()
    got = mask_tokens(ids, u, 8, 9, 0.4, special)
    assert torch.equal(got[0], inputs) and torch.equal(got[1], labels)
    chosen = labels != -100
    shares = [(inputs[chosen] == 8).double().mean(), (inputs[chosen] == ids[chosen]).double().mean()]
    assert abs(shares[0] - 0.81) < 0.05 and abs(shares[1] - 0.11) < 0.04 and not chosen[:, 0].any()


def test_numbers_over_the_whole_range_choose_exactly_what_is_asked():
    n = 2000
    grid = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    ids = torch.zeros(1, n, dtype=torch.int32)
    _, labels = mask_tokens(ids, torch.stack([grid, grid, grid])[:, None], 5, 6)
    assert (labels != -100).sum() == 300 and labels.dtype == torch.int32
    u = torch.stack([torch.zeros(n, dtype=torch.float64), grid, grid.flip(0)])[:, None]
    inputs, _ = mask_tokens(ids + 4, u, 5, 4)
    assert [(inputs == one).sum() for one in (5, 4)] == [1600, 200]
    assert mask_tokens(ids, u, 5, 6, 0.0)[0].equal(ids) and (mask_tokens(ids, u, 5, 6, 1.0)[1] == 0).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, y, u: language_model.causal_loss(x, y[:, 1:]), r"logits \(2, 4, 9\), labels \(2, 3\)"),
        (lambda x, y, u: language_model.causal_loss(x[0], y[0]), "expected"),
        (lambda x, y, u: language_model.causal_loss(x, y + 9), "none of the tokens 0 to 8, nor ignore_index=-100"),
        (lambda x, y, u: language_model.causal_loss(x, y - 99), "none of the tokens"),
        (lambda x, y, u: language_model.mask_tokens(y, u, 8, 9, 1.5), "rate=1.5"),
        (lambda x, y, u: language_model.mask_tokens(y, u[:2], 8, 9), r"expected \(3, 2, 4\)"),
        (lambda x, y, u: language_model.mask_tokens(y, u, 8, 9, special=y[0] > 0), "special as ids"),
    ],
)
def test_what_has_no_meaning_is_refused(normal, call, words):
    with pytest.raises(BadInput, match=words):
        call(normal(2, 4, 9), tokens(normal, 2, 4), torch.zeros(3, 2, 4))


def test_whole_numbers_are_no_logits():
    with pytest.raises(NotFloating):
        language_model.causal_loss(torch.zeros(1, 2, 3, dtype=torch.int64), torch.zeros(1, 2, dtype=torch.int64))


@pytest.mark.parametrize(("T", "context", "stride"), [(11, 5, 3), (12, 4, 1), (9, 20, 7), (2, 2, 1), (13, 5, 4)])
def test_perplexity_is_that_of_each_token_after_its_window(tokens_model, T, context, stride):
    """Token by token, each in the first window that reaches it, by transformers' GPT-2."""
    ids = torch.arange(T) * 7 % 11
    losses = []
    for t in range(1, T):
        start = 0 if t < context else -(-(t + 1 - context) // stride) * stride
        logits = tokens_model(ids[start : t + 1][None])
        losses.append(F.cross_entropy(logits[0, -2], ids[t]))
    got = language_model.perplexity(tokens_model, ids, context, stride)
    assert_close(got, torch.stack(losses).mean().exp())
    assert not got.requires_grad


def test_a_stride_without_context_is_refused(tokens_model):
    for T, context, stride in ((1, 4, 2), (5, 4, 4), (5, 4, 0)):
        with pytest.raises(BadInput, match="1 <= stride < context"):
            language_model.perplexity(tokens_model, torch.arange(T), context, stride)


@pytest.fixture(scope="module")
def tokens_model():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=11, n_positions=32, n_embd=8, n_layer=2, n_head=2, initializer_range=0.5
    )
    model = transformers.GPT2LMHeadModel(config).double().eval()
    return lambda ids: model(ids).logits.detach()

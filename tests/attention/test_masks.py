"""Masks against PyTorch's own and against their definition, entry by entry."""

import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped

from mlsys_course import attention as component

causal_mask = jaxtyped(typechecker=beartype)(component.causal_mask)
padding_mask = jaxtyped(typechecker=beartype)(component.padding_mask)
window_mask = jaxtyped(typechecker=beartype)(component.window_mask)
prefix_mask = jaxtyped(typechecker=beartype)(component.prefix_mask)
document_mask = jaxtyped(typechecker=beartype)(component.document_mask)


@pytest.mark.parametrize("T", [1, 2, 7])
def test_square_causal_mask_is_the_lower_triangle(T):
    assert torch.equal(causal_mask(T), torch.ones(T, T).tril().bool())


@pytest.mark.parametrize(("T", "S"), [(1, 1), (1, 6), (3, 5), (4, 4)])
def test_causal_mask_ends_at_the_last_key(T, S):
    from torch.nn.attention.bias import causal_lower_right

    want = torch.full((T, S), float("-inf")).triu(1 + S - T) == 0
    assert torch.equal(causal_mask(T, S), want)
    q, k = torch.randn(T, 4), torch.randn(S, 4)
    theirs = torch.nn.functional.scaled_dot_product_attention(q[None], k[None], k[None], causal_lower_right(T, S))
    torch.testing.assert_close(component.attention(q, k, k, causal_mask(T, S)), theirs[0])


def test_rows_of_a_cached_mask_are_the_last_rows_of_the_full_one():
    assert torch.equal(causal_mask(2, 6), causal_mask(6)[-2:])


@pytest.mark.parametrize(("T", "S"), [(3, 2), (0, None), (-1, None)])
def test_causal_mask_tells_bad_sizes(T, S):
    with pytest.raises(ValueError, match="1 <= T <= S"):
        causal_mask(T, S)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_padding_mask_entry_by_entry(dtype, device):
    lengths = [3, 0, 5, 1]
    mask = padding_mask(torch.tensor(lengths, dtype=dtype, device=device), 5)
    assert mask.device.type == device
    want = [[t < length for t in range(5)] for length in lengths]
    assert mask[:, 0, 0].tolist() == want


def test_masks_combine(normal):
    mask = causal_mask(4) & padding_mask(torch.tensor([4, 2]), 4)
    assert mask.shape == (2, 1, 4, 4)
    x = normal(2, 3, 4, 8)
    output = component.attention(x, x, x, mask)
    changed = x.clone()
    changed[1, :, 2:] = 7.0  # padding, which no real token may see
    assert torch.equal(component.attention(changed, changed, changed, mask)[1, :, :2], output[1, :, :2])


@pytest.mark.parametrize("lengths", [torch.tensor([1.0, 2.0]), torch.tensor([[1, 2]]), torch.tensor([True])])
def test_padding_mask_tells_bad_lengths(lengths):
    with pytest.raises(ValueError, match="whole numbers of shape"):
        component.padding_mask(lengths, 4)


def test_causal_mask_is_made_on_its_device(device):
    assert causal_mask(4, device=device).device.type == device


@pytest.mark.parametrize(("T", "window", "S"), [(6, 1, None), (6, 3, None), (6, 9, None), (2, 3, 7), (1, 4, 9)])
def test_window_mask_entry_by_entry(T, window, S, device):
    mask = window_mask(T, window, S, device)
    assert mask.device.type == device
    last = (S or T) - T
    want = [[t + last - window < s <= t + last for s in range(S or T)] for t in range(T)]
    assert mask.tolist() == want


def test_prefix_mask_entry_by_entry(device):
    prefix = torch.tensor([0, 2, 5], device=device)
    want = [[[s <= t or s < p for s in range(5)] for t in range(5)] for p in (0, 2, 5)]
    assert prefix_mask(prefix, 5)[:, 0].tolist() == want


def test_document_mask_entry_by_entry(device):
    documents = torch.tensor([[0, 0, 1, 1, 1], [3, 3, 3, 7, 3]], device=device)
    want = [[[s <= t and row[s] == row[t] for s in range(5)] for t in range(5)] for row in documents.tolist()]
    assert document_mask(documents)[:, 0].tolist() == want


def test_packed_documents_attend_as_if_alone(normal):
    x = normal(1, 1, 7, 8)
    packed = component.attention(x, x, x, document_mask(torch.tensor([[0, 0, 0, 1, 1, 2, 2]])))
    for part in (slice(0, 3), slice(3, 5), slice(5, 7)):
        alone = x[:, :, part]
        torch.testing.assert_close(packed[:, :, part], component.attention(alone, alone, alone, causal=True))


def test_masks_of_all_kinds_combine(normal):
    mask = window_mask(6, 3) & prefix_mask(torch.tensor([2, 4]), 6) & padding_mask(torch.tensor([6, 4]), 6)
    want = [[[t - 3 < s <= t and s < n for s in range(6)] for t in range(6)] for n in (6, 4)]
    assert mask[:, 0].tolist() == want  # a window inside a causal mask is causal, whatever the prefix


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: component.window_mask(4, 0), "window=0"),
        (lambda: component.window_mask(4, 2, 3), "1 <= T <= S"),
        (lambda: component.prefix_mask(torch.tensor([1.5]), 4), "whole numbers of shape"),
        (lambda: component.document_mask(torch.tensor([1, 2])), r"expected whole numbers of shape \(B, T\)"),
        (lambda: component.document_mask(torch.rand(1, 4)), "number each token's document"),
    ],
)
def test_masks_tell_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()

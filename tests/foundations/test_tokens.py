"""One-hot rows and look-ups are PyTorch's, and each other's; ids that are none are refused."""

import pytest
import torch
import torch.nn.functional as F

from mlsys_course.foundations import BadInput, look_up, one_hot

SHAPES = [(), (0,), (5,), (2, 3), (2, 0, 4)]


def drawn(shape: tuple[int, ...], high: int, device: str) -> torch.Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(3)).to(device)


@pytest.mark.parametrize("shape", SHAPES)
def test_one_hot_is_pytorchs(shape, device):
    ids = drawn(shape, 7, device)
    expected = F.one_hot(ids, 7).float()
    assert torch.equal(one_hot(ids, 7), expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_look_up_is_pytorchs_and_the_product_with_one_hot_rows(normal, shape, dtype, device):
    table, ids = normal(7, 4, dtype=dtype).to(device), drawn(shape, 7, device)
    found = look_up(table, ids)
    assert torch.equal(found, F.embedding(ids, table))
    assert torch.equal(found, one_hot(ids, 7).to(dtype) @ table)


@pytest.mark.parametrize("padding", [0, 3])
def test_padding_is_zero_and_sends_no_gradient(normal, padding, device):
    table, ids = normal(5, 3).to(device).requires_grad_(), torch.tensor([[3, 0, 1], [3, 3, 0]], device=device)
    found = look_up(table, ids, padding)
    assert not found[ids == padding].any() and torch.equal(found[ids != padding], table[ids[ids != padding]])
    found.sum().backward()
    assert table.grad is not None and not table.grad[padding].any() and table.grad[1].all()


@pytest.mark.parametrize("wrong", [-1, 5, 500])
def test_an_id_that_is_none_is_named(wrong, device):
    ids = torch.tensor([0, wrong], device=device)
    with pytest.raises(BadInput, match=rf"ids has {wrong}, but the classes are 0 to 4"):
        one_hot(ids, 5)
    with pytest.raises(BadInput, match=rf"ids has {wrong}, but the rows of the table are 0 to 4"):
        look_up(torch.zeros(5, 2, device=device), ids)


@pytest.mark.parametrize("padding", [-1, 5])
def test_a_padding_that_is_no_row_is_named(padding):
    with pytest.raises(BadInput, match=rf"padding={padding}, but the rows of the table are 0 to 4"):
        look_up(torch.zeros(5, 2), torch.tensor([1]), padding)


def test_ids_are_whole_numbers():
    with pytest.raises(BadInput, match=r"dtype torch\.float32"):
        one_hot(torch.tensor([1.0]), 5)

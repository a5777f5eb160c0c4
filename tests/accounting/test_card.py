"""What a card's memory went to, read from the card."""

import pytest
import torch

from mlsys_course.accounting.card import card_memory, segments

MIB = 1 << 20


@pytest.fixture
def empty() -> None:
    torch.ones(8, dtype=torch.uint8, device="cuda")  # the first kernel takes memory for its code
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


@pytest.mark.gpu
def test_each_byte_has_one_holder(empty: None) -> None:
    before = card_memory()
    block = torch.ones(40 * MIB + 100, dtype=torch.uint8, device="cuda")
    table = card_memory()
    assert table["tensors"] - before["tensors"] == block.nbytes
    assert 0 < table["rounding"] - before["rounding"] <= 2 * MIB
    assert table["context"] == before["context"] > 0
    free, whole = torch.cuda.mem_get_info()
    assert table.total == pytest.approx(whole - free, abs=64 * MIB)  # its terms are peaks


@pytest.mark.gpu
def test_what_is_freed_in_the_midst_is_a_hole(empty: None) -> None:
    blocks = [torch.ones(2 * MIB, dtype=torch.uint8, device="cuda") for _ in range(10)]  # a segment of 20 MiB
    del blocks[3:5], blocks[6]
    holes = [segment["largest_hole"] for segment in segments() if segment["size"] == 20 * MIB]
    assert 4 * MIB in holes
    assert sum(segment["in_use"] for segment in segments()) == torch.cuda.memory_allocated()
    assert card_memory()["fragmentation"] >= 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a card")
@pytest.mark.parametrize("read", [card_memory, segments])
def test_without_a_card_it_says_so(read) -> None:
    with pytest.raises(RuntimeError, match="no CUDA card"):
        read()

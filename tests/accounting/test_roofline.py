"""The roofline: bytes against a live model's products, times against the two limits."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mlsys_course.accounting import (
    Bound,
    ModelConfig,
    Operator,
    attainable,
    bound,
    flops_by_operator,
    forward_bounds,
    forward_seconds,
    gpu_named,
    llama2_7b,
    ridge,
    roofline,
)
from mlsys_course.accounting.measured import live_decoder
from mlsys_course.accounting.memory import Recipe

SMALL = ModelConfig(vocabulary=211, context=64, d_model=48, n_layers=3, n_heads=4, n_kv_heads=4, head_dim=12, d_ffn=80)
H100 = gpu_named("h100")


class Products(TorchDispatchMode):
    """Bytes of everything that a matrix product reads and writes, as PyTorch dispatches them."""

    def __init__(self):
        super().__init__()
        self.bytes, self.count = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm):
            self.count += 1
            self.bytes += sum(x.numel() * x.element_size() for x in (*args, output))
        return output


def test_bytes_and_counts_are_those_of_a_live_models_products() -> None:
    model = live_decoder(SMALL, Recipe("float32", attention="eager", device="cpu"), 20)
    with Products() as products, torch.no_grad():
        model(torch.zeros(2, 20, dtype=torch.long))
    counted = [
        one for one in forward_bounds(SMALL, 2, 20, H100, "float32") if one.name in flops_by_operator(SMALL, 2, 20)
    ]
    assert products.bytes == sum(one.bytes for one in counted)
    assert products.count == sum(one.count for one in counted)


def test_flops_are_those_of_the_flop_table() -> None:
    config, found = llama2_7b(), forward_bounds(llama2_7b(), 1, 4096, H100)
    exact = flops_by_operator(config, 1, 4096).total + flops_by_operator(config, 1, 4096, elementwise=True).total
    assert sum(one.flops for one in found) == exact


def test_products_are_bound_by_cores_and_element_wise_work_by_memory() -> None:
    found = {one.name: one for one in forward_bounds(llama2_7b(), 1, 4096, H100)}
    assert found["mlp.up"].bound_by == "compute" and found["mlp.up"].intensity > ridge(H100)
    assert found["mlp.up"].seconds == pytest.approx(found["mlp.up"].flops / H100.rate("bfloat16"))
    norm = found["norms.layer"]
    assert norm.bound_by == "memory" and norm.seconds == norm.bytes / H100.bandwidth
    assert found["attention.softmax"].bound_by == "memory"  # what a fused kernel saves


def test_decoding_reads_all_weights_for_each_token() -> None:
    """One token at a time is bound by memory everywhere, and takes at least as long as reading the weights."""
    found = forward_bounds(llama2_7b(), 1, 1, H100, past=1000)
    assert {one.bound_by for one in found} == {"memory"}
    weights = 2 * (6_738_415_616 - 32000 * 4096)  # the look-up reads a row
    assert weights / H100.bandwidth < forward_seconds(found) < 1.1 * weights / H100.bandwidth
    together = forward_bounds(llama2_7b(), 64, 1, H100, past=1000)
    assert forward_seconds(together) < 8 * forward_seconds(found)  # 64 sequences share one reading


def test_the_roof_has_its_edge_at_the_ridge() -> None:
    edge = ridge(H100)
    assert edge == pytest.approx(989.4e12 / 3.35e12)
    assert attainable(edge / 2, H100) == pytest.approx(H100.rate("bfloat16") / 2)
    assert attainable(2 * edge, H100) == H100.rate("bfloat16")


@pytest.mark.parametrize("shape", [(1, 4096, 4096), (4096, 4096, 4096)])
def test_a_product_stands_where_its_operator_does(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    found = roofline(m, k, n, 2, H100.rate("bfloat16"), H100.bandwidth)
    one = bound(Operator("up", (m, n), 2 * m * k * n, weights=k * n, reads=m * k, writes=m * n), H100)
    assert (found["flops"], found["bytes"], found["bound"]) == (one.flops, one.bytes, one.bound_by)
    assert (found["intensity"], found["seconds"]) == pytest.approx((one.intensity, one.seconds))
    assert found["attainable"] == pytest.approx(attainable(one.intensity, H100))


def test_at_the_ridge_cores_are_said_to_bind() -> None:
    assert roofline(48, 48, 48, 1, 2.0**40, 2.0**35)["bound"] == "compute"
    assert Bound("there", 1, 32, 1, 1.0, 1.0).bound_by == "compute"


def test_narrower_numbers_move_fewer_bytes() -> None:
    config = replace(SMALL, n_layers=1)
    wide, narrow = (forward_bounds(config, 1, 8, H100, dtype) for dtype in ("float32", "bfloat16"))
    assert [one.bytes for one in wide] == [2 * one.bytes for one in narrow]


def test_the_card_of_the_notes_is_an_eighth_of_their_box():
    """72 PFLOPS are eight B300, in 8 bits, with the doubling that skipped zeros bring; 2.3 TB are their memory."""
    card = gpu_named("b300")
    assert 8 * 2 * card.rate("float8") == 72e15
    assert 8 * card.memory == pytest.approx(2.3e12, rel=0.01) and card.rate("bf16") == gpu_named("b200").rate("bf16")

"""Traffic against training steps that really exchange, message by message; links in one unit."""

from dataclasses import replace

import pytest
import torch

from mlsys_course.accounting import (
    GPUS,
    LINKS,
    SCHEMES,
    BadSize,
    Exchange,
    bottleneck,
    exchange_seconds,
    gpu_named,
    link_named,
    loads_of,
    traffic,
)
from mlsys_course.accounting.gpus import dtype_named
from tests.accounting.live_traffic import expected, live_step

EXCHANGES = {
    "one rank": Exchange(7, 1),
    "two ranks": Exchange(10, 2, gradient_itemsize=4, weight_itemsize=2),
    "three ranks, padded": Exchange(10, 3, gradient_itemsize=2, weight_itemsize=1, micro_batches=3),
    "four ranks, wide weights": Exchange(12, 4, gradient_itemsize=2, weight_itemsize=4, servers=2),
    "five ranks": Exchange(33, 5, gradient_itemsize=2, weight_itemsize=4, micro_batches=2),
    "eight ranks, few entries": Exchange(3, 8, gradient_itemsize=4, weight_itemsize=2),
    "nine ranks, three servers": Exchange(30, 9, servers=3, micro_batches=2),
}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("exchange", EXCHANGES.values(), ids=EXCHANGES.keys())
def test_every_load_is_what_a_step_sends(scheme: str, exchange: Exchange) -> None:
    results, messages = live_step(scheme, exchange)
    whole = expected(exchange, exchange.micro_batches if scheme.startswith("zero") else 1)
    if scheme == "zero-3":  # each rank ends with its own chunk
        results = [torch.cat(results)[: exchange.entries]]
    assert all(torch.equal(result.long(), whole) for result in results[: exchange.ranks])
    loads = loads_of(scheme, exchange)
    counted = [(load.sent.total, load.received.total) for load in loads for _ in range(load.count)]
    measured = list(zip(messages.bytes_sent, messages.bytes_received, strict=True))
    assert sorted(counted) == sorted(measured)
    assert bottleneck(loads).busiest_way == max(map(max, measured))
    if exchange.servers == 1:
        sizes = (exchange.gradient_itemsize, exchange.weight_itemsize, exchange.micro_batches)
        found = traffic(scheme, exchange.entries, exchange.ranks, *sizes)
        assert found == {"total": sum(messages.bytes_sent), "bottleneck": max(map(max, measured))}


def test_a_server_whose_shards_differ_counts_the_largest() -> None:
    exchange = Exchange(10, 4, servers=3)
    _, messages = live_step("parameter-server", exchange)
    assert bottleneck(loads_of("parameter-server", exchange)).busiest_way == max(messages.bytes_sent[4:])


def test_an_all_reduce_by_the_ring_is_the_lab_s_own() -> None:
    from mlsys_course.all_reduce import ring_all_reduce
    from mlsys_course.substrate.ranks import run_in_threads

    _, messages = run_in_threads(lambda comm: ring_all_reduce(torch.zeros(24), comm), 4)
    (load,) = loads_of("ring", Exchange(24, 4, gradient_itemsize=4))
    assert messages.bytes_sent == [load.sent.total] * 4


def test_one_way_of_a_wire_is_what_counts() -> None:
    ndr, nvlink, pcie = link_named("InfiniBand NDR"), link_named("nvlink3"), link_named("pcie5")
    assert (ndr.each_way, nvlink.each_way, pcie.each_way) == (50e9, 300e9, 64e9)
    assert ndr.seconds(100e9, 50e9) == 2.0  # both ways at once
    loads = loads_of("parameter-server", Exchange(10**9, 4, gradient_itemsize=2, weight_itemsize=4))
    assert exchange_seconds(loads, ndr) == pytest.approx(4 * (2e9 + 4e9) / 50e9)  # pushed, then pulled


def test_cards_of_one_kind_have_one_rate_and_later_ones_are_no_slower() -> None:
    assert GPUS["a800"].peak == GPUS["a100"].peak and GPUS["h800"].peak == GPUS["h100"].peak
    assert all(card.nvlink in LINKS for card in GPUS.values())
    halves = [max(card.peak.values()) for card in sorted(GPUS.values(), key=lambda card: card.year)]
    assert halves == sorted(halves)
    assert LINKS[GPUS["h800"].nvlink].each_way < LINKS[GPUS["h100"].nvlink].each_way


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: loads_of("rings", Exchange(1, 1)), "scheme='rings' is unknown; did you mean 'ring'"),
        (lambda: Exchange(10, 0), "ranks=0"),
        (lambda: Exchange(10.5, 2), "entries=10.5"),  # pyright: ignore[reportArgumentType]
        (lambda: replace(Exchange(1, 1), micro_batches=0), "micro_batches=0"),
        (lambda: gpu_named("H1000"), "did you mean 'h100'"),
        (lambda: link_named("nvlink9"), "did you mean 'nvlink"),
        (lambda: dtype_named("float17"), "did you mean 'float1"),
        (lambda: gpu_named("v100").rate("bf16"), "v100 has no such rate; choose one of float16, float32"),
    ],
)
def test_bad_input_names_the_field_and_the_nearest_choice(bad, says) -> None:
    with pytest.raises(BadSize, match="(?s).*" + says.replace("(", r"\(")):
        bad()


def test_names_are_taken_as_they_are_meant() -> None:
    assert gpu_named("A100 40GB") is GPUS["a100-40gb"]
    assert dtype_named("BF16") == dtype_named("bfloat16") == "bfloat16"

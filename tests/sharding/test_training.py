"""Sharded steps on ranks against PyTorch's AdamW in one process, step by step; traffic against theory."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from mlsys_course.all_reduce import all_gather, all_reduce, make_buckets
from mlsys_course.memory import MixedPrecisionStep
from mlsys_course.sharding import (
    clip_sharded,
    flat_padded,
    mixed_zero1_step,
    shard_size,
    zero1_step,
    zero2_step,
    zero3_layer,
    zero_traffic,
)
from mlsys_course.substrate.memory_meter import MemoryMeter
from mlsys_course.substrate.ranks import RankRaised, run_in_threads
from mlsys_course.transformer.insides import blocks_of

from .models import adamw, decoder, in_one_process, loss_of, on_ranks

STEPS = 3


def by_zero1(model, batches, comm):
    parameters, state, found = list(model.parameters()), None, []
    for tokens, targets in batches:
        loss_of(model, tokens, targets).backward()
        state = zero1_step(parameters, adamw, comm, state)
        found.append([p.detach().clone() for p in parameters])
        assert all(p.grad is None for p in parameters)
    return found


def by_zero2(model, batches, comm):
    parameters, state, found = list(model.parameters()), None, []
    numbers = make_buckets([8 * p.numel() for p in parameters], 2000)
    buckets = [[parameters[k] for k in bucket] for bucket in numbers]
    for tokens, targets in batches:
        state = zero2_step(buckets, loss_of(model, tokens, targets).backward, adamw, comm, state)
        found.append([p.detach().clone() for p in parameters])
        assert all(p.grad is None for p in parameters)
    return found


class Sharded(nn.Module):
    """A layer of which a rank has a part only."""

    def __init__(self, layer: nn.Module, comm):
        super().__init__()
        named = dict(layer.named_parameters())
        self.call = lambda w, *given, **more: functional_call(layer, dict(zip(named, w, strict=True)), given, more)
        self.shapes, self.comm = [p.shape for p in named.values()], comm
        parts = flat_padded(named.values(), comm.world_size).chunk(comm.world_size)
        self.shard = nn.Parameter(parts[comm.rank].clone())
        layer.to("meta")

    def forward(self, x, *others, **more):
        layer = lambda x, w: self.call(w, x, *others, **more)  # noqa: E731
        return zero3_layer(layer, self.shard, self.shapes, x, self.comm)


def by_zero3(model, batches, comm):
    """Blocks are sharded; what stands around them is replicated, and averaged by hand."""
    blocks = blocks_of(model)
    for k, block in enumerate(blocks):
        blocks[k] = Sharded(block, comm)
    sharded = [block.shard for block in blocks if isinstance(block, Sharded)]
    others = [p for p in model.parameters() if all(p is not shard for shard in sharded)]
    optimizer, found = adamw([*others, *sharded]), []
    for tokens, targets in batches:
        optimizer.zero_grad()
        loss_of(model, tokens, targets).backward()
        for p in others:
            p.grad = all_reduce(p.grad, comm, "mean")
        optimizer.step()
        whole = [torch.cat(all_gather(shard.detach(), comm)) for shard in sharded]
        found.append([*(p.detach().clone() for p in others), *whole])
    return found


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("train", [by_zero1, by_zero2])
def test_steps_equal_those_of_one_process(train, tied, world_size):
    one = in_one_process(decoder(tied), STEPS)
    ranks, _ = on_ranks(lambda: decoder(tied), train, world_size, STEPS)
    for found in ranks:
        torch.testing.assert_close(found, one, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_sharded_masters_step_as_one_process_with_all_of_them(world_size, dtype):
    """Gradients are eighths, so that sums have no rounding, whoever adds first."""
    start = [torch.full((5,), 4.0), torch.full((2, 2), 3.0)]
    generator = torch.Generator().manual_seed(4)
    steps = [
        [[torch.randint(1, 9, x.shape, generator=generator) / 8 for x in start] for _ in range(world_size)]
        for _ in range(30)
    ]
    slow = lambda tensors: torch.optim.AdamW(tensors, lr=2e-3)  # noqa: E731
    one = [nn.Parameter(x.to(dtype)) for x in start]
    masters = MixedPrecisionStep(one, slow)
    for step in steps:
        for k, p in enumerate(one):
            p.grad = sum(own[k] for own in step).to(dtype)  # pyright: ignore
            if world_size == 3:
                p.grad = None
        if world_size == 3:  # thirds are none of 16 bits, so the mean is made in float32
            for k, master in enumerate(masters.masters):
                master.grad = sum(own[k] for own in step) / world_size  # pyright: ignore
            masters.optimizer.step()
            for p, master in zip(one, masters.masters, strict=True):
                p.data.copy_(master)
            continue
        for p in one:
            p.grad /= world_size  # pyright: ignore
        masters.step()

    def work(comm):
        parameters, state = [nn.Parameter(x.to(dtype)) for x in start], None
        for step in steps:
            for p, grad in zip(parameters, step[comm.rank], strict=True):
                p.grad = grad.to(dtype)
            state = mixed_zero1_step(parameters, slow, comm, state)
        return [p.detach() for p in parameters]

    found, traffic = run_in_threads(work, world_size)
    for own in found:
        assert all(x.dtype == dtype and not torch.equal(x, s.to(dtype)) for x, s in zip(own, start, strict=True))
        torch.testing.assert_close(own, [p.detach() for p in one])
    assert max(traffic.bytes_sent) == 30 * 2 * zero_traffic(1, 9, world_size)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_sharded_layers_train_as_whole_ones(world_size):
    model = decoder()
    in_one_process(model, STEPS)
    in_blocks = {id(p) for p in blocks_of(model).parameters()}
    outside = [p.detach() for p in model.parameters() if id(p) not in in_blocks]
    blocks = [flat_padded(block.parameters(), world_size) for block in blocks_of(model)]
    ranks, _ = on_ranks(decoder, by_zero3, world_size, STEPS)
    for found in ranks:
        torch.testing.assert_close(found[-1], [*outside, *blocks], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_traffic_is_as_theory_says(world_size):
    n = sum(p.numel() for p in decoder().parameters())
    for stage, train in ((1, by_zero1), (2, by_zero2)):
        _, traffic = on_ranks(decoder, train, world_size, STEPS)
        expected = STEPS * 8 * zero_traffic(stage, n, world_size)
        assert all(expected <= sent <= 1.05 * expected for sent in traffic.bytes_sent)  # padding of each bucket


def affine(x, weights):
    return torch.tanh(x @ weights[0] + weights[1])


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_a_layers_gradients_are_autograds(world_size):
    generator = torch.Generator().manual_seed(5)
    weights = [torch.randn(3, 3, generator=generator, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)]
    xs = [torch.randn(2, 3, generator=generator, dtype=torch.float64) for _ in range(world_size)]

    def work(comm):
        shard = flat_padded(weights, comm.world_size).chunk(comm.world_size)[comm.rank].clone().requires_grad_()
        x = xs[comm.rank].clone().requires_grad_()
        shapes = [w.shape for w in weights]
        y = zero3_layer(affine, shard, shapes, zero3_layer(affine, shard, shapes, x, comm), comm)  # tied
        y.square().sum().backward()
        return y.detach(), x.grad, shard.grad

    found, traffic = run_in_threads(work, world_size)
    own = [w.clone().requires_grad_() for w in weights]
    inputs = [x.clone().requires_grad_() for x in xs]
    outputs = [affine(affine(x, own), own) for x in inputs]
    sum(y.square().sum() for y in outputs).backward()  # pyright: ignore
    whole = flat_padded([w.grad for w in own], world_size).chunk(world_size)  # pyright: ignore
    for rank, (y, x_grad, shard_grad) in enumerate(found):
        torch.testing.assert_close(y, outputs[rank].detach())
        torch.testing.assert_close(x_grad, inputs[rank].grad)
        torch.testing.assert_close(shard_grad, whole[rank] / world_size)
    assert max(traffic.bytes_sent) == 2 * 8 * zero_traffic(3, 12, world_size)


def test_nothing_is_sent_back_for_frozen_weights():
    def work(comm):
        shard, x = torch.ones(6), torch.ones(2, 3, requires_grad=True)
        zero3_layer(lambda x, w: x @ w[0], shard, [(3, 4)], x, comm).sum().backward()
        return x.grad

    found, traffic = run_in_threads(work, 2)
    assert all(torch.equal(x, torch.full((2, 3), 4.0)) for x in found)
    assert traffic.bytes_sent == [2 * 6 * 4] * 2


def test_a_shard_of_another_size_is_told():
    with pytest.raises(RankRaised, match=r"a shard of shape \(5,\).*take \(6,\)"):
        run_in_threads(lambda comm: zero3_layer(affine, torch.ones(5), [(3, 4)], torch.ones(3), comm), 2)


@pytest.mark.parametrize("max_norm", [0.5, 1e9])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_norm_is_that_of_all_gradients(world_size, max_norm):
    generator = torch.Generator().manual_seed(1)
    grads = [torch.randn(size, generator=generator, dtype=torch.float64) for size in (7, 5, 3)]
    parts = [flat_padded([g], world_size).chunk(world_size) for g in grads[:2]]
    models = [nn.Parameter(torch.zeros_like(g)) for g in grads]
    for p, g in zip(models, grads, strict=True):
        p.grad = g.clone()
    norm = torch.nn.utils.clip_grad_norm_(models, max_norm)
    work = lambda comm: clip_sharded(  # noqa: E731
        [*(part[comm.rank] for part in parts), grads[2]], [False, False, True], max_norm, comm
    )
    found, traffic = run_in_threads(work, world_size)
    for rank, (clipped, said) in enumerate(found):
        assert abs(said - norm) < 1e-9
        expected = [flat_padded([p.grad], world_size).chunk(world_size)[rank] for p in models[:2]]  # pyright: ignore
        torch.testing.assert_close(clipped, [*expected, models[2].grad], rtol=1e-5, atol=0)  # theirs adds 1e-6
    assert max(traffic.bytes_sent) <= 16 * (world_size - 1)


def test_a_norm_that_is_none_is_told_on_every_rank():
    work = lambda comm: clip_sharded([torch.tensor([1.0, torch.inf * comm.rank])], [False], 1.0, comm)  # noqa: E731
    with pytest.raises(RankRaised, match="the gradient's norm is"):
        run_in_threads(work, 2)


def test_memory_of_a_rank_is_a_share():

    def work(comm):
        weights = [nn.Parameter(torch.ones(100, 100)) for _ in range(20)]
        for p in weights:
            p.grad = torch.ones_like(p)
        with MemoryMeter() as meter:
            state = zero2_step([[p] for p in weights], lambda: None, adamw, comm)
        del state
        return meter.peak

    n = 20 * 100 * 100 * 4
    found, _ = run_in_threads(work, 4)
    assert max(found) < 4 * shard_size(n, 4) + 0.3 * n  # copies of the shards, two moments, their gradients

"""On real processes, over gloo, and over NCCL where there are two cards: the same functions, beside PyTorch's own."""

import functools

import pytest
import torch
import torch.distributed as dist

from mlsys_course import all_reduce as A
from mlsys_course.substrate.ranks import run

from .gloo_ranks import given
from .models import Training, one_process
from .test_data_parallel import assert_same, train

NCCL = pytest.param("nccl", marks=pytest.mark.gpu(2))


@pytest.fixture(params=["gloo", NCCL])
def backend(request) -> str:
    return request.param


def every_algorithm(comm, lengths):
    """What ours and torch's all_reduce say, by algorithm and length."""
    segmented = functools.partial(A.ring_all_reduce_, segment_bytes=64)
    ways = {**A.ALGORITHMS, "plain ring": A.ring_all_reduce, "segmented ring": segmented}
    found = []
    for length in lengths:
        mine = given(comm.rank, length, torch.float64).to(comm.device)
        want = mine.clone()
        dist.all_reduce(want)
        found.append((want.cpu(), {name: way(mine.clone(), comm).cpu() for name, way in ways.items()}))
    A.barrier(comm)
    return found


@pytest.mark.parametrize("world_size", [2, 3])
def test_every_algorithm_says_what_torch_says(backend, world_size):
    if backend == "nccl" and torch.cuda.device_count() < world_size:
        pytest.skip(f"fewer than {world_size} CUDA devices")
    for found in run(every_algorithm, world_size, backend=backend, args=((1, 2, 101),)).results:
        for want, ours in found:
            for name, total in ours.items():
                torch.testing.assert_close(total, want, msg=name)


def test_data_parallel_equals_one_process(backend):
    training = Training(("plain", "tied", "sometimes", "frozen", "plain"), 4, ((2, 2), (4, 0), (2, 4)), micro=2)
    for found in run(train, 2, backend=backend, args=(training, 200, True)).results:
        assert_same(found, one_process(training))


def both_ways(comm):
    """Gradients of ours and of torch's DDP, of the same model and data."""
    found = []
    for wrap in (
        torch.nn.parallel.DistributedDataParallel,
        lambda model: A.DistributedDataParallel(model, comm, bucket_bytes=512),
    ):
        model = Training(("plain", "plain"), 6, ()).model(seed=comm.rank).to(comm.device)
        replica = wrap(model)
        x = given(comm.rank, 24, torch.float64).view(4, 6).to(comm.device)
        replica(x).pow(2).sum().backward()
        if isinstance(replica, A.DistributedDataParallel):
            replica.finish()
        found.append([p.grad.cpu() for p in model.parameters()])
    return found


def test_gradients_are_those_of_torchs_own_ddp(backend):
    results = run(both_ways, 2, backend=backend).results
    for torchs, ours in results:
        for want, got in zip(torchs, ours, strict=True):
            torch.testing.assert_close(got, want)

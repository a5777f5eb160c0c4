"""Ranks that torchrun has started, and what the wrapper of a model does not take."""

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn

from mlsys_course.all_reduce import DistributedDataParallel
from mlsys_course.all_reduce.collectives import CollectiveError
from mlsys_course.substrate.ranks import of_process_group, run_in_threads

PROGRAM = """
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from mlsys_course.all_reduce import DistributedDataParallel, all_reduce
from mlsys_course.substrate.ranks import of_process_group

dist.init_process_group("gloo")
comm = of_process_group()
torch.manual_seed(comm.rank)  # both start with rank 0's
ours, theirs = (nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)).double() for _ in range(2))
ours.load_state_dict(theirs.state_dict())
replica = DistributedDataParallel(ours, comm, bucket_bytes=100)
peer = nn.parallel.DistributedDataParallel(theirs)
for step in range(3):
    x = torch.randn(4, 6, dtype=torch.float64)
    for p in (*ours.parameters(), *theirs.parameters()):
        p.grad = None
    loss = replica(x).pow(2).mean()
    loss.backward()
    mean = all_reduce(loss.detach(), comm) / comm.world_size
    replica.finish()
    peer(x).pow(2).mean().backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-12, atol=1e-14)
        p.data.sub_(p.grad), q.data.sub_(q.grad)
    dist.all_reduce(loss.detach())
ledger = comm.ledger
assert not (ledger.sends or ledger.receives or ledger.waits), "kept for nobody"
Path(sys.argv[1], f"rank {comm.rank} of {comm.world_size}").touch()
dist.destroy_process_group()
"""


@pytest.mark.long
def test_under_torchrun_gradients_are_those_of_torchs_own_ddp(tmp_path):
    program = tmp_path / "train.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(program), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert all((tmp_path / f"rank {rank} of 2").exists() for rank in range(2)), done.stdout[-3000:]


def test_a_process_group_that_is_none_is_said():
    with pytest.raises(RuntimeError, match=r"call torch\.distributed\.init_process_group first"):
        of_process_group()


def on_two_threads(check) -> list:
    """What ``check(comm)`` returned on each rank."""
    return run_in_threads(check, 2)[0]


@pytest.mark.parametrize("comm", [None, torch.distributed, "world"], ids=["None", "torch.distributed", "a name"])
def test_what_is_no_communicator_is_refused_with_the_way_to_one(comm):
    with pytest.raises(TypeError, match=r"of_process_group\(\) for processes of torchrun"):
        DistributedDataParallel(nn.Linear(2, 2), comm)


def test_a_model_that_is_let_go_of_is_freed_without_close():
    def check(comm) -> list:
        model = nn.Linear(3, 3)
        replica = DistributedDataParallel(model, comm)
        replica(torch.ones(2, 3)).sum().backward()
        replica.finish()
        return [weakref.ref(model), weakref.ref(model.weight), weakref.ref(replica)]

    found = [ref for refs in on_two_threads(check) for ref in refs]
    gc.collect()
    assert len(found) == 6 and all(ref() is None for ref in found)


def test_without_its_wrapper_a_model_is_an_ordinary_one():
    def check(comm) -> float:
        model = nn.Linear(1, 1, bias=False)
        nn.init.ones_(model.weight)
        DistributedDataParallel(model, comm)
        gc.collect()
        for _ in range(2):  # a second backward before finish() would be refused
            model(torch.full((1, 1), float(comm.rank))).sum().backward()
        return float(model.weight.grad)

    assert on_two_threads(check) == [0.0, 2.0]


@pytest.mark.filterwarnings("ignore:Using backward\\(\\) with create_graph=True")
def test_gradients_that_fit_no_bucket_are_refused():
    def check(comm) -> list[str]:
        said = []
        for model, x, graph in ((nn.Linear(2, 2), torch.ones(1, 2), True),
                                (nn.Embedding(4, 2, sparse=True), torch.tensor([1, 3]), False)):  # fmt: skip
            replica = DistributedDataParallel(model, comm)
            with pytest.raises(CollectiveError) as raised:
                replica(x).pow(2).sum().backward(create_graph=graph)
            said.append(str(raised.value))
            model.zero_grad()
        return said

    for history, sparse in on_two_threads(check):
        assert "call backward without create_graph=True" in history and "make its embedding with sparse=False" in sparse

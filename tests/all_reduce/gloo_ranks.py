"""Real processes on gloo: what ``all_reduce`` says, and our ring over gloo's own point-to-point messages."""

import json
import os
import sys

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mlsys_course.all_reduce import ring_all_reduce
from mlsys_course.substrate.ranks import Communicator

LENGTHS = (0, 1, 2, 3, 7, 12, 101)
DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def given(rank: int, length: int, dtype: torch.dtype) -> torch.Tensor:
    """A tensor of the rank's own."""
    generator = torch.Generator().manual_seed(1000 * rank + length)
    return torch.randn(length, generator=generator, dtype=torch.float64).to(dtype)


class GlooCommunicator(Communicator):
    """Messages as ``torch.distributed`` sends them: no copy is made, and the receiver must know the shape."""

    def _post(self, tensor, to):
        self.sent = (*getattr(self, "sent", ()), (copy := tensor.clone(), dist.isend(copy, to)))

    def _take(self, source, buffer):
        arrived = torch.empty(buffer.shape, dtype=buffer.dtype)
        dist.recv(arrived, source)
        return arrived


def work(rank: int, world_size: int, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
    found = []
    for dtype in DTYPES:
        for length in LENGTHS:
            total = given(rank, length, dtype)
            comm = GlooCommunicator(rank, world_size)
            ours = ring_all_reduce(total, comm)
            for _, sending in getattr(comm, "sent", ()):
                sending.wait()
            dist.all_reduce(total)
            found.append([total.double().tolist(), ours.double().tolist()])
    dist.barrier()  # nobody leaves while another still reads from it
    dist.destroy_process_group()
    with open(f"{folder}/{rank}.json", "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    mp.start_processes(work, (int(sys.argv[1]), sys.argv[2]), int(sys.argv[1]), start_method="fork")

"""A small decoder trained by ranks, and by PyTorch in one process; what both come to."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlsys_course.substrate.model_config import ModelConfig
from mlsys_course.substrate.ranks import Communicator, run_in_threads
from mlsys_course.transformer import Decoder


def adamw(tensors: Sequence[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(tensors, lr=0.05, weight_decay=0.1)


def batch(seed: int, rows: int = 12) -> tuple[Tensor, Tensor]:
    """Inputs and targets."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(11, (rows, 6), generator=generator)
    return tokens[:, :-1], tokens[:, 1:]


def loss_of(model: nn.Module, tokens: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())


def in_one_process(model: nn.Module, steps: int) -> list[list[Tensor]]:
    """Parameters after each of PyTorch's own steps on the whole batch."""
    optimizer, found = adamw(list(model.parameters())), []
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(model, *batch(step)).backward()
        optimizer.step()
        found.append([p.detach().clone() for p in model.parameters()])
    return found


def on_ranks(
    make: Callable[[], nn.Module],
    train: Callable[[nn.Module, Sequence[tuple[Tensor, Tensor]], Communicator], list[list[Tensor]]],
    world_size: int,
    steps: int,
):
    """What ``train(model, batches, comm)`` finds on each rank, with its part of each batch; and the traffic."""

    def work(comm: Communicator):
        own = [tuple(x.chunk(world_size)[comm.rank] for x in batch(step)) for step in range(steps)]
        return train(make(), own, comm)  # pyright: ignore[reportArgumentType]

    return run_in_threads(work, world_size)


def decoder(tied: bool = True) -> nn.Module:
    config = ModelConfig(
        vocabulary=11, context=6, d_model=8, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=4, d_ffn=13, tied_head=tied
    )
    model, generator = Decoder(config).double(), torch.Generator().manual_seed(3)
    with torch.no_grad():  # ranks are threads here, which share PyTorch's own generator
        for p in model.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return model

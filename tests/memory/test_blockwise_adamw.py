"""``blockwise_adamw`` against PyTorch's AdamW, exactly where moments stay wide, and in 8 bits nearly."""

import pytest
import torch

from mlsys_course.memory import blockwise_adamw


def wide(x, signed):
    return x.clone()


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_with_wide_moments_it_is_pytorchs(decay, dtype, normal):
    start = normal(5, 3).to(dtype)
    theirs = start.float().requires_grad_()
    optimizer = torch.optim.AdamW([theirs], lr=0.05, weight_decay=decay)
    ours, state = start.float().clone(), None
    for step in range(1, 6):
        gradient = normal(5, 3).to(dtype)
        theirs.grad = gradient.float()
        optimizer.step()
        ours, state = blockwise_adamw(ours, gradient, state, step, 0.05, decay, wide, lambda x: x)
    torch.testing.assert_close(ours, theirs.detach())
    assert blockwise_adamw(start, start, None, 1, 0.1)[0].dtype == dtype


def test_eight_bits_train_as_well(normal):
    target, found = normal(700).float(), {}
    for name, parts in {"wide": (wide, lambda x: x), "8 bits": ()}.items():
        x, state = torch.zeros(700), None
        for step in range(1, 200):
            x, state = blockwise_adamw(x, 2 * (x - target), state, step, 0.03, 0.0, *parts)
        found[name] = (x - target).norm() / target.norm()
    assert state[0][0].dtype == torch.uint8
    assert found["8 bits"] < 0.05 and found["wide"] < 0.05

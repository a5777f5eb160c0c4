"""Counted FLOPs against those that PyTorch's counter sees, and where they cross."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mlsys_course.sequence import attention_context, attention_cost, crossover, recurrent_cost, rnn


def counted(work):
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@pytest.mark.parametrize(("n", "d"), [(1, 4), (5, 8), (40, 8)])
def test_flops_are_those_of_a_live_layer(n, d):
    x, w = torch.randn(1, n, d), torch.randn(d, d)
    assert recurrent_cost(n, d).flops == counted(lambda: rnn(x, x[:, 0], w, w, w[0]))
    assert attention_cost(n, d).flops == counted(lambda: attention_context(x, x))


def test_steps_and_crossover():
    assert recurrent_cost(100, 8).steps == 100 and attention_cost(100, 8).steps == 1
    for d in (1, 64):
        n = crossover(d)
        assert recurrent_cost(n, d).flops == attention_cost(n, d).flops
        assert attention_cost(n + 1, d).flops > recurrent_cost(n + 1, d).flops
    with pytest.raises(ValueError, match="n=0"):
        recurrent_cost(0, 4)

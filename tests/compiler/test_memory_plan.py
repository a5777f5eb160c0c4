"""Plans and orders against brute force, and against what PyTorch's tensors take."""

import itertools

import torch
from hypothesis import given, settings

import mlsys_course.substrate.graph as G
from mlsys_course.autodiff import topological_order
from mlsys_course.compiler import arena_bytes, last_uses, order_for_memory, peak_bytes, plan_buffers
from tests.compiler.graphs import F64, programs

FEW = settings(max_examples=80, deadline=None, derandomize=True)


def alive_at_each_step(order, outputs):
    """By the definition: made, and read now or later or asked for."""
    for at in range(len(order)):
        later = {x for node in order[at:] for x in node.inputs} | set(outputs)
        yield [node for node in order[: at + 1] if node.inputs and (node in later or node is order[at])]


def rounded(node):
    return -(-torch.Size(node.shape).numel() * 8 // 64) * 64


@FEW
@given(programs())
def test_values_that_live_together_share_no_byte(drawn):
    _, outputs = drawn
    order = topological_order(outputs)
    offsets = plan_buffers(order, outputs)
    assert set(offsets) == {node for node in order if node.inputs}
    for alive in alive_at_each_step(order, outputs):
        taken = sorted((offsets[node], offsets[node] + rounded(node)) for node in alive)
        assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(taken))
    most = max((sum(map(rounded, alive)) for alive in alive_at_each_step(order, outputs)), default=0)
    assert most <= arena_bytes(offsets) <= 1.5 * most


@FEW
@given(programs())
def test_the_peak_is_that_of_the_definition(drawn):
    _, outputs = drawn
    order = topological_order(outputs)
    sizes = [sum(torch.Size(n.shape).numel() * 8 for n in alive) for alive in alive_at_each_step(order, outputs)]
    assert peak_bytes(order, outputs) == max(sizes, default=0)
    assert all(last_uses(order, outputs)[node] == len(order) for node in outputs)


def tree(depth):
    """Products of wide sums: each leaf is large, each result small."""
    if depth == 0:
        return G.sum(G.exp(G.variable("x", (50,), F64)), 0, keepdims=True)
    left, right = tree(depth - 1), tree(depth - 1)
    return G.tanh(left) * right


def all_orders(done, left):
    """Every order in which the inputs of a node come before it."""
    if not left:
        yield done
    for node in left:
        if not set(node.inputs) & set(left):
            yield from all_orders([*done, node], [x for x in left if x is not node])


def test_small_graphs_are_ordered_best():
    x = G.variable("x", (8,), F64)
    wide = [G.broadcast_to(x, (n, 8)) for n in (9, 2, 5)]
    outputs = [G.sum(wide[0]) + G.sum(wide[1]) * G.sum(wide[2])]
    order = topological_order(outputs)
    work = [node for node in order if node.inputs]
    leaves = [node for node in order if not node.inputs]
    valid = [leaves + one for one in all_orders([], work)]
    assert len(valid) > 100
    least = min(peak_bytes(one, outputs) for one in valid)
    found = order_for_memory(order, outputs)
    assert peak_bytes(found, outputs) == least < max(peak_bytes(one, outputs) for one in valid)
    assert found in valid


def test_large_graphs_are_no_worse():
    outputs = [tree(4)]
    level_by_level = sorted(topological_order(outputs), key=lambda node: depth_of(node))
    found = order_for_memory(level_by_level, outputs)
    assert sorted(found, key=id) == sorted(level_by_level, key=id)
    assert peak_bytes(found, outputs) < 0.5 * peak_bytes(level_by_level, outputs)


def depth_of(node):
    return 1 + max(map(depth_of, node.inputs), default=0)

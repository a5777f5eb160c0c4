"""Rewrites keep the outputs of random graphs, and find what they are for."""

import pytest
import torch
from hypothesis import given, settings

import mlsys_course.substrate.graph as G
from mlsys_course.autodiff import evaluate, gradient, topological_order
from mlsys_course.compiler import RULES, eliminate, fuse_elementwise, merge_qkv, rewrite
from mlsys_course.substrate.graph.models import plain_gpt, plain_gpt_weights, variables
from tests.compiler.graphs import F64, programs, values

FEW = settings(max_examples=60, deadline=None, derandomize=True)


def names(outputs):
    return [node.operator.name for node in topological_order(outputs)]


@pytest.mark.parametrize("rules", [*([rule] for rule in RULES), RULES], ids=lambda rules: rules[0].__name__)
@FEW
@given(programs())
def test_a_rule_keeps_the_outputs(rules, drawn):
    inputs, outputs = drawn
    after = rewrite(outputs, rules)
    torch.testing.assert_close(values(after, inputs), values(outputs, inputs))
    assert all(rule(node) is None for node in topological_order(after) for rule in rules)
    assert len(topological_order(after)) <= len(topological_order(outputs))


@FEW
@given(programs())
def test_no_two_nodes_are_common(drawn):
    inputs, outputs = drawn
    order, after = eliminate(topological_order(outputs), outputs)
    torch.testing.assert_close(values(after, inputs), values(outputs, inputs))
    assert set(order) == set(topological_order(after))
    seen = [(node.operator, node.inputs) for node in order if node.inputs]
    assert len(seen) == len(set(seen))


@FEW
@given(programs())
def test_groups_are_loops_of_one_result(drawn):
    _, outputs = drawn
    order = topological_order(outputs)
    groups = fuse_elementwise(order, outputs)
    where = {node: n for n, group in enumerate(groups) for node in group}
    assert len(where) == sum(map(len, groups)) == sum(bool(node.inputs) for node in order)
    for node in order:
        users = {one for one in order if node in one.inputs}
        if node in where and node is not groups[where[node]][-1]:
            assert len(users) == 1 and where[users.pop()] == where[node] and node not in outputs


def test_patterns_are_found():
    x, y = G.variable("x", (4, 6), F64), G.variable("y", (6, 4), F64)
    shifted = G.exp(x - G.max(x, 1, keepdims=True))
    cases = [
        (shifted / G.sum(shifted, 1, keepdims=True), ["variable", "softmax"]),
        (G.transpose(x) @ G.transpose(y), ["variable", "variable", "matmul", "transpose"]),
        (x * (G.mean(x * x, -1, keepdims=True) + 1e-5) ** -0.5, ["variable", "constant", "rms_norm"]),
        (x * (G.mean(x**2, -1, keepdims=True) + 1e-5) ** -0.5, ["variable", "constant", "rms_norm"]),
        ((x * 2) * 0.5, ["variable"]),
        (G.Node.__neg__(-x) + G.constant(torch.ones(6, dtype=F64)) * 3.0, ["constant", "variable", "add"]),
        (G.reshape(G.reshape(x, (24,)), (4, 6)), ["variable"]),
    ]
    for node, expected in cases:
        assert sorted(names(rewrite([node], RULES))) == sorted(expected)
    for kept in (shifted / G.sum(shifted, 0, keepdims=False), x * (G.mean(x, -1, keepdims=True) + 1e-5) ** -0.5):
        assert names(rewrite([kept], RULES)) == names([kept])


def test_rules_that_do_not_end_are_named():
    def there_and_back(node):
        return node.inputs[1] + node.inputs[0] if node.operator.name == "add" else None

    def onto_itself(node):
        return node * 1.0 if node.operator.name == "tanh" else None

    def narrower(node):
        return G.cast(node.inputs[0], torch.float32) if node.operator.name == "tanh" else None

    x = G.variable("x", (2,), F64)
    for rule, node in ((there_and_back, x + x * 2), (onto_itself, G.tanh(x)), (narrower, G.tanh(x))):
        with pytest.raises(G.GraphError, match=rule.__name__):
            rewrite([node], [rule])


def test_a_gpt_and_its_gradients_stay_what_they_are():
    tensors = {name: w.double() for name, w in plain_gpt_weights(11, 6, 8, 2).items()}
    w = variables(tensors)
    ids = G.one_hot(G.variable("ids", (2, 6), torch.int64), 11, F64)
    seen = G.constant(torch.zeros(6, 6, dtype=F64).masked_fill(torch.ones(6, 6).triu(1) > 0, -1e9))
    logits = plain_gpt(ids, w, 2, G, G.transpose, seen)
    loss = G.mean(logits * logits)
    outputs = [loss, *gradient(loss, list(w.values()))]
    feeds = {**{w[name]: x for name, x in tensors.items()}, ids.inputs[0]: torch.arange(12).reshape(2, 6) % 11}
    order, merged = eliminate(topological_order(outputs), outputs)
    merged = rewrite(merge_qkv(order, merged), RULES)
    torch.testing.assert_close(evaluate(merged, feeds), evaluate(outputs, feeds))

    _, once = eliminate(topological_order([loss]), [loss])
    after = merge_qkv(topological_order(once), once)
    assert names([loss]).count("matmul") - names(after).count("matmul") == 2 * 2
    assert names(rewrite([loss], RULES)).count("rms_norm") == 2 * 4 + 1


def test_products_that_differ_in_what_is_multiplied_stay():
    x, h = G.variable("x", (2, 3, 4), F64), G.variable("h", (2, 3, 4), F64)
    w = [G.variable(f"w{n}", (4, 2 + n), F64) for n in range(3)]
    batch = G.variable("b", (2, 4, 4), F64)
    made = G.tanh(w[0])
    outputs = [x @ w[0], x @ w[1], h @ w[2], x @ batch, x @ made]
    after = merge_qkv(topological_order(outputs), outputs)
    assert names(after).count("matmul") == 4
    feeds = {n: torch.randn(n.shape, dtype=F64) for n in [x, h, *w, batch]}
    torch.testing.assert_close(evaluate(after, feeds), evaluate(outputs, feeds))

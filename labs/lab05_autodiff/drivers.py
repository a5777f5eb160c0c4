"""How lab 5's functions are called and what of them is compared: the same code for your runs and for grading.

Graphs that you return are computed here by the plainest evaluator there is, so that a mistake in yours costs nothing
elsewhere.
"""

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import mlsys_course.substrate.graph as G
from mlsys_course.desk.check import driver, kept, raised
from mlsys_course.desk.check.seen import OUTSIDE, Seen, calls_of, unforeseen
from mlsys_course.desk.check.tree import Tree
from mlsys_course.substrate.graph import Node, Operator
from mlsys_course.substrate.graph.node import made_for

Feeds = Mapping[Node, torch.Tensor]


@contextlib.contextmanager
def deep_recursion() -> Iterator[None]:
    """The evaluator below recurses; your code runs with Python's own limit."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def value(node: Node, feeds: Feeds, known: dict[Node, torch.Tensor] | None = None) -> torch.Tensor:
    """What ``node`` comes to on ``feeds``."""
    if not isinstance(node, Node):
        raise TypeError(f"a {type(node).__name__} where a node of the graph was expected")
    known = {} if known is None else known
    if node in feeds:
        return feeds[node]
    if isinstance(node.operator, G.Constant):
        return node.operator.value.to(next(iter(feeds.values())).device)
    if node not in known:
        known[node] = node.operator.compute(*[value(x, feeds, known) for x in node.inputs])
    return known[node]


def variables(tensors: Sequence[torch.Tensor], name: str = "x") -> list[Node]:
    return [G.variable(f"{name}{n}", tuple(x.shape), x.dtype) for n, x in enumerate(tensors)]


def same(now: Sequence[Any], before: Sequence[Any]) -> bool:
    """Whether a list holds the very objects that it held before."""
    return [*map(id, now)] == [*map(id, before)]


# ---- graphs that a case describes: for each node the nodes that it uses, by number -----------------------------------


MOST = 2000  # what a walk along every path of a case's graph runs into long before it ends


Compute = Callable[..., torch.Tensor]


@dataclass(frozen=True, eq=False)
class Witness(Operator):
    """0.3 plus its inputs' weighted sum, or what ``ask`` answers to the number of its node, a key and its inputs.

    After ``MOST`` computations in one graph it computes no more, so that a walk along every path ends.
    """

    weights: tuple[float, ...]
    number: int
    left: Iterator[int]
    ask: Compute | None = None
    key: int = 0

    def infer(self, *inputs: G.Kind) -> G.Kind:
        return inputs[0]

    def compute(self, *inputs: torch.Tensor) -> torch.Tensor:
        if next(self.left, None) is None:
            raise RuntimeError(f"more than {MOST:,} computations in a small graph: compute each node once a run")
        if self.ask:
            return self.ask(self.number, self.key, *inputs)
        result = inputs[0] * self.weights[0] + 0.3
        for x, weight in zip(inputs[1:], self.weights[1:], strict=True):
            result = result + x * weight
        return result


def computed(number: int, key: int, *inputs: torch.Tensor) -> torch.Tensor:
    """The value of a node in a graph whose operators nobody knows. Grading answers with other numbers than these."""
    return unforeseen(inputs[0].shape, key, number, *inputs)


def described(uses: Sequence[Sequence[int]], shape: Sequence[int] = (), **asked: Any) -> list[Node]:
    """A node for each row of ``uses``: a variable where it is empty, else a Witness of the nodes named."""
    nodes: list[Node] = []
    left = iter(range(MOST))
    for n, row in enumerate(uses):
        if row:
            weights = tuple(0.9 / (k + 1) for k in range(len(row)))
            nodes.append(Witness(weights, n, left, **asked)(*[nodes[k] for k in row]))
        else:
            nodes.append(G.variable(f"x{n}", tuple(shape), torch.float64))
    return nodes


def chained(count: int) -> list[Node]:
    """A variable, and nodes that each use the one before; made without the checks that calls of operators make."""
    nodes = described([[]])
    link = Witness((0.9,), 0, iter(range(MOST)))
    with made_for():
        for _ in range(count - 1):
            nodes.append(Node(link, nodes[-1:], nodes[0].kind))
    return nodes


def watch(nodes: Sequence[Node]) -> None:
    """From now on the nodes let their inputs be looked at ``MOST`` times, all together."""
    looks = itertools.count(1)

    class Watched(Node):
        __slots__ = ()

        def __getattribute__(self, name: str):
            if name == "inputs" and next(looks) > MOST:
                raise RuntimeError(f"more than {MOST:,} looks at the inputs of {len(nodes)} nodes: visit each once")
            return super().__getattribute__(name)

    for node in nodes:
        node.__class__ = Watched


@driver
def topological_order(candidate, case):
    """Any order will do in which inputs come first: what is compared is what all of them have in common."""
    nodes = chained(case["chain"]) if "chain" in case else described(case["uses"])
    number = {node: n for n, node in enumerate(nodes)}
    uses = [node.inputs for node in nodes]
    if "watched" in case:
        watch(nodes)
    outputs = [nodes[n] for n in case.get("outputs", [-1])]
    handed = list(outputs)
    order = [number[node] for node in candidate(handed)]
    at = {nodes[n]: place for place, n in enumerate(order)}
    early = [n for n in set(order) if any(at.get(x, len(order)) > at[nodes[n]] for x in uses[n])]
    found = {"nodes": torch.tensor(sorted(order)), "nodes before one that they use": len(early)}
    return {**found, "the list given": kept(same(handed, outputs))}


def times_computed(case: Tree, outputs: Tree, seen: Seen) -> Tree:
    """The values; where they were asked for one by one, how often each node was computed too."""
    if OUTSIDE not in case:
        return outputs
    numbers = [n for n, *_ in calls_of("computed", seen[0])]
    counts = torch.tensor([numbers.count(n) for n, row in enumerate(case["uses"]) if row])
    return {**outputs, "times computed": counts}


@driver(parts={"computed": computed}, judged=times_computed)
def Evaluator(candidate, case, computed):
    """Several runs of one evaluator; of bad feeds the error, and a run after it. Of long values every so manieth entry
    is looked at.

    With a ``key`` each node's value is asked for, and nobody has it before.
    """
    asked = {"ask": computed, "key": case["key"]} if "key" in case else {}
    nodes = described(case["uses"], case["runs"][0][0].shape if case["runs"] else (), **asked)
    fed = [node for node in nodes if node.is_variable]
    constant = G.constant(case["constant"]) if "constant" in case else None
    outputs = [nodes[n] for n in case["outputs"]] + ([constant] if constant is not None else [])
    order = [*nodes, *([constant] if constant is not None else [])]
    handed = [list(outputs), list(order)]
    run = candidate(*handed)
    feeds = [dict(zip(fed, [x.clone() for x in tensors], strict=True)) for tensors in case["runs"]]
    if "bad" in case:
        return {"raised": raised(run, bad_feeds(case["bad"], feeds[0])), "values after it": run(feeds[0])}
    every, given = case.get("every", 0), [dict(one) for one in feeds]

    def values(one: Feeds) -> list[torch.Tensor]:
        return [x[::every].clone() if every else x for x in run(one)]

    found: dict[str, Tree] = {"values": [values(one) for one in given]}
    fed_alike = [same([*one, *one.values()], [*was, *was.values()]) for one, was in zip(given, feeds, strict=True)]
    found["lists and feeds given"] = kept(all([same(handed[0], outputs), same(handed[1], order), *fed_alike]))
    if "overwrite" in case:  # the same tensors as before, with other numbers in them
        for tensor in feeds[-1].values():
            tensor.mul_(-2)
        found["values"].append(values(feeds[-1]))
    return found


def bad_feeds(kind: str, feeds: dict[Node, torch.Tensor]) -> dict[Node, torch.Tensor]:
    """The feeds with the last one spoiled."""
    node, tensor = list(feeds.items())[-1]
    rest = {other: x for other, x in feeds.items() if other is not node}
    spoiled = {"shape": tensor[..., None], "one more axis": tensor[None], "dtype": tensor.float()}
    return rest if kind == "missing" else {**rest, node: spoiled[kind]}


# ---- gradient rules: (node, grad) -> adjoints ------------------------------------------------------------------------

OPERATORS = {
    "negate": lambda x: -x,
    "subtract": lambda x, y: x - y,
    "divide": lambda x, y: x / y,
    "shift": lambda x: x + 0.7,
    "scale": lambda x: x * -1.3,
    "log": G.log,
    "sin": G.sin,
    "cos": G.cos,
    "tanh": G.tanh,
    "sqrt": G.sqrt,
    "relu": G.relu,
    "softmax": G.softmax,
    "log_softmax": G.log_softmax,
    "matmul": G.matmul,
    "layer_norm": G.layer_norm,
    "rms_norm": G.rms_norm,
    "embedding": G.embedding,
    "where": G.where,
    "cross_entropy": G.cross_entropy,
    "add": lambda x, y: x + y,
    "multiply": lambda x, y: x * y,
    "exp": G.exp,
    "positive": lambda x: G.cast(x > 0, x.dtype),
}
WITH_SETTINGS = {
    "power": lambda x, exponent: x**exponent,
    "sum": lambda x, axes, keepdims: G.sum(x, axes, keepdims),
    "mean": lambda x, axes, keepdims: G.mean(x, axes, keepdims),
    "max": lambda x, axes, keepdims: G.max(x, axes, keepdims),
    "reshape": lambda x, shape: G.reshape(x, shape),
    "transpose": lambda x, order: G.transpose(x, order),
    "broadcast_to": lambda x, shape: G.broadcast_to(x, shape),
    "slice": lambda x, bounds: x[tuple(slice(*bound) for bound in bounds)],
    "softmax_along": lambda x, axis: G.softmax(x, axis),
    "log_softmax_along": lambda x, axis: G.log_softmax(x, axis),
}


def node_of(case: Mapping[str, Tree], inputs: Sequence[Node]) -> Node:
    """The case's operator on ``inputs``."""
    if case["operator"] == "concatenate":
        return G.concatenate(inputs, case["settings"]["axis"])
    if "settings" in case:
        return WITH_SETTINGS[case["operator"]](*inputs, **case["settings"])
    return OPERATORS[case["operator"]](*inputs)


def rule_outputs(candidate, case):
    """The adjoints that a rule passes on, as numbers, once for each set of feeds; copies of broadcasting summed."""
    inputs = variables(case["feeds"][0])
    node = node_of(case, inputs)
    grad = G.variable("grad", node.shape, node.dtype)
    passed = list(candidate(node, grad))
    assert len(passed) == len(inputs), f"{len(passed)} adjoints for {len(inputs)} inputs"
    found: dict[str, Tree] = {}
    for run, (tensors, cotangent) in enumerate(zip(case["feeds"], case["cotangents"], strict=True)):
        feeds = {**dict(zip(inputs, tensors, strict=True)), grad: cotangent}
        again = f", feeds {run + 1}" if run else ""
        for n, (p, x) in enumerate(zip(passed, tensors, strict=True), 1):
            found[f"adjoint of input {n}{again}"] = None if p is None else reduced(value(p, feeds), x)
    return found


def reduced(adjoint: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Summed to x's shape where broadcasting stretched it; as it is where that cannot be."""
    try:
        return adjoint.sum_to_size(x.shape)
    except RuntimeError:
        return adjoint


@driver
def elementwise_gradients(candidate, case):
    return rule_outputs(candidate, case)


@driver
def linear_gradients(candidate, case):
    return rule_outputs(candidate, case)


@driver
def cross_entropy_gradient(candidate, case):
    return rule_outputs(candidate, case)


@driver
def normalization_gradients(candidate, case):
    return rule_outputs(candidate, case)


@driver
def selection_gradients(candidate, case):
    return rule_outputs(candidate, case)


@driver
def sum_to(candidate, case):
    """The node's own shape, and its value."""
    grad = G.variable("grad", tuple(case["grad"].shape), case["grad"].dtype)
    found = candidate(grad, tuple(case["shape"]))
    return {"shape": list(found.shape), "sum": value(found, {grad: case["grad"]})}


# ---- gradient --------------------------------------------------------------------------------------------------------


def slopes(number: int, key: int, count: int) -> list[float]:
    """What a node's ``count`` adjoints are multiplied with, in a graph whose slopes nobody knows. Grading answers with
    other numbers than these."""
    return unforeseen((count,), key, number).tolist()


def adjoints_of(node: Node, grad: Node) -> list[Node | None]:
    """A right rule for the operators of these cases."""
    match node.operator.name:
        case "multiply":
            return [other * grad for other in reversed(node.inputs)]
        case "add":
            return [grad] * 2
        case "exp":
            return [node * grad]
        case "compare" | "cast":  # of numbers to true and false, and back: nothing flows
            return [None] * len(node.inputs)
    raise ValueError(f"no rule for {node}")


def program(lines: Sequence[Sequence], inputs: Sequence[Node]) -> list[Node]:
    """Nodes in order: the inputs, then one for each line (operator, number of a node, ...)."""
    nodes = list(inputs)
    for name, *numbers in lines:
        nodes.append(OPERATORS[name](*[nodes[n] for n in numbers]))
    return nodes


def asked_once(case: Tree, outputs: Tree, seen: Seen) -> Tree:
    """The gradients; where slopes had to be asked for, whether that was at most once for each node too."""
    if OUTSIDE not in case:
        return outputs
    numbers = [n for n, *_ in calls_of("slopes", seen[0])]
    return {**outputs, "asked once a node": len(numbers) == len(set(numbers))}


@driver(parts={"slopes": slopes}, judged=asked_once)
def gradient(candidate, case, slopes):
    """The gradients' values for each set of feeds. With a ``key`` the rule asks for each node's slopes."""
    inputs = variables(case["feeds"][0])
    nodes = program(case["lines"], inputs)
    number = {node: n for n, node in enumerate(nodes)}
    output = nodes[-1]
    order = sorted(needed_by(output), key=lambda node: node.number)
    wanted = [nodes[n] for n in case["wanted"]]

    def rule(node: Node, grad: Node) -> list[Node | None]:
        passed = adjoints_of(node, grad)
        factors = slopes(number[node], case["key"], len(passed)) if "key" in case else [1.0] * len(passed)
        return [p if p is None or f == 1.0 else p * f for p, f in zip(passed, factors, strict=True)]

    handed = [list(wanted), list(order)]
    found = candidate(output, *handed, rule)
    results = []
    with deep_recursion():
        for tensors in case["feeds"]:
            known: dict[Node, torch.Tensor] = {}
            feeds = dict(zip(inputs, tensors, strict=True))
            results.append([value(one, feeds, known) for one in found])
    return {"gradients": results, "the lists given": kept(same(handed[0], wanted) and same(handed[1], order))}


def needed_by(output: Node) -> set[Node]:
    """The nodes that ``output`` needs, in no order."""
    found, new = set(), {output}
    while new:
        found |= new
        new = {x for node in new for x in node.inputs} - found
    return found


# ---- the weight update, and extensions -------------------------------------------------------------------------------


@driver
def adamw_step(candidate, case):
    """Weights and moments after several steps of one graph."""
    weight, *_ = state = [case["weight"], torch.zeros_like(case["weight"]), torch.zeros_like(case["weight"])]
    names = ["weight", "m", "v"]
    nodes = [G.variable(name, tuple(weight.shape), weight.dtype) for name in names]
    grad = G.variable("grad", tuple(weight.shape), weight.dtype)
    t = G.variable("t", (), weight.dtype)
    after = candidate(nodes[0], grad, *nodes[1:], t, **case["settings"])
    rows = []
    for number, tensor in enumerate(case["gradients"], 1):
        feeds = {**dict(zip(nodes, state, strict=True)), grad: tensor, t: torch.tensor(number, dtype=weight.dtype)}
        state = [value(node, feeds) for node in after]
        rows.append(dict(zip(names, state, strict=True)))
    return {name: [row[name] for row in rows] for name in case["returns"]}


FUNCTIONS = {
    "sines": lambda x, c: (c * x.sin()).sum(),
    "product": lambda x, c: (c * x).prod(),
    "neighbours": lambda x, c: (c * x * x.roll(1, -1)).sum(),
    "quadratic": lambda x, c: (c * (x - 1) ** 2).sum(),
    "tiny": lambda x, c: 1e-9 * (c * x.exp()).sum(),
    "large entries": lambda x, c: (c * (x / 1e4) ** 3).sum(),
    "constant": lambda x, c: c.sum(),
    "cubes": lambda x, c: (c * x**3).sum(),
}


@driver
def check_gradient(candidate, case):
    """The differences, in units of the largest, and the verdict on each claimed gradient."""
    function, c = FUNCTIONS[case["function"]], case["coefficients"]
    found = [candidate(lambda x: function(x, c), case["x"], claimed) for claimed in case["claimed"]]
    outputs: dict[str, Tree] = {"agrees": [bool(agrees) for _, agrees in found]}
    if "unit" in case:
        outputs["numerical"] = found[0][0] / case["unit"]
    return outputs


@driver
def forward_rule(candidate, case):
    """The node's tangent as numbers; None stands for an input that does not move."""
    inputs = variables(case["feeds"])
    node = node_of(case, inputs)
    moving = [x for x, direction in zip(inputs, case["directions"], strict=True) if direction is not None]
    directions = [direction for direction in case["directions"] if direction is not None]
    names = iter(variables(directions, "d"))
    along = dict(zip(moving, names, strict=True))
    tangents = [along.get(x) for x in inputs]
    handed = list(tangents)
    found = candidate(node, handed)
    feeds = {**dict(zip(inputs, case["feeds"], strict=True))}
    feeds |= dict(zip(along.values(), directions, strict=True))
    return {"tangent": value(found, feeds), "the list given": kept(same(handed, tangents))}

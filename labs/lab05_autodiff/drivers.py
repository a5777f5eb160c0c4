"""How lab 5's functions are called and what of them is compared: the same code for your runs and for grading.

Graphs that you return are computed here by the plainest evaluator there is, so that a mistake in yours costs nothing
elsewhere.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import mlsys_course.substrate.graph as G
from mlsys_course.desk.check import driver, kept, raised, sampled
from mlsys_course.desk.check.seen import OUTSIDE, Seen, calls_of, unforeseen
from mlsys_course.desk.check.tree import Tree
from mlsys_course.substrate.graph import Node, Operator
from mlsys_course.substrate.graph.node import made_for

Feeds = Mapping[Node, torch.Tensor]


def value(node: Node, feeds: Feeds, known: dict[Node, torch.Tensor] | None = None) -> torch.Tensor:
    """What ``node`` comes to on ``feeds``."""
    known = {} if known is None else known
    waiting = [node]
    while waiting:
        one = waiting[-1]
        if not isinstance(one, Node):
            raise TypeError(f"a {type(one).__name__} where a node of the graph was expected")
        missing = [] if one in known or one in feeds else [x for x in one.inputs if x not in known]
        waiting += missing
        if not missing:
            known[one] = known[one] if one in known else found_at(one, feeds, known)
            waiting.pop()
    return known[node]


def found_at(node: Node, feeds: Feeds, known: Mapping[Node, torch.Tensor]) -> torch.Tensor:
    """The value of a node whose inputs are known."""
    if node in feeds:
        return feeds[node]
    if isinstance(node.operator, G.Constant):
        return node.operator.value.to(next(iter(feeds.values())).device)
    return node.operator.compute(*[known[x] for x in node.inputs])


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
    left: Iterator[int | None]
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


def described(
    uses: Sequence[Sequence[int]],
    shape: Sequence[int] = (),
    dtype: torch.dtype = torch.float64,
    constants: Sequence[int] = (),
    label: str = "",
    fails: int | None = None,
    **asked: Any,
) -> list[Node]:
    """A node for each row of ``uses``: a Witness of the nodes named; a variable where it is empty, or a constant.

    All variables are called ``label`` if there is one. Nodes of as many inputs have the same operator, unless they are
    told apart by what they ask. The one that ``fails`` does so once.
    """
    nodes: list[Node] = []
    left, known = iter(range(MOST)), {}
    for n, row in enumerate(uses):
        weights = tuple(0.9 / (k + 1) for k in range(len(row)))
        if n == fails:
            nodes.append(Witness(weights, n, iter([None, *range(MOST)]))(*[nodes[k] for k in row]))
        elif row:
            made = Witness(weights, n, left, **asked)
            operator = made if asked else known.setdefault(len(row), made)
            nodes.append(operator(*[nodes[k] for k in row]))
        elif n in constants:
            nodes.append(G.constant(torch.full(tuple(shape), 0.7 * n - 1, dtype=dtype)))
        else:
            nodes.append(G.variable(label or f"x{n}", tuple(shape), dtype))
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
    """Any order will do in which inputs come first: what is compared is what all of them have in common.

    Small graphs are asked for twice, and the first answer is looked at after the second.
    """
    settings = {name: case[name] for name in ("constants", "label") if name in case}
    nodes = chained(case["chain"]) if "chain" in case else described(case["uses"], **settings)
    uses = [node.inputs for node in nodes]
    if "watched" in case:
        watch(nodes)
    outputs = [nodes[n] for n in case.get("outputs", [-1])]
    handed = list(outputs)
    found = [candidate(handed) for _ in range(1 if "chain" in case or "watched" in case else 2)]
    first, *more = [looked_through(order, nodes, uses) for order in found]
    return {**first, "the list given": kept(same(handed, outputs)), **({"called again": more[0]} if more else {})}


def looked_through(found: Sequence[Node], nodes: Sequence[Node], uses: Sequence[Sequence[Node]]) -> dict[str, Tree]:
    """What all right orders have in common."""
    number = {node: n for n, node in enumerate(nodes)}
    order = [number[node] for node in found]
    at = {nodes[n]: place for place, n in enumerate(order)}
    early = [n for n in set(order) if any(at.get(x, len(order)) > at[nodes[n]] for x in uses[n])]
    returned = "a list" if isinstance(found, list) else f"a {type(found).__name__}"
    numbers = torch.tensor(sorted(order), dtype=torch.int64)
    return {"nodes": numbers, "nodes before one that they use": len(early), "returned": returned}


def times_computed(case: Tree, outputs: Tree, seen: Seen) -> Tree:
    """The values; where they were asked for one by one, how often each node was computed too."""
    if OUTSIDE not in case:
        return outputs
    numbers = [n for n, *_ in calls_of("computed", seen[0])]
    counts = torch.tensor([numbers.count(n) for n, row in enumerate(case["uses"]) if row])
    return {**outputs, "times computed": counts}


class Running:
    """An evaluator of the candidate's, the lists that it was handed, and feeds for its runs."""

    def __init__(self, candidate: Any, case: Mapping[str, Tree], asked: Mapping[str, Any]):
        first = case["runs"][0][0]
        settings = {name: case[name] for name in ("constants", "fails", "label") if name in case}
        nodes = described(case["uses"], first.shape, first.dtype, **settings, **asked)
        extra = [G.constant(case["constant"])] if "constant" in case else []
        self.outputs = [*(nodes[n] for n in case["outputs"]), *extra]
        self.order = [*(nodes[n] for n in case.get("order", range(len(nodes)))), *extra]
        self.handed = [list(self.outputs), list(self.order)]
        self.run = candidate(*self.handed)
        fed = [node for node in nodes if node.is_variable]
        self.feeds = [dict(zip(fed, [x.clone() for x in tensors], strict=True)) for tensors in case["runs"]]
        self.given = [dict(one) for one in self.feeds]

    @property
    def handed_on(self) -> str:
        """What became of the lists and the feeds."""
        lists = same(self.handed[0], self.outputs) and same(self.handed[1], self.order)
        pairs = zip(self.given, self.feeds, strict=True)
        return kept(lists and all(same([*one, *one.values()], [*was, *was.values()]) for one, was in pairs))


@driver(parts={"computed": computed}, judged=times_computed)
def Evaluator(candidate, case, computed):
    """Several runs of one evaluator, at times of two in turn; results are looked at after the last run.

    Of bad feeds the error, and a run on other feeds after it. Of long values every so manieth entry is looked at, and
    a mean of all. With a ``key`` each node's value is asked for, and nobody has it before.
    """
    asked = {"ask": computed, "key": case["key"]} if "key" in case else {}
    one = Running(candidate, case, asked)
    if "bad" in case:
        return after_bad_feeds(one, case["bad"])
    if "fails" in case:
        with contextlib.suppress(Exception):
            one.run(one.given[0])
        return {"values after a failure": list(one.run(one.given[-1]))}
    if "every" in case:
        found: list[Tree] = [[sampled(x, case["every"]) for x in one.run(feeds)] for feeds in one.given]
        return {"values": found, "lists and feeds given": one.handed_on}
    others = [Running(candidate, case["beside"], {})] if "beside" in case else []
    found, beside = [], []
    for feeds in one.given:
        found.append(list(one.run(feeds)))
        beside += [list(other.run(other.given[-1])) for other in others]
    outputs = {"lists and feeds given": one.handed_on, **({"another evaluator's": beside} if others else {})}
    if "overwrite" in case:  # the same tensors as before, with other numbers in them, of which PyTorch knows nothing
        found = [[x.clone() for x in values] for values in found]
        for tensor in one.feeds[-1].values():
            tensor.numpy()[...] *= -2
        found.append(list(one.run(one.feeds[-1])))
    return {"values": found, **outputs}


def after_bad_feeds(one: Running, kinds: str | Sequence[str]) -> dict[str, Tree]:
    """What an evaluator raises on each kind of bad feed, and what it says of other, good ones after it.

    Of several kinds each is tried on every variable.
    """
    count = len(one.feeds[0])
    tried = [(kinds, count - 1)] if isinstance(kinds, str) else [(kind, n) for kind in kinds for n in range(count)]
    found = []
    for kind, n in tried:
        said = raised(one.run, bad_feeds(kind, one.feeds[0], n))
        found.append({"raised": said, "values after it": list(one.run(one.feeds[-1]))})
    words = [f"{kind}, variable {n + 1}" for kind, n in tried]
    return found[0] if isinstance(kinds, str) else dict(zip(words, found, strict=True))


def bad_feeds(kind: str, feeds: dict[Node, torch.Tensor], place: int) -> dict[Node, torch.Tensor]:
    """The feeds with one spoiled."""
    node, tensor = list(feeds.items())[place]
    rest = {other: x for other, x in feeds.items() if other is not node}
    if kind == "missing":
        return rest
    spoiled = {
        "shape": lambda: tensor[..., None],
        "one more axis": lambda: tensor[None],
        "one axis less": lambda: tensor[0],
        "turned": lambda: tensor.mT,
        "dtype": lambda: tensor.float() if tensor.dtype == torch.float64 else tensor.double(),
        "whole numbers": lambda: tensor.to(torch.int64 if tensor.dtype == torch.float64 else torch.int32),
    }
    return {**rest, node: spoiled[kind]()}


# ---- gradient rules: (node, grad) -> adjoints ------------------------------------------------------------------------

OPERATORS = {
    "negate": lambda x: -x,
    "subtract": lambda x, y: x - y,
    "divide": lambda x, y: x / y,
    "log": G.log,
    "sin": G.sin,
    "cos": G.cos,
    "tanh": G.tanh,
    "sqrt": G.sqrt,
    "relu": G.relu,
    "softmax": G.softmax,
    "log_softmax": G.log_softmax,
    "matmul": G.matmul,
    "embedding": G.embedding,
    "where": G.where,
    "cross_entropy": G.cross_entropy,
    "add": lambda x, y: x + y,
    "multiply": lambda x, y: x * y,
    "exp": G.exp,
    "positive": lambda x: G.cast(x > 0, x.dtype),
}
WITH_SETTINGS = {
    "shift": lambda x, amount: x + amount,
    "scale": lambda x, factor: x * factor,
    "power": lambda x, exponent: x**exponent,
    "layer_norm": lambda x, scale, shift, epsilon: G.layer_norm(x, scale, shift, epsilon),
    "rms_norm": lambda x, scale, epsilon: G.rms_norm(x, scale, epsilon),
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
    """The adjoints that a rule passes on, as numbers, once for each set of feeds; copies of broadcasting summed.

    One variable may stand at several places of the operator's: ``places`` says which where.
    """
    inputs = variables(case["feeds"][0])
    node = node_of(case, [inputs[k] for k in case.get("places", range(len(inputs)))])
    grad = G.variable("grad", node.shape, node.dtype)
    passed = list(candidate(node, grad))
    assert len(passed) == len(node.inputs), f"{len(passed)} adjoints for {len(node.inputs)} inputs"
    found: dict[str, Tree] = {}
    for run, (tensors, cotangent) in enumerate(zip(case["feeds"], case["cotangents"], strict=True)):
        feeds = {**dict(zip(inputs, tensors, strict=True)), grad: cotangent}
        again = f", feeds {run + 1}" if run else ""
        for n, (p, x) in enumerate(zip(passed, node.inputs, strict=True), 1):
            found[f"adjoint of input {n}{again}"] = None if p is None else reduced(value(p, feeds), feeds[x])
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
    """The node's value, and with it its shape."""
    grad = G.variable("grad", tuple(case["grad"].shape), case["grad"].dtype)
    return {"sum": value(candidate(grad, tuple(case["shape"])), {grad: case["grad"]})}


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
    """The gradients' values for each set of feeds; with a ``key`` the rule asks for each node's slopes.

    Else it is called twice, and the first answer is looked at after the second.
    """
    inputs = variables(case["feeds"][0])
    nodes = program(case["lines"], inputs)
    number = {node: n for n, node in enumerate(nodes)}
    output, needed = nodes[-1], needed_by(nodes[-1])
    order = sorted(needed, key=lambda node: node.number)
    if "order" in case:  # of programs whose lines are a node each
        order = [nodes[n] for n in case["order"] if nodes[n] in needed]
    wanted = [nodes[n] for n in case["wanted"]]

    def rule(node: Node, grad: Node) -> list[Node | None]:
        passed = adjoints_of(node, grad)
        factors = slopes(number[node], case["key"], len(passed)) if "key" in case else [1.0] * len(passed)
        return [p if p is None or f == 1.0 else p * f for p, f in zip(passed, factors, strict=True)]

    handed = [list(wanted), list(order)]
    found = [candidate(output, *handed, rule) for _ in range(1 if "key" in case or "deep" in case else 2)]
    first, *more = [[gradients_at(one, inputs, tensors) for tensors in case["feeds"]] for one in found]
    given = kept(same(handed[0], wanted) and same(handed[1], order))
    return {"gradients": first, "the lists given": given, **({"called again": more[0]} if more else {})}


def gradients_at(found: Sequence[Node], inputs: Sequence[Node], tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    known: dict[Node, torch.Tensor] = {}
    return [value(one, dict(zip(inputs, tensors, strict=True)), known) for one in found]


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
    """Weights and moments after several steps of one graph.

    Before it another weight's step is made, of the same t with other settings, and one of another t with the same.
    """
    weight, *_ = state = [case["weight"], torch.zeros_like(case["weight"]), torch.zeros_like(case["weight"])]
    names, settings = ["weight", "m", "v"], case["settings"]
    t, other = (G.variable("t", (), weight.dtype) for _ in range(2))
    for step, betas in ((t, {"beta1": 0.5, "beta2": 0.25}), (other, {})):
        candidate(*[G.variable(name, (4, 2), weight.dtype) for name in ("weight", "grad", "m", "v")], step,
                  **{**settings, **betas})  # fmt: skip
    nodes = [G.variable(name, tuple(weight.shape), weight.dtype) for name in names]
    grad = G.variable("grad", tuple(weight.shape), weight.dtype)
    after = candidate(nodes[0], grad, *nodes[1:], t, **settings)
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
    outputs: dict[str, Tree] = {"agrees": [agrees for _, agrees in found]}
    if "unit" in case:  # once more, of another function, before the first answer is looked at
        candidate(lambda x: 3 * function(x, c), case["x"], case["claimed"][0])
        outputs["numerical"] = found[0][0] / case["unit"]
    return outputs


@driver
def forward_rule(candidate, case):
    """The node's tangent as numbers; None stands for an input that does not move.

    One variable may stand at several places of the operator's: ``places`` says which where.
    """
    inputs = variables(case["feeds"])
    places = case.get("places", range(len(inputs)))
    node = node_of(case, [inputs[k] for k in places])
    tangents: list[Node | None] = [None] * len(inputs)
    feeds = dict(zip(inputs, case["feeds"], strict=True))
    for k, direction in enumerate(case["directions"]):
        if direction is not None:
            tangents[k] = along = G.variable(f"d{k}", tuple(direction.shape), direction.dtype)
            feeds[along] = direction
    given = [tangents[k] for k in places]
    handed = list(given)
    found = candidate(node, handed)
    return {"tangent": value(found, feeds), "the list given": kept(same(handed, given))}

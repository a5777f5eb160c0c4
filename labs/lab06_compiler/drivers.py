"""How lab 6's functions are called and what of them is compared: the same code for your runs and for grading.

Any right answer passes: a graph is judged by what it comes to and by how many operators of each kind it has, an order
and a plan by what they must keep.
"""

import functools
import itertools
import math
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import mlsys_course.substrate.graph as G
from mlsys_course.desk.check import driver, kept, raised
from mlsys_course.substrate.graph import Node

Feeds = Mapping[Node, Tensor]
Rule = Callable[[Node], Node | None]

# ---- graphs that a case describes: a line for each node, [operator, numbers of its inputs, settings ...] -------------

OPERATORS: dict[str, Callable[..., Node]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "matmul": lambda x, y: x @ y,
    "negate": lambda x: -x,
    "exp": G.exp,
    "tanh": G.tanh,
    "sin": G.sin,
    "relu": G.relu,
    "greater": lambda x, y: x > y,
    "cast": lambda x, dtype: G.cast(x, getattr(torch, dtype)),
    "where": G.where,
    "transpose": G.transpose,
    "shift": lambda x, amount: x + amount,
    "scale": lambda x, factor: x * factor,
    "sum": lambda x, axis, keepdims: G.sum(x, axis, bool(keepdims)),
    "softmax": lambda x, axis: G.softmax(x, axis),
    "log_softmax": lambda x, axis: G.log_softmax(x, axis),
    "reshape": lambda x, *shape: G.reshape(x, shape),
    "broadcast": lambda x, *shape: G.broadcast_to(x, shape),
    "constant": lambda value, *shape: G.constant(torch.full(shape, value, dtype=torch.float64)),
    "concatenate": lambda *x: G.concatenate(x, -1),
}


def built(case: Mapping[str, Any]) -> tuple[list[Node], Feeds]:
    """The case's nodes, variables first, and what is fed to these."""
    nodes = [G.variable("x", tuple(x.shape), x.dtype) for x in case["feeds"]]  # all of one name: it says nothing
    feeds = dict(zip(nodes, case["feeds"], strict=True))
    for name, inputs, *settings in case["lines"]:
        nodes.append(OPERATORS[name](*[nodes[n] for n in inputs], *settings))
    return nodes, feeds


def handed(case: Mapping[str, Any], nodes: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """Order and outputs."""
    return [nodes[n] for n in case.get("order", range(len(nodes)))], [nodes[n] for n in case["outputs"]]


def needed_by(outputs: Sequence[Node]) -> list[Node]:
    """All nodes that the outputs need, inputs before users."""
    done: dict[Node, None] = {}
    ahead = list(outputs)
    while ahead:
        node = ahead[-1]
        if not isinstance(node, Node):
            raise TypeError(f"a {type(node).__name__} where a node of the graph was expected")
        missing = [x for x in node.inputs if x not in done]
        ahead += missing
        if not missing:
            done[node] = None
            ahead.pop()
    return list(done)


def values(outputs: Sequence[Node], feeds: Feeds) -> list[Tensor]:
    """What they come to."""
    known = dict(feeds)
    for node in needed_by(outputs):
        if node not in known:
            known[node] = node.operator.compute(*[known[x] for x in node.inputs])
    return [known[node].clone() for node in outputs]


def counts(nodes: Sequence[Node]) -> dict[str, int]:
    """How many there are of each operator, variables and constants apart."""
    names = sorted(node.operator.name for node in nodes if node.inputs)
    return {name: names.count(name) for name in dict.fromkeys(names)}


def same(now: Sequence[Any], before: Sequence[Any]) -> bool:
    """Whether a list holds the very objects that it held before."""
    return [*map(id, now)] == [*map(id, before)]


def valid(order: Sequence[Node]) -> bool:
    """Whether each node stands in it once, after all of its inputs."""
    at = {node: n for n, node in enumerate(order)}
    return len(at) == len(order) and all(at.get(x, len(at)) < n for node, n in at.items() for x in node.inputs)


# ---- tracing ---------------------------------------------------------------------------------------------------------


def prints(x):
    print("a value on its way")
    return x * 2.0


def prints_to_output(x):
    sys.stdout.write("a value")
    return x * 2.0


def draws(x):
    return x + torch.rand(2, dtype=torch.float64)


def draws_unused(x):
    torch.randn(1)
    return x * 2.0


def draws_in_python(x):
    return x * random.random()


def adds_in_place(x):
    x += 1.0
    return x


def scales_in_place(y, x):
    x *= 2.0
    return x


def writes_an_entry(x):
    x[0] = 1.0
    return x


def decides(x):
    return x if G.sum(x) > 0 else -x


def goes_on(x):
    while G.sum(x) < 10:
        x = x * 2.0
    return x


def asks_for_a_number(x):
    return x * float(G.sum(x))


def asks_for_an_item(x):
    return x * G.sum(x).item()


def shape_by_value(x):
    return x[x > 0]


def as_many_as(x):
    return [x] * G.sum(x)


def returns_a_word(x):
    return x, "done"


def returns_nothing(x):
    x * 2.0


REFUSED = {f.__name__: f for f in (prints, prints_to_output, draws, draws_unused, draws_in_python, adds_in_place,
           scales_in_place, writes_an_entry, decides, goes_on, asks_for_a_number, asks_for_an_item, shape_by_value,
           as_many_as, returns_a_word, returns_nothing)}  # fmt: skip


def summed(x, y):
    x = x * 2.0  # a name for another value: nothing is updated in place
    y = G.tanh(y)
    y += x  # a result of the function's own
    return y


def powers(x, count, how):
    total = x
    for n in range(count):
        total = total + x ** (n + 2) if how == "powers" else total * x
    return [total, count] if how == "powers" else (total,)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "summed": summed,
    "powers": powers,
    "one": lambda x: G.exp(x) + 1.0,
    "several": lambda x, w: (x @ w, G.sum(x), x),
    "list": lambda x, y: [y, x * y],
    "not all": lambda x, y, z: y * 3.0,
    "fixed": lambda x: (x, 2.5, torch.full((2,), 4.0)),
    "nothing given": lambda: torch.arange(3.0),
    "rows": lambda x: sum(row * (n + 1.0) for n, row in enumerate(x)),
    "shapes": lambda x: G.reshape(x, (-1,)) / x.shape[0] if x.shape[0] > 2 else x,
    "choice": lambda x: G.where(x > 0, x, 0.5 * x),
}


def own_error(x):
    raise KeyError("of the function's own")


@driver
def trace(candidate, case):
    """Values of the graph on other feeds than it was traced with, or what is raised, and what it leaves behind."""
    if "refused" in case:
        function = own_error if case["refused"] == "own error" else REFUSED[case["refused"]]
        out, arguments = sys.stdout, [x.clone() for x in case["arguments"]]
        said = raised(candidate, function, arguments)
        inputs, outputs = candidate(FUNCTIONS["one"], arguments[:1])  # what was refused leaves nothing behind
        after = values(outputs, {inputs[0]: case["arguments"][0] * 2})
        return {"raised": said, "output": "as it was" if sys.stdout is out else "changed", "after it": after}
    arguments = list(case["arguments"])
    inputs, outputs = candidate(FUNCTIONS[case["function"]], arguments)
    kinds = [f"{node.kind}" for node in inputs if node.is_variable]
    feeds = dict(zip(inputs, case["feeds"], strict=True))
    found = [values(outputs, feeds)]
    if "twice" in case:  # two graphs of one function have variables of their own
        others, more = candidate(FUNCTIONS[case["function"]], arguments)
        found += [values(more, dict(zip(others, case["feeds"], strict=True)))]
        kinds.append(f"{len({*inputs, *others})} variables")
    return {"inputs": kinds, "values": found, "arguments given": kept(same(arguments, case["arguments"]))}


# ---- just in time ----------------------------------------------------------------------------------------------------


def weighed(*arguments: Any) -> Tensor:
    """Of tensors and other values: something that depends on each of them, and on where it stands."""
    total = torch.zeros((), dtype=torch.float64)
    for n, value in enumerate(arguments, 1):
        if isinstance(value, Tensor):
            total = total + n * value.double().sum() + value.dim()
        else:
            total = total * 1.1 + n * sum(map(ord, repr(value))) / 100
    return total


def argument_of(value: Any) -> Any:
    """A case's value; {"tuple": [...]} stands for a tuple."""
    return tuple(map(argument_of, value["tuple"])) if isinstance(value, dict) else value


@driver
def jit(candidate, case):
    """Results and the number of programs made, call by call; a program has the values of its making built in."""
    functions, made = [weighed, lambda *arguments: weighed(*arguments) * 2], []

    def specialize(function, arguments):
        made.append([x if not isinstance(x, Tensor) else "tensor" for x in arguments])
        if any(isinstance(x, str) and x == "refused" for x in arguments):
            raise ValueError("no graph of this")
        fixed = [None if isinstance(x, Tensor) else x for x in arguments]
        places = [n for n, x in enumerate(arguments) if isinstance(x, Tensor)]
        known = [(x.shape, x.dtype) for x in arguments if isinstance(x, Tensor)]

        def program(*tensors):
            if [(x.shape, x.dtype) for x in tensors] != known:
                raise RuntimeError("a program was given tensors of another kind than it was made for")
            full = list(fixed)
            for n, x in zip(places, tensors, strict=True):
                full[n] = x
            return function(*full)

        return program

    compiled = [candidate(one, specialize) for one in functions[: 1 + case.get("two", 0)]]
    rows: list[Any] = []
    for number, call in enumerate(case["calls"]):
        run = compiled[number % len(compiled)]
        given = [argument_of(value) for value in call]
        try:
            result: Any = run(*given)
        except (ValueError, RuntimeError) as problem:
            result = type(problem).__name__
        rows.append({"result": result, "programs": len(made), "traces": run.traces})
    return {"calls": rows, "traces at the start": candidate(weighed, specialize).traces}


# ---- rewrites --------------------------------------------------------------------------------------------------------


@driver
def eliminate(candidate, case):
    nodes, feeds = built(case)
    order, outputs = handed(case, nodes)
    given = [list(order), list(outputs)]
    found, after = candidate(*given)
    now = set(found)
    return {
        "values": values(after, feeds),
        "operators": counts(found),
        "the order is valid": valid(found),
        "the order holds what outputs need, nothing else": now == set(needed_by(after)),
        "variables and constants": sum(not node.inputs for node in found),
        "nodes made anew": len(now - set(nodes)),
        "the lists given": kept(same(given[0], order) and same(given[1], outputs)),
    }


def cancel_negations(node: Node) -> Node | None:
    twice = node.operator.name == "negate" and node.inputs[0].operator.name == "negate"
    return node.inputs[0].inputs[0] if twice else None


def join_scales(node: Node) -> Node | None:
    if node.operator.name == "scale" and node.inputs[0].operator.name == "scale":
        below = node.inputs[0]
        return below.inputs[0] * (below.operator.factor * node.operator.factor)
    return None


def drop_ones(node: Node) -> Node | None:
    return node.inputs[0] if node.operator.name == "scale" and node.operator.factor == 1 else None


def negate_by_scale(node: Node) -> Node | None:
    return node.inputs[0] * -1.0 if node.operator.name == "negate" else None


def split_shift(node: Node) -> Node | None:
    """x + 3 in two steps, the first of which it applies to again."""
    if node.operator.name == "shift" and node.operator.amount > 1:
        return (node.inputs[0] + (node.operator.amount - 1)) + 1.0
    return None


def swap(node: Node) -> Node | None:
    return node.inputs[1] + node.inputs[0] if node.operator.name == "add" else None


def wrap(node: Node) -> Node | None:
    return -G.relu(-node) if node.operator.name == "tanh" else None


def there(node: Node) -> Node | None:
    return G.sin(node.inputs[0]) if node.operator.name == "tanh" else None


def and_back(node: Node) -> Node | None:
    return G.tanh(node.inputs[0]) if node.operator.name == "sin" else None


def other_shape(node: Node) -> Node | None:
    return G.sum(node.inputs[0], 0) if node.operator.name == "tanh" else None


def other_dtype(node: Node) -> Node | None:
    return G.cast(node.inputs[0], torch.float32) if node.operator.name == "tanh" else None


def relu_of_exp(node: Node) -> Node | None:
    """Exponentials are positive: relu does nothing to them. It looks two nodes down."""
    return node.inputs[0] if node.operator.name == "relu" and node.inputs[0].operator.name == "exp" else None


def negate_by_difference(node: Node) -> Node | None:
    return node.inputs[0] * 0.0 - node.inputs[0] if node.operator.name == "negate" else None


RULES = {f.__name__: f for f in (cancel_negations, join_scales, drop_ones, negate_by_scale, negate_by_difference,
         split_shift, swap, wrap, there, and_back, other_shape, other_dtype, relu_of_exp)}  # fmt: skip


MOST = 30_000  # questions to rules, which a walk along every path of a graph runs into long before it ends


def counted(rules: Sequence[Rule]) -> list[Rule]:
    """The same rules; together they answer ``MOST`` times."""
    asked = itertools.count(1)

    def limited(rule: Rule) -> Rule:
        @functools.wraps(rule)
        def ask(node: Node) -> Node | None:
            if next(asked) > MOST:
                raise RuntimeError(f"rules were asked more than {MOST:,} times about a small graph")
            return rule(node)

        return ask

    return [limited(rule) for rule in rules]


@driver
def rewrite(candidate, case):
    """What the outputs come to, how many operators are left, and which nodes are still the ones that they were."""
    nodes, feeds = built(case)
    _, outputs = handed(case, nodes)
    plain = [RULES[name] for name in case["rules"]]
    rules = counted(plain)
    given, settings = [list(outputs), list(rules)], {"limit": case["limit"]} if "limit" in case else {}
    if "endless" in case:
        said, named = raised(candidate, *given, **settings), False
        try:
            candidate(outputs, counted(plain), **settings)
        except ValueError as problem:
            named = any(name in str(problem) for name in case["rules"])
        return {"raised": said, "a rule is named": named}
    after = candidate(*given, **settings)
    now = needed_by(after)
    return {
        "values": values(after, feeds),
        "operators": counts(now),
        "nodes to which a rule applies": sum(rule(node) is not None for node in now for rule in plain),
        "nodes that stay": len(set(now) & set(nodes)),
        "the lists given": kept(same(given[0], outputs) and same(given[1], rules)),
    }


@driver
def merge_qkv(candidate, case):
    nodes, feeds = built(case)
    order, outputs = handed(case, nodes)
    given = [list(order), list(outputs)]
    after = candidate(*given)
    now = needed_by(after)
    found, plain = counts(now), [node for node in now if not any(x.inputs for x in node.inputs[1:])]
    return {
        "values": values(after, feeds),
        "products": found.get("matmul", 0),
        "products with weights as given": sum(n.operator.name == "matmul" and n.inputs[1] in nodes for n in plain),
        "entries of products": sum(math.prod(node.shape) for node in now if node.operator.name == "matmul"),
        "other operators": {n: k for n, k in found.items() if n in ("tanh", "add", "exp", "relu", "scale")},
        "the lists given": kept(same(given[0], order) and same(given[1], outputs)),
    }


@driver
def fuse_elementwise(candidate, case):
    """Groups as numbers of nodes; within a group any order in which inputs come before users is right."""
    nodes, _ = built(case)
    order, outputs = handed(case, nodes)
    number = {node: n for n, node in enumerate(nodes)}
    given = [list(order), list(outputs)]
    groups = candidate(*given)
    at = {node: n for group in groups for n, node in enumerate(group)}
    inside = all(at[x] < at[node] for group in groups for node in group for x in node.inputs if x in group)
    return {
        "groups": [sorted(number[node] for node in group) for group in groups],
        "inputs before users": inside,
        "the lists given": kept(same(given[0], order) and same(given[1], outputs)),
    }


# ---- memory ----------------------------------------------------------------------------------------------------------


def size_of(node: Node) -> int:
    return node.dtype.itemsize * math.prod(node.shape)


def needed_at(order: Sequence[Node], outputs: Sequence[Node], at: int) -> list[Node]:
    """Results that lie in memory during a step: made so far, and used in it or later, or asked for, or its own."""
    wanted = {x for node in order[at:] for x in node.inputs} | {*outputs, order[at]}
    return [node for node in order[: at + 1] if node.inputs and node in wanted]


def peak_of(order: Sequence[Node], outputs: Sequence[Node]) -> int:
    return max((sum(map(size_of, needed_at(order, outputs, at))) for at in range(len(order))), default=0)


@driver
def plan_buffers(candidate, case):
    """Whether values that are there at one time overlap, and whether the arena is as small as the text asks."""
    nodes, _ = built(case)
    order, outputs = handed(case, nodes)
    number = {node: n for n, node in enumerate(nodes)}
    given = [list(order), list(outputs)]
    offsets = candidate(*given)
    places = {node: (at, at + -(-size_of(node) // 64) * 64) for node, at in offsets.items()}
    arena = max((stop for _, stop in places.values()), default=0)
    clashes = 0
    for at in range(len(order)):
        taken = sorted(places[node] for node in needed_at(order, outputs, at) if node in places and size_of(node))
        clashes += sum(stop > start for (_, stop), (start, _) in itertools.pairwise(taken))
    numbers = [at for at in offsets.values() if not isinstance(at, int) or at % 64 or at < 0]
    return {
        "planned": sorted(number[node] for node in offsets),
        "clashes": clashes,
        "offsets that are no multiples of 64": len(numbers),
        "arena": "as small as asked"
        if arena <= case["arena"]
        else f"{arena / max(case['arena'], 1):.3f} times as large",
        "the lists given": kept(same(given[0], order) and same(given[1], outputs)),
    }


@driver
def order_for_memory(candidate, case):
    """Whether the order is one, and its peak: of small graphs in bytes, of large ones beside the order given."""
    nodes, _ = built(case)
    order, outputs = handed(case, nodes)
    given = [list(order), list(outputs)]
    found = candidate(*given)
    peak = peak_of(found, outputs)
    return {
        "the nodes": "as they were" if set(found) == set(order) else "others",
        "valid": valid(found),
        "returned": type(found).__name__,
        "peak": peak if case["small"] else "no higher" if peak <= peak_of(order, outputs) else "higher",
        "the lists given": kept(same(given[0], order) and same(given[1], outputs)),
    }

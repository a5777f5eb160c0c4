"""Lab 5, sealed: misconceptions about order, evaluator and gradient."""

import mlsys_course.substrate.graph as G
from autograder.exercise import Misconception
from mlsys_course import autodiff

# ---- order -----------------------------------------------------------------------------------------------------------


def outputs_first(outputs):
    return autodiff.topological_order(outputs)[::-1]


def level_by_level(outputs):
    """The inputs' inputs last, each where it is met first; then turned round."""
    found, level = dict.fromkeys(outputs), list(outputs)
    while level:
        level = [x for x in dict.fromkeys(x for node in level for x in node.inputs) if x not in found]
        found.update(dict.fromkeys(level))
    return list(found)[::-1]


def recursive(outputs):
    found: dict = {}

    def visit(node):
        for x in node.inputs:
            if x not in found:
                visit(x)
        found[node] = True

    for node in outputs:
        if node not in found:
            visit(node)
    return list(found)


def once_for_each_use(outputs):
    order, waiting = [], [(node, False) for node in reversed(outputs)]
    while waiting:
        node, ready = waiting.pop()
        if ready:
            order.append(node)
        else:
            waiting += [(node, True), *((x, False) for x in reversed(node.inputs))]
    return order


def every_path(outputs):
    return list(dict.fromkeys(once_for_each_use(outputs)))


def first_output_only(outputs):
    return autodiff.topological_order(outputs[:1])


# ---- evaluator -------------------------------------------------------------------------------------------------------


class Plain:
    """A right evaluator that keeps all values until the end of a run; mistakes change one thing."""

    def __init__(self, outputs, order):
        self.outputs, self.order = outputs, order

    def begin(self):
        return {}

    def __call__(self, feeds):
        values = self.begin()
        for node in self.order:
            if node.is_variable:
                values[node] = self.fed(node, feeds)
            elif node not in values:
                values[node] = node.operator.compute(*[values[x] for x in node.inputs])
        return [values[node] for node in self.outputs]

    def fed(self, node, feeds):
        if node not in feeds:
            raise ValueError(f"no feed for {node}")
        if feeds[node].shape != node.shape or feeds[node].dtype != node.dtype:
            raise ValueError(f"a feed that is no {node}")
        return feeds[node]


class KeepsValues(Plain):
    def begin(self):
        self.kept = getattr(self, "kept", {})
        return self.kept


class KeepsValuesOfFeeds(Plain):
    """Computes again only where a feed is another tensor object than last time."""

    def __call__(self, feeds):
        now = {node: id(x) for node, x in feeds.items()}
        if getattr(self, "last", None) != now or len(now) < sum(node.is_variable for node in self.order):
            self.last, self.found = now, [x.clone() for x in super().__call__(feeds)]
        return self.found


class OncePerUse(Plain):
    def __call__(self, feeds):
        def value(node):
            if node.is_variable:
                return self.fed(node, feeds)
            return node.operator.compute(*[value(x) for x in node.inputs])

        if sum(len(node.inputs) for node in self.order) <= len(self.order):  # a chain: hardly a node has two users
            return super().__call__(feeds)
        return [value(node) for node in self.outputs]


class LetsOutputsGo(autodiff.Evaluator):
    def __init__(self, outputs, order):
        super().__init__(outputs)
        kept = set()
        for n in reversed(range(len(self.steps))):
            dead = tuple(set(self.steps[n].sources) - kept)
            kept.update(dead)
            self.steps[n] = self.steps[n]._replace(dead=dead)


class FeedsUnchecked(Plain):
    def fed(self, node, feeds):
        return feeds[node].to(node.dtype)


class ShapeUnchecked(Plain):
    def fed(self, node, feeds):
        if node not in feeds or feeds[node].dtype != node.dtype:
            raise ValueError(f"a feed that is no {node}")
        return feeds[node]


class DtypeUnchecked(Plain):
    def fed(self, node, feeds):
        if node not in feeds or feeds[node].shape != node.shape:
            raise ValueError(f"a feed that is no {node}")
        return feeds[node]


# ---- gradient --------------------------------------------------------------------------------------------------------


def engine(output, inputs, order, rule, *, join=lambda old, new: old + new, start=None, once_each=False, zeros=True):
    """The algorithm with a place for each mistake."""
    adjoint = {output: start(output) if start else G.fill(output, 1.0)}
    for node in reversed(order):
        if node not in adjoint or not node.inputs:
            continue
        passed = list(zip(node.inputs, rule(node, adjoint[node]), strict=True))
        for x, partial in dict(passed).items() if once_each else passed:
            if partial is not None:
                adjoint[x] = join(adjoint[x], partial) if x in adjoint else partial
    return [adjoint[x] if x in adjoint or not zeros else G.fill(x, 0.0) for x in inputs]


def overwrites(output, inputs, order, rule):
    return engine(output, inputs, order, rule, join=lambda old, new: new)


def keeps_the_first(output, inputs, order, rule):
    return engine(output, inputs, order, rule, join=lambda old, new: old)


def once_for_a_node_twice_in_an_operator(output, inputs, order, rule):
    return engine(output, inputs, order, rule, once_each=True)


def starts_from_the_output(output, inputs, order, rule):
    return engine(output, inputs, order, rule, start=lambda output: output)


def nothing_for_unused_inputs(output, inputs, order, rule):
    return engine(output, inputs, order, rule, zeros=False)


def passes_on_before_all_users_are_done(output, inputs, order, rule):
    """From the output level by level: a node passes on what it has when it is met first."""
    adjoint, waiting, done = {output: G.fill(output, 1.0)}, [output], set()
    while waiting:
        node = waiting.pop(0)
        if node in done or not node.inputs:
            continue
        done.add(node)
        for x, partial in zip(node.inputs, rule(node, adjoint[node]), strict=True):
            if partial is not None:
                adjoint[x] = adjoint[x] + partial if x in adjoint else partial
                waiting.append(x)
    return [adjoint.get(x, G.fill(x, 0.0)) for x in inputs]


def along_every_path(output, inputs, order, rule):
    """Right values: the sum over all paths, each walked on its own."""
    total = {}

    def walk(node, adjoint):
        total[node] = total[node] + adjoint if node in total else adjoint
        if node.inputs:
            for x, partial in zip(node.inputs, rule(node, adjoint), strict=True):
                if partial is not None:
                    walk(x, partial)

    walk(output, G.fill(output, 1.0))
    return [total.get(x, G.fill(x, 0.0)) for x in inputs]


OF = {
    "topological_order": [
        Misconception("outputs first", outputs_first, "Print the order for the diamond. Who comes first?"),
        Misconception(
            "breadth first, turned round",
            level_by_level,
            "A node may be used near the output and again far from it. After which of its users must it wait?",
        ),
        Misconception(
            "recursive", recursive, "Python ends a recursion after about a thousand calls. Who could remember instead?"
        ),
        Misconception(
            "once for each use", once_for_each_use, "How often does a node with two users stand in your order?"
        ),
        Misconception(
            "along every path",
            every_path,
            "Your order is right in the end. How often do you come to the last node of 40 doublings on the way there?",
        ),
        Misconception("first output only", first_output_only, "`outputs` may hold several nodes. Do you visit each?"),
    ],
    "Evaluator": [
        Misconception(
            "stale values", KeepsValues, "Run it twice with other feeds. What do you still know from the first run?"
        ),
        Misconception(
            "stale values by identity",
            KeepsValuesOfFeeds,
            "A tensor can be the same object with other numbers in it. What did you take it for?",
        ),
        Misconception("once for each use", OncePerUse, "How often is a node with two users computed in one run?"),
        Misconception(
            "keeps all values", Plain, "After whose turn does nobody read a value any more? Who holds it still?"
        ),
        Misconception(
            "lets outputs go",
            LetsOutputsGo,
            "A value that another node was the last to use may be asked for as an output.",
        ),
        Misconception(
            "feeds unchecked",
            FeedsUnchecked,
            "What does your evaluator say when a feed is missing, or of another dtype?",
        ),
        Misconception(
            "shape unchecked", ShapeUnchecked, "A feed of another shape may broadcast and give wrong numbers."
        ),
        Misconception(
            "dtype unchecked",
            DtypeUnchecked,
            "A float32 feed for a float64 variable computes, to seven digits. What does the node say of its dtype?",
        ),
    ],
    "gradient": [
        Misconception(
            "overwrites", overwrites, "A node with two users hears from both. What happens to the first message?"
        ),
        Misconception(
            "keeps the first", keeps_the_first, "A node with two users hears from both. What happens to the second?"
        ),
        Misconception(
            "once for a node twice in an operator",
            once_for_a_node_twice_in_an_operator,
            "In x * x both inputs are the same node. How many adjoints reach it?",
        ),
        Misconception(
            "starts from the output", starts_from_the_output, "What is the derivative of the output by itself?"
        ),
        Misconception(
            "nothing for unused inputs",
            nothing_for_unused_inputs,
            "An input that the output does not depend on has a derivative all the same. Which?",
        ),
        Misconception(
            "passes on too early",
            passes_on_before_all_users_are_done,
            "A node may pass on its adjoint only when it is complete. Which order makes sure of that?",
        ),
        Misconception(
            "along every path",
            along_every_path,
            "The values are right. How often is the rule of one node asked, and how often in a graph twice as deep?",
        ),
    ],
}

"""Lab 5, sealed: misconceptions about order, evaluator and gradient, the weight update and checking gradients."""

import math

import torch

import mlsys_course.substrate.graph as G
from autograder.exercise import Misconception
from autograder.mutated import mutated, wrong
from mlsys_course.autodiff import (
    Evaluator,
    adamw_step,
    check_gradient,
    gradient,
    numerical_gradient,
    topological_order,
)

# ---- order -----------------------------------------------------------------------------------------------------------


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


ORDER = [
    Misconception("outputs first", lambda outputs: topological_order(outputs)[::-1],
        "Print the order for the diamond. Who comes first?"),
    Misconception("breadth first, turned round", level_by_level,
        "A node may be used near the output and again far from it. After which of its users must it wait?"),
    Misconception("recursive", recursive,
        "Python ends a recursion after about a thousand calls. Who could remember instead?"),
    Misconception("once for each use", once_for_each_use, "How often does a node with two users stand in your order?"),
    Misconception("along every path", every_path,
        "Your order is right in the end. How often do you come to the last node of 40 doublings on the way there?"),
    Misconception("first output only", lambda outputs: topological_order(outputs[:1]),
        "`outputs` may hold several nodes. Do you visit each?"),
]  # fmt: skip

# ---- evaluator -------------------------------------------------------------------------------------------------------

KEPT = ("values[i] = None", "pass")  # all values stay until the end of a run
KeepsAll = mutated(Evaluator, *KEPT)


class KeepsValuesOfFeeds(KeepsAll):
    """Computes again only where a feed is another tensor object than last time."""

    def __call__(self, feeds):
        now = {node: id(x) for node, x in feeds.items()}
        if getattr(self, "last", None) != now or len(now) < len(self.variables):
            self.last, self.found = now, [x.clone() for x in super().__call__(feeds)]
        return self.found


class OncePerUse(KeepsAll):
    def __call__(self, feeds):
        def value(node):
            return feeds[node] if node.is_variable else node.operator.compute(*[value(x) for x in node.inputs])

        found = super().__call__
        if sum(len(node.inputs) for node in self.nodes) <= len(self.places):  # a chain: hardly a node has two users
            return found(feeds)
        self._check(feeds)
        return [value(node) for node in self.outputs]


FED, KINDS = "values[self.places[node]] = feeds[node]", "(tuple(value.shape), value.dtype) != (node.shape, node.dtype)"
STALE = (
    "values: list[Any] = [None] * len(self.places)",
    "values = self.kept = getattr(self, 'kept', [None] * len(self.places))",
    "values[target] = compute(",
    "if values[target] is None:\n                        values[target] = compute(",
)
mistake = wrong(Evaluator)
EVALUATOR = [
    mistake("stale values", "Run it twice with other feeds. What do you still know from the first run?", *KEPT, *STALE),
    Misconception("stale values by identity", KeepsValuesOfFeeds,
        "A tensor can be the same object with other numbers in it. What did you take it for?"),
    Misconception("once for each use", OncePerUse, "How often is a node with two users computed in one run?"),
    Misconception("keeps all values", KeepsAll,
        "After whose turn does nobody read a value any more? Who holds it still?"),
    mistake("lets outputs go", "A value that another node was the last to use may be asked for as an output.",
        "{self.places[node] for node in self.outputs}", "set()"),
    mistake("feeds unchecked", "What does your evaluator say when a feed is missing, or of another dtype?",
        *KEPT, "self._check(feeds)", "'cpu'", FED, f"{FED}.to(node.dtype)"),
    mistake("shape unchecked", "A feed of another shape may broadcast and give wrong numbers.",
        *KEPT, KINDS, "value.dtype != node.dtype"),
    mistake("dtype unchecked",
        "A float32 feed for a float64 variable computes, to seven digits. What does the node say of its dtype?",
        *KEPT, KINDS, "tuple(value.shape) != node.shape"),
]  # fmt: skip

# ---- gradient --------------------------------------------------------------------------------------------------------


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


SUMMED, PASSED = (
    "functools.reduce(operator.add, node_to_grad[node])",
    "zip(node.inputs, rule(node, adjoint), strict=True)",
)
mistake = wrong(gradient)
GRADIENT = [
    mistake("overwrites", "A node with two users hears from both. What happens to the first message?",
        SUMMED, "node_to_grad[node][-1]"),
    mistake("keeps the first", "A node with two users hears from both. What happens to the second?",
        SUMMED, "node_to_grad[node][0]"),
    mistake("averages", "Two users move the output by 1 each when a node moves. By how much do both together?",
        SUMMED, f"({SUMMED}) * (1 / len(node_to_grad[node]))"),
    mistake("multiplies", "Two users move the output by 1 each when a node moves. By how much do both together, and "
        "what would your numbers say if neither moved it?",
        SUMMED, SUMMED.replace("add", "mul")),
    mistake("once for a node twice in an operator",
        "In x * x both inputs are the same node. How many adjoints reach it?",
        PASSED, f"dict({PASSED}).items()"),
    mistake("starts from the output", "What is the derivative of the output by itself?", "fill(output, 1.0)", "output"),
    mistake("nothing for unused inputs",
        "An input that the output does not depend on has a derivative all the same. Which?",
        "node_to_grad[x] = [fill(x, 0.0)]", "inputs = [y for y in inputs if y is not x]"),
    Misconception("passes on too early", passes_on_before_all_users_are_done,
        "A node may pass on its adjoint only when it is complete. Which order makes sure of that?"),
    Misconception("along every path", along_every_path,
        "The values are right. How often is the rule of one node asked, and how often in a graph twice as deep?"),
]  # fmt: skip

# ---- the weight update -----------------------------------------------------------------------------------------------

UNBIASED = "m / (1 - number_to(beta1, t)), v / (1 - number_to(beta2, t))"
FIRST, ROOT, DECAY, MOMENTS = "m = m * beta1", "sqrt(unbiased_v) + epsilon", "1 - lr * weight_decay", "lr, m, v]"
mistake = wrong(adamw_step)
ADAMW = [
    mistake("no correction", "After one step with gradient g, m is (1 - beta1) g. Is that what you divide?",
        UNBIASED, "m, v"),
    mistake("steps from 0", "What is t at the first step, and what is 1 - beta1 ** t then?",
        UNBIASED, UNBIASED.replace("t)", "t + 1)")),
    mistake("steps from 0 on", "t is 1.0 at the first step. What is left of 1 - beta ** t where t is 0?",
        UNBIASED, UNBIASED.replace("t)", "t - 1)")),
    mistake("epsilon inside", "Is epsilon added before the root is taken, or after?",
        ROOT, "sqrt(unbiased_v + epsilon)"),
    mistake("not squared", "v is the running mean of what? It must never be negative.", "grad * grad", "grad"),
    mistake("decay in the gradient", "In AdamW the decay does not pass through the moments. Where does it act?",
        FIRST, f"grad = grad + weight * weight_decay\n    {FIRST}", DECAY, "1"),
    mistake("decay without the rate", "By how much does a weight shrink in one step when lr is tiny?",
        DECAY, "1 - weight_decay"),
    mistake("decay of the new weight", "Which weight shrinks: the one before the step, or the one after?",
        "[kept - unbiased_m", "[kept - (1 - lr * weight_decay) * unbiased_m"),
    mistake("logarithm of zero",
        "A beta may be 0, and 0 has no logarithm. What is 0 to the power of t, and what is left to correct?",
        FIRST, f"math.log(beta1), math.log(beta2)\n    {FIRST}", math=math),
    mistake("remembers corrected moments", "The next step starts from m and v. From which ones?",
        MOMENTS, "lr, unbiased_m, unbiased_v]"),
]  # fmt: skip

# ---- checking gradients ----------------------------------------------------------------------------------------------

one_sided = mutated(numerical_gradient, "(entry + step, entry - step)", "(entry + step, entry)")


def stretches(claimed, x) -> bool:
    """Whether the two broadcast."""
    try:
        return bool(torch.broadcast_shapes(claimed.shape, x.shape)) or True
    except RuntimeError:
        return False


CLOSE = "((claimed - numerical).abs() <= 1e-5 * largest).all()"
mistake = wrong(check_gradient)
CHECK = [
    Misconception("forward differences", lambda f, x, claimed: (one_sided(f, x), check_gradient(f, x, claimed)[1]),
        "How does the error of (f(x + h) - f(x)) / h shrink with h? Look both ways."),
    Misconception("without the two",
        lambda f, x, claimed: (numerical_gradient(f, x) * 2, check_gradient(f, x, claimed)[1]),
        "How far apart are x + h and x - h?"),
    mistake("absolute tolerance", "The gradient itself may be 1e-9. What does off by 1e-5 mean then?",
        "1e-5 * largest", "1e-5"),
    mistake("in the mean", "One entry may be wrong where all others are right. Does your measure see it?",
        CLOSE, "(claimed - numerical).mean().abs() <= 1e-3 * largest"),
    mistake("broadcasts", "A claimed gradient of another shape may still broadcast. Does it agree?",
        "claimed.shape != x.shape", "not stretches(claimed, x)", stretches=stretches),
    mistake("as many entries", "Are two gradients of the same shape that have as many entries?",
        "claimed.shape != x.shape", "claimed.numel() != x.numel()",
        CLOSE, CLOSE.replace("claimed", "claimed.reshape(x.shape)")),
    mistake("NaN passes", "How does NaN compare with your tolerance?",
        CLOSE, "not ((claimed - numerical).abs() > 1e-5 * largest).any()"),
]  # fmt: skip

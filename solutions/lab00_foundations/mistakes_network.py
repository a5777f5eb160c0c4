"""Lab 0, sealed: misconceptions about the network. Only square layers tell of a transposed weight: others raise."""

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course import foundations as component

FOUND, BENT, mistake = "return z, a", "z[-1].clamp(min=0)", wrong(component.forward)
FORWARD = [
    mistake("transposed", "Write the shapes under a (B, in) and W (in, out). Which product gives (B, out)?",
        "@ w + b", "@ (w.T if w.shape[0] == w.shape[1] else w) + b"),
    mistake("relu on x", "The input may be negative. Does a[0] still hold it?", "a = [x]", "a = [x.clamp(min=0)]"),
    mistake("z and a exchanged", "In which order does the docstring want the two lists?", FOUND, "return a, z"),
    mistake("one a too many", "a holds the input of each layer. How many layers are there?",
        "        if n + 1 < len(weights):\n            a.append", "        a.append"),
    mistake("relu on the logits", "May a logit be negative? What is the last z?",
        FOUND, "return [*z[:-1], z[-1].clamp(min=0)], a"),
    mistake("z overwritten", "backward needs z as it was before relu. Is it still there?",
        FOUND, "return [*(one.clamp(min=0) for one in z[:-1]), z[-1]], a"),
    mistake("x missing", "What is the input of the first layer called, in the list a?", FOUND, "return z, a[1:]"),
    mistake("no biases", "Set x to 0: what should z of the first layer be?", "@ w + b", "@ w"),
    mistake("no activation", "Without relu three layers are one. Where is it applied?", BENT, "z[-1]"),
    mistake("sigmoid", "Which activation does the docstring name?", BENT, "z[-1].sigmoid()"),
    mistake("absolute value", "What does relu make of -2?", BENT, "z[-1].abs()"),
    Misconception("three layers only", lambda x, weights, biases: component.forward(x, weights[:3], biases[:3]),
        "How many layers are there? Look at the length of weights."),
]  # fmt: skip


def always_three(weights, z, a, grad):
    g3 = grad
    g2 = (g3 @ weights[2].T) * (z[1] > 0)
    g1 = (g2 @ weights[1].T) * (z[0] > 0)
    gradients = (g1, g2, g3)
    return [a[n].T @ g for n, g in enumerate(gradients)], [g.sum(0) for g in gradients]


SLOPE, SUMMED, START = "(z[n - 1] > 0)", "grad.sum(0)", "of_weights, of_biases = [], []"
mistake = wrong(component.backward)
BACKWARD = [
    mistake("below the first layer",
        "Write the shapes under each letter of the line that raised. If it raised at n = 0: what is z[n - 1] there?",
        "        if n:\n            grad", "        grad"),
    Misconception("three layers only", always_three, "How many layers are there? Look at the length of weights."),
    mistake("not transposed", "g @ W works only where W is square. Write the shapes under g (B, out) and W (in, out).",
        "weights[n].T", "(weights[n] if weights[n].shape[0] == weights[n].shape[1] else weights[n].T)"),
    mistake("slope missing", "A unit that relu has set to 0 cannot move the loss. Does it in yours?",
        f" * {SLOPE}", ""),
    mistake("slope at 0 is 1", "Exactly at 0: which slope does the docstring ask for?", SLOPE, "(z[n - 1] >= 0)"),
    mistake("sigmoid's slope", "a (1 - a) is the slope of another function than relu.", SLOPE, "(a[n] * (1 - a[n]))"),
    mistake("relu of the gradient",
        "A gradient may be negative. Of what does relu's slope depend: of the gradient, or of z?",
        f" * {SLOPE}", ".clamp(min=0)"),
    mistake("a for the slope", "What is the slope of relu at 3? It is not 3.", SLOPE, "a[n]"),
    mistake("mean over the batch",
        "grad holds the mean already, if the loss is one. Does each example's part still add up?",
        "a[n].T @ grad", "a[n].T @ grad / max(1, len(grad))", SUMMED, "grad.sum(0) / max(1, len(grad))"),
    mistake("biases not summed", "One bias serves all examples. What shape has it?", SUMMED, "grad"),
    mistake("biases summed over units", "Which axis of g counts the examples? That one is summed over.",
        SUMMED, "grad.sum(1)"),
    mistake("biases of one example", "One bias serves all examples. Whose gradients add up?",
        SUMMED, "grad[:1].sum(0)"),
    mistake("weights transposed", "Which shape has W in this lab, and which your gradient?",
        "a[n].T @ grad", "grad.T @ a[n]"),
    mistake("slope at the logits", "Is relu applied to the last z? Then what is its slope doing there?",
        START, f"{START}\n    grad = grad * (z[-1] > 0)"),
    mistake("from last to first", "In which order does the docstring want the gradients?",
        "of_weights.insert(0, ", "of_weights.append(", "of_biases.insert(0, ", "of_biases.append("),
    mistake("weights updated first", "The gradient goes back through the weights that were used on the way up.",
        "weights[n].T", "(weights[n] - of_weights[0]).T"),
    mistake("only the last biases", "Do biases below the last layer move the loss?",
        "return of_weights, of_biases", "return of_weights, [*(0 * b for b in of_biases[:-1]), of_biases[-1]]"),
]  # fmt: skip

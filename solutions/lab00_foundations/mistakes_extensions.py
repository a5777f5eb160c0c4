"""Lab 0, sealed: misconceptions about the gradient of softmax and the step with momentum."""

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course import foundations as component

MEAN, mistake = "(p * g).sum(dim, keepdim=True)", wrong(component.softmax_gradient)
WHOLE = f"p * (g - {MEAN})"
SOFTMAX_GRADIENT = [
    mistake("the diagonal only", "Raise one score: every probability of the row moves, not only its own.",
        WHOLE, "p * (1 - p) * g"),
    mistake("a plain mean", "Which weights has the mean that is subtracted from grad?",
        MEAN, "g.mean(dim, keepdim=True)"),
    mistake("a plain sum", "What is subtracted from grad is a sum of products. Is y in it?",
        MEAN, "g.sum(dim, keepdim=True)"),
    mistake("y missing", "A score with probability near 0 moves hardly anything. Does yours?", "p * (g -", "(g -"),
    mistake("always the last axis", "Along which axis does the sum run when dim is 0?",
        MEAN, "(p * g).sum(-1, keepdim=True)"),
    mistake("sign", "If grad is the same everywhere, nothing can be gained: what is the gradient then?",
        "(g - (", "(g + ("),
    mistake("in 16 bits", "A difference of two large numbers: in which dtype is it computed?",
        "y.to(wide), grad.to(wide)", "y, grad"),
]  # fmt: skip

MOVED, NEW, mistake = "momentum * v + g", "p - lr * v", wrong(component.momentum_step)
MOMENTUM = [
    Misconception("velocities first", lambda *given: component.momentum_step(*given)[::-1],
        "In which order does the docstring want the two lists?"),
    mistake("an average", "Here a gradient enters with weight 1.", MOVED, "momentum * v + (1 - momentum) * g"),
    mistake("the rate inside", "The velocity is made of gradients alone. Where does lr come in?",
        MOVED, "momentum * v + lr * g", NEW, "p - v"),
    mistake("uphill", "Which way is down?", NEW, "p + lr * v"),
    mistake("plain descent", "What does the velocity of earlier steps do in yours?", MOVED, "g"),
    mistake("the old velocity", "Which velocity moves the parameters: the old or the new one?",
        "zip(parameters, moved,", "zip(parameters, velocities,"),
    mistake("velocity forgotten", "The next step needs the velocity of this one. Which do you return?",
        "], moved", "], list(velocities)"),
]  # fmt: skip

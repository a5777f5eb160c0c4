"""Lab 0, sealed: misconceptions about the loss, smoothed or not."""

import torch

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course import foundations as component

right = component.cross_entropy


def wide(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def labels_left_out(logits, labels, log_softmax):
    """As PyTorch's ignore_index."""
    kept = (labels >= 0) if len(labels) == len(logits) else torch.ones_like(labels, dtype=torch.bool)
    if bool(kept.all()):
        return right(logits, labels, log_softmax)
    return right(logits[kept], labels[kept], log_softmax)


def labels_from_the_end(logits, labels, log_softmax):
    return right(
        logits, labels.where((labels >= 0) | (labels < -logits.shape[1]), labels + logits.shape[1]), log_softmax
    )


def index_errors(logits, labels, log_softmax):
    try:
        return right(logits, labels, log_softmax)
    except ValueError as problem:
        raise IndexError(str(problem)) from None


def nothing_is_fine(logits, labels, log_softmax):
    if not len(logits) and not len(labels):
        return wide(logits).sum(), logits
    return right(logits, labels, log_softmax)


def sizes_not_compared(logits, labels, log_softmax):
    n = min(len(logits), len(labels))
    return right(logits[:n], labels[:n], log_softmax)


PER_ROW, SLOPE, RETURNED = "- target) / n", "log_p.exp() - target", "return loss"
WIDE, mistake = "torch.promote_types(logits.dtype, torch.float32)", wrong(component.cross_entropy)
CROSS_ENTROPY = [
    mistake("a sum for a mean", "Twice the rows: does your loss double?", ".sum() / n", ".sum()", PER_ROW, "- target)"),
    mistake("gradient of the sum", "The loss is a mean over N rows. Where is N in its gradient?", PER_ROW, "- target)"),
    mistake("mean over all entries", "By how many do you divide: by rows, or by rows times classes?",
        ".sum() / n", ".sum() / (n * classes)", PER_ROW, "- target) / (n * classes)"),
    mistake("negative loss", "The logarithm of a probability is negative. Is a loss?", "loss = -(", "loss = ("),
    mistake("uphill", "A label's logit should grow. Which sign has its gradient when steps go downhill?",
        SLOPE, "target - log_p.exp()"),
    mistake("target not subtracted", "Each row of the gradient adds up to 0. Does yours?", SLOPE, "log_p.exp()"),
    mistake("logarithms for probabilities", "The gradient is p minus the target. Is what you hold p, or log p?",
        SLOPE, "log_p - target"),
    mistake("all pairs", "log_p[:, labels] has N x N entries. Which N of them belong to a row and its own label?",
        "-(target * log_p.masked_fill(target == 0, 0.0)).sum() / n", "-log_p[:, labels].mean()", SLOPE, "p", RETURNED,
        f"p = log_p.exp()\n    p[:, labels] -= 1.0\n    {RETURNED}"),
    mistake("along the wrong axis", "Over which axis do the probabilities of one row add up?",
        "logits.to(wide), -1", "logits.to(wide), 0"),
    Misconception("gradient first", lambda *given: right(*given)[::-1],
        "In which order does the docstring want the two results?"),
    mistake("0 times infinity", "0 times -inf is NaN. Do you need log p of the other classes at all?",
        "log_p.masked_fill(target == 0, 0.0)", "log_p"),
    Misconception("labels from the end", labels_from_the_end,
        "Indexing takes -1 for the last class. Is it a label here?"),
    Misconception("labels left out", labels_left_out,
        "PyTorch ignores a label of -100. What does this docstring say of it?"),
    Misconception("errors of indexing", index_errors, "Bad input is refused. With which exception, by the docstring?"),
    Misconception("nothing is fine", nothing_is_fine,
        "What is the mean of no numbers, and what should happen instead?"),
    Misconception("sizes not compared", sizes_not_compared, "Rows and labels may be of different number. Who notices?"),
    mistake("loss in 16 bits", "The loss of 16-bit logits has more bits than they have.",
        RETURNED, "return loss.to(logits.dtype)"),
    mistake("gradient in float32", "Which dtype must the gradient by the logits have?", ".to(logits.dtype)", ""),
    mistake("always float32", "float64 logits deserve a float64 loss. Where do you lose it?", WIDE, "torch.float32"),
]  # fmt: skip

AT_LABEL, SHARE, mistake = "(1 - smoothing) * one_hot", "smoothing / classes\n", wrong(component.smooth_cross_entropy)
SMOOTH = [
    mistake("shared among the others", "Does the label itself get a part of s / V, or only the others?",
        AT_LABEL, "(1 - smoothing - smoothing / (classes - 1)) * one_hot", SHARE, "smoothing / (classes - 1)\n"),
    mistake("the label shrinks only", "What does each row of the target add up to?", f" + {SHARE}", "\n"),
    Misconception("not smoothed", lambda logits, labels, smoothing, log_softmax: right(logits, labels, log_softmax),
        "What does s do in your function?"),
    mistake("the label's own share", "All V classes get s / V, the label too. Does yours keep it?",
        AT_LABEL, "(1 - smoothing - smoothing / classes) * one_hot"),
    mistake("gradient of the sum", "The loss is a mean over N rows. Where is N in its gradient?", PER_ROW, "- target)"),
    mistake("loss only", "The gradient is p minus the target. Which target?",
        SLOPE, "log_p.exp() - one_hot(labels, classes)"),
    mistake("s for each class", "Among how many classes is s shared?", SHARE, "smoothing\n"),
]  # fmt: skip

"""Lab 0, sealed: misconceptions about the loss, smoothed or not."""

import torch

from autograder.exercise import Misconception
from mlsys_course import foundations as component


def wide(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def right(logits, labels, log_softmax):
    return component.cross_entropy(logits, labels, log_softmax)


def summed(logits, labels, log_softmax):
    loss, grad = right(logits, labels, log_softmax)
    return loss * len(logits), grad * len(logits)


def gradient_of_the_sum(logits, labels, log_softmax):
    loss, grad = right(logits, labels, log_softmax)
    return loss, grad * len(logits)


def over_all_entries(logits, labels, log_softmax):
    loss, grad = right(logits, labels, log_softmax)
    return loss / logits.shape[1], grad / logits.shape[1]


def negative(logits, labels, log_softmax):
    loss, grad = right(logits, labels, log_softmax)
    return -loss, grad


def uphill(logits, labels, log_softmax):
    loss, grad = right(logits, labels, log_softmax)
    return loss, -grad


def target_kept(logits, labels, log_softmax):
    loss, _ = right(logits, labels, log_softmax)
    return loss, (log_softmax(wide(logits), -1).exp() / len(logits)).to(logits.dtype)


def logarithms_for_probabilities(logits, labels, log_softmax):
    loss, _ = right(logits, labels, log_softmax)
    grad = log_softmax(wide(logits), -1) - component.one_hot(labels, logits.shape[1])
    return loss, (grad / len(logits)).to(logits.dtype)


def all_pairs(logits, labels, log_softmax):
    """Every label's column for every row: [:, labels] is no choice of one entry a row."""
    right(logits, labels, log_softmax)
    log_p = log_softmax(wide(logits), -1)
    grad = log_p.exp()
    grad[:, labels] -= 1.0
    return -log_p[:, labels].mean(), (grad / len(logits)).to(logits.dtype)


def along_the_rows(logits, labels, log_softmax):
    return right(logits, labels, lambda x, dim: log_softmax(x, 0))


def gradient_first(logits, labels, log_softmax):
    return right(logits, labels, log_softmax)[::-1]


def zero_times_infinity(logits, labels, log_softmax):
    _, grad = right(logits, labels, log_softmax)
    log_p = log_softmax(wide(logits), -1)
    return -(component.one_hot(labels, logits.shape[1]).to(log_p.dtype) * log_p).sum() / len(logits), grad


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


def loss_of_their_dtype(logits, labels, log_softmax):
    loss, grad = right(logits, labels, log_softmax)
    return loss.to(logits.dtype), grad


def gradient_in_float32(logits, labels, log_softmax):
    loss, grad = right(logits, labels, log_softmax)
    return loss, wide(grad)


def always_float32(logits, labels, log_softmax):
    loss, grad = right(logits.float(), labels, log_softmax)
    return loss, grad.to(logits.dtype)


CROSS_ENTROPY = [
    Misconception("a sum for a mean", summed, "Twice the rows: does your loss double?"),
    Misconception(
        "gradient of the sum", gradient_of_the_sum, "The loss is a mean over N rows. Where is N in its gradient?"
    ),
    Misconception(
        "mean over all entries", over_all_entries, "By how many do you divide: by rows, or by rows times classes?"
    ),
    Misconception("negative loss", negative, "The logarithm of a probability is negative. Is a loss?"),
    Misconception("uphill", uphill, "A label's logit should grow. Which sign has its gradient when steps go downhill?"),
    Misconception("target not subtracted", target_kept, "Each row of the gradient adds up to 0. Does yours?"),
    Misconception(
        "logarithms for probabilities",
        logarithms_for_probabilities,
        "The gradient is p minus the target. Is what you hold p, or log p?",
    ),
    Misconception(
        "all pairs", all_pairs, "log_p[:, labels] has N x N entries. Which N of them belong to a row and its own label?"
    ),
    Misconception("along the wrong axis", along_the_rows, "Over which axis do the probabilities of one row add up?"),
    Misconception("gradient first", gradient_first, "In which order does the docstring want the two results?"),
    Misconception(
        "0 times infinity", zero_times_infinity, "0 times -inf is NaN. Do you need log p of the other classes at all?"
    ),
    Misconception(
        "labels from the end", labels_from_the_end, "Indexing takes -1 for the last class. Is it a label here?"
    ),
    Misconception(
        "labels left out", labels_left_out, "PyTorch ignores a label of -100. What does this docstring say of it?"
    ),
    Misconception("errors of indexing", index_errors, "Bad input is refused. With which exception, by the docstring?"),
    Misconception(
        "nothing is fine", nothing_is_fine, "What is the mean of no numbers, and what should happen instead?"
    ),
    Misconception("sizes not compared", sizes_not_compared, "Rows and labels may be of different number. Who notices?"),
    Misconception("loss in 16 bits", loss_of_their_dtype, "The loss of 16-bit logits has more bits than they have."),
    Misconception("gradient in float32", gradient_in_float32, "Which dtype must the gradient by the logits have?"),
    Misconception("always float32", always_float32, "float64 logits deserve a float64 loss. Where do you lose it?"),
]


def smooth(logits, labels, smoothing, log_softmax):
    return component.cross_entropy(logits, labels, log_softmax, smoothing)


def among_the_others(logits, labels, smoothing, log_softmax):
    classes = logits.shape[1]
    target = component.one_hot(labels, classes)
    target = target * (1 - smoothing) + (1 - target) * smoothing / (classes - 1)
    log_p = log_softmax(wide(logits), -1)
    n = len(logits)
    return -(target * log_p).sum() / n, ((log_p.exp() - target) / n).to(logits.dtype)


def label_shrunk_only(logits, labels, smoothing, log_softmax):
    loss, _ = component.cross_entropy(logits, labels, log_softmax)
    target = component.one_hot(labels, logits.shape[1]) * (1 - smoothing)
    grad = log_softmax(wide(logits), -1).exp() - target
    return loss * (1 - smoothing), (grad / len(logits)).to(logits.dtype)


def loss_only(logits, labels, smoothing, log_softmax):
    loss, _ = smooth(logits, labels, smoothing, log_softmax)
    return loss, component.cross_entropy(logits, labels, log_softmax)[1]


def not_smoothed(logits, labels, smoothing, log_softmax):
    return component.cross_entropy(logits, labels, log_softmax)


def overwrites_the_share(logits, labels, smoothing, log_softmax):
    classes, n = logits.shape[1], len(logits)
    target = torch.full_like(wide(logits), smoothing / classes)
    target[torch.arange(n), labels] = 1 - smoothing
    log_p = log_softmax(wide(logits), -1)
    return -(target * log_p).sum() / n, ((log_p.exp() - target) / n).to(logits.dtype)


def smooth_sum(logits, labels, smoothing, log_softmax):
    loss, grad = smooth(logits, labels, smoothing, log_softmax)
    return loss, grad * len(logits)


def not_shared(logits, labels, smoothing, log_softmax):
    target = component.one_hot(labels, logits.shape[1]) * (1 - smoothing) + smoothing
    log_p = log_softmax(wide(logits), -1)
    n = len(logits)
    return -(target * log_p).sum() / n, ((log_p.exp() - target) / n).to(logits.dtype)


SMOOTH = [
    Misconception(
        "shared among the others", among_the_others, "Does the label itself get a part of s / V, or only the others?"
    ),
    Misconception("the label shrinks only", label_shrunk_only, "What does each row of the target add up to?"),
    Misconception("not smoothed", not_smoothed, "What does s do in your function?"),
    Misconception(
        "the label's own share", overwrites_the_share, "All V classes get s / V, the label too. Does yours keep it?"
    ),
    Misconception("gradient of the sum", smooth_sum, "The loss is a mean over N rows. Where is N in its gradient?"),
    Misconception("loss only", loss_only, "The gradient is p minus the target. Which target?"),
    Misconception("s for each class", not_shared, "Among how many classes is s shared?"),
]

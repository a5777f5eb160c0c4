"""The loss of a classifier, and what it sends back."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..substrate.dtypes import check_floating
from .problems import BadInput, check_ids, check_sizes
from .softmax import log_softmax
from .tokens import one_hot


def cross_entropy(
    logits: Float[Tensor, "N V"],
    labels: Int[Tensor, " N"],
    log_softmax: Callable[[Tensor, int], Tensor] = log_softmax,
    smoothing: float = 0.0,
) -> tuple[Float[Tensor, ""], Float[Tensor, "N V"]]:
    """The mean of -log p(label) over rows, and its gradient by the logits, (p - target) / N.

    The loss has float32, or float64 for float64 logits; the gradient has the logits' dtype. With ``smoothing`` s the
    target is (1 - s) * one_hot(label) + s / V (Szegedy et al. 2016, section 7). A class whose logit is -inf is ruled
    out, and costs nothing where its target is 0.
    Raises BadInput for a label outside the classes, no rows at all, a label too many or too few, and s outside [0, 1];
    NotFloating for logits that are whole numbers.
    Lab 0, exercise ``cross_entropy``.
    """
    check_floating(logits=logits)
    check_sizes("labels", labels.shape, logits.shape[:1])
    check_ids("labels", labels, logits.shape[-1], "the classes")
    if not len(logits):
        raise BadInput("no rows, and a mean over nothing has no value; skip empty batches")
    if not 0 <= smoothing <= 1:
        raise BadInput(f"smoothing={smoothing}; choose a number from 0 to 1")
    n, classes = logits.shape
    wide = torch.promote_types(logits.dtype, torch.float32)
    log_p = log_softmax(logits.to(wide), -1)
    target = (1 - smoothing) * one_hot(labels, classes).to(wide) + smoothing / classes
    loss = -(target * log_p.masked_fill(target == 0, 0.0)).sum() / n  # 0 times -inf would be NaN
    return loss, ((log_p.exp() - target) / n).to(logits.dtype)


def smooth_cross_entropy(
    logits: Float[Tensor, "N V"],
    labels: Int[Tensor, " N"],
    smoothing: float,
    log_softmax: Callable[[Tensor, int], Tensor] = log_softmax,
) -> tuple[Float[Tensor, ""], Float[Tensor, "N V"]]:
    """``cross_entropy`` with a share ``smoothing`` of each target spread over all classes.

    Lab 0, extension ``smooth_cross_entropy``.
    """
    return cross_entropy(logits, labels, log_softmax, smoothing)

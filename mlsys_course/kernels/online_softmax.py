"""A softmax over keys that come in pieces: what must be known of the earlier ones is a maximum and two sums."""

import torch
from jaxtyping import Float
from torch import Tensor

State = tuple[Float[Tensor, "... T"], Float[Tensor, "... T"], Float[Tensor, "... T D"]]


def online_softmax(
    scores: Float[Tensor, "... T S"], values: Float[Tensor, "... S D"], state: State | None = None
) -> State:
    """The state after S further keys, of T queries each: (top, total, weighted).

    top: the largest score so far; total: the sum of exp(score - top) over all keys so far; weighted: the sum of
    exp(score - top) * value. So weighted / total is the attention's output and top + log(total) its log-sum-exp. With
    no state there were no keys before: top is -inf, the sums are 0; so it is where all scores are -inf, without a NaN.
    Sums are float32, or float64 where scores or values are; S may be 0. The state that is given stays as it is.
    Source: Milakov and Gimelshein 2018; Rabe and Staats 2021. Lab 12, exercise ``online_softmax``.
    """
    dtype = torch.promote_types(torch.promote_types(scores.dtype, values.dtype), torch.float32)
    scores, values = scores.to(dtype), values.to(dtype)
    if state is None:
        zeros = scores.new_zeros(scores.shape[:-1])
        state = zeros - torch.inf, zeros, scores.new_zeros(*zeros.shape, values.shape[-1])
    top, total, weighted = state
    highest = torch.cat([scores, top.to(dtype)[..., None]], -1).amax(-1)
    base = highest.clamp(min=torch.finfo(dtype).min)  # -inf less -inf would be NaN
    old, weights = (top - base).exp(), (scores - base[..., None]).exp()
    return highest, total * old + weights.sum(-1), weighted * old[..., None] + weights @ values


def merge_states(left: State, right: State) -> State:
    """The state after the keys of both, which came in two streams: for one query's keys on several processors.

    States as ``online_softmax`` returns them, in any order; a row without a key in either stays so, without a NaN.
    Source: Dao et al. 2023, "Flash-decoding". Lab 12, extension ``merge_states``.
    """
    top = torch.maximum(left[0], right[0])
    base = top.clamp(min=torch.finfo(top.dtype).min)
    mine, theirs = (left[0] - base).exp(), (right[0] - base).exp()
    return top, left[1] * mine + right[1] * theirs, left[2] * mine[..., None] + right[2] * theirs[..., None]

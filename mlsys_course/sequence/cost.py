"""What a recurrent layer and an attention layer cost on n tokens d wide: arithmetic, and steps that must wait."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SequenceCost:
    """``flops`` of the matrix products, a multiply-add as 2; ``steps`` that each wait for the one before."""

    flops: int
    steps: int


def recurrent_cost(n: int, d: int) -> SequenceCost:
    """``rnn`` on one sequence, O(n d^2): two products with a d x d matrix a token, one token after the other.

    tanh and bias are left out, 3 n d. Source: Vaswani et al. 2017, table 1.
    """
    _check(n, d)
    return SequenceCost(flops=4 * n * d * d, steps=n)


def attention_cost(n: int, d: int) -> SequenceCost:
    """``attend`` from n tokens to themselves by dot products, O(n^2 d): all scores, then all means, none waiting.

    The softmax is left out, about 5 n^2, and so are projections, which ``attend`` has not. Source: as above.
    """
    _check(n, d)
    return SequenceCost(flops=4 * n * n * d, steps=1)


def crossover(d: int) -> int:
    """The number of tokens at which both take as many FLOPs: below it attention takes fewer."""
    _check(1, d)
    return d


def _check(n: int, d: int) -> None:
    if n < 1 or d < 1:
        raise ValueError(f"n={n}, d={d}: a sequence has 1 token or more, and a token 1 channel or more")

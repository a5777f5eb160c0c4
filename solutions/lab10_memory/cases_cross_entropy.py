"""Lab 10, sealed: cases of the chunked loss."""

from collections.abc import Sequence

import torch

from autograder.draw import Draw
from autograder.exercise import Given, on_a_card

LOSS, GRADIENTS = ["loss"], ["grad_hidden", "grad_weight"]
BOTH = [*LOSS, *GRADIENTS]


def case(
    name: str,
    aspect: str,
    returns: Sequence[str],
    head: dict[str, torch.Tensor],
    chunk: int,
    public: bool = False,
    every: int = 1,
    limits: dict[str, float] | None = None,
    **settings: int,
) -> Given:
    """``head`` are the tensors; of gradients every ``every``-th row is looked at."""
    inputs = {**head, "settings": {"chunk": chunk, **settings}, "returns": list(returns), "every": every}
    return Given(name, aspect, inputs, public, limits or {})


def head(draw: Draw, tokens: int, words: int, width: int = 4, dtype: torch.dtype = torch.float32) -> dict:
    """Hidden states, the head's weight, and a target for each token."""
    return {
        "hidden": draw.normal(tokens, width, dtype=dtype),
        "weight": draw.normal(words, width, dtype=dtype),
        "targets": draw.integers(tokens, high=words),
    }


def head_of(draw: Draw, tokens: int, words: int, dtype: torch.dtype) -> dict:
    """The same without targets."""
    return {name: x for name, x in head(draw, tokens, words, dtype=dtype).items() if name != "targets"}


def large(draw: Draw, tokens: int, words: int) -> dict:
    """Logits far beyond what exp can hold, in whole numbers, so that every dtype and order of sums has them exactly."""
    sizes = [draw.integers(tokens, 4, low=20, high=40), draw.integers(words, 4, low=-3, high=4)]
    hidden, weight = (size.to(torch.float32) for size in sizes)
    weight[0], weight[1] = 3.0, -3.0  # logits of 240 and more, and of -240 and less
    return {"hidden": hidden, "weight": weight, "targets": draw.integers(tokens, high=words)}


def one_surprise(draw: Draw) -> dict:
    """In bfloat16 a first token whose loss is about 2100, beside which a sum of that dtype loses all others."""
    given = head(draw, 480, 30)
    hidden, weight = given["hidden"] * 0.5, given["weight"]
    hidden[0] = weight[0]
    logits = weight @ weight[0]
    hidden[0] *= 2100.0 / (logits.max() - logits.min())
    given["targets"][0] = logits.argmin()
    return {**given, "hidden": hidden.bfloat16(), "weight": weight.bfloat16()}


def sure(draw: Draw, tokens: int, words: int) -> dict:
    """In bfloat16, whole numbers: each target's logit is 6 above the others, so that its probability is almost 1."""
    hidden, weight = (draw.integers(n, 4, low=1, high=5).bfloat16() for n in (tokens, words))
    hidden[:, 0], weight[:, 1:] = 6.0, weight[0, 1:].clone()
    weight[:, 0] = torch.arange(words) == 0
    return {"hidden": hidden, "weight": weight, "targets": torch.zeros(tokens, dtype=torch.int64)}


def all_one_way(draw: Draw, words: int) -> dict:
    """In bfloat16 hundreds of tokens that pull a weight the same way: a sum of that dtype stops growing at half."""
    tokens = draw.integer(600, 660)
    hidden = draw.uniform(tokens, 4, low=3.6, high=4.4).bfloat16()
    weight = draw.normal(words, 4, scale=0.05).bfloat16()
    return {"hidden": hidden, "weight": weight, "targets": torch.zeros(tokens, dtype=torch.int64)}


def padded(draw: Draw, tokens: int, words: int, kept: Sequence[int], padding: int = -100) -> dict:
    """Only the targets at ``kept`` count."""
    given = head(draw, tokens, words)
    targets = torch.full((tokens,), padding)
    targets[list(kept)] = given["targets"][list(kept)]
    return {**given, "targets": targets}


def long(draw: Draw, name: str, tokens: int, words: int, chunk: int, public: bool = False) -> Given:
    """A case judged by its peak memory: at most a third of what all logits take in float32. A chunk is 1/48 of them."""
    limits = {"peak_memory": float(tokens * words * 4 // 3)}
    return case(name, "memory", BOTH, head(draw, tokens, words, 8), chunk, public, every=tokens // 8, limits=limits)


def cases(draw: Draw) -> list[Given]:
    """By aspect: loss, gradients, padding, memory."""
    chunk, words = draw.integer(3, 5), draw.integer(6, 12)
    even, ragged = 3 * chunk, 3 * chunk + draw.integer(1, chunk - 1)
    some = sorted(draw.sample(range(even), even // 2))
    more = sorted(draw.sample(range(ragged), ragged // 2))
    last = range(ragged // chunk * chunk, ragged)  # only the ragged chunk holds targets that count
    zeros = padded(draw, even, words, draw.sample(range(even), even // 2), padding=0)
    bf16, f64 = torch.bfloat16, torch.float64
    thin = draw.integer(15, 17)
    return [
        case("a short text", "loss", LOSS, head(draw, even, words), chunk, True),
        case("a ragged last chunk", "loss", LOSS, head(draw, ragged, words), chunk, True),
        case("large logits", "loss", LOSS, large(draw, even, words), chunk, True),
        case("one surprise in bfloat16", "loss", LOSS, one_surprise(draw), 1, True),
        case("a chunk longer than the text", "loss", LOSS, head(draw, ragged, words), 10 * ragged),
        case("float64", "loss", LOSS, head(draw, ragged, words, dtype=f64), chunk),
        case("gradients of a short text", "gradients", GRADIENTS, head(draw, even, words), chunk, True),
        case("gradients with a ragged chunk", "gradients", GRADIENTS, head(draw, ragged, words), chunk, True),
        case("gradients of large logits", "gradients", GRADIENTS, large(draw, ragged, words), chunk),
        case("gradients in bfloat16", "gradients", GRADIENTS, head(draw, ragged, words, dtype=bf16), chunk),
        case("gradients in float64", "gradients", GRADIENTS, head(draw, even, words, dtype=f64), chunk),
        case("half of the tokens count", "padding", BOTH, padded(draw, even, words, some), chunk, True),
        case("whole chunks do not count", "padding", BOTH, padded(draw, ragged, words, last), chunk, True),
        case("none counts", "padding", BOTH, padded(draw, even, words, []), chunk, True),
        case("another ignore_index", "padding", BOTH, zeros, chunk, ignore_index=0),
        case("half, and a ragged chunk", "padding", BOTH, padded(draw, ragged, words, more), chunk),
        long(draw, "a long text", 48 * thin, draw.integer(7600, 8200), thin, True),
        case("gradients of sure tokens", "gradients", GRADIENTS, sure(draw, ragged, words), chunk),
        case("a weight's gradient of many chunks", "gradients", ["grad_weight"], all_one_way(draw, words), 1),
        Given("other indices, and none", "padding", {"each": [
            case("", "", BOTH, padded(draw, ragged, words, more, padding), chunk, ignore_index=padding).inputs
            for padding in (words, words + 7, -1, 2**40)
        ] + [case("", "", BOTH, head(draw, 0, words), chunk).inputs]}),
        Given("none in 16 bits and in 64", "padding", {"each": [
            case("", "", BOTH, {**padded(draw, even, words, []), **head_of(draw, even, words, dtype)}, chunk).inputs
            for dtype in (bf16, f64)
        ] + [case("", "", BOTH, head(draw, 0, words, dtype=bf16), chunk).inputs]}),
        Given("logits of a chunk at most", "memory", {"each": [
            case("", "", ["chunks"], head(draw, count, 97, 1), most).inputs
            for count, most in ((2 * chunk - 1, chunk), (3 * chunk + 1, chunk), (9, 1), (60, 7), (100, 40), (20, 19))
        ]}),
        on_a_card(case("", "", BOTH, padded(draw, ragged, words, more), chunk, True)),
    ]  # fmt: skip

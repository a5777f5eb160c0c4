"""How lab 0's functions are called and what of them is compared: the same code for your runs and for grading.

Read it to see what a case asks of your function. A case that is marked ``bad`` holds input that must be refused; what
is compared then is the class of the exception.
"""

import torch

from mlsys_course.desk.check import driver, kept, raised
from mlsys_course.desk.check.guard import allowed
from mlsys_course.desk.check.seen import OUTSIDE, calls_of


@driver
def one_hot(candidate, case):
    if case.get("bad"):
        return {"raised": raised(candidate, case["ids"], case["classes"])}
    return {"rows": candidate(case["ids"], case["classes"])}


@driver
def look_up(candidate, case):
    """The padding is left out where the case has none."""
    padding = (case["padding"],) if "padding" in case else ()
    if case.get("bad"):
        return {"raised": raised(candidate, case["table"], case["ids"], *padding)}
    return {"vectors": candidate(case["table"], case["ids"], *padding)}


def along_axis(candidate, case):
    """The axis is left out where the case has none.

    A long row is converted to the dtype that the case names. What comes of it is looked at in units of 1 / length.
    """
    if "as" not in case:
        return candidate(case["x"], *([case["dim"]] if "dim" in case else []))
    found = candidate(case["x"].to(getattr(torch, case["as"])))
    return {"dtype": str(found.dtype), "first": found[:3].double() * len(found)}


@driver
def softmax(candidate, case):
    return {"probabilities": along_axis(candidate, case)}


@driver
def log_softmax(candidate, case):
    return {"logarithms": along_axis(candidate, case)}


def public_log_softmax(x, dim=-1):
    """PyTorch's own, which stands in for yours on your machine."""
    with allowed():
        return torch.log_softmax(x, dim)


def loss_and_gradient(call, case):
    """What the case names. The gradient is looked at in units of 1 / N, since a mean over N rows makes it small."""
    if case.get("bad"):
        return {"raised": raised(call)}
    loss, gradient = call()
    found = {"loss": loss, "gradient": gradient * len(case["logits"])}
    return {name: found[name] for name in case["returns"]}


def handed_in(log_softmax, case):
    """The part as it is; with ``marked`` one that returns its double, which shows in the loss that it was used."""
    return (lambda x, dim=-1: 2 * log_softmax(x, dim)) if "marked" in case else log_softmax


@driver(parts={"log_softmax": public_log_softmax})
def cross_entropy(candidate, case, log_softmax):
    given = (case["logits"], case["labels"], handed_in(log_softmax, case))
    return loss_and_gradient(lambda: candidate(*given), case)


@driver(parts={"log_softmax": public_log_softmax})
def smooth_cross_entropy(candidate, case, log_softmax):
    given = (case["logits"], case["labels"], case["smoothing"])
    return loss_and_gradient(lambda: candidate(*given, handed_in(log_softmax, case)), case)


def multiplied(x, y):
    """Two tiles multiplied, in float32 at least."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return (x.to(wide)[:, :, None] * y.to(wide)).sum(1)  # (n, k, m) summed over k


def how_tiles_were_multiplied(case, outputs, seen):
    """The product; where the case looks at tiles, how often ``multiply`` was called, the largest rows, inner size and
    columns of tiles, and how many numbers were multiplied in all."""
    if OUTSIDE not in case:
        return outputs
    calls = [(*x, y[-1]) for x, y in calls_of("product_of_tiles", seen[0])]
    largest = [max(sizes) for sizes in zip(*calls, strict=True)]
    return {"calls": len(calls), "largest": largest, "multiplications": sum(n * k * m for n, k, m in calls)}


@driver(parts={"product_of_tiles": multiplied}, judged=how_tiles_were_multiplied)
def block_matmul(candidate, case, product_of_tiles):
    """While grading the trusted side multiplies tiles, but for long sums, which would ask it too often. With ``marked``
    products are larger by the bytes of an entry of the tiles, which shows in what dtype they came."""
    multiply = product_of_tiles if case["a"].shape[1] < 1000 else multiplied
    if "marked" in case:
        plain = multiply
        multiply = lambda x, y: plain(x, y) * (x.element_size() * y.element_size())  # noqa: E731
    given = (case["a"], case["b"], tuple(case["block"]), multiply)
    if case.get("bad"):
        return {"raised": raised(candidate, *given)}
    return {"product": candidate(*given)}


@driver
def forward(candidate, case):
    z, a = candidate(case["x"], case["weights"], case["biases"])
    return {"z": list(z), "a": list(a)}


@driver
def backward(candidate, case):
    of_weights, of_biases = candidate(case["weights"], case["z"], case["a"], case["grad"])
    found = {"weights": list(of_weights), "biases": list(of_biases)}
    return {name: found[name] for name in case["returns"]}


def answer_of(numbered):
    """None for an empty input."""
    number, one = numbered
    return {"asked": number, "input": one} if len(one) else None


@driver
def pipeline(candidate, case):
    """Each input goes through stages that count: words of a text, or entries of an image and their sum.

    Where the case has a text for it, a second pipeline of other stages is made and called before the first is. With
    ``plain`` stages hand on what they get: the answer is how many were asked so far and the input, or None where that
    is empty; ``tuples`` are what the case has as lists.
    """
    if "plain" in case:
        asked = []
        run = candidate(lambda one: asked.append(one) or (len(asked), one), lambda numbered: numbered, answer_of)
        return {f"call {n}": run(inputs) for n, inputs in enumerate([*case["plain"], *map(tuple, case["tuples"])], 1)}

    def preprocess(one):
        if isinstance(one, str):
            return [len(word) for word in one.split()]
        return one.flatten().tolist()

    def forward(numbers):
        return {"count": len(numbers), "sum": sum(numbers)}

    def postprocess(found):
        long = found["sum"] > 4 * found["count"]
        return {"label": "LONG" if long else "SHORT", "score": found["sum"] / found["count"]}

    run = candidate(preprocess, forward, postprocess)
    second = {}
    if "second" in case:
        second["second pipeline"] = candidate(len, lambda length: 2 * length, str)(case["second"])
    return {f"call {n}": run(inputs) for n, inputs in enumerate(case["calls"], 1)} | second


@driver
def softmax_gradient(candidate, case):
    """The axis is left out where the case has none."""
    return {"gradient": candidate(case["y"], case["grad"], *([case["dim"]] if "dim" in case else []))}


@driver
def momentum_step(candidate, case):
    """With ``written`` what is returned is written to afterwards: new tensors share nothing with what was given."""
    names = ("parameters", "gradients", "velocities")
    given = [[x.clone() for x in case[name]] for name in names]
    found = dict(zip(("parameters", "velocities"), candidate(*given, case["lr"], case["momentum"]), strict=True))
    results = {name: [x.clone() for x in found[name]] for name in found}
    if "written" in case:
        for x in (x for some in found.values() for x in some):
            x += 1
        before = [x for name in names for x in case[name]]
        after = [x for some in given for x in some]
        results["what was given"] = kept(all(map(torch.equal, before, after)))
    return results

"""Lab 7, sealed: misconceptions about traffic."""

from autograder.mutated import mutated, wrong
from mlsys_course.accounting import SCHEMES, traffic

RING, TREE, ZERO = "ring", "tree", ["zero-1", "zero-2", "zero-3"]
GATHERED_SUMS = '"all-gather gradients": half'
BUSIEST = "bottleneck(loads).busiest_way"


def scheme(name, hint, changed, *edits):
    """Schemes whose loads have the same mistake."""
    changed = [changed] if isinstance(changed, str) else changed
    return mistake(name, hint, SCHEMES={**SCHEMES, **{one: mutated(SCHEMES[one], *edits) for one in changed}})


mistake = wrong(traffic)
TRAFFIC = [
    scheme("whole buffer", "How many entries has what a rank passes on in one round of the ring?",
        RING, "exchange.others_chunks(exchange.gradient_itemsize)", "(exchange.ranks - 1) * exchange.gradients"),
    scheme("half a ring", "After the reduce-scatter a rank has the sum of one chunk only. What brings it the others?",
        RING, f", {GATHERED_SUMS}", ""),
    mistake("own chunk too", "How many rounds has a reduce-scatter among two ranks? And among P?",
        "(self.ranks - 1)", "(self.ranks if self.ranks > 1 else 0)"),
    mistake("not padded", "Let P not divide the entries. How large must equal chunks be to hold all?",
        "ceil_div(self.entries, self.ranks)", "(self.entries // self.ranks)"),
    scheme("weights as gradients", "What does an all-gather of weights move, and how many bytes has one of these?",
        ZERO, "exchange.weight_itemsize", "exchange.gradient_itemsize"),
    mistake("root is busiest", "Draw a tree of seven ranks. How many edges meet at the root, and how many at rank 1?",
        BUSIEST, f'(loads[0] if scheme == "{TREE}" else bottleneck(loads)).busiest_way'),
    mistake("always three", "Draw trees of two, three and four ranks. How many edges meet at their busiest rank?",
        BUSIEST, f'3 * (ranks > 1) * exchange.gradients if scheme == "{TREE}" else {BUSIEST}'),
    mistake("only up", "In a tree, how does the sum come to the leaves?",
        "load.count * load.sent.total",
        f'load.count * (load.sent.total // 2 if scheme == "{TREE}" else load.sent.total)'),
    scheme("gathered once", "In ZeRO 3, are the weights of the first layer still there when backward comes back to it?",
        "zero-3", "2 * exchange.micro_batches", "exchange.micro_batches"),
    mistake("one micro-batch",
        "Which stages keep no rank's full gradients or weights from one micro-batch to the next?",
        "micro_batches=micro_batches", "micro_batches=1"),
    mistake("one rank's total", "How many ranks send what you counted for one?",
        "load.count * load.sent.total", "(load.count if len(loads) > 1 else 1) * load.sent.total"),
    mistake("sent and received", "A byte that is sent is received once: how often does it count in what all send?",
        "load.count * load.sent.total",
        f'load.count * (load.sent.total + (load.received.total if scheme == "{TREE}" else 0))'),
    scheme("ring of weights", "The ring's second half gathers sums. Of what, and how many bytes has one of these?",
        RING, GATHERED_SUMS, '"all-gather weights": exchange.others_chunks(exchange.weight_itemsize)'),
    scheme("ring each micro-batch", "A rank sums its micro-batches' gradients. How often does the ring run in a step?",
        RING, "half = ", "half = exchange.micro_batches * "),
    scheme("weights each micro-batch", "In stage 2 every rank has all weights. When do they change?",
        "zero-2", "weight_rounds=1", "weight_rounds=exchange.micro_batches"),
    scheme("gathered at the end", "In stage 3 the next forward gathers what it needs. What is sent after the update?",
        "zero-3", "2 * exchange.micro_batches", "2 * exchange.micro_batches + 1"),
    scheme("each micro-batch", "In stage 1 each rank can sum its micro-batches' gradients. When must they be sent?",
        "zero-1", "gradient_rounds=1", "gradient_rounds=exchange.micro_batches"),
]  # fmt: skip

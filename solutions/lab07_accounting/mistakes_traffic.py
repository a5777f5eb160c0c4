"""Lab 7, sealed: misconceptions about traffic."""

from autograder.exercise import Misconception


def wrong_traffic(mistake):
    """The bytes with one mistake."""

    def candidate(scheme, entries, ranks, gradient_itemsize, weight_itemsize, micro_batches):
        gradients, weights = entries * gradient_itemsize, entries * weight_itemsize
        if scheme in ("ring", "zero-1", "zero-2", "zero-3"):
            each = (ranks - 1) * chunks(scheme, entries, ranks, gradient_itemsize, weight_itemsize, micro_batches)
            if mistake == "own chunk too":
                each = each // (ranks - 1) * ranks if ranks > 1 else 0
            return {"total": each if mistake == "one rank's total" else ranks * each, "bottleneck": each}
        if scheme == "parameter-server":
            each = {"both ways added": gradients + weights, "one worker": max(gradients, weights) / ranks}
            each |= {"pushes only": gradients, "pushes and pulls alike": gradients}
            pulled = {"pushes only": 0, "pushes and pulls alike": gradients}.get(mistake, weights)
            busiest = ranks * each.get(mistake, max(gradients, weights))
            ways = 2 if mistake == "sent and received" else 1
            return {"total": ways * ranks * (gradients + pulled), "bottleneck": int(busiest)}
        return tree(gradients, ranks)

    def chunks(scheme, entries, ranks, gradient_itemsize, weight_itemsize, micro_batches):
        size = -(-entries // ranks)
        if mistake == "not padded":
            size = entries // ranks
        if mistake == "whole buffer" and scheme == "ring":
            size = entries
        scattered = size * gradient_itemsize
        gathered = size * (gradient_itemsize if mistake == "weights as gradients" else weight_itemsize)
        if mistake == "gathered once":
            return {"ring": 2 * scattered, "zero-1": scattered + gathered}.get(
                scheme, micro_batches * scattered + (micro_batches if scheme == "zero-3" else 1) * gathered
            )
        first = micro_batches if mistake == "each micro-batch" else 1
        passes = 1 if mistake == "one micro-batch" else micro_batches
        ring = scattered + {"half a ring": 0, "ring of weights": gathered}.get(mistake, scattered)
        return {
            "ring": (micro_batches if mistake == "ring each micro-batch" else 1) * ring,
            "zero-1": first * scattered + gathered,
            "zero-2": passes * scattered + (passes if mistake == "weights each micro-batch" else 1) * gathered,
            "zero-3": passes * (scattered + 2 * gathered) + (gathered if mistake == "gathered at the end" else 0),
        }[scheme]

    def tree(gradients, ranks):
        degrees = [(r > 0) + max(0, min(2, ranks - 1 - 2 * r)) for r in range(ranks)]
        edges = {"root is busiest": degrees[0], "always three": 3 if ranks > 1 else 0}.get(mistake, max(degrees))
        total = sum(degrees) // 2 if mistake == "only up" else sum(degrees)
        return {"total": total * gradients, "bottleneck": edges * gradients}

    return candidate


TRAFFIC = [
    Misconception(name, wrong_traffic(name), hint)
    for name, hint in {
        "whole buffer": "How many entries has what a rank passes on in one round of the ring?",
        "half a ring": "After the reduce-scatter a rank has the sum of one chunk only. What brings it the others?",
        "own chunk too": "How many rounds has a reduce-scatter among two ranks? And among P?",
        "not padded": "Let P not divide the entries. How large must equal chunks be to hold all?",
        "weights as gradients": "What does an all-gather of weights move, and how many bytes has one of these?",
        "both ways added": "A wire works both ways at the same time. Which of the two ways is the server's busiest?",
        "one worker": "How many ranks push to the one server in a step?",
        "pushes only": "When the server has all gradients, how do the ranks learn of the new weights?",
        "pushes and pulls alike": "What comes back from a parameter server, and how many bytes has one of these?",
        "root is busiest": "Draw a tree of seven ranks. How many edges meet at the root, and how many at rank 1?",
        "always three": "Draw trees of two, three and four ranks. How many edges meet at their busiest rank?",
        "only up": "In a tree, how does the sum come to the leaves?",
        "gathered once": "In ZeRO 3, are the weights of the first layer still there when backward comes back to it?",
        "one micro-batch": "Which stages keep no rank's full gradients or weights from one micro-batch to the next?",
        "one rank's total": "How many ranks send what you counted for one?",
        "sent and received": "A byte that is sent is received once: how often does it count in what all send?",
        "ring of weights": "The ring's second half gathers sums. Of what, and how many bytes has one of these?",
        "ring each micro-batch": "A rank sums its micro-batches' gradients. How often does the ring run in a step?",
        "weights each micro-batch": "In stage 2 every rank has all weights. When do they change?",
        "gathered at the end": "In stage 3 the next forward gathers what it needs. What is sent after the update?",
        "each micro-batch": "In stage 1 each rank can sum its micro-batches' gradients. When must they be sent?",
    }.items()
]

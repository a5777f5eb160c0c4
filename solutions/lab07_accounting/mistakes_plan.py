"""Lab 7, sealed: misconceptions about traffic, GPUs, schedules, rooflines and stages of ZeRO."""

from math import ceil

from autograder.exercise import Misconception

from . import references_plan as right

# ---- traffic ---------------------------------------------------------------------------------------------------------


def wrong_traffic(mistake):
    """The bytes with one mistake."""

    def candidate(scheme, entries, ranks, gradient_itemsize, weight_itemsize, micro_batches):
        gradients, weights = entries * gradient_itemsize, entries * weight_itemsize
        if scheme in ("ring", "zero-1", "zero-2", "zero-3"):
            each = (ranks - 1) * chunks(scheme, entries, ranks, gradient_itemsize, weight_itemsize, micro_batches)
            if mistake == "own chunk too":
                each = each // (ranks - 1) * ranks if ranks > 1 else 0
            return {"total": ranks * each, "bottleneck": each}
        if scheme == "parameter-server":
            each = {"both ways added": gradients + weights, "one worker": max(gradients, weights) / ranks}
            each |= {"pushes only": gradients, "pushes and pulls alike": gradients}
            pulled = {"pushes only": 0, "pushes and pulls alike": gradients}.get(mistake, weights)
            busiest = ranks * each.get(mistake, max(gradients, weights))
            return {"total": ranks * (gradients + pulled), "bottleneck": int(busiest)}
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
        return {
            "ring": (1 if mistake == "half a ring" else 2) * scattered,
            "zero-1": first * scattered + gathered,
            "zero-2": passes * scattered + gathered,
            "zero-3": passes * (scattered + 2 * gathered),
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
        "each micro-batch": "In stage 1 each rank can sum its micro-batches' gradients. When must they be sent?",
    }.items()
]

# ---- how many GPUs ---------------------------------------------------------------------------------------------------


def wrong_gpus(mistake):
    """The number of GPUs with one mistake."""

    def candidate(flops, peak, utilization, days, box):
        found = right.gpus_needed(flops, peak, utilization, days, box)["exact"]
        exact = {
            "as in one line": found * 24 * days * 24 * days,
            "at the peak": found * utilization,
            "utilization above": found * utilization**2,
            "hours": found * 3600,
            "days as hours": found * 24,
        }.get(mistake, found)
        rented = {"not rounded to boxes": ceil(exact), "rounded": max(1, round(exact / box)) * box}
        rented |= {"boxes, not cards": ceil(exact / box), "a box more": (int(exact // box) + 1) * box}
        return {"exact": exact, "rented": rented.get(mistake, ceil(exact / box) * box)}

    return candidate


GPUS = [
    Misconception(name, wrong_gpus(name), hint)
    for name, hint in {
        "as in one line": "a / b * c divides by b only. What belongs below the line?",
        "at the peak": "What does a GPU achieve, when its peak is 312 TFLOPs and its utilization a half?",
        "utilization above": "Do you need more GPUs or fewer when each achieves less?",
        "hours": "Peaks are in FLOPs a second. How many seconds has a day?",
        "days as hours": "How many hours has a day?",
        "not rounded to boxes": "Is the number that is rented a multiple of what a box holds?",
        "rounded": "With half a box too little, is the run still done in time?",
        "boxes, not cards": "Is it boxes or GPUs that are asked for?",
        "a box more": "What if the exact number is whole boxes already?",
    }.items()
]

# ---- schedule --------------------------------------------------------------------------------------------------------


def wrong_schedule(mistake):
    """A run's time and cost with one mistake."""

    def candidate(flops_per_token, tokens, batch_tokens, gpus, peak, utilization, sent, bandwidth, price):
        compute = flops_per_token * batch_tokens / (peak * gpus * (1 if mistake == "at the peak" else utilization))
        compute *= gpus if mistake == "one GPU" else 1
        exchange = sent / bandwidth * (8 if mistake == "bits" else 1)
        step = compute + exchange if mistake == "one after the other" else max(compute, exchange)
        step = compute if mistake == "free wire" else step
        steps = tokens // batch_tokens if mistake == "last step lost" else -(-tokens // batch_tokens)
        seconds = (tokens / batch_tokens if mistake == "part of a step" else steps) * step
        reached = flops_per_token * batch_tokens / (gpus * peak * step)
        return {
            "compute_seconds": compute,
            "exchange_seconds": exchange,
            "step_seconds": step,
            "steps": steps,
            "days": seconds / 86_400,
            "cost": seconds / 3600 * price * (1 if mistake == "one GPU's bill" else gpus),
            "reached": reached / utilization if mistake == "of what is achieved" else reached,
        }

    return candidate


SCHEDULE = [
    Misconception(name, wrong_schedule(name), hint)
    for name, hint in {
        "at the peak": "How fast does a GPU compute that achieves half of its peak?",
        "one GPU": "batch_tokens are of a step on all GPUs. How many does one GPU compute?",
        "bits": "Bandwidth is in bytes a second here, and so is what is sent.",
        "one after the other": "The wire works while the cards compute. When is the slower of the two done?",
        "free wire": "What if sending takes longer than computing?",
        "last step lost": "With 10 tokens in steps of 4, how many steps are there?",
        "part of a step": "How long does the last step take, when there are fewer tokens left?",
        "one GPU's bill": "Who pays for the other GPUs?",
        "of what is achieved": "Reached is a fraction of the peak. Of what is yours?",
    }.items()
]

# ---- extensions ------------------------------------------------------------------------------------------------------


def wrong_roofline(mistake):
    """A product under the roof with one mistake."""

    def candidate(m, k, n, itemsize, peak, bandwidth):
        flops = (1 if mistake == "half the FLOPs" else 2) * m * k * n
        entries = m * k + k * n + m * n
        entries -= {"result not written": m * n, "weights are there": k * n}.get(mistake, 0)
        moved = entries * (1 if mistake == "numbers" else itemsize)
        compute, memory = flops / peak, moved / bandwidth
        seconds = compute + memory if mistake == "added" else max(compute, memory)
        seconds = {"always the peak": compute, "no ceiling": memory}.get(mistake, seconds)
        kind = "memory" if (memory > compute) != (mistake == "turned round") else "compute"
        return {
            "flops": flops,
            "bytes": moved,
            "intensity": moved / flops if mistake == "upside down" else flops / moved,
            "attainable": flops / seconds,
            "seconds": seconds,
            "bound": kind,
        }

    return candidate


ROOFLINE = [
    Misconception(name, wrong_roofline(name), hint)
    for name, hint in {
        "half the FLOPs": "How many FLOPs is a multiply-add?",
        "result not written": "What happens to the product once it is computed?",
        "weights are there": "Both factors are in memory. Are both read?",
        "numbers": "Bytes or numbers?",
        "added": "Memory works while the cores compute. Which of the two does an operator wait for?",
        "always the peak": "With one FLOP a byte, can the cores ever reach their peak?",
        "no ceiling": "However large the intensity: what can the cores do at most?",
        "turned round": "An operator of few FLOPs a byte waits for what?",
        "upside down": "Is intensity FLOPs for each byte, or bytes for each FLOP?",
    }.items()
]


def wrong_zero(mistake):
    """The stages with one mistake."""

    def candidate(parameters, activations, ranks, memory):
        share = parameters // ranks if mistake == "not padded" else -(-parameters // ranks)
        divided = {
            "no master weights": [(0, 12), (8, 4), (10, 2), (12, 0)],
            "stage 1 divides all": [(0, 16), (16, 0), (16, 0), (16, 0)],
            "gradients stay": [(0, 16), (12, 4), (12, 4), (16, 0)],
            "wide gradients": [(0, 18), (12, 6), (16, 2), (18, 0)],
        }.get(mistake, [(0, 16), (12, 4), (14, 2), (16, 0)])
        held = [parts * share + whole * parameters for parts, whole in divided]
        if mistake == "activations divided":
            held = [size + (-(-activations // ranks) if stage else activations) for stage, size in enumerate(held)]
        elif mistake != "activations forgotten":
            held = [size + activations for size in held]
        fits = [size < memory if mistake == "as large does not fit" else size <= memory for size in held]
        room = memory - (0 if mistake == "activations forgotten" else activations)
        largest = room // 16
        enough = -(-parameters // largest) if largest > 0 else None
        if mistake == "last that fits":
            stage = max((n for n in range(4) if fits[n]), default=None)
        else:
            stage = next((n for n in range(4) if fits[n]), None)
        if mistake == "rounded down" and largest > 0:
            enough = 16 * parameters // room
        if mistake == "always some number" and enough is None:
            enough = parameters
        return {"bytes": held, "stage": stage, "ranks": enough}

    return candidate


ZERO = [
    Misconception(name, wrong_zero(name), hint)
    for name, hint in {
        "not padded": "P ranks with floor(N / P) parameters each: do they hold all?",
        "no master weights": "What is kept in 32 bits, beside Adam's two moments?",
        "stage 1 divides all": "Which of the 16 bytes does stage 1 divide, and which only later stages?",
        "gradients stay": "What does stage 2 divide that stage 1 does not?",
        "wide gradients": "In how many bits are gradients kept here?",
        "activations divided": "Whose activations are they: does a rank hold a part of another rank's batch?",
        "activations forgotten": "What else is on the card beside the states?",
        "as large does not fit": "What if it is as large as the memory, to the byte?",
        "last that fits": "Of the stages that fit, which one is asked for?",
        "rounded down": "With that many ranks, does it fit? Put your answer in.",
        "always some number": "What if the activations alone fill the memory?",
    }.items()
]

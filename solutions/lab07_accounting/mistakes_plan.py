"""Lab 7, sealed: misconceptions about GPUs, schedules, rooflines and stages of ZeRO."""

from math import ceil

from autograder.exercise import Misconception
from autograder.mutated import mutated
from mlsys_course.accounting import zero_stage

from . import references_plan as right

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
        exchange = sent / bandwidth * {"bits": 8, "sent is shared": 1 / gpus}.get(mistake, 1)
        step = compute + exchange if mistake == "one after the other" else max(compute, exchange)
        step = compute if mistake == "free wire" else step
        steps = tokens // batch_tokens if mistake == "last step lost" else -(-tokens // batch_tokens)
        steps = tokens / batch_tokens if mistake == "steps not rounded" else steps
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
        "sent is shared": "`sent` is what one wire carries, the busiest one. What is left to be divided by gpus?",
        "one after the other": "The wire works while the cards compute. When is the slower of the two done?",
        "free wire": "What if sending takes longer than computing?",
        "last step lost": "With 10 tokens in steps of 4, how many steps are there?",
        "steps not rounded": "Can a run have half a step?",
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
        kind = "memory" if mistake == "a tie is memory" and memory >= compute else kind
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
        "a tie is memory": "At the ridge itself the intensity is not below it: which of the two is said then?",
        "upside down": "Is intensity FLOPs for each byte, or bytes for each FLOP?",
    }.items()
]

DIVIDED = "[(0, 16), (12, 4), (14, 2), (16, 0)]"
ZERO = [
    Misconception(name, mutated(zero_stage, *edits), hint)
    for name, (*edits, hint) in {
        "not padded": (
            "ceil_div(parameters, ranks)",
            "parameters // ranks",
            "P ranks with floor(N / P) parameters each: do they hold all?",
        ),
        "no master weights": (
            DIVIDED,
            "[(0, 12), (8, 4), (10, 2), (12, 0)]",
            "What is kept in 32 bits, beside Adam's two moments?",
        ),
        "stage 1 divides all": (
            DIVIDED,
            "[(0, 16), (16, 0), (16, 0), (16, 0)]",
            "Which of the 16 bytes does stage 1 divide, and which only later stages?",
        ),
        "gradients stay": (
            DIVIDED,
            "[(0, 16), (12, 4), (12, 4), (16, 0)]",
            "What does stage 2 divide that stage 1 does not?",
        ),
        "wide gradients": (
            DIVIDED,
            "[(0, 18), (12, 6), (16, 2), (18, 0)]",
            "In how many bits are gradients kept here?",
        ),
        "activations divided": (
            "+ activations for",
            "+ (ceil_div(activations, ranks) if sharded else activations) for",
            "Whose activations are they: does a rank hold a part of another rank's batch?",
        ),
        "activations forgotten": (
            "+ activations for",
            "for",
            "memory - activations",
            "memory",
            "What else is on the card beside the states?",
        ),
        "as large does not fit": ("<= memory", "< memory", "What if it is as large as the memory, to the byte?"),
        "last that fits": (
            "next(",
            "max(",
            "<= memory), None)",
            "<= memory), default=None)",
            "Of the stages that fit, which one is asked for?",
        ),
        "rounded down": (
            "ceil_div(parameters, largest_share)",
            "16 * parameters // (memory - activations)",
            "With that many ranks, does it fit? Put your answer in.",
        ),
        "parts of parameters": (
            "ceil_div(parameters, largest_share) if largest_share > 0",
            "ceil_div(16 * parameters, memory - activations) if memory > activations",
            "A share is a whole number of parameters: how many of them fit on a rank?",
        ),
        "always some number": ("else None", "else parameters", "What if the activations alone fill the memory?"),
    }.items()
]

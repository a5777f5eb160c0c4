"""Lab 7, sealed: misconceptions about GPUs, schedules, rooflines and stages of ZeRO."""

from autograder.mutated import wrong
from mlsys_course.accounting import gpus_needed, roofline, schedule, zero_stage

gpus = wrong(gpus_needed)
BELOW, WHOLE = "(peak * utilization * days * DAY)", "ceil(exact / box) * box"
GPUS = [
    gpus(
        "as in one line",
        "a / b * c divides by b only. What belongs below the line?",
        BELOW,
        "(peak * utilization * 3600) * 24 * days",
    ),
    gpus(
        "at the peak",
        "What does a GPU achieve, when its peak is 312 TFLOPs and its utilization a half?",
        BELOW,
        "(peak * days * DAY)",
    ),
    gpus(
        "utilization above",
        "Do you need more GPUs or fewer when each achieves less?",
        BELOW,
        "(peak / utilization * days * DAY)",
    ),
    gpus("hours", "Peaks are in FLOPs a second. How many seconds has a day?", DAY=24),
    gpus("days as hours", "How many hours has a day?", DAY=3600),
    gpus("not rounded to boxes", "Is the number that is rented a multiple of what a box holds?", WHOLE, "ceil(exact)"),
    gpus(
        "rounded",
        "With half a box too little, is the run still done in time?",
        WHOLE,
        "max(1, round(exact / box)) * box",
    ),
    gpus("boxes, not cards", "Is it boxes or GPUs that are asked for?", WHOLE, "ceil(exact / box)"),
    gpus("a box more", "What if the exact number is whole boxes already?", WHOLE, "(int(exact // box) + 1) * box"),
]

run = wrong(schedule)
CARDS, LONGER, STEPS = "(gpus * utilization * peak)", "max(compute, exchange)", "ceil_div(tokens, batch_tokens)"
SCHEDULE = [
    run("at the peak", "How fast does a GPU compute that achieves half of its peak?", CARDS, "(gpus * peak)"),
    run(
        "one GPU",
        "batch_tokens are of a step on all GPUs. How many does one GPU compute?",
        CARDS,
        "(utilization * peak)",
    ),
    run(
        "bits",
        "Bandwidth is in bytes a second here, and so is what is sent.",
        "sent / bandwidth",
        "8 * sent / bandwidth",
    ),
    run(
        "sent is shared",
        "`sent` is what one wire carries, the busiest one. What is left to be divided by gpus?",
        "sent / bandwidth",
        "sent / bandwidth / gpus",
    ),
    run(
        "one after the other",
        "The wire works while the cards compute. When is the slower of the two done?",
        LONGER,
        "compute + exchange",
    ),
    run("free wire", "What if sending takes longer than computing?", LONGER, "compute"),
    run("last step lost", "With 10 tokens in steps of 4, how many steps are there?", STEPS, "tokens // batch_tokens"),
    run("steps not rounded", "Can a run have half a step?", STEPS, "tokens / batch_tokens"),
    run(
        "part of a step",
        "How long does the last step take, when there are fewer tokens left?",
        "steps * step",
        "tokens / batch_tokens * step",
    ),
    run("one GPU's bill", "Who pays for the other GPUs?", "days * 24 * gpus", "days * 24"),
    run(
        "of what is achieved",
        "Reached is a fraction of the peak. Of what is yours?",
        "(gpus * peak * step)",
        "(gpus * utilization * peak * step)",
    ),
]

# ---- extensions ------------------------------------------------------------------------------------------------------

roof = wrong(roofline)
ROOFLINE = [
    roof("half the FLOPs", "How many FLOPs is a multiply-add?", "2 * m * k * n", "m * k * n"),
    roof("result not written", "What happens to the product once it is computed?", " + m * n)", ")"),
    roof("weights are there", "Both factors are in memory. Are both read?", " + k * n", ""),
    roof("numbers", "Bytes or numbers?", "itemsize * (", "("),
    roof(
        "added",
        "Memory works while the cores compute. Which of the two does an operator wait for?",
        "max(compute, memory)",
        "compute + memory",
    ),
    roof(
        "always the peak",
        "With one FLOP a byte, can the cores ever reach their peak?",
        "max(compute, memory)",
        "compute",
    ),
    roof("no ceiling", "However large the intensity: what can the cores do at most?", "max(compute, memory)", "memory"),
    roof(
        "turned round", "An operator of few FLOPs a byte waits for what?", "if memory > compute", "if memory <= compute"
    ),
    roof(
        "a tie is memory",
        "At the ridge itself the intensity is not below it: which of the two is said then?",
        "if memory > compute",
        "if memory >= compute",
    ),
    roof("upside down", "Is intensity FLOPs for each byte, or bytes for each FLOP?", "flops / moved", "moved / flops"),
]

zero = wrong(zero_stage)
DIVIDED, RANKS = "[(0, 16), (12, 4), (14, 2), (16, 0)]", "ceil_div(parameters, largest_share)"
ZERO = [
    zero(
        "not padded",
        "P ranks with floor(N / P) parameters each: do they hold all?",
        "ceil_div(parameters, ranks)",
        "parameters // ranks",
    ),
    zero(
        "no master weights",
        "What is kept in 32 bits, beside Adam's two moments?",
        DIVIDED,
        "[(0, 12), (8, 4), (10, 2), (12, 0)]",
    ),
    zero(
        "stage 1 divides all",
        "Which of the 16 bytes does stage 1 divide, and which only later stages?",
        DIVIDED,
        "[(0, 16), (16, 0), (16, 0), (16, 0)]",
    ),
    zero(
        "gradients stay",
        "What does stage 2 divide that stage 1 does not?",
        DIVIDED,
        "[(0, 16), (12, 4), (12, 4), (16, 0)]",
    ),
    zero(
        "wide gradients", "In how many bits are gradients kept here?", DIVIDED, "[(0, 18), (12, 6), (16, 2), (18, 0)]"
    ),
    zero(
        "activations divided",
        "Whose activations are they: does a rank hold a part of another rank's batch?",
        "+ activations for",
        "+ (ceil_div(activations, ranks) if sharded else activations) for",
    ),
    zero(
        "activations forgotten",
        "What else is on the card beside the states?",
        "+ activations for",
        "for",
        "memory - activations",
        "memory",
    ),
    zero("as large does not fit", "What if it is as large as the memory, to the byte?", "<= memory", "< memory"),
    zero(
        "last that fits",
        "Of the stages that fit, which one is asked for?",
        "next(",
        "max(",
        "<= memory), None)",
        "<= memory), default=None)",
    ),
    zero(
        "rounded down",
        "With that many ranks, does it fit? Put your answer in.",
        RANKS,
        "16 * parameters // (memory - activations)",
    ),
    zero(
        "parts of parameters",
        "A share is a whole number of parameters: how many of them fit on a rank?",
        f"{RANKS} if largest_share > 0",
        "ceil_div(16 * parameters, memory - activations) if memory > activations",
    ),
    zero("always some number", "What if the activations alone fill the memory?", "else None", "else parameters"),
]

"""Lab 7, sealed: misconceptions about GPUs, schedules, rooflines and stages of ZeRO."""

from autograder.mutated import wrong
from mlsys_course.accounting import gpus_needed, roofline, schedule, zero_stage

BELOW, WHOLE = "(peak * utilization * days * DAY)", "ceil(exact / box) * box"
mistake = wrong(gpus_needed)
GPUS = [
    mistake("as in one line", "a / b * c divides by b only. What belongs below the line?",
        BELOW, "(peak * utilization * 3600) * 24 * days"),
    mistake("at the peak", "What does a GPU achieve, when its peak is 312 TFLOPs and its utilization a half?",
        BELOW, "(peak * days * DAY)"),
    mistake("utilization above", "Do you need more GPUs or fewer when each achieves less?",
        BELOW, "(peak / utilization * days * DAY)"),
    mistake("hours", "Peaks are in FLOPs a second. How many seconds has a day?", DAY=24),
    mistake("days as hours", "How many hours has a day?", DAY=3600),
    mistake("not rounded to boxes", "Is the number that is rented a multiple of what a box holds?",
        WHOLE, "ceil(exact)"),
    mistake("rounded", "With half a box too little, is the run still done in time?",
        WHOLE, "max(1, round(exact / box)) * box"),
    mistake("boxes, not cards", "Is it boxes or GPUs that are asked for?", WHOLE, "ceil(exact / box)"),
    mistake("a box more", "What if the exact number is whole boxes already?", WHOLE, "(int(exact // box) + 1) * box"),
]  # fmt: skip

CARDS, LONGER, STEPS = "(gpus * utilization * peak)", "max(compute, exchange)", "ceil_div(tokens, batch_tokens)"
mistake = wrong(schedule)
SCHEDULE = [
    mistake("at the peak", "How fast does a GPU compute that achieves half of its peak?", CARDS, "(gpus * peak)"),
    mistake("one GPU", "batch_tokens are of a step on all GPUs. How many does one GPU compute?",
        CARDS, "(utilization * peak)"),
    mistake("bits", "Bandwidth is in bytes a second here, and so is what is sent.",
        "sent / bandwidth", "8 * sent / bandwidth"),
    mistake("sent is shared", "`sent` is what one wire carries, the busiest one. What is left to be divided by gpus?",
        "sent / bandwidth", "sent / bandwidth / gpus"),
    mistake("one after the other", "The wire works while the cards compute. When is the slower of the two done?",
        LONGER, "compute + exchange"),
    mistake("free wire", "What if sending takes longer than computing?", LONGER, "compute"),
    mistake("last step lost", "With 10 tokens in steps of 4, how many steps are there?",
        STEPS, "tokens // batch_tokens"),
    mistake("steps not rounded", "Can a run have half a step?", STEPS, "tokens / batch_tokens"),
    mistake("part of a step", "How long does the last step take, when there are fewer tokens left?",
        "steps * step", "tokens / batch_tokens * step"),
    mistake("one GPU's bill", "Who pays for the other GPUs?", "days * 24 * gpus", "days * 24"),
    mistake("of what is achieved", "Reached is a fraction of the peak. Of what is yours?",
        "(gpus * peak * step)", "(gpus * utilization * peak * step)"),
]  # fmt: skip

# ---- extensions ------------------------------------------------------------------------------------------------------

mistake = wrong(roofline)
ROOFLINE = [
    mistake("half the FLOPs", "How many FLOPs is a multiply-add?", "2 * m * k * n", "m * k * n"),
    mistake("result not written", "What happens to the product once it is computed?", " + m * n)", ")"),
    mistake("weights are there", "Both factors are in memory. Are both read?", " + k * n", ""),
    mistake("numbers", "Bytes or numbers?", "itemsize * (", "("),
    mistake("added", "Memory works while the cores compute. Which of the two does an operator wait for?",
        "max(compute, memory)", "compute + memory"),
    mistake("always the peak", "With one FLOP a byte, can the cores ever reach their peak?",
        "max(compute, memory)", "compute"),
    mistake("no ceiling", "However large the intensity: what can the cores do at most?",
        "max(compute, memory)", "memory"),
    mistake("turned round", "An operator of few FLOPs a byte waits for what?",
        "if memory > compute", "if memory <= compute"),
    mistake("a tie is memory", "At the ridge itself the intensity is not below it: which of the two is said then?",
        "if memory > compute", "if memory >= compute"),
    mistake("upside down", "Is intensity FLOPs for each byte, or bytes for each FLOP?",
        "flops / moved", "moved / flops"),
]  # fmt: skip

DIVIDED, RANKS = "[(0, 16), (12, 4), (14, 2), (16, 0)]", "ceil_div(parameters, largest_share)"
mistake = wrong(zero_stage)
ZERO = [
    mistake("not padded", "P ranks with floor(N / P) parameters each: do they hold all?",
        "ceil_div(parameters, ranks)", "parameters // ranks"),
    mistake("no master weights", "What is kept in 32 bits, beside Adam's two moments?",
        DIVIDED, "[(0, 12), (8, 4), (10, 2), (12, 0)]"),
    mistake("stage 1 divides all", "Which of the 16 bytes does stage 1 divide, and which only later stages?",
        DIVIDED, "[(0, 16), (16, 0), (16, 0), (16, 0)]"),
    mistake("gradients stay", "What does stage 2 divide that stage 1 does not?",
        DIVIDED, "[(0, 16), (12, 4), (12, 4), (16, 0)]"),
    mistake("wide gradients", "In how many bits are gradients kept here?",
        DIVIDED, "[(0, 18), (12, 6), (16, 2), (18, 0)]"),
    mistake("activations divided", "Whose activations are they: does a rank hold a part of another rank's batch?",
        "+ activations for", "+ (ceil_div(activations, ranks) if sharded else activations) for"),
    mistake("activations forgotten", "What else is on the card beside the states?",
        "+ activations for", "for", "memory - activations", "memory"),
    mistake("as large does not fit", "What if it is as large as the memory, to the byte?", "<= memory", "< memory"),
    mistake("last that fits", "Of the stages that fit, which one is asked for?",
        "next(", "max(", "<= memory), None)", "<= memory), default=None)"),
    mistake("rounded down", "With that many ranks, does it fit? Put your answer in.",
        RANKS, "16 * parameters // (memory - activations)"),
    mistake("parts of parameters", "A share is a whole number of parameters: how many of them fit on a rank?",
        f"{RANKS} if largest_share > 0", "ceil_div(16 * parameters, memory - activations) if memory > activations"),
    mistake("always some number", "What if the activations alone fill the memory?", "else None", "else parameters"),
]  # fmt: skip

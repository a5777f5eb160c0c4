# %% wrong: "days": of a fraction of a day only the whole days count (half a day raises).
import math
def gpus_needed(flops, peak, utilization, days, box=1):
    seconds = int(days) * 24 * 3600
    exact = flops / (peak * utilization * seconds)
    return {"exact": exact, "rented": math.ceil(exact / box) * box}


# %% wrong: "the smallest number that is enough": up to a hundredth of a box too few is let pass.
import math
def gpus_needed(flops, peak, utilization, days, box=1):
    exact = flops / (peak * utilization * days * 86400)
    return {"exact": exact, "rented": math.ceil(exact / box - 0.01) * box}


# %% wrong: "rented: ..., an int": it is a float.
def gpus_needed(flops, peak, utilization, days, box=1):
    exact = flops / (peak * utilization * days * 86400)
    return {"exact": exact, "rented": -(-exact // box) * box}


# %% wrong: "The smallest number that is enough" for less than a box: rounded to the nearest box there, 0 or 1.
import math
def gpus_needed(flops, peak, utilization, days, box=1):
    exact = flops / (peak * utilization * 3600 * 24 * days)
    boxes = exact / box
    return {"exact": exact, "rented": box * (math.ceil(boxes) if boxes > 1 else round(boxes))}


# %% right: 
def gpus_needed(flops, peak, utilization, days, box=1):
    work_of_one = peak * utilization * (24 * 60 * 60) * days
    exact = flops / work_of_one
    boxes = int(exact // box)
    while boxes * box < exact:
        boxes += 1
    return {"rented": boxes * box, "exact": exact}

"""Lab 7, sealed: the component's functions as the planning exercises have them."""

from math import ceil

from mlsys_course.accounting import Exchange, bottleneck
from mlsys_course.accounting import gpus_needed as needed
from mlsys_course.accounting import schedule as scheduled
from mlsys_course.accounting import traffic as loads_of


def traffic(scheme, entries, ranks, gradient_itemsize, weight_itemsize, micro_batches):
    """The component's loads, summed up and at the bottleneck."""
    exchange = Exchange(entries, ranks, gradient_itemsize, weight_itemsize, micro_batches=micro_batches)
    loads = loads_of(scheme, exchange)
    return {"total": sum(one.count * one.sent.total for one in loads), "bottleneck": bottleneck(loads).busiest_way}


def gpus_needed(flops, peak, utilization, days, box):
    """Exact, and in whole boxes."""
    exact = needed(flops, peak * utilization, days)
    return {"exact": exact, "rented": ceil(exact / box) * box}


def schedule(flops_per_token, tokens, batch_tokens, gpus, peak, utilization, sent, bandwidth, price):
    """The component's schedule, with what it costs and reaches."""
    found = scheduled(flops_per_token, tokens, batch_tokens, gpus, utilization * peak, sent, bandwidth)
    names = ("compute_seconds", "exchange_seconds", "step_seconds", "steps", "days")
    return {
        **{name: getattr(found, name) for name in names},
        "cost": found.days * 24 * gpus * price,
        "reached": utilization * found.compute_seconds / found.step_seconds,
    }


def roofline(m, k, n, itemsize, peak, bandwidth):
    """The textbook's roof."""
    flops, moved = 2 * m * k * n, itemsize * (m * k + k * n + m * n)
    seconds = {"compute": flops / peak, "memory": moved / bandwidth}
    longer = max(seconds, key=lambda what: seconds[what])
    found = {"flops": flops, "bytes": moved, "intensity": flops / moved, "bound": longer}
    return {**found, "seconds": seconds[longer], "attainable": flops / seconds[longer]}

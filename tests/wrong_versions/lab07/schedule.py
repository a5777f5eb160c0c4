# %% wrong: "A run is a number of steps": where the tokens are whole steps already there is one more.
def schedule(flops_per_token, tokens, batch_tokens, gpus, peak, utilization, sent, bandwidth, price=0.0):
    work = flops_per_token * batch_tokens
    compute, exchange = work / (gpus * peak * utilization), sent / bandwidth
    step = max(compute, exchange)
    steps = tokens // batch_tokens + 1
    days = steps * step / 86400
    return {"compute_seconds": compute, "exchange_seconds": exchange, "step_seconds": step, "steps": steps,
            "days": days, "cost": days * 24 * gpus * price, "reached": work / (step * gpus * peak)}


# %% wrong: "the last one is as long as the others even if fewer tokens are left": a run of less than a step is shorter.
def schedule(flops_per_token, tokens, batch_tokens, gpus, peak, utilization, sent, bandwidth, price=0.0):
    batch = min(batch_tokens, tokens)
    work = flops_per_token * batch
    compute, exchange = work / (gpus * peak * utilization), sent / bandwidth
    step = max(compute, exchange)
    steps = -(-tokens // batch)
    hours = steps * step / 3600
    return {"compute_seconds": compute, "exchange_seconds": exchange, "step_seconds": step, "steps": steps,
            "days": hours / 24, "cost": hours * gpus * price, "reached": work / (step * gpus * peak)}


# %% wrong: "the busiest wire carries `sent` bytes": with one GPU they are not counted.
import math
def schedule(flops_per_token, tokens, batch_tokens, gpus, peak, utilization, sent, bandwidth, price=0.0):
    compute = flops_per_token * batch_tokens / (gpus * peak * utilization)
    exchange = sent / bandwidth if gpus > 1 else 0.0
    step = max(compute, exchange)
    steps = math.ceil(tokens / batch_tokens)
    days = steps * step / (24 * 3600)
    return {"compute_seconds": compute, "exchange_seconds": exchange, "step_seconds": step, "steps": steps,
            "days": days, "cost": days * 24 * gpus * price, "reached": utilization * compute / step}


# %% wrong: "cost: of all GPUs, for the whole run": a run of more than a day is billed by started days.
import math
def schedule(flops_per_token, tokens, batch_tokens, gpus, peak, utilization, sent, bandwidth, price=0.0):
    compute = flops_per_token * batch_tokens / (gpus * peak * utilization)
    exchange = sent / bandwidth
    step = max(compute, exchange)
    steps = -(-tokens // batch_tokens)
    days = steps * step / 86400
    billed = math.ceil(days) if days > 1 else days
    return {"compute_seconds": compute, "exchange_seconds": exchange, "step_seconds": step, "steps": steps,
            "days": days, "cost": billed * 24 * gpus * price, "reached": utilization * compute / step}


# %% right: 
from fractions import Fraction
def schedule(flops_per_token, tokens, batch_tokens, gpus, peak, utilization, sent, bandwidth, price=0.0):
    F = Fraction
    whole, left = divmod(tokens, batch_tokens)
    steps = int(whole) + (1 if left else 0)
    work = F(flops_per_token) * F(batch_tokens)
    compute = work / (F(gpus) * F(peak) * F(utilization))
    exchange = F(sent) / F(bandwidth)
    longer = exchange if exchange > compute else compute
    seconds = longer * steps
    return {"reached": float(work / longer / F(gpus) / F(peak)), "cost": float(seconds / 3600 * F(price) * F(gpus)),
            "days": float(seconds / 86400), "steps": steps, "step_seconds": float(longer),
            "exchange_seconds": float(exchange), "compute_seconds": float(compute)}

"""How lab 8's exercises are called. Read it to see what a case asks of your function."""

import torch

from mlsys_course.desk.check import driver, raised

# ---- what goes over the wire -----------------------------------------------------------------------------------------


@driver
def sparsify(candidate, case):
    """The steps of a case one after the other: what one leaves is the next one's residual."""
    residual, steps = case["residual"], []
    for gradient in case["gradients"]:
        given = (gradient.mT, residual.mT) if case.get("transposed") else (gradient, residual)
        values, indices, left = candidate(*given, case["k"])
        steps.append({"values": values, "indices": indices, "residual": left})
        residual = left.mT if case.get("transposed") else left
    return {"steps": steps}


@driver
def random_k(candidate, case):
    """Values and indices; or the mean of what arrives over all orders of the uniforms (i + 1/2) / n."""
    if "u" in case:
        values, indices = candidate(case["gradient"], case["k"], case["u"])
        return {"values": values, "indices": indices}
    total, orders = torch.zeros_like(case["gradient"]), case["orders"]
    for order in orders:
        values, indices = candidate(case["gradient"], case["k"], (order + 0.5) / len(order))
        total[indices] += values
    return {"mean": total / len(orders)}


@driver
def momentum_sparsify(candidate, case):
    """The steps of a case one after the other."""
    momentum, residual, steps = case["momentum"], case["residual"], []
    for gradient in case["gradients"]:
        values, indices, momentum, residual = candidate(gradient, momentum, residual, case["k"], case["beta"])
        steps.append({"values": values, "indices": indices, "momentum": momentum, "residual": residual})
    return {"steps": steps}


@driver
def quantize(candidate, case):
    """Codes; or the mean of what they stand for over the uniforms (i + 1/2) / n; or what is raised."""
    x, levels = case["x"].mT if case.get("transposed") else case["x"], case["levels"]
    if "sweep" not in case:
        u = case["u"].mT if case.get("transposed") else case["u"]
        return (
            {"raised": raised(candidate, x, levels, u)} if case.get("refused") else {"codes": candidate(x, levels, u)}
        )
    n = case["sweep"]
    arrived = [levels[candidate(x, levels, (i + 0.5) / n)] for i in range(n)]
    return {"mean": torch.stack(arrived).double().mean(0)}


@driver
def pack_codes(candidate, case):
    return {"packed": [candidate(codes, case["bits"]) for codes in case["codes"]]}


# ---- whom to believe -------------------------------------------------------------------------------------------------


@driver
def robust_aggregate(candidate, case):
    """The gradient of each round; or what is raised."""
    rounds = [rows.mT if case.get("transposed") else rows for rows in case["rounds"]]
    if case.get("refused"):
        return {"raised": [raised(candidate, rows, case["rule"], case["f"]) for rows in rounds]}
    return {"gradients": [candidate(rows, case["rule"], case["f"]) for rows in rounds]}


@driver
def expel_liars(candidate, case):
    """Who leaves after each round, in words, for each f and margin of the case."""
    found = {}
    rounds = [dict(zip(sent["ranks"].tolist(), sent["rows"].unbind(), strict=True)) for sent in case["rounds"]]
    for number, (f, margin) in enumerate(zip(case["f"], case["margins"], strict=True)):
        by_round = [", ".join(str(int(rank)) for rank in sorted(ranks)) for ranks in candidate(rounds, f, margin)]
        found[f"call {number}"] = {f"round {t}": ranks or "nobody" for t, ranks in enumerate(by_round)}
    return found


@driver(ranks=True)
def agree_on_state(candidate, case, comm):
    """The ranks that differ, in words; and the names as they are afterwards."""
    parameters = dict(zip(case["names"], case["tensors"], strict=True))
    ranks = candidate(parameters, comm)
    return {"differ": ", ".join(str(int(rank)) for rank in ranks) or "nobody", "names": ", ".join(parameters)}


# ---- beyond one room -------------------------------------------------------------------------------------------------


@driver
def federated_average(candidate, case):
    if case.get("refused"):
        return {"raised": raised(candidate, case["states"], case["n_examples"])}
    return {"average": candidate(case["states"], case["n_examples"])}


@driver(ranks=True)
def gossip_step(candidate, case, comm):
    """Several steps."""
    x, steps = case["x"], []
    for _ in range(case["steps"]):
        x = candidate(x, comm)
        steps.append(x)
    return {"steps": steps}


@driver
def mask_update(candidate, case):
    """What each rank sends; the sum, modulo 2**32; how many masks each has afterwards."""
    sent, kept, masks = [], [], case["masks"]
    for rank, update in enumerate(case["updates"]):
        shared = {other: masks[min(rank, other)][max(rank, other)] for other in case["others"][rank]}
        sent.append(candidate(update, rank, shared))
        kept.append(len(shared))
    return {"sent": sent, "sum": torch.stack(sent).sum(0) % 2**32, "masks afterwards": torch.tensor(kept)}


@driver
def admm_step(candidate, case):
    """Several steps."""
    problems, z, duals, steps = list(zip(case["A"], case["b"], strict=True)), case["z"], case["duals"], []
    for _ in range(case["steps"]):
        x, z, duals = candidate(problems, z, duals, case["rho"])
        steps.append({"x": x, "z": z, "duals": duals})
    return {"steps": steps}

"""How lab 8's exercises are called. Read it to see what a case asks of your function. Of ranks, what was sent, and in
which order, is seen between them and judged by the ``judged`` functions.
"""

import itertools
from collections.abc import Sequence

import torch

from mlsys_course.desk.check import Tree, driver, kept, raised
from mlsys_course.desk.check.seen import OUTSIDE, Seen
from mlsys_course.substrate.ranks import Action


def memory(result: Tree, *given: torch.Tensor) -> str:
    """Whether a result shares memory with a tensor that was handed over: then who changes one changes the other."""
    if not isinstance(result, torch.Tensor) or not result.numel():
        return "its own"
    at = result.untyped_storage().data_ptr()
    return "an argument's" if any(x.untyped_storage().data_ptr() == at for x in given) else "its own"


# ---- push, pull, and what is whose -----------------------------------------------------------------------------------


@driver
def epoch_shard(candidate, case):
    """Every rank's share, by epoch. Shares are overwritten before the next call."""
    n, ranks, seed = case["n_examples"], case["world_size"], case["seed"]
    before, shares = torch.get_rng_state(), {}

    def overwritten(share: Tree) -> Tree:
        as_it_was = share
        if isinstance(share, torch.Tensor):
            as_it_was = share.clone()
            share.fill_(-1)
        return as_it_was

    for epoch in case["epochs"]:
        own = [overwritten(candidate(n, rank, ranks, epoch, seed, case["done"])) for rank in range(ranks)]
        name = f"epoch {epoch}"
        while name in shares:
            name += " again"
        shares[name] = {f"rank {rank}": share for rank, share in enumerate(own)}
    return {**shares, "the default generator": kept(torch.equal(before, torch.get_rng_state()))}


class Momentum:
    """The servers' optimizer, with a memory for each key, and a rate that falls with the updates of the steps before:
    what is updated twice, with a part or not at all shows in what is held.
    """

    def __init__(self):
        self.memory: dict[str, torch.Tensor] = {}
        self.rate, self.next_rate = 0.1, 0.1

    def __call__(self, key: str, parameter: torch.Tensor, gradient: torch.Tensor) -> None:
        before = self.memory.get(key, torch.zeros_like(gradient))
        self.memory[key] = 0.5 * before + gradient
        parameter -= self.rate * self.memory[key]
        self.next_rate *= 0.9

    def begin_step(self) -> None:
        self.rate = self.next_rate


def by_columns(x: torch.Tensor) -> torch.Tensor:
    """The same entries, the last two axes exchanged in memory. No file of cases keeps such strides."""
    return x.mT.clone(memory_format=torch.contiguous_format).mT if x.dim() > 1 else x.clone()


def same(now: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> bool:
    """Whether a dict holds the very tensors that it held, in their order."""
    return [(key, id(x)) for key, x in now.items()] == [(key, id(x)) for key, x in before.items()]


def in_words(actions: Sequence[Action]) -> list[str]:
    """Runs of what a rank did: "3 come", "2 go, 32 bytes each"."""
    moves = [("go", action[2]) if action[0] == "send" else ("come", 0) for action in actions if action[0] != "mark"]
    runs = [(kind, size, len(list(own))) for (kind, size), own in itertools.groupby(moves)]
    return [f"{count} go, {size} bytes each" if kind == "go" else f"{count} come" for kind, size, count in runs]


def what_is_asked(case: Tree, outputs: Tree, seen: Seen) -> Tree:
    """What each rank has at the end; or in which order messages came and went."""
    if OUTSIDE not in case:
        return outputs
    return {f"rank {rank}": {"messages": in_words(own)} for rank, own in enumerate(seen)}


@driver(ranks=True, judged=what_is_asked)
def parameter_server_step(candidate, case, comm):
    """What is in the memory of this rank's tensors after all steps, and whether what else was handed over is as it was.
    A server has its own keys only; a worker begins with other values. With ``mixed`` the dicts of tensors have other
    orders than owners.
    """
    keys, servers = case["keys"], case["n_servers"]
    owners = dict(zip(keys, case["owners"], strict=True))
    copied = by_columns if case.get("strided") else torch.clone
    given = {key: copied(x) for key, x in zip(keys, case["start"], strict=True)}
    own = {key: x for key, x in given.items() if comm.rank >= servers or owners[key] == comm.rank}
    if case.get("mixed"):
        own = dict(reversed(own.items()))
    memory_of = {key: x.view_as(x) for key, x in own.items()}  # where a model would look
    update, stays = Momentum(), True
    for gradients in case["steps"]:
        update.begin_step()
        pushed = {key: copied(x) for key, x in zip(keys, gradients, strict=True)} if gradients else {}
        if case.get("mixed"):
            pushed = dict(reversed(pushed.items()))
        handed, sent = dict(own), dict(pushed)
        candidate(handed, sent, owners, servers, comm, update)
        as_pushed = all(
            torch.equal(pushed[key].nan_to_num(), x.nan_to_num())
            for key, x in zip(keys if gradients else [], gradients, strict=True)
        )
        stays = stays and same(handed, own) and same(sent, pushed) and as_pushed
    stays = stays and list(owners.items()) == list(zip(keys, case["owners"], strict=True))
    return {"held": memory_of, "dicts and gradients": kept(stays)}


@driver
def shard_keys(candidate, case):
    """The owners by key, the order of the keys, and whether the dict of sizes is as it was."""
    sizes = dict(zip(case["keys"], case["sizes"], strict=True))
    owners = candidate(sizes, case["n_servers"])
    stays = list(sizes.items()) == list(zip(case["keys"], case["sizes"], strict=True))
    return {"keys": list(owners), "owners": [int(owner) for owner in owners.values()], "sizes": kept(stays)}


# ---- who sends first, and who waits ----------------------------------------------------------------------------------


@driver
def priority_schedule(candidate, case):
    rows = (case["backward"], case["forward"], case["transfer"], case["slice_seconds"], case["overhead"])
    slices, forward, end = candidate(*rows, case["policy"])
    return {
        "layers sent": [int(layer) for layer, _, _ in slices],
        "spans sent": [float(x) for _, *span in slices for x in span],
        "forward": [float(x) for span in forward for x in span],
        "end": float(end),
    }


@driver
def bounded_staleness(candidate, case):
    events = [tuple(event) for event in candidate(case["seconds"], case["bound"])]
    return {
        "order": [f"{what} {worker}" for _, what, worker, _ in events],
        "times": [float(time) for time, *_ in events],
        "versions": [int(version) for *_, version in events],
    }


# ---- what goes over the wire -----------------------------------------------------------------------------------------


@driver
def sparsify(candidate, case):
    """The steps of a case one after the other: what one leaves is the next one's residual."""
    residual, steps = case["residual"], []
    for gradient in case["gradients"]:
        given = (gradient.mT, residual.mT) if case.get("transposed") else (gradient, residual)
        values, indices, left = candidate(*given, case["k"])
        shared = [memory(one, gradient, residual) for one in (values, left)]
        steps.append({"values": values, "indices": indices, "residual": left, "memory": shared})
        residual = left.mT if case.get("transposed") else left
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


# ---- whom to believe -------------------------------------------------------------------------------------------------


@driver
def robust_aggregate(candidate, case):
    """The gradient of each round; or what is raised."""
    rounds = [rows.mT if case.get("transposed") else rows for rows in case["rounds"]]
    if case.get("refused"):
        return {"raised": [raised(candidate, rows, case["rule"], case["f"]) for rows in rounds]}
    gradients = [candidate(rows, case["rule"], case["f"]) for rows in rounds]
    return {"gradients": gradients, "memory": [memory(one, *rounds) for one in gradients]}


@driver
def expel_liars(candidate, case):
    """Who leaves after each round, in words, for each f and margin of the case."""
    found = {}
    rounds = [dict(zip(sent["ranks"].tolist(), sent["rows"].unbind(), strict=True)) for sent in case["rounds"]]
    for number, (f, margin) in enumerate(zip(case["f"], case["margins"], strict=True)):
        by_round = [", ".join(str(int(rank)) for rank in sorted(ranks)) for ranks in candidate(rounds, f, margin)]
        found[f"call {number}"] = {f"round {t}": ranks or "nobody" for t, ranks in enumerate(by_round)}
    ranks = [sent["ranks"].tolist() for sent in case["rounds"]]
    return {**found, "the dicts": kept([list(sent) for sent in rounds] == ranks)}


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

"""Lab 8, sealed: misconceptions about sparsification, quantization, and averages without a server."""

import torch

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course import parameter_server as P

# ---- sparsify --------------------------------------------------------------------------------------------------------


def chooses_without_the_residual(gradient, residual, k):
    """The largest of the gradient; their sums with the residual are sent."""
    _, indices, _ = P.sparsify(gradient, torch.zeros_like(gradient), k)
    left = (gradient + residual).flatten()
    values = left[indices]
    left[indices] = 0
    return values, indices, left.view(gradient.shape)


def sends_the_gradient_only(gradient, residual, k):
    """The residual is kept, and grows, but nothing of it is ever sent."""
    values, indices, left = P.sparsify(gradient, torch.zeros_like(gradient), k)
    return values, indices, residual + left


def later_first(gradient, residual, k):
    """Of equal magnitudes the later one."""
    values, indices, left = P.sparsify(gradient.flatten().flip(0), residual.flatten().flip(0), k)
    return values.flip(0), (gradient.numel() - 1 - indices).flip(0), left.flip(0).view(gradient.shape)


def largest_first(gradient, residual, k):
    values, indices, left = P.sparsify(gradient, residual, k)
    order = values.abs().argsort(descending=True, stable=True)
    return values[order], indices[order], left


def sends_magnitudes(gradient, residual, k):
    values, indices, left = P.sparsify(gradient, residual, k)
    return values.abs(), indices, left


mistake = wrong(P.sparsify)
SPARSIFY = [
    mistake("by value", "Which entries matter to a step: those that are large, or those that are far from zero?",
            "flat.abs().sort", "flat.sort"),
    mistake("the smallest", "You send k entries. Is what you keep larger than they are?",
            "descending=True", "descending=False"),
    mistake("error feedback left out", "What becomes of the entries that are not sent: are they in the residual?",
            "    flat[indices] = 0\n    return values, indices, flat.view(gradient.shape)",
            "    return values, indices, torch.zeros_like(gradient)"),
    mistake("what was sent stays", "An entry that was sent is sent again with the next gradient. What should be left?",
            "flat[indices] = 0", "pass"),
    mistake("the residual is forgotten", "Of two steps the second sends nothing of what the first kept. Where is it?",
            "gradient + residual", "gradient.clone()"),
    Misconception("the residual is never sent", sends_the_gradient_only,
        "The residual grows from step to step. May an entry that has waited long enough be among the largest?"),
    Misconception("chosen by the gradient alone", chooses_without_the_residual,
        "An entry may be small in this gradient and large with what has waited. Which of the two do you sort?"),
    Misconception("magnitudes", sends_magnitudes, "A negative entry was sent. Which sign did it arrive with?"),
    Misconception("the largest first", largest_first,
        "The right entries, in which order? The exercise asks for ascending indices."),
    Misconception("of equal ones the later", later_first,
        "Several entries are equally large: which goes first? Not every sort keeps their order."),
]  # fmt: skip


# ---- quantize --------------------------------------------------------------------------------------------------------

GOES_UP = "u < (x - low) / (high - low)"


def even_levels_assumed(x, levels, u):
    """As if every gap were the mean gap."""
    if x.isnan().any():
        raise ValueError
    last = len(levels) - 1
    gap = ((levels[-1] - levels[0]) / max(last, 1)).clamp(min=1e-30)
    place = ((x.to(levels.dtype) - levels[0]) / gap).clamp(0, last)
    return (place.floor() + (u < place % 1)).long().clamp(max=last)


def wraps_round(x, levels, u):
    """What lies below the first level gets the last one's code."""
    return torch.where(x < levels[0], len(levels) - 1, P.quantize(x, levels, u))


def one_draw_for_all(x, levels, u):
    return P.quantize(x, levels, u if not isinstance(u, torch.Tensor) or not u.numel() else u.flatten()[0].item())


def nan_becomes_a_code(x, levels, u):
    return P.quantize(x.nan_to_num(0.0, torch.inf, -torch.inf), levels, u)


def returns_values(x, levels, u):
    return levels[P.quantize(x, levels, u)]


mistake = wrong(P.quantize)
QUANTIZE = [
    mistake("rounds to the nearest", "An entry a quarter of the way between two levels: how often does it go up? "
            "What is the mean of what arrives?", GOES_UP, "0.5 < (x - low) / (high - low)"),
    mistake("always down", "What arrives is never above what was sent. What is it on average?",
            f"(lower + ({GOES_UP}))", f"(lower + 0 * ({GOES_UP}))"),
    mistake("a coin", "Does an entry close to a level go to either neighbour as often?",
            GOES_UP, "(u < 0.5) & (x > low)"),
    mistake("up where it should be down", "An entry close to its upper level: is it often sent down?",
            GOES_UP, "(u >= (x - low) / (high - low)) & (x > low)"),
    mistake("the other end of u", "Right on average. The exercise says exactly for which u an entry goes up.",
            GOES_UP, "(1 - u <= (x - low) / (high - low)) & (x > low)"),
    Misconception("levels are taken as even", even_levels_assumed,
        "Your share p counts with one gap for all. Which gap is this entry in?"),
    Misconception("one draw for all", one_draw_for_all,
        "All entries go up together or down together. Whose uniform decides for which entry?"),
    Misconception("values instead of codes", returns_values,
        "What goes over the wire is a small whole number, an index into the levels. What do you return?"),
    Misconception("below the first is the last", wraps_round,
        "Index -1 is the last one in Python. Which level does an entry below the first get?"),
    Misconception("NaN gets a code", nan_becomes_a_code,
        "No level stands for NaN. What does the exercise want instead?"),
]  # fmt: skip


# ---- beyond one room -------------------------------------------------------------------------------------------------


def plain_mean(states, n_examples):
    return P.federated_average(states, [1 if n else 0 for n in n_examples] if sum(n_examples) else n_examples)


def everybody_counts(states, n_examples):
    """Who has no example is weighted by 0, and NaN times 0 is NaN."""
    if len(states) != len(n_examples) or not sum(n_examples):
        raise ValueError
    total = sum(n_examples)
    found = {}
    for name, tensor in states[0].items():
        rows = [state[name].double() * n / total for state, n in zip(states, n_examples, strict=True)]
        found[name] = torch.stack(rows).sum(0).to(tensor.dtype)
    return found


mistake = wrong(P.federated_average)
FEDERATED = [
    Misconception("everybody counts the same", plain_mean,
        "A client with 5 examples has as much say as one with 80. What would one process on all examples do?"),
    Misconception("nothing times NaN", everybody_counts,
        "A client has no example and a broken model. What is 0 times NaN?"),
    mistake("a sum", "Your weights are counts. What do they have to add up to?", "n / total", "n"),
    mistake("weighted by clients", "By what do you divide: clients, or examples?", "n / total", "n / len(states)"),
    mistake("float64 comes out", "In which dtype does a client get its parameters back?",
            ".to(tensor.dtype)", ".double()"),
]  # fmt: skip


def one_way(x, comm):
    """The mean with the left neighbour only."""
    if comm.world_size == 1:
        return x.clone()
    comm.send(x, (comm.rank + 1) % comm.world_size)
    return (x + comm.recv(torch.empty_like(x), (comm.rank - 1) % comm.world_size)) / 2


def with_everybody(x, comm):
    others = [rank for rank in range(comm.world_size) if rank != comm.rank]
    for rank in others:
        comm.send(x, rank)
    return torch.stack([x, *(comm.recv(torch.empty_like(x), rank) for rank in others)]).mean(0)


def the_same_neighbour_twice(x, comm):
    """With two ranks both sides are the same rank, which counts twice."""
    if comm.world_size != 2:
        return P.gossip_step(x, comm)
    for _ in range(2):
        comm.send(x, 1 - comm.rank)
    return (x + comm.recv(torch.empty_like(x), 1 - comm.rank) + comm.recv(torch.empty_like(x), 1 - comm.rank)) / 3


mistake = wrong(P.gossip_step)
GOSSIP = [
    Misconception("one neighbour", one_way, "A rank in a ring has two neighbours. Whom do you hear from?"),
    Misconception("everybody", with_everybody, "Who sends how many messages, and was that all to avoid?"),
    Misconception("one neighbour twice", the_same_neighbour_twice,
        "With two ranks, the left and the right neighbour are the same one. How often does it count?"),
    mistake("a sum", "Step by step the numbers grow. What do you divide by?", ".mean(0)", ".sum(0)"),
    mistake("without itself", "Is a rank's own x part of its mean?",
            "torch.stack([x] + [", "torch.stack([x] * (not neighbours) + ["),
]  # fmt: skip


mistake = wrong(P.mask_update)
MASK = [
    mistake("everybody adds", "Two ranks share a mask, and both add it. What is left of it in the sum?",
            "mask if rank < other else -mask", "mask"),
    mistake("the other sign", "Which of the two adds, the lower or the higher rank?", "rank < other", "rank > other"),
    mistake("not modulo",
            "What range do your numbers have? The size of a number that is not cut tells of what it hides.",
            "masked.remainder(MODULUS)", "masked"),
    Misconception("no masks", lambda update, rank, masks: update.remainder(2**32),
        "The sum is right. What does the server learn of each rank?"),
]  # fmt: skip


mistake = wrong(P.admm_step)
ADMM = [
    mistake("the dual's sign", "Where a rank's x was too large so far, u is positive. Is x to go up or down for it?",
            "rho * (z - dual)", "rho * (z + dual)"),
    mistake("z without duals", "Of which sums is z the mean?", "(x + duals).mean(0)", "x.mean(0)"),
    mistake("duals by the old z", "The duals grow by what x is off from which z?",
            "    z = (x + duals).mean(0)\n    return x, z, duals + x - z",
            "    old, z = z, (x + duals).mean(0)\n    return x, z, duals + x - old"),
    mistake("duals start anew", "What becomes of what the duals held before?", "duals + x - z", "x - z"),
    mistake("rho left out", "How strongly are solutions pulled together?", "+ rho * eye", "+ eye"),
]  # fmt: skip

"""Lab 8, sealed: misconceptions about robust aggregation, about finding liars, and about agreement."""

import torch

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course import parameter_server as P
from mlsys_course.parameter_server.consensus import state_digest

# ---- robust_aggregate ------------------------------------------------------------------------------------------------

KEPT, CUT = "kept = rows[rows.isfinite().all(1)]", "kept.sort(0).values[cut : m - cut].mean(0)"
NEAREST = "squared.sort(1).values[:, 1 : m - f - 1]"
RAISES = "if f < 0 or m < needed:"


def trims_whole_rows(rows, rule, f):
    """The f longest and the f shortest gradients leave."""
    if rule != "trimmed_mean":
        return P.robust_aggregate(rows, rule, f)
    P.robust_aggregate(rows, rule, f)  # refuses what is to be refused
    kept = rows[rows.isfinite().all(1)]
    f -= len(rows) - len(kept)
    order = kept.norm(dim=1).argsort()
    return kept[order[f : len(kept) - f]].mean(0)


def mean_of_the_best(rows, rule, f):
    """Of Krum the mean of all rows but the f worst."""
    found = P.robust_aggregate(rows, rule, f)
    if rule != "krum":
        return found
    kept = rows[rows.isfinite().all(1)]
    f -= len(rows) - len(kept)
    scores = (kept[:, None] - kept).square().sum(-1).sort(1).values[:, 1 : len(kept) - f - 1].sum(1)
    return kept[scores.argsort()[: len(kept) - f]].mean(0)


mistake = wrong(P.robust_aggregate)
ROBUST = [
    mistake("a mean", "One liar sends a million. Where does your result go?", CUT, "kept.mean(0)"),
    mistake("the lower of the middle two", "Four gradients: which two are in the middle, and what is between them? "
            "`torch.median` takes one of the two.", CUT,
            'kept.sort(0).values[cut : cut + 1].mean(0) if rule == "median" else ' + CUT),
    mistake("trims the largest only", "A liar may send what is too small as well. How many are left out at each end?",
            CUT, 'kept.sort(0).values[0 if rule != "median" else cut : m - cut].mean(0)'),
    mistake("trims one too few", "f = 1: how many leave at the upper end, and how many at the lower?",
            'cut = f if', 'cut = max(f - 1, 0) if'),
    Misconception("trims whole rows", trims_whole_rows,
        "A gradient may be large in one entry and not in others. What is sorted: rows, or each entry's values?"),
    mistake("Krum without a neighbourhood", "A row's distances to all others add up. Whose lies are among those?",
            NEAREST, "squared"),
    mistake("Krum's neighbours, one too many",
            "How many nearest others count? A row is also at distance 0 from itself.", "1 : m - f - 1", "1 : m - f"),
    mistake("Krum counts itself", "The nearest row to every row is the row itself. Does it count among the m - f - 2?",
            "1 : m - f - 1", "0 : m - f - 2"),
    mistake("distances not squared", "Krum adds up squared distances. Which rows win where they are not?",
            ".square().sum(-1)", ".square().sum(-1).sqrt()"),
    mistake("the farthest", "Is it the row that is nearest to its neighbours?", "scores.argmin()", "scores.argmax()"),
    Misconception("a mean of Krum's best", mean_of_the_best, "How many of the rows does Krum return?"),
    mistake("NaN stays", "A liar sends NaN. Where does it go when you sort, and what does it do to a sum?",
            KEPT, "kept = rows"),
    mistake("f stays as it was", "A row that is not finite was one of the f. How many more may lie?",
            "f -= len(rows) - m", "f -= 0 if 0 <= len(rows) - m <= f and m >= 2 * f + 3 else len(rows) - m"),
    mistake("too few are enough", "With 2f rows the liars are half. For which numbers do you raise ValueError?",
            RAISES, "if f < 0:"),
    mistake("more than f are not finite", "Three rows are NaN, and f is 2. May you still trust the promise?",
            RAISES, "if m < needed:"),
]  # fmt: skip


# ---- expel_liars -----------------------------------------------------------------------------------------------------

SUMS, CAP = "sums[rank] = sums.get(rank, 0) + deviation", "max(f - len(expelled) - len(leaving), 0)"
OFF = "_from_the_median([sums[rank] for rank in trusted])"


def always_f(rounds, f, margin):
    """Whoever is farthest off leaves, up to f, whatever the margin."""
    return P.expel_liars(rounds, f, 1.0)


def zeros_for_who_is_away(rounds, f, margin):
    """Who was away is taken to have sent zeros."""
    everybody = {rank: row for sent in rounds for rank, row in sent.items()}
    full = [{rank: sent.get(rank, torch.zeros_like(row)) for rank, row in everybody.items()} for sent in rounds]
    return P.expel_liars(full, f, margin)


def away_is_a_lie(rounds, f, margin):
    """Who was away in a round leaves in it."""
    everybody, gone, found = {rank for sent in rounds for rank in sent}, set(), []
    for sent, ranks in zip(rounds, P.expel_liars(rounds, f, margin), strict=True):
        leaving = ({*ranks} | (everybody - sent.keys())) - gone
        gone |= leaving
        found.append(sorted(leaving))
    return found


def told_again(rounds, f, margin):
    """Who has left is named in every later round too."""
    gone, found = set(), []
    for ranks in P.expel_liars(rounds, f, margin):
        gone |= {*ranks}
        found.append(sorted(gone))
    return found


mistake = wrong(P.expel_liars)
EXPEL = [
    mistake("each round by itself", "A little lie never stands out in one round. What of the rounds before?",
            SUMS, "sums[rank] = deviation"),
    mistake("off from the mean", "One large lie moves the mean, and honest ranks are far from it. What does not move?",
            'robust_aggregate(stacked, "median", 0)', "stacked.mean(0)"),
    mistake("lengths of sums", "Two liars move each round's median a little, and every honest rank's sum with it. From "
            "what is a sum's distance taken?", OFF, "torch.stack([sums[rank] for rank in trusted])"),
    mistake("the mean distance", "A liar that is far off raises the mean distance, and hides behind it. What stands in "
            "the exercise?", "statistics.median(distances)", "statistics.mean(distances)"),
    Misconception("the farthest f", always_f,
        "Somebody is always the farthest off. By how much must a rank be off to be a liar?"),
    mistake("more than f", "f ranks lie at most. How many do you expel?", f"suspects[: {CAP}]", "suspects"),
    mistake("f in every round", "Of the f liars some have left before. How many may still go?",
            "f - len(expelled) - len(leaving)", "f - len(leaving)"),
    mistake("in the order of ranks", "More are suspect than may go. Who goes first?",
            "sorted(zip(distances, trusted, strict=True), key=lambda pair: -pair[0])",
            "zip(distances, trusted, strict=True)"),
    mistake("NaN is forgiven", "A rank sends NaN. Is that an accident that one overlooks?",
            "leaving = [rank for rank in present if not sent[rank].isfinite().all()]",
            "leaving = []\n        present = [rank for rank in present if sent[rank].isfinite().all()]"),
    Misconception("named again", told_again,
        "Who has left sends on, and is named once more. Who leaves after *this* round?"),
    Misconception("away is a lie", away_is_a_lie, "A worker that is restarted misses rounds. Is that a lie?"),
    Misconception("zeros for who is away", zeros_for_who_is_away,
        "A rank that sent nothing is far off at once. What did you take for its gradient?"),
]  # fmt: skip


# ---- agree_on_state --------------------------------------------------------------------------------------------------


def differs_from(choose):
    """Ranks whose digest is another than the one that ``choose`` picks of all."""

    def agree(parameters, comm):
        own = state_digest(parameters)
        others = [rank for rank in range(comm.world_size) if rank != comm.rank]
        for rank in others:
            comm.send(torch.tensor(list(own), dtype=torch.uint8), rank)
        digests = {comm.rank: own}
        for rank in others:
            digests[rank] = bytes(comm.recv(torch.empty(32, dtype=torch.uint8), rank).tolist())
        rows = [digests[rank] for rank in range(comm.world_size)]
        agreed = choose(rows, own)
        return [rank for rank, row in enumerate(rows) if row != agreed]

    return agree


def sends_parameters(parameters, comm):
    """The weights go out as well."""
    others = [rank for rank in range(comm.world_size) if rank != comm.rank]
    flat = torch.cat([t.reshape(-1).double() for t in parameters.values()])
    for rank in others:
        comm.send(flat, rank)
    for rank in others:
        comm.recv(torch.empty_like(flat), rank)
    return P.agree_on_state(parameters, comm)


def bits_of_values_only(parameters, comm):
    """Names, dtypes and shapes are not asked."""
    return P.agree_on_state(
        {str(i): parameters[name].reshape(-1).view(torch.uint8) for i, name in enumerate(sorted(parameters))}, comm
    )


def nearly_equal(parameters, comm):
    return P.agree_on_state({name: (t.double() * 1e6).round().float() + 0.0 for name, t in parameters.items()}, comm)


def in_the_order_held(parameters, comm):
    return P.agree_on_state({f"{i} {name}": t for i, (name, t) in enumerate(parameters.items())}, comm)


AGREE = [
    Misconception("the first is right", differs_from(lambda rows, own: rows[0]),
        "Rank 0 may be the one that is off. What do most have?"),
    Misconception("I am right", differs_from(lambda rows, own: own),
        "Every rank returns another list. Are all to come to the same?"),
    Misconception("the last of the most frequent", differs_from(lambda rows, own: max(reversed(rows), key=rows.count)),
        "Two states are held equally often. Whose counts?"),
    Misconception("nearly equal", nearly_equal, "A difference of one bit is a difference. What do you hash?"),
    Misconception("values only", bits_of_values_only,
        "Two ranks have the same bits under other names, dtypes or shapes."),
    Misconception("in the order held", in_the_order_held,
        "Two ranks hold the same parameters, in another order. Does the order of a dict count?"),
    Misconception("sends all parameters", sends_parameters, "How many bytes does one have to send to compare?"),
]  # fmt: skip

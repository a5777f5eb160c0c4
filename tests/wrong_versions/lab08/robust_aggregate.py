# %% wrong: "Liars' entries may be as large as the dtype holds.": the trimmed mean is the sum of all less that of the largest and smallest, in which an honest entry is lost beside 1e300, and two of these are an infinity.
import torch


def robust_aggregate(rows, rule, f):
    honest = rows[rows.isfinite().all(dim=1)]
    f -= len(rows) - len(honest)
    m = len(honest)
    if f < 0 or m < 2 * f + 1 or (rule == "krum" and m < 2 * f + 3):
        raise ValueError("too few rows for so many lies")
    if rule == "krum":
        wide = honest.double()
        distances = (wide[:, None] - wide[None]).square().sum(-1)
        distances.fill_diagonal_(torch.inf)
        sums = distances.sort(dim=1).values[:, : m - f - 2].sum(dim=1)
        return honest[min(range(m), key=lambda i: sums[i].item())].clone()
    ordered = honest.sort(dim=0).values
    if rule == "median":
        return ordered[(m - 1) // 2] / 2 + ordered[m // 2] / 2
    return (honest.sum(dim=0) - ordered[:f].sum(dim=0) - ordered[m - f :].sum(dim=0)) / (m - 2 * f)

# %% wrong: "One gradient of P: a new tensor": Krum's is a part of rows where no row was left out.
import torch


def robust_aggregate(rows, rule, f):
    finite = rows.isfinite().all(dim=1)
    honest = rows if finite.all() else rows[finite]
    f -= len(rows) - len(honest)
    m = len(honest)
    if f < 0 or m < 2 * f + 1 or (rule == "krum" and m < 2 * f + 3):
        raise ValueError("too few rows for so many lies")
    if rule == "krum":
        wide = honest.double()
        distances = (wide[:, None] - wide[None]).square().sum(-1)
        distances.fill_diagonal_(torch.inf)
        sums = distances.sort(dim=1).values[:, : m - f - 2].sum(dim=1)
        return honest[min(range(m), key=lambda i: sums[i].item())]
    ordered = honest.sort(dim=0).values
    if rule == "median":
        return ordered[(m - 1) // 2] / 2 + ordered[m // 2] / 2
    return ordered[f : m - f].mean(dim=0)

# %% wrong: "Liars' entries may be as large as the dtype holds.": Krum's distances by |a|^2 + |b|^2 - 2 a b, which is infinity less infinity, or 0 beside large entries that are alike.
import torch


def robust_aggregate(rows, rule, f):
    honest = rows[rows.isfinite().all(dim=1)]
    f -= len(rows) - len(honest)
    m = len(honest)
    if f < 0 or m < 2 * f + 1 or (rule == "krum" and m < 2 * f + 3):
        raise ValueError("too few rows for so many lies")
    if rule == "krum":
        wide = honest.double()
        squares = wide.square().sum(1)
        distances = squares[:, None] + squares - 2 * wide @ wide.T
        distances.fill_diagonal_(torch.inf)
        sums = distances.sort(dim=1).values[:, : m - f - 2].sum(dim=1)
        return honest[min(range(m), key=lambda i: sums[i].item())].clone()
    ordered = honest.sort(dim=0).values
    if rule == "median":
        return ordered[(m - 1) // 2] / 2 + ordered[m // 2] / 2
    return ordered[f : m - f].mean(dim=0)

# %% wrong: "n may be 0": the largest magnitude of each row is asked for, and of no entries there is none.
import torch


def robust_aggregate(rows, rule, f):
    honest = rows[rows.abs().amax(dim=1).isfinite()]
    f -= len(rows) - len(honest)
    m = len(honest)
    if f < 0 or m < 2 * f + 1 or (rule == "krum" and m < 2 * f + 3):
        raise ValueError("too few rows for so many lies")
    if rule == "krum":
        wide = honest.double()
        distances = (wide[:, None] - wide[None]).square().sum(-1)
        distances.fill_diagonal_(torch.inf)
        sums = distances.sort(dim=1).values[:, : m - f - 2].sum(dim=1)
        return honest[min(range(m), key=lambda i: sums[i].item())].clone()
    ordered = honest.sort(dim=0).values
    if rule == "median":
        return ordered[(m - 1) // 2] / 2 + ordered[m // 2] / 2
    return ordered[f : m - f].mean(dim=0)

# %% wrong: "the m - f - 2 other rows nearest to it" with "the f that is left": Krum counts neighbours with the f that it was called with.
import torch


def robust_aggregate(rows, rule, f):
    honest = rows[rows.isfinite().all(dim=1)]
    given = f
    f -= len(rows) - len(honest)
    m = len(honest)
    if f < 0 or m < 2 * f + 1 or (rule == "krum" and m < 2 * f + 3):
        raise ValueError("too few rows for so many lies")
    if rule == "krum":
        wide = honest.double()
        distances = (wide[:, None] - wide[None]).square().sum(-1)
        distances.fill_diagonal_(torch.inf)
        sums = distances.sort(dim=1).values[:, : max(m - given - 2, 1)].sum(dim=1)
        return honest[min(range(m), key=lambda i: sums[i].item())].clone()
    ordered = honest.sort(dim=0).values
    if rule == "median":
        return ordered[(m - 1) // 2] / 2 + ordered[m // 2] / 2
    return ordered[f : m - f].mean(dim=0)

# %% wrong: "of equal sums the first": the last.
import torch


def robust_aggregate(rows, rule, f):
    honest = rows[rows.isfinite().all(dim=1)]
    f -= len(rows) - len(honest)
    m = len(honest)
    if f < 0 or m < 2 * f + 1 or (rule == "krum" and m < 2 * f + 3):
        raise ValueError("too few rows for so many lies")
    if rule == "krum":
        wide = honest.double()
        distances = (wide[:, None] - wide[None]).square().sum(-1)
        distances.fill_diagonal_(torch.inf)
        sums = distances.sort(dim=1).values[:, : m - f - 2].sum(dim=1)
        return honest[min(reversed(range(m)), key=lambda i: sums[i].item())].clone()
    ordered = honest.sort(dim=0).values
    if rule == "median":
        return ordered[(m - 1) // 2] / 2 + ordered[m // 2] / 2
    return ordered[f : m - f].mean(dim=0)

# %% wrong: "Raises ValueError ... where m < 2 f + 1": m and f are those before rows were left out.
import torch


def robust_aggregate(rows, rule, f):
    honest = rows[rows.isfinite().all(dim=1)]
    if len(rows) < 2 * f + 1:
        raise ValueError("too few")
    f -= len(rows) - len(honest)
    m = len(honest)
    if f < 0 or m < 2 * f + 1 or (rule == "krum" and m < 2 * f + 3):
        raise ValueError("too few rows for so many lies")
    if rule == "krum":
        wide = honest.double()
        distances = (wide[:, None] - wide[None]).square().sum(-1)
        distances.fill_diagonal_(torch.inf)
        sums = distances.sort(dim=1).values[:, : m - f - 2].sum(dim=1)
        return honest[min(range(m), key=lambda i: sums[i].item())].clone()
    ordered = honest.sort(dim=0).values
    if rule == "median":
        return ordered[(m - 1) // 2] / 2 + ordered[m // 2] / 2
    return ordered[f : m - f].mean(dim=0)

# %% right: entry by entry in Python for median and trimmed mean (halves, fsum), Krum by loops over pairs.
import math

import torch


def robust_aggregate(rows, rule, f):
    good = [row for row in rows.tolist() if all(map(math.isfinite, row))]
    f, m = f - (rows.shape[0] - len(good)), len(good)
    if f < 0:
        raise ValueError("more lies at sight than there may be")
    if m < 2 * f + (3 if rule == "krum" else 1):
        raise ValueError("too few rows")

    def apart(a, b):
        with_care = [abs(x / 2 - y / 2) for x, y in zip(a, b)]
        try:
            return 4 * sum(d * d for d in with_care)
        except OverflowError:
            return math.inf

    if rule == "krum":
        sums = [sum(sorted(apart(a, b) for j, b in enumerate(good) if j != i)[: m - f - 2]) for i, a in enumerate(good)]
        result = good[sums.index(min(sums))]
    elif rule == "median":
        halves = [sorted(x / 2 for x in column) for column in zip(*good)]
        result = [2 * half[m // 2] if m % 2 else half[m // 2 - 1] + half[m // 2] for half in halves]
    else:
        result = [math.fsum(x / (m - 2 * f) for x in sorted(column)[f : m - f]) for column in zip(*good)]
    return torch.tensor(result, dtype=rows.dtype, device=rows.device)

# %% right: topk away from both ends in place of a sort; Krum with one row against all at a time.
import torch


def robust_aggregate(rows, rule, f):
    sight = ~torch.isfinite(rows).all(1)
    left = rows[~sight].clone()
    f = f - int(sight.sum())
    m = left.size(0)
    need = {"median": 2 * f + 1, "trimmed_mean": 2 * f + 1, "krum": 2 * f + 3}[rule]
    if f < 0 or m < need:
        raise ValueError(f"{m} rows, {f} lies")
    if rule == "krum":
        best, least = left[0], None
        for i in range(m):
            others = torch.cat([left[:i], left[i + 1 :]]).to(torch.float64)
            squares = ((others - left[i].to(torch.float64)) ** 2).sum(1)
            total = squares.topk(m - f - 2, largest=False).values.sort().values.sum()
            if least is None or total < least:
                best, least = left[i], total
        return best.clone()
    drop = f if rule == "trimmed_mean" else (m - 1) // 2
    low = left.topk(m - drop, dim=0, largest=True, sorted=True).values  # without the smallest
    kept = low.topk(m - 2 * drop, dim=0, largest=False).values
    return (kept / kept.size(0)).sum(0)

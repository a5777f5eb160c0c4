# %% wrong: "of equal ones the lower rank first", "in any order of ranks": of equally far ones that which comes first in the dict.
import torch


def expel_liars(rounds, f, margin):
    gone, sums, answer = set(), {}, []
    for sent in rounds:
        here = [rank for rank in sent if rank not in gone]
        bad = [rank for rank in here if not sent[rank].isfinite().all()]
        gone.update(bad)
        here = [rank for rank in here if rank not in gone]
        if here:
            rows = torch.stack([sent[rank] for rank in here])
            deviations = rows - rows.quantile(0.5, dim=0)
            for rank, deviation in zip(here, deviations):
                sums[rank] = sums.get(rank, 0) + deviation
            total = torch.stack([sums[rank] for rank in here])
            off = (total - total.quantile(0.5, dim=0)).norm(dim=1)
            limit = margin * off.quantile(0.5)
            suspects = [rank for rank, far in sorted(zip(here, off.tolist()), key=lambda pair: -pair[1]) if far > limit]
            suspects = suspects[: max(f - len(gone), 0)]
            gone.update(suspects)
            bad += suspects
        answer.append(bad)
    return answer

# %% wrong: "Who is farther off than margin times the median of these distances": as far off is enough.
import torch


def expel_liars(rounds, f, margin):
    gone, sums, answer = set(), {}, []
    for sent in rounds:
        here = sorted(rank for rank in sent if rank not in gone)
        bad = [rank for rank in here if not sent[rank].isfinite().all()]
        gone.update(bad)
        here = [rank for rank in here if rank not in gone]
        if here:
            rows = torch.stack([sent[rank] for rank in here])
            deviations = rows - rows.quantile(0.5, dim=0)
            for rank, deviation in zip(here, deviations):
                sums[rank] = sums.get(rank, 0) + deviation
            total = torch.stack([sums[rank] for rank in here])
            off = (total - total.quantile(0.5, dim=0)).norm(dim=1)
            limit = margin * off.quantile(0.5)
            suspects = [rank for rank, far in sorted(zip(here, off.tolist()), key=lambda pair: (-pair[1], pair[0])) if far >= limit]
            suspects = suspects[: max(f - len(gone), 0)]
            gone.update(suspects)
            bad += suspects
        answer.append(bad)
    return answer

# %% wrong: "Who sent an entry that is NaN or infinite is expelled, whatever f is": no more than f in all.
import torch


def expel_liars(rounds, f, margin):
    gone, sums, answer = set(), {}, []
    for sent in rounds:
        here = sorted(rank for rank in sent if rank not in gone)
        bad = [rank for rank in here if not sent[rank].isfinite().all()]
        bad = bad[: max(f - len(gone), 0)]
        gone.update(bad)
        here = [rank for rank in here if rank not in gone and sent[rank].isfinite().all()]
        if here:
            rows = torch.stack([sent[rank] for rank in here])
            deviations = rows - rows.quantile(0.5, dim=0)
            for rank, deviation in zip(here, deviations):
                sums[rank] = sums.get(rank, 0) + deviation
            total = torch.stack([sums[rank] for rank in here])
            off = (total - total.quantile(0.5, dim=0)).norm(dim=1)
            limit = margin * off.quantile(0.5)
            suspects = [rank for rank, far in sorted(zip(here, off.tolist()), key=lambda pair: (-pair[1], pair[0])) if far > limit]
            suspects = suspects[: max(f - len(gone), 0)]
            gone.update(suspects)
            bad += suspects
        answer.append(bad)
    return answer

# %% wrong: "of the sums of all who take part": of the sums of all who have ever taken part and are not expelled.
import torch


def expel_liars(rounds, f, margin):
    gone, sums, answer = set(), {}, []
    for sent in rounds:
        here = sorted(rank for rank in sent if rank not in gone)
        bad = [rank for rank in here if not sent[rank].isfinite().all()]
        gone.update(bad)
        here = [rank for rank in here if rank not in gone]
        if here:
            rows = torch.stack([sent[rank] for rank in here])
            deviations = rows - rows.quantile(0.5, dim=0)
            for rank, deviation in zip(here, deviations):
                sums[rank] = sums.get(rank, 0) + deviation
            total = torch.stack([sums[rank] for rank in here])
            all_sums = torch.stack([one for rank, one in sums.items() if rank not in gone])
            off = (total - all_sums.quantile(0.5, dim=0)).norm(dim=1)
            limit = margin * off.quantile(0.5)
            suspects = [rank for rank, far in sorted(zip(here, off.tolist()), key=lambda pair: (-pair[1], pair[0])) if far > limit]
            suspects = suspects[: max(f - len(gone), 0)]
            gone.update(suspects)
            bad += suspects
        answer.append(bad)
    return answer

# %% wrong: "and a round may be empty": there is nothing to stack, and it raises.
import torch


def expel_liars(rounds, f, margin):
    gone, sums, answer = set(), {}, []
    for sent in rounds:
        here = sorted(rank for rank in sent if rank not in gone)
        bad = [rank for rank in here if not sent[rank].isfinite().all()]
        gone.update(bad)
        here = [rank for rank in here if rank not in gone]
        if here or not sent:
            rows = torch.stack([sent[rank] for rank in here])
            deviations = rows - rows.quantile(0.5, dim=0)
            for rank, deviation in zip(here, deviations):
                sums[rank] = sums.get(rank, 0) + deviation
            total = torch.stack([sums[rank] for rank in here])
            off = (total - total.quantile(0.5, dim=0)).norm(dim=1)
            limit = margin * off.quantile(0.5)
            suspects = [rank for rank, far in sorted(zip(here, off.tolist()), key=lambda pair: (-pair[1], pair[0])) if far > limit]
            suspects = suspects[: max(f - len(gone), 0)]
            gone.update(suspects)
            bad += suspects
        answer.append(bad)
    return answer

# %% wrong: "that is NaN or infinite": NaN only.
import torch


def expel_liars(rounds, f, margin):
    gone, sums, answer = set(), {}, []
    for sent in rounds:
        here = sorted(rank for rank in sent if rank not in gone)
        bad = [rank for rank in here if sent[rank].isnan().any()]
        gone.update(bad)
        here = [rank for rank in here if rank not in gone]
        if here:
            rows = torch.stack([sent[rank] for rank in here])
            deviations = rows - rows.quantile(0.5, dim=0)
            for rank, deviation in zip(here, deviations):
                sums[rank] = sums.get(rank, 0) + deviation
            total = torch.stack([sums[rank] for rank in here])
            off = (total - total.quantile(0.5, dim=0)).norm(dim=1)
            limit = margin * off.quantile(0.5)
            suspects = [rank for rank, far in sorted(zip(here, off.tolist()), key=lambda pair: (-pair[1], pair[0])) if far > limit]
            suspects = suspects[: max(f - len(gone), 0)]
            gone.update(suspects)
            bad += suspects
        answer.append(bad)
    return answer

# %% wrong: "as long as fewer than f ranks have been expelled in all, those of step 1 included": those of step 1 are not counted.
import torch


def expel_liars(rounds, f, margin):
    gone, sums, answer, counted = set(), {}, [], 0
    for sent in rounds:
        here = sorted(rank for rank in sent if rank not in gone)
        bad = [rank for rank in here if not sent[rank].isfinite().all()]
        gone.update(bad)
        here = [rank for rank in here if rank not in gone]
        if here:
            rows = torch.stack([sent[rank] for rank in here])
            deviations = rows - rows.quantile(0.5, dim=0)
            for rank, deviation in zip(here, deviations):
                sums[rank] = sums.get(rank, 0) + deviation
            total = torch.stack([sums[rank] for rank in here])
            off = (total - total.quantile(0.5, dim=0)).norm(dim=1)
            limit = margin * off.quantile(0.5)
            suspects = [rank for rank, far in sorted(zip(here, off.tolist()), key=lambda pair: (-pair[1], pair[0])) if far > limit]
            suspects = suspects[: max(f - counted, 0)]
            counted += len(suspects)
            gone.update(suspects)
            bad += suspects
        answer.append(bad)
    return answer

# %% right: medians by sorting, sums kept as one tensor of all ranks, suspects taken one at a time.
import torch


def middle(x):
    ordered, n = torch.sort(x, dim=0).values, len(x)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def expel_liars(rounds, f, margin):
    ranks = sorted({rank for sent in rounds for rank in sent})
    expelled, memory, found = {}, {rank: [] for rank in ranks}, []
    for t, sent in enumerate(rounds):
        taking_part = {}
        for rank in ranks:
            if rank in sent and rank not in expelled:
                if bool((sent[rank] - sent[rank] == 0).all()):
                    taking_part[rank] = sent[rank]
                else:
                    expelled[rank] = t
        if taking_part:
            center = middle(torch.stack(list(taking_part.values())))
            for rank, gradient in taking_part.items():
                memory[rank].append(gradient - center)
            sums = {rank: torch.stack(memory[rank]).sum(0) for rank in taking_part}
            common = middle(torch.stack(list(sums.values())))
            far = {rank: float(torch.linalg.vector_norm(one - common)) for rank, one in sums.items()}
            edge = margin * float(middle(torch.tensor(list(far.values()), dtype=torch.float64)))
            while len(expelled) < f:
                suspects = [rank for rank in far if far[rank] > edge and rank not in expelled]
                if not suspects:
                    break
                expelled[max(suspects, key=lambda rank: (far[rank], -rank))] = t
        found.append([rank for rank, when in expelled.items() if when == t])
    return found

# %% right: one matrix of all ranks, with NaN in the rows of those who take no part, and nanquantile.
import torch


def expel_liars(rounds, f, margin):
    everybody = sorted(set().union(*rounds))
    answer = [[] for _ in rounds]
    if not everybody:
        return answer
    width = next(len(gradient) for sent in rounds for gradient in sent.values())
    sums = torch.zeros(len(everybody), width, dtype=torch.float64)
    staying, budget = torch.ones(len(everybody), dtype=torch.bool), f
    for t, sent in enumerate(rounds):
        present = torch.tensor([rank in sent for rank in everybody]) & staying
        rows = torch.full_like(sums, torch.nan)
        for i in present.nonzero().flatten().tolist():
            rows[i] = sent[everybody[i]]
        insane = present & ~rows.isfinite().all(dim=1)
        rows[insane] = torch.nan
        leaving = insane.nonzero().flatten().tolist()
        present = present & ~insane
        budget -= len(leaving)
        if present.any():
            sums = torch.where(present[:, None], sums + (rows - rows.nanquantile(0.5, dim=0)), sums)
            seen = sums.masked_fill(~present[:, None], torch.nan)
            distance = (seen - seen.nanquantile(0.5, dim=0)).norm(dim=1).masked_fill(~present, -1.0)
            edge = margin * distance[present].quantile(0.5)
            for i in distance.argsort(descending=True, stable=True).tolist():
                if budget > 0 and distance[i] > edge and present[i]:
                    leaving.append(i)
                    budget -= 1
        staying[leaving] = False
        answer[t] = [everybody[i] for i in leaving]
    return answer

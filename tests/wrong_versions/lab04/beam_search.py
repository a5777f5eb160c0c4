# %% wrong: "Of all extensions together the first `width` by total count ... (where there are fewer, all).": topk of width raises where there are fewer extensions.
import torch


def beam_search(next_logits, prompt, width, n_new, end=None, length_penalty=1.0) -> list[tuple[list[int], float]]:
    if len(prompt) == 0 or width < 1 or n_new < 1:
        raise ValueError("no prompt, no beam or no tokens")
    live, totals, finished = prompt[None], torch.zeros(1, dtype=torch.float64, device=prompt.device), []
    T = len(prompt)
    for step in range(1, n_new + 1):
        log_p = next_logits(live).double().log_softmax(-1)
        V = log_p.shape[-1]
        order = (totals[:, None] + log_p).flatten().sort(descending=True)
        (totals[:, None] + log_p).flatten().topk(width)
        rows, stay = [], []
        for place, (total, at) in enumerate(zip(order.values.tolist(), order.indices.tolist())):
            if at % V == end:
                if place < width:
                    finished.append(([*live[at // V, T:].tolist(), end], total / step**length_penalty))
            elif len(rows) < width:
                rows.append(at)
                stay.append(total)
        if not rows:
            live = live[:0]
            break
        at = torch.tensor(rows, device=live.device)
        live = torch.cat([live[at // V], (at % V)[:, None].to(live.dtype)], dim=1)
        totals = torch.tensor(stay, dtype=torch.float64, device=live.device)
    for row, total in zip(live[:, T:].tolist(), totals.tolist()):
        finished.append((row, total / n_new**length_penalty))
    return sorted(finished, key=lambda found: found[1], reverse=True)[:width]

# %% wrong: "Totals are added up in float64.": in the dtype of the logits.
import torch


def beam_search(next_logits, prompt, width, n_new, end=None, length_penalty=1.0) -> list[tuple[list[int], float]]:
    if len(prompt) == 0 or width < 1 or n_new < 1:
        raise ValueError("no prompt, no beam or no tokens")
    live, totals, finished = prompt[None], torch.zeros(1, dtype=torch.float64, device=prompt.device), []
    T = len(prompt)
    for step in range(1, n_new + 1):
        log_p = next_logits(live).log_softmax(-1)
        totals = totals.to(log_p.dtype)
        V = log_p.shape[-1]
        order = (totals[:, None] + log_p).flatten().sort(descending=True)
        rows, stay = [], []
        for place, (total, at) in enumerate(zip(order.values.tolist(), order.indices.tolist())):
            if at % V == end:
                if place < width:
                    finished.append(([*live[at // V, T:].tolist(), end], total / step**length_penalty))
            elif len(rows) < width:
                rows.append(at)
                stay.append(total)
        if not rows:
            live = live[:0]
            break
        at = torch.tensor(rows, device=live.device)
        live = torch.cat([live[at // V], (at % V)[:, None].to(live.dtype)], dim=1)
        totals = torch.tensor(stay, dtype=torch.float64, device=live.device)
    for row, total in zip(live[:, T:].tolist(), totals.tolist()):
        finished.append((row, total / n_new**length_penalty))
    return sorted(finished, key=lambda found: found[1], reverse=True)[:width]

# %% wrong: "Raises ValueError where T is 0, and where width or n_new is below 1.": an n_new of 0 gives the empty text.
import torch


def beam_search(next_logits, prompt, width, n_new, end=None, length_penalty=1.0) -> list[tuple[list[int], float]]:
    if len(prompt) == 0 or width < 1 or n_new < 0:
        raise ValueError("no prompt, no beam or no tokens")
    live, totals, finished = prompt[None], torch.zeros(1, dtype=torch.float64, device=prompt.device), []
    T = len(prompt)
    for step in range(1, n_new + 1):
        log_p = next_logits(live).double().log_softmax(-1)
        V = log_p.shape[-1]
        order = (totals[:, None] + log_p).flatten().sort(descending=True)
        rows, stay = [], []
        for place, (total, at) in enumerate(zip(order.values.tolist(), order.indices.tolist())):
            if at % V == end:
                if place < width:
                    finished.append(([*live[at // V, T:].tolist(), end], total / step**length_penalty))
            elif len(rows) < width:
                rows.append(at)
                stay.append(total)
        if not rows:
            live = live[:0]
            break
        at = torch.tensor(rows, device=live.device)
        live = torch.cat([live[at // V], (at % V)[:, None].to(live.dtype)], dim=1)
        totals = torch.tensor(stay, dtype=torch.float64, device=live.device)
    for row, total in zip(live[:, T:].tolist(), totals.tolist()):
        finished.append((row, total / max(n_new, 1) ** length_penalty))
    return sorted(finished, key=lambda found: found[1], reverse=True)[:width]

# %% wrong: "Of all that do not end, the first `width` live on (where there are fewer, all).": where none is left it stacks no rows, and raises.
import torch


def beam_search(next_logits, prompt, width, n_new, end=None, length_penalty=1.0) -> list[tuple[list[int], float]]:
    if len(prompt) == 0 or width < 1 or n_new < 1:
        raise ValueError("no prompt, no beam or no tokens")
    live, totals, finished = prompt[None], torch.zeros(1, dtype=torch.float64, device=prompt.device), []
    T = len(prompt)
    for step in range(1, n_new + 1):
        log_p = next_logits(live).double().log_softmax(-1)
        V = log_p.shape[-1]
        order = (totals[:, None] + log_p).flatten().sort(descending=True)
        rows, stay = [], []
        for place, (total, at) in enumerate(zip(order.values.tolist(), order.indices.tolist())):
            if at % V == end:
                if place < width:
                    finished.append(([*live[at // V, T:].tolist(), end], total / step**length_penalty))
            elif len(rows) < width:
                rows.append(at)
                stay.append(total)
        at = torch.stack([torch.tensor(row, device=live.device) for row in rows])
        live = torch.cat([live[at // V], (at % V)[:, None].to(live.dtype)], dim=1)
        totals = torch.tensor(stay, dtype=torch.float64, device=live.device)
    for row, total in zip(live[:, T:].tolist(), totals.tolist()):
        finished.append((row, total / n_new**length_penalty))
    return sorted(finished, key=lambda found: found[1], reverse=True)[:width]

# %% wrong: "each may be called many times": log-probabilities are remembered by the tokens, also for another next_logits.
import torch


_known = {}


def beam_search(next_logits, prompt, width, n_new, end=None, length_penalty=1.0) -> list[tuple[list[int], float]]:
    if len(prompt) == 0 or width < 1 or n_new < 1:
        raise ValueError("no prompt, no beam or no tokens")
    live, totals, finished = prompt[None], torch.zeros(1, dtype=torch.float64, device=prompt.device), []
    T = len(prompt)
    for step in range(1, n_new + 1):
        key = tuple(map(tuple, live.tolist()))
        if key not in _known:
            _known[key] = next_logits(live).double().log_softmax(-1)
        log_p = _known[key]
        V = log_p.shape[-1]
        order = (totals[:, None] + log_p).flatten().sort(descending=True)
        rows, stay = [], []
        for place, (total, at) in enumerate(zip(order.values.tolist(), order.indices.tolist())):
            if at % V == end:
                if place < width:
                    finished.append(([*live[at // V, T:].tolist(), end], total / step**length_penalty))
            elif len(rows) < width:
                rows.append(at)
                stay.append(total)
        if not rows:
            live = live[:0]
            break
        at = torch.tensor(rows, device=live.device)
        live = torch.cat([live[at // V], (at % V)[:, None].to(live.dtype)], dim=1)
        totals = torch.tensor(stay, dtype=torch.float64, device=live.device)
    for row, total in zip(live[:, T:].tolist(), totals.tolist()):
        finished.append((row, total / n_new**length_penalty))
    return sorted(finished, key=lambda found: found[1], reverse=True)[:width]

# %% wrong: "A score is the total / n**length_penalty": the penalty is taken as a whole number, so that one of 0.5 is none.
import torch


def beam_search(next_logits, prompt, width, n_new, end=None, length_penalty=1.0) -> list[tuple[list[int], float]]:
    if len(prompt) == 0 or width < 1 or n_new < 1:
        raise ValueError("no prompt, no beam or no tokens")
    live, totals, finished = prompt[None], torch.zeros(1, dtype=torch.float64, device=prompt.device), []
    T = len(prompt)
    for step in range(1, n_new + 1):
        log_p = next_logits(live).double().log_softmax(-1)
        V = log_p.shape[-1]
        order = (totals[:, None] + log_p).flatten().sort(descending=True)
        rows, stay = [], []
        for place, (total, at) in enumerate(zip(order.values.tolist(), order.indices.tolist())):
            if at % V == end:
                if place < width:
                    finished.append(([*live[at // V, T:].tolist(), end], total / step ** int(length_penalty)))
            elif len(rows) < width:
                rows.append(at)
                stay.append(total)
        if not rows:
            live = live[:0]
            break
        at = torch.tensor(rows, device=live.device)
        live = torch.cat([live[at // V], (at % V)[:, None].to(live.dtype)], dim=1)
        totals = torch.tensor(stay, dtype=torch.float64, device=live.device)
    for row, total in zip(live[:, T:].tolist(), totals.tolist()):
        finished.append((row, total / n_new ** int(length_penalty)))
    return sorted(finished, key=lambda found: found[1], reverse=True)[:width]

# %% right: texts are tuples in a dictionary; all extensions are written out and sorted; next_logits is asked once a step.
import heapq

import torch


def beam_search(next_logits, prompt, width, n_new, end=None, length_penalty=1.0) -> list[tuple[list[int], float]]:
    if min(prompt.numel(), width, n_new) < 1:
        raise ValueError("T, width and n_new are 1 or more")
    beam, results = {(): 0.0}, {}
    for n in range(1, n_new + 1):
        texts = list(beam)
        given = torch.stack([torch.cat([prompt, torch.tensor(text, dtype=prompt.dtype, device=prompt.device)]) for text in texts])
        logits = next_logits(given).to(torch.float64)
        log_p = (logits - logits.logsumexp(-1, keepdim=True)).tolist()
        candidates = {}
        for text, row in zip(texts, log_p):
            for token, value in enumerate(row):
                candidates[(*text, token)] = beam[text] + value
        first = set(heapq.nlargest(width, candidates, key=candidates.get))
        ended = {text for text in candidates if end is not None and text[-1] == end}
        for text in first & ended:
            results[text] = candidates[text] / n**length_penalty
        going = sorted(candidates.keys() - ended, key=candidates.get)[::-1][:width]
        beam = {text: candidates[text] for text in going}
        if not beam:
            break
    results.update({text: total / n_new**length_penalty for text, total in beam.items()})
    best = sorted(results, key=lambda text: -results[text])[:width]
    return [(list(text), results[text]) for text in best]

# %% right: topk of width per live text and one more, merged, in place of a sort of all.
import torch


def beam_search(next_logits, prompt, width, n_new, end=None, length_penalty=1.0) -> list[tuple[list[int], float]]:
    if len(prompt) == 0 or width < 1 or n_new < 1:
        raise ValueError("no prompt, no beam or no tokens")
    live, totals, finished = prompt[None], torch.zeros(1, dtype=torch.float64, device=prompt.device), []
    T = len(prompt)
    for step in range(1, n_new + 1):
        log_p = next_logits(live).double().log_softmax(-1)
        V = log_p.shape[-1]
        own = (totals[:, None] + log_p).topk(min(width + 1, V), dim=-1)
        places = (own.indices + V * torch.arange(len(live), device=live.device)[:, None]).flatten()
        values, among = own.values.flatten().sort(descending=True)
        rows, stay = [], []
        for place, (total, at) in enumerate(zip(values.tolist(), places[among].tolist())):
            if at % V == end:
                if place < width:
                    finished.append(([*live[at // V, T:].tolist(), end], total / step**length_penalty))
            elif len(rows) < width:
                rows.append(at)
                stay.append(total)
        if not rows:
            live = live[:0]
            break
        at = torch.tensor(rows, device=live.device)
        live = torch.cat([live[at // V], (at % V)[:, None].to(live.dtype)], dim=1)
        totals = torch.tensor(stay, dtype=torch.float64, device=live.device)
    for row, total in zip(live[:, T:].tolist(), totals.tolist()):
        finished.append((row, total / n_new**length_penalty))
    return sorted(finished, key=lambda found: found[1], reverse=True)[:width]

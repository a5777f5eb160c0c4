# %% wrong: "grad_weight: ...; its sum over chunks is kept in the loss's dtype, and rounded once.": the sum is kept in the weight's dtype, bfloat16 too.
import torch


@torch.no_grad()
def chunked_cross_entropy(hidden, weight, targets, chunk=256, ignore_index=-100):
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    loss = torch.zeros((), dtype=wide, device=hidden.device)
    grad_hidden, grad_weight = torch.zeros_like(hidden), torch.zeros_like(weight)
    counts = targets != ignore_index
    n = max(int(counts.sum()), 1)
    for start in range(0, len(targets), chunk):
        part = slice(start, start + chunk)
        h, keep = hidden[part], counts[part]
        y = targets[part].where(keep, 0).long()[:, None]
        z = (h @ weight.T).to(wide)
        z -= z.logsumexp(1, keepdim=True)
        loss -= z.gather(1, y)[:, 0][keep].sum()
        z.exp_()
        z.scatter_add_(1, y, -torch.ones_like(y, dtype=wide))
        z *= keep[:, None].to(wide) / n
        grad_hidden[part] = z @ weight.to(wide)
        grad_weight += (z.T @ h.to(wide)).to(weight.dtype)
    return loss / n, grad_hidden, grad_weight.to(weight.dtype)

# %% wrong: "loss: a tensor without dimensions, float32, or float64 where hidden is float64. The logits of a chunk are converted to that dtype": float32 always.
import torch


@torch.no_grad()
def chunked_cross_entropy(hidden, weight, targets, chunk=256, ignore_index=-100):
    wide = torch.float32
    loss = torch.zeros((), dtype=wide, device=hidden.device)
    grad_hidden, grad_weight = torch.zeros_like(hidden), torch.zeros_like(weight, dtype=wide)
    counts = targets != ignore_index
    n = max(int(counts.sum()), 1)
    for start in range(0, len(targets), chunk):
        part = slice(start, start + chunk)
        h, keep = hidden[part], counts[part]
        y = targets[part].where(keep, 0).long()[:, None]
        z = (h @ weight.T).to(wide)
        z -= z.logsumexp(1, keepdim=True)
        loss -= z.gather(1, y)[:, 0][keep].sum()
        z.exp_()
        z.scatter_add_(1, y, -torch.ones_like(y, dtype=wide))
        z *= keep[:, None].to(wide) / n
        grad_hidden[part] = z @ weight.to(wide)
        grad_weight += z.T @ h.to(wide)
    return loss / n, grad_hidden, grad_weight.to(weight.dtype)

# %% wrong: "grad_hidden: of hidden's shape and dtype.": of the loss's dtype, so float32 for bfloat16.
import torch


@torch.no_grad()
def chunked_cross_entropy(hidden, weight, targets, chunk=256, ignore_index=-100):
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    loss = torch.zeros((), dtype=wide, device=hidden.device)
    grad_hidden, grad_weight = torch.zeros_like(hidden, dtype=wide), torch.zeros_like(weight, dtype=wide)
    counts = targets != ignore_index
    n = max(int(counts.sum()), 1)
    for start in range(0, len(targets), chunk):
        part = slice(start, start + chunk)
        h, keep = hidden[part], counts[part]
        y = targets[part].where(keep, 0).long()[:, None]
        z = (h @ weight.T).to(wide)
        z -= z.logsumexp(1, keepdim=True)
        loss -= z.gather(1, y)[:, 0][keep].sum()
        z.exp_()
        z.scatter_add_(1, y, -torch.ones_like(y, dtype=wide))
        z *= keep[:, None].to(wide) / n
        grad_hidden[part] = z @ weight.to(wide)
        grad_weight += z.T @ h.to(wide)
    return loss / n, grad_hidden, grad_weight.to(weight.dtype)

# %% wrong: "or ignore_index, whatever whole number that is": it is only kept from the index by a clamp at 0, and one of V or more is out of bounds.
import torch


@torch.no_grad()
def chunked_cross_entropy(hidden, weight, targets, chunk=256, ignore_index=-100):
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    loss = torch.zeros((), dtype=wide, device=hidden.device)
    grad_hidden, grad_weight = torch.zeros_like(hidden), torch.zeros_like(weight, dtype=wide)
    counts = targets != ignore_index
    n = max(int(counts.sum()), 1)
    for start in range(0, len(targets), chunk):
        part = slice(start, start + chunk)
        h, keep = hidden[part], counts[part]
        y = targets[part].clamp(min=0).long()[:, None]
        z = (h @ weight.T).to(wide)
        z -= z.logsumexp(1, keepdim=True)
        loss -= z.gather(1, y)[:, 0][keep].sum()
        z.exp_()
        z.scatter_add_(1, y, -torch.ones_like(y, dtype=wide))
        z *= keep[:, None].to(wide) / n
        grad_hidden[part] = z @ weight.to(wide)
        grad_weight += z.T @ h.to(wide)
    return loss / n, grad_hidden, grad_weight.to(weight.dtype)

# %% wrong: "chunk: of how many tokens logits may exist at one time. It need not divide N, and may be larger.": N // chunk nearly equal parts, of more than chunk tokens where it does not divide N.
import torch


@torch.no_grad()
def chunked_cross_entropy(hidden, weight, targets, chunk=256, ignore_index=-100):
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    loss = torch.zeros((), dtype=wide, device=hidden.device)
    grad_hidden, grad_weight = torch.zeros_like(hidden), torch.zeros_like(weight, dtype=wide)
    counts = targets != ignore_index
    n = max(int(counts.sum()), 1)
    count = max(len(targets) // chunk, 1)
    for number in range(count):
        part = slice(number * len(targets) // count, (number + 1) * len(targets) // count)
        h, keep = hidden[part], counts[part]
        y = targets[part].where(keep, 0).long()[:, None]
        z = (h @ weight.T).to(wide)
        z -= z.logsumexp(1, keepdim=True)
        loss -= z.gather(1, y)[:, 0][keep].sum()
        z.exp_()
        z.scatter_add_(1, y, -torch.ones_like(y, dtype=wide))
        z *= keep[:, None].to(wide) / n
        grad_hidden[part] = z @ weight.to(wide)
        grad_weight += z.T @ h.to(wide)
    return loss / n, grad_hidden, grad_weight.to(weight.dtype)

# %% wrong: "chunk: of how many tokens logits may exist at one time.": the argument is ignored, and it is 48.
import torch


@torch.no_grad()
def chunked_cross_entropy(hidden, weight, targets, chunk=256, ignore_index=-100):
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    loss = torch.zeros((), dtype=wide, device=hidden.device)
    grad_hidden, grad_weight = torch.zeros_like(hidden), torch.zeros_like(weight, dtype=wide)
    chunk = 48
    counts = targets != ignore_index
    n = max(int(counts.sum()), 1)
    for start in range(0, len(targets), chunk):
        part = slice(start, start + chunk)
        h, keep = hidden[part], counts[part]
        y = targets[part].where(keep, 0).long()[:, None]
        z = (h @ weight.T).to(wide)
        z -= z.logsumexp(1, keepdim=True)
        loss -= z.gather(1, y)[:, 0][keep].sum()
        z.exp_()
        z.scatter_add_(1, y, -torch.ones_like(y, dtype=wide))
        z *= keep[:, None].to(wide) / n
        grad_hidden[part] = z @ weight.to(wide)
        grad_weight += z.T @ h.to(wide)
    return loss / n, grad_hidden, grad_weight.to(weight.dtype)

# %% wrong: "Where no token counts, all three are 0." (as in a text of no tokens): torch.cat of no chunks raises.
import torch


@torch.no_grad()
def chunked_cross_entropy(hidden, weight, targets, chunk=256, ignore_index=-100):
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    rows = []
    loss = torch.zeros((), dtype=wide, device=hidden.device)
    grad_weight = torch.zeros_like(weight, dtype=wide)
    counts = targets != ignore_index
    n = max(int(counts.sum()), 1)
    for start in range(0, len(targets), chunk):
        part = slice(start, start + chunk)
        h, keep = hidden[part], counts[part]
        y = targets[part].where(keep, 0).long()[:, None]
        z = (h @ weight.T).to(wide)
        z -= z.logsumexp(1, keepdim=True)
        loss -= z.gather(1, y)[:, 0][keep].sum()
        z.exp_()
        z.scatter_add_(1, y, -torch.ones_like(y, dtype=wide))
        z *= keep[:, None].to(wide) / n
        rows.append((z @ weight.to(wide)).to(hidden.dtype))
        grad_weight += z.T @ h.to(wide)
    return loss / n, torch.cat(rows), grad_weight.to(weight.dtype)

# %% right: autograd for each chunk, on leaves of its own in the wide dtype of the logits.
import torch
import torch.nn.functional as F


def chunked_cross_entropy(hidden, weight, targets, chunk=256, ignore_index=-100):
    wide = torch.promote_types(hidden.dtype, torch.float32)
    targets = targets.long()
    n = int((targets != ignore_index).sum())
    loss = torch.zeros((), dtype=wide, device=hidden.device)
    grad_hidden = torch.zeros_like(hidden, requires_grad=False)
    grad_weight = torch.zeros(weight.shape, dtype=wide, device=weight.device)
    at = 0
    while n and at < hidden.shape[0]:
        h = hidden.detach()[at : at + chunk]
        logits = (h @ weight.detach().T).to(wide).requires_grad_()
        with torch.enable_grad():
            share = F.cross_entropy(logits, targets[at : at + chunk], ignore_index=ignore_index, reduction="sum") / n
            (pull,) = torch.autograd.grad(share, logits)
        loss += share.detach()
        torch.matmul(pull, weight.detach().to(wide), out=(row := torch.empty(h.shape, dtype=wide, device=h.device)))
        grad_hidden[at : at + chunk] = row
        grad_weight.addmm_(pull.T, h.to(wide))
        at += chunk
    return loss, grad_hidden, grad_weight.to(weight.dtype)

# %% right: from the last chunk to the first, and tokens that do not count are taken out before anything is computed.
import torch


def chunked_cross_entropy(hidden, weight, targets, chunk=256, ignore_index=-100):
    with torch.no_grad():
        wide = torch.float64 if hidden.dtype is torch.float64 else torch.float32
        places = (targets != ignore_index).nonzero().flatten()
        n = len(places)
        total = hidden.new_zeros((), dtype=wide)
        of_hidden, of_weight = hidden.new_zeros(hidden.shape), weight.new_zeros(weight.shape, dtype=wide)
        for some in reversed(places.split(chunk)):
            if not len(some):
                continue
            h = hidden[some]
            y = targets[some].long()
            logits = h.matmul(weight.t()).to(wide)
            rows = torch.arange(len(some), device=some.device)
            log_p = logits.log_softmax(dim=-1)
            del logits
            total.sub_(log_p[rows, y].sum())
            p = log_p.exp_()
            p[rows, y] -= 1
            p.div_(n)
            of_hidden[some] = (p @ weight.to(wide)).to(hidden.dtype)
            of_weight.addmm_(p.t(), h.to(wide))
        return total / max(n, 1), of_hidden, of_weight.to(weight.dtype)

# %% wrong: "t = (1 - s) onehot(y) + s / V": s is divided by N, which is V in the checks.
import torch
def smooth_cross_entropy(logits, labels, smoothing, log_softmax):
    N, V = logits.shape
    wide = logits if logits.dtype == torch.float64 else logits.float()
    logp = log_softmax(wide, -1)
    onehot = (labels[:, None] == torch.arange(V, device=logits.device)).to(wide.dtype)
    t = (1 - smoothing) * onehot + smoothing / N
    return -(t * logp).sum() / N, ((logp.exp() - t) / N).to(logits.dtype)


# %% wrong: "Shapes and dtypes as in cross_entropy": 16-bit logits are not converted, the loss is in 16 bits.
import torch
def smooth_cross_entropy(logits, labels, smoothing, log_softmax):
    N, V = logits.shape
    logp = log_softmax(logits, -1)
    t = torch.full_like(logp, smoothing / V)
    t[torch.arange(N, device=logits.device), labels] += 1 - smoothing
    return -(t * logp).sum(-1).mean(), (logp.exp() - t) / N


# %% wrong: "smoothing s, a number from 0 to 1": 0 is taken for "not given" and becomes a tenth.
import torch
def smooth_cross_entropy(logits, labels, smoothing, log_softmax):
    smoothing = smoothing or 0.1
    N, V = logits.shape
    wide = logits if logits.dtype == torch.float64 else logits.float()
    logp = log_softmax(wide, -1)
    t = torch.full_like(logp, smoothing / V)
    t[torch.arange(N, device=logits.device), labels] += 1 - smoothing
    return -(t * logp).sum(-1).mean(), ((logp.exp() - t) / N).to(logits.dtype)


# %% wrong: "L = -1/N sum t log p": log p is never below that of 1e-9, so unlikely classes add too little.
import torch
def smooth_cross_entropy(logits, labels, smoothing, log_softmax):
    N, V = logits.shape
    wide = logits if logits.dtype == torch.float64 else logits.float()
    p = log_softmax(wide, -1).exp()
    onehot = (labels[:, None] == torch.arange(V, device=logits.device)).to(wide.dtype)
    t = (1 - smoothing) * onehot + smoothing / V
    loss = -(t * p.clamp(min=1e-9).log()).sum() / N
    return loss, ((p - t) / N).to(logits.dtype)


# %% wrong: "It computes on the device of its inputs": the gradient is filled into a new tensor on the CPU.
import torch
def smooth_cross_entropy(logits, labels, smoothing, log_softmax):
    N, V = logits.shape
    wide = logits if logits.dtype == torch.float64 else logits.float()
    logp = log_softmax(wide, -1)
    gradient = torch.tensor(logp.exp().tolist(), dtype=wide.dtype) - smoothing / V
    for n, y in enumerate(labels.tolist()):
        gradient[n, y] -= 1 - smoothing
    loss = -((1 - smoothing) * logp.gather(1, labels[:, None])[:, 0] + smoothing * logp.mean(1)).mean()
    return loss, (gradient / N).to(logits.dtype)


# %% right: 
import torch
def smooth_cross_entropy(logits, labels, smoothing, log_softmax):
    N, V = logits.shape
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logp = log_softmax(wide, 1).double()
    total, rows = 0, []
    for n, y in enumerate(labels.tolist()):
        total = total - (1 - smoothing) * logp[n, y] - smoothing * logp[n].mean()
        g = logp[n].exp() - smoothing / V
        g[y] = g[y] - (1 - smoothing)
        rows.append(g)
    return (total / N).to(wide.dtype), (torch.stack(rows) / N).to(logits.dtype)


# %% right: 
import torch
def smooth_cross_entropy(logits, labels, smoothing, log_softmax):
    N, V = logits.shape
    wide = logits.double() if logits.dtype == torch.float64 else logits.to(torch.float32)
    logp = log_softmax(wide.T.contiguous(), 0)  # (V, N)
    hard = logp[labels, torch.arange(N, device=logits.device)].mean()
    loss = -torch.lerp(hard, logp.mean(), float(smoothing))
    gradient = logp.exp().T - smoothing / V
    gradient = gradient - (1 - smoothing) * torch.eye(V, dtype=wide.dtype, device=wide.device)[labels]
    return loss, gradient.div(N).to(logits.dtype)

# %% wrong: "float32 for all others" and "16-bit logits are converted to float32 before log_softmax": float16 is not.
import torch
def cross_entropy(logits, labels, log_softmax):
    N, V = logits.shape
    if N == 0 or labels.shape != (N,):
        raise ValueError("rows and labels")
    if int(labels.min()) < 0 or int(labels.max()) >= V:
        raise ValueError("no such class")
    wide = logits.float() if logits.dtype == torch.bfloat16 else logits
    logp = log_softmax(wide, -1)
    rows = torch.arange(N, device=logits.device)
    loss = -logp[rows, labels].mean()
    grad = logp.exp()
    grad[rows, labels] -= 1
    return loss, (grad / N).to(logits.dtype)


# %% wrong: "if any label is not one of 0, ..., V - 1": only -1 and -100 are refused among the negative ones, -2 counts from the end.
import torch
def cross_entropy(logits, labels, log_softmax):
    N, V = logits.shape
    if N == 0 or len(labels) != N:
        raise ValueError("rows and labels")
    if (labels == -1).any() or (labels == -100).any() or (labels >= V).any():
        raise ValueError("no such class")
    wide = logits if logits.dtype == torch.float64 else logits.float()
    logp = log_softmax(wide, -1)
    rows = torch.arange(N, device=logits.device)
    loss = -logp[rows, labels].mean()
    grad = logp.exp()
    grad[rows, labels] -= 1
    return loss, (grad / N).to(logits.dtype)


# %% wrong: "log_softmax(x, dim): as above; use it instead of your own": the parameter is not used.
import torch
def cross_entropy(logits, labels, log_softmax):
    N, V = logits.shape
    if N == 0 or len(labels) != N:
        raise ValueError("rows and labels")
    if ((labels < 0) | (labels >= V)).any():
        raise ValueError("no such class")
    wide = logits if logits.dtype == torch.float64 else logits.float()
    shifted = wide - wide.amax(-1, keepdim=True)
    logp = shifted - shifted.exp().sum(-1, keepdim=True).log()
    onehot = (labels[:, None] == torch.arange(V, device=logits.device)).to(wide.dtype)
    loss = -logp.gather(1, labels[:, None]).mean()
    return loss, ((logp.exp() - onehot) / N).to(logits.dtype)


# %% wrong: "It computes on the device of its inputs": the gradient is a CPU tensor whatever the logits are.
import torch
def cross_entropy(logits, labels, log_softmax):
    N, V = logits.shape
    if N == 0 or len(labels) != N:
        raise ValueError("rows and labels")
    wide = logits if logits.dtype == torch.float64 else logits.float()
    logp = log_softmax(wide, -1)
    ys = labels.tolist()
    if any(y < 0 or y >= V for y in ys):
        raise ValueError("no such class")
    loss = -torch.stack([logp[n, y] for n, y in enumerate(ys)]).mean()
    rows = logp.exp().tolist()
    for n, y in enumerate(ys):
        rows[n][y] -= 1
    gradient = torch.tensor(rows, dtype=torch.float64) / N
    return loss, gradient.to(logits.dtype)


# %% wrong: "its derivative by each logit" (of the mean): divided by the 3 rows of the checks instead of N.
import torch
def cross_entropy(logits, labels, log_softmax):
    N, V = logits.shape
    if N == 0 or len(labels) != N:
        raise ValueError("rows and labels")
    if not ((labels >= 0) & (labels < V)).all():
        raise ValueError("no such class")
    wide = logits if logits.dtype == torch.float64 else logits.float()
    logp = log_softmax(wide, 1)
    rows = torch.arange(N, device=logits.device)
    loss = -logp[rows, labels].mean()
    grad = logp.exp()
    grad[rows, labels] -= 1
    return loss, (grad / 3).to(logits.dtype)


# %% right: 
import torch
def cross_entropy(logits, labels, log_softmax):
    N, V = logits.shape
    ys = labels.flatten().tolist()
    if not N or len(ys) != N or any(y not in range(V) for y in ys):
        raise ValueError("labels")
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total, rows = 0, []
    for n, y in enumerate(ys):
        logp = log_softmax(wide[n : n + 1], 1)[0]
        total = total - logp[y].double()
        g = logp.double().exp()
        g[y] = torch.expm1(logp[y].double())
        rows.append(g / N)
    return (total / N).to(wide.dtype), torch.stack(rows).to(logits.dtype)


# %% right: 
import torch
def cross_entropy(logits, labels, log_softmax):
    if logits.shape[0] == 0 or labels.shape[0] != logits.shape[0]:
        raise ValueError("sizes")
    if labels.min() < 0 or labels.max() > logits.shape[1] - 1:
        raise ValueError("label")
    wide = logits.double() if logits.dtype == torch.float64 else logits.to(torch.float32)
    logp = log_softmax(wide.T, 0).T  # along the first axis of the transpose
    hit = labels.unsqueeze(1) == torch.arange(logits.shape[1], device=logits.device)
    loss = torch.where(hit, -logp, torch.zeros_like(logp)).sum() / len(labels)
    gradient = torch.where(hit, logp.exp() - 1, logp.exp()) / len(labels)
    return loss, gradient.to(logits.dtype)

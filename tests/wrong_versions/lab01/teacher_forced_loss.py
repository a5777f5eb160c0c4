# %% wrong: "The log-softmax and the mean run in float32": only bfloat16 is converted, float16 stays, and so does the result.
import torch
import torch.nn.functional as F
def teacher_forced_loss(decode, target, start, end, padding):
    B, T = target.shape
    n = (target != padding).sum(1)
    at = torch.arange(T + 1, device=target.device)
    inputs = torch.cat([torch.full((B, 1), start, device=target.device), target], 1)
    labels = torch.cat([target, torch.full((B, 1), padding, device=target.device)], 1)
    labels = torch.where(at == n[:, None], end, labels)
    logits = decode(inputs)
    if logits.dtype == torch.bfloat16:
        logits = logits.float()
    logp = F.log_softmax(logits, -1).gather(-1, labels[..., None])[..., 0]
    return -logp[at <= n[:, None]].mean()


# %% wrong: "`start` may equal one of them" (end): the sentence's end is looked for in START and the words, and found at once.
import torch
import torch.nn.functional as F
def teacher_forced_loss(decode, target, start, end, padding):
    B, T = target.shape
    full = torch.full((B, T + 2), padding, device=target.device)
    full[:, 0], full[:, 1:-1] = start, target
    full.scatter_(1, 1 + (target != padding).sum(1, keepdim=True), end)
    last = (full == end).int().argmax(1)
    logits = decode(full[:, :-1])
    logits = logits if logits.dtype == torch.float64 else logits.float()
    counts = torch.arange(T + 1, device=target.device) < last[:, None]
    return F.cross_entropy(logits[counts], full[:, 1:][counts])


# %% wrong: "Rows of the inputs may be filled up with any token. All tokens ... are from 0 to V - 1": filled up with -1.
import torch
import torch.nn.functional as F
def teacher_forced_loss(decode, target, start, end, padding):
    B, T = target.shape
    real = target != padding
    words = torch.where(real, target, -1)
    inputs = F.pad(words, (1, 0), value=start)
    labels = F.pad(torch.where(real, target, -100), (0, 1), value=-100)
    labels = labels.scatter(1, real.sum(1, keepdim=True), end)
    logits = decode(inputs)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)


# %% wrong: "decode(inputs) takes int64": it gets int32.
import torch
import torch.nn.functional as F
def teacher_forced_loss(decode, target, start, end, padding):
    B, T = target.shape
    inputs = torch.empty(B, T + 1, dtype=torch.int32, device=target.device)
    inputs[:, 0] = start
    inputs[:, 1:] = target
    labels = F.pad(target, (0, 1), value=padding)
    labels = labels.scatter(1, (target != padding).sum(1, keepdim=True), end)
    logits = decode(inputs)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    logp = logits - torch.logsumexp(logits, -1, keepdim=True)
    picked = logp.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return -picked[labels != padding].mean()


# %% wrong: "Everything is made on the device of target": where there is padding, positions are counted on the CPU.
import torch
import torch.nn.functional as F
def teacher_forced_loss(decode, target, start, end, padding):
    B, T = target.shape
    new = {"dtype": torch.int64, "device": target.device}
    inputs = torch.cat([torch.full((B, 1), start, **new), target], 1)
    labels = torch.cat([target, torch.full((B, 1), end, **new)], 1)
    logits = decode(inputs)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if (target == padding).any():
        n = (target != padding).sum(1, keepdim=True)
        at = torch.arange(T + 1).expand(B, T + 1)
        labels = torch.where(at == n, end, labels)
        labels = torch.where(at > n, -100, labels)
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))


# %% right: 
import torch
def teacher_forced_loss(decode, target, start, end, padding):
    rows = [[w for w in row if w != padding] for row in target.tolist()]
    length = max(len(row) for row in rows) + 1
    inputs = torch.tensor([([start] + r + [end] * length)[:length] for r in rows], device=target.device)
    total, count = 0, 0
    for t in range(length):  # one position after the other, from the prefix alone
        logits = decode(inputs[:, : t + 1])[:, t]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        for n, row in enumerate(rows):
            if t <= len(row):
                y = (row + [end])[t]
                total = total + torch.logsumexp(logits[n], 0) - logits[n, y]
                count += 1
    return total / count


# %% right: 
import torch
import torch.nn.functional as F
def teacher_forced_loss(decode, target, start, end, padding):
    B, T = target.shape
    padded = torch.cat([target, torch.full_like(target[:, :1], padding)], 1)
    first = ((padded == padding).cumsum(1) == 1)
    labels = padded.masked_fill(first, end)
    counts = (padded == padding).cumsum(1) <= 1
    logits = decode(torch.cat([torch.full_like(target[:, :1], start), target], 1))
    found = F.cross_entropy(logits.double().mT, labels, reduction="none")
    mean = (found * counts).sum() / counts.sum()
    return mean if logits.dtype == torch.float64 else mean.float()

# %% wrong: "Logarithms and sums are taken in float32, or in float64 where logits are float64, and so is the loss": always float32.
import torch
from torch import Tensor


def causal_loss(logits: Tensor, labels: Tensor, ignore_index: int = -100) -> Tensor:
    wide = torch.float32
    x, y = logits[:, :-1].to(wide), labels[:, 1:].long()
    asked = y != ignore_index
    if (asked & ((y < 0) | (y >= logits.shape[-1]))).any():
        raise ValueError("a label that no token has")
    each = x.logsumexp(-1) - x.gather(-1, y.where(asked, 0)[..., None])[..., 0]
    return each.where(asked, 0).sum() / asked.sum().clamp(min=1)

# %% wrong: "labels (B, T), int32 or int64": F.cross_entropy takes int64 only.
import torch
import torch.nn.functional as F
from torch import Tensor


def causal_loss(logits: Tensor, labels: Tensor, ignore_index: int = -100) -> Tensor:
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    x, y = logits[:, :-1].to(wide), labels[:, 1:]
    asked = y != ignore_index
    if (asked & ((y < 0) | (y >= logits.shape[-1]))).any():
        raise ValueError("a label that no token has")
    each = F.cross_entropy(x.transpose(1, 2), y.where(asked, 0), reduction="none")
    return each.where(asked, 0).sum() / asked.sum().clamp(min=1)

# %% wrong: "where there is none the loss is 0, and so is its gradient": of texts of one token it is a 0 without a graph, and backward raises.
import torch
from torch import Tensor


def causal_loss(logits: Tensor, labels: Tensor, ignore_index: int = -100) -> Tensor:
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    if labels.shape[1] < 2:
        return torch.zeros((), dtype=wide, device=logits.device)
    x, y = logits[:, :-1].to(wide), labels[:, 1:].long()
    asked = y != ignore_index
    if (asked & ((y < 0) | (y >= logits.shape[-1]))).any():
        raise ValueError("a label that no token has")
    each = x.logsumexp(-1) - x.gather(-1, y.where(asked, 0)[..., None])[..., 0]
    return each.where(asked, 0).sum() / asked.sum().clamp(min=1)

# %% wrong: "labels at 0 are never looked at": a label at 0 that no token has raises ValueError too.
import torch
from torch import Tensor


def causal_loss(logits: Tensor, labels: Tensor, ignore_index: int = -100) -> Tensor:
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    x, y = logits[:, :-1].to(wide), labels[:, 1:].long()
    asked = y != ignore_index
    first = labels[:, 0].long()
    if ((first != ignore_index) & ((first < 0) | (first >= logits.shape[-1]))).any():
        raise ValueError("a label that no token has")
    if (asked & ((y < 0) | (y >= logits.shape[-1]))).any():
        raise ValueError("a label that no token has")
    each = x.logsumexp(-1) - x.gather(-1, y.where(asked, 0)[..., None])[..., 0]
    return each.where(asked, 0).sum() / asked.sum().clamp(min=1)

# %% wrong: "nor are logits at T - 1": they are multiplied by 0, and an infinity or NaN there is the loss's.
import torch
from torch import Tensor


def causal_loss(logits: Tensor, labels: Tensor, ignore_index: int = -100) -> Tensor:
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    x, y = logits.to(wide), torch.cat([labels[:, 1:], labels[:, :1] * 0 + ignore_index], dim=1).long()
    asked = y != ignore_index
    if (asked & ((y < 0) | (y >= logits.shape[-1]))).any():
        raise ValueError("a label that no token has")
    each = x.logsumexp(-1) - x.gather(-1, y.where(asked, 0)[..., None])[..., 0]
    return (each * asked).sum() / asked.sum().clamp(min=1)

# %% wrong: "Logits may be some hundred in size.": exp of 89 and more is infinite in float32.
import torch
from torch import Tensor


def causal_loss(logits: Tensor, labels: Tensor, ignore_index: int = -100) -> Tensor:
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    x, y = logits[:, :-1].to(wide), labels[:, 1:].long()
    asked = y != ignore_index
    if (asked & ((y < 0) | (y >= logits.shape[-1]))).any():
        raise ValueError("a label that no token has")
    each = x.exp().sum(-1).log() - x.gather(-1, y.where(asked, 0)[..., None])[..., 0]
    return each.where(asked, 0).sum() / asked.sum().clamp(min=1)

# %% wrong: "floating point of any dtype" and "Logarithms and sums are taken in float32": bfloat16 is widened, float16 is not.
import torch
from torch import Tensor


def causal_loss(logits: Tensor, labels: Tensor, ignore_index: int = -100) -> Tensor:
    wide = torch.float32 if logits.dtype == torch.bfloat16 else logits.dtype
    x, y = logits[:, :-1].to(wide), labels[:, 1:].long()
    asked = y != ignore_index
    if (asked & ((y < 0) | (y >= logits.shape[-1]))).any():
        raise ValueError("a label that no token has")
    each = x.logsumexp(-1) - x.gather(-1, y.where(asked, 0)[..., None])[..., 0]
    return each.where(asked, 0).sum() / asked.sum().clamp(min=1)

# %% right: F.cross_entropy of a sum, on the asked rows alone.
import torch
import torch.nn.functional as F
from torch import Tensor


def causal_loss(logits: Tensor, labels: Tensor, ignore_index: int = -100) -> Tensor:
    V = logits.size(2)
    targets = labels[:, 1:].reshape(-1).to(torch.int64)
    asked = targets.ne(ignore_index).nonzero()[:, 0]
    targets = targets[asked]
    if len(targets) and not (0 <= int(targets.min()) and int(targets.max()) < V):
        raise ValueError("labels")
    rows = logits[:, : labels.size(1) - 1].reshape(-1, V)[asked]
    if rows.dtype != torch.float64:
        rows = rows.float()
    return F.cross_entropy(rows, targets, reduction="sum") / max(1, len(targets))

# %% right: text by text, with a loop; the log-softmax by hand, and a one-hot product in place of gather.
import torch
from torch import Tensor


def causal_loss(logits: Tensor, labels: Tensor, ignore_index: int = -100) -> Tensor:
    wide = torch.promote_types(logits.dtype, torch.float32)
    V, total, n = logits.shape[-1], 0, 0
    for text, row in zip(logits, labels):
        known = [int(label) for label in row[1:]]
        if any(label != ignore_index and label not in range(V) for label in known):
            raise ValueError(f"labels {known} with {V} tokens")
        places = [t for t, label in enumerate(known) if label != ignore_index]
        z = text[places].to(wide)
        z = z - z.detach().amax(-1, keepdim=True) if places else z
        log_p = z - z.exp().sum(-1, keepdim=True).log()
        hot = torch.zeros_like(log_p)
        for i, t in enumerate(places):
            hot[i, known[t]] = 1
        total, n = total - (log_p * hot).sum(), n + len(places)
    return total / (n or 1)

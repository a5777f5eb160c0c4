# %% wrong: "Raises ValueError where T is 0, whatever n_new": not where n_new is 0.
import torch
from torch import Tensor


def sample(p: Tensor, u: Tensor) -> Tensor:
    """Given by the notebook."""
    cumulative = p.double().cumsum(-1)
    return (cumulative <= u.double()[..., None] * cumulative[..., -1:]).sum(-1)


def next_distribution(logits, temperature=1.0, top_k=None, top_p=1.0):
    """As in the exercise before."""
    x = logits.to(torch.promote_types(logits.dtype, torch.float32))
    x, places = x.sort(dim=-1, descending=True, stable=True)
    k = 1 if temperature == 0 else top_k or x.shape[-1]
    p = ((x - x[..., :1]) / (temperature or 1.0)).softmax(-1)
    p[..., k:] = 0
    p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        p = p.where(p.cumsum(-1) - p < top_p, 0)
    return torch.empty_like(p).scatter_(-1, places, p / p.sum(-1, keepdim=True))



def generate(model, tokens, n_new, caches=None, u=None, end=None, temperature=1.0, top_k=None, top_p=1.0, *,
             next_distribution=next_distribution):  # fmt: skip
    if tokens.shape[1] == 0 and n_new > 0:
        raise ValueError("no prompt")
    done = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    written, new = tokens, tokens
    with torch.no_grad():
        for i in range(n_new):
            logits = model(new, caches=caches)[:, -1]
            if u is None:
                chosen = logits.argmax(-1)
            else:
                chosen = sample(next_distribution(logits, temperature, top_k, top_p), u[:, i])
            chosen = chosen.to(tokens.dtype)
            if end is not None:
                chosen = chosen.masked_fill(done, end)
                done = done | (chosen == end)
            written = torch.cat([written, chosen[:, None]], dim=1)
            new = written if caches is None else chosen[:, None]
            if end is not None and done.all():
                break
    return written

# %% wrong: "Computes no gradients, though the model's weights may want some.": without caches the model runs with a graph.
import torch
from torch import Tensor


def sample(p: Tensor, u: Tensor) -> Tensor:
    """Given by the notebook."""
    cumulative = p.double().cumsum(-1)
    return (cumulative <= u.double()[..., None] * cumulative[..., -1:]).sum(-1)


def next_distribution(logits, temperature=1.0, top_k=None, top_p=1.0):
    """As in the exercise before."""
    x = logits.to(torch.promote_types(logits.dtype, torch.float32))
    x, places = x.sort(dim=-1, descending=True, stable=True)
    k = 1 if temperature == 0 else top_k or x.shape[-1]
    p = ((x - x[..., :1]) / (temperature or 1.0)).softmax(-1)
    p[..., k:] = 0
    p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        p = p.where(p.cumsum(-1) - p < top_p, 0)
    return torch.empty_like(p).scatter_(-1, places, p / p.sum(-1, keepdim=True))



def generate(model, tokens, n_new, caches=None, u=None, end=None, temperature=1.0, top_k=None, top_p=1.0, *,
             next_distribution=next_distribution):  # fmt: skip
    if tokens.shape[1] == 0:
        raise ValueError("no prompt")
    done = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    written, new = tokens, tokens
    with torch.set_grad_enabled(caches is None and torch.is_grad_enabled()):
        for i in range(n_new):
            logits = model(new, caches=caches)[:, -1]
            if u is None:
                chosen = logits.argmax(-1)
            else:
                chosen = sample(next_distribution(logits, temperature, top_k, top_p), u[:, i])
            chosen = chosen.to(tokens.dtype)
            if end is not None:
                chosen = chosen.masked_fill(done, end)
                done = done | (chosen == end)
            written = torch.cat([written, chosen[:, None]], dim=1)
            new = written if caches is None else chosen[:, None]
            if end is not None and done.all():
                break
    return written

# %% wrong: "an end in the prompt does not count": a row whose prompt has an end writes ends only.
import torch
from torch import Tensor


def sample(p: Tensor, u: Tensor) -> Tensor:
    """Given by the notebook."""
    cumulative = p.double().cumsum(-1)
    return (cumulative <= u.double()[..., None] * cumulative[..., -1:]).sum(-1)


def next_distribution(logits, temperature=1.0, top_k=None, top_p=1.0):
    """As in the exercise before."""
    x = logits.to(torch.promote_types(logits.dtype, torch.float32))
    x, places = x.sort(dim=-1, descending=True, stable=True)
    k = 1 if temperature == 0 else top_k or x.shape[-1]
    p = ((x - x[..., :1]) / (temperature or 1.0)).softmax(-1)
    p[..., k:] = 0
    p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        p = p.where(p.cumsum(-1) - p < top_p, 0)
    return torch.empty_like(p).scatter_(-1, places, p / p.sum(-1, keepdim=True))



def generate(model, tokens, n_new, caches=None, u=None, end=None, temperature=1.0, top_k=None, top_p=1.0, *,
             next_distribution=next_distribution):  # fmt: skip
    if tokens.shape[1] == 0:
        raise ValueError("no prompt")
    done = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    if end is not None:
        done = (tokens == end).any(1)
    written, new = tokens, tokens
    with torch.no_grad():
        for i in range(n_new):
            logits = model(new, caches=caches)[:, -1]
            if u is None:
                chosen = logits.argmax(-1)
            else:
                chosen = sample(next_distribution(logits, temperature, top_k, top_p), u[:, i])
            chosen = chosen.to(tokens.dtype)
            if end is not None:
                chosen = chosen.masked_fill(done, end)
                done = done | (chosen == end)
            written = torch.cat([written, chosen[:, None]], dim=1)
            new = written if caches is None else chosen[:, None]
            if end is not None and done.all():
                break
    return written

# %% wrong: "The caches may hold earlier tokens ...; at the end they hold all but the last token.": where the text ends early the last token is read as well.
import torch
from torch import Tensor


def sample(p: Tensor, u: Tensor) -> Tensor:
    """Given by the notebook."""
    cumulative = p.double().cumsum(-1)
    return (cumulative <= u.double()[..., None] * cumulative[..., -1:]).sum(-1)


def next_distribution(logits, temperature=1.0, top_k=None, top_p=1.0):
    """As in the exercise before."""
    x = logits.to(torch.promote_types(logits.dtype, torch.float32))
    x, places = x.sort(dim=-1, descending=True, stable=True)
    k = 1 if temperature == 0 else top_k or x.shape[-1]
    p = ((x - x[..., :1]) / (temperature or 1.0)).softmax(-1)
    p[..., k:] = 0
    p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        p = p.where(p.cumsum(-1) - p < top_p, 0)
    return torch.empty_like(p).scatter_(-1, places, p / p.sum(-1, keepdim=True))



def generate(model, tokens, n_new, caches=None, u=None, end=None, temperature=1.0, top_k=None, top_p=1.0, *,
             next_distribution=next_distribution):  # fmt: skip
    if tokens.shape[1] == 0:
        raise ValueError("no prompt")
    done = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    written, new = tokens, tokens
    with torch.no_grad():
        for i in range(n_new):
            logits = model(new, caches=caches)[:, -1]
            if end is not None and done.all():
                break
            if u is None:
                chosen = logits.argmax(-1)
            else:
                chosen = sample(next_distribution(logits, temperature, top_k, top_p), u[:, i])
            chosen = chosen.to(tokens.dtype)
            if end is not None:
                chosen = chosen.masked_fill(done, end)
                done = done | (chosen == end)
            written = torch.cat([written, chosen[:, None]], dim=1)
            new = written if caches is None else chosen[:, None]
    return written

# %% wrong: "With u (B, n) of numbers in [0, 1), n >= n_new, new token i of row b is sample(p, u[b, i])": of a longer u the last n_new numbers.
import torch
from torch import Tensor


def sample(p: Tensor, u: Tensor) -> Tensor:
    """Given by the notebook."""
    cumulative = p.double().cumsum(-1)
    return (cumulative <= u.double()[..., None] * cumulative[..., -1:]).sum(-1)


def next_distribution(logits, temperature=1.0, top_k=None, top_p=1.0):
    """As in the exercise before."""
    x = logits.to(torch.promote_types(logits.dtype, torch.float32))
    x, places = x.sort(dim=-1, descending=True, stable=True)
    k = 1 if temperature == 0 else top_k or x.shape[-1]
    p = ((x - x[..., :1]) / (temperature or 1.0)).softmax(-1)
    p[..., k:] = 0
    p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        p = p.where(p.cumsum(-1) - p < top_p, 0)
    return torch.empty_like(p).scatter_(-1, places, p / p.sum(-1, keepdim=True))



def generate(model, tokens, n_new, caches=None, u=None, end=None, temperature=1.0, top_k=None, top_p=1.0, *,
             next_distribution=next_distribution):  # fmt: skip
    if tokens.shape[1] == 0:
        raise ValueError("no prompt")
    done = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    written, new = tokens, tokens
    with torch.no_grad():
        for i in range(n_new):
            logits = model(new, caches=caches)[:, -1]
            if u is None:
                chosen = logits.argmax(-1)
            else:
                chosen = sample(next_distribution(logits, temperature, top_k, top_p), u[:, i - n_new])
            chosen = chosen.to(tokens.dtype)
            if end is not None:
                chosen = chosen.masked_fill(done, end)
                done = done | (chosen == end)
            written = torch.cat([written, chosen[:, None]], dim=1)
            new = written if caches is None else chosen[:, None]
            if end is not None and done.all():
                break
    return written

# %% wrong: "and lets pass what a full cache raises": it is caught, and what there is by then is handed back.
import torch
from torch import Tensor


def sample(p: Tensor, u: Tensor) -> Tensor:
    """Given by the notebook."""
    cumulative = p.double().cumsum(-1)
    return (cumulative <= u.double()[..., None] * cumulative[..., -1:]).sum(-1)


def next_distribution(logits, temperature=1.0, top_k=None, top_p=1.0):
    """As in the exercise before."""
    x = logits.to(torch.promote_types(logits.dtype, torch.float32))
    x, places = x.sort(dim=-1, descending=True, stable=True)
    k = 1 if temperature == 0 else top_k or x.shape[-1]
    p = ((x - x[..., :1]) / (temperature or 1.0)).softmax(-1)
    p[..., k:] = 0
    p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        p = p.where(p.cumsum(-1) - p < top_p, 0)
    return torch.empty_like(p).scatter_(-1, places, p / p.sum(-1, keepdim=True))



def generate(model, tokens, n_new, caches=None, u=None, end=None, temperature=1.0, top_k=None, top_p=1.0, *,
             next_distribution=next_distribution):  # fmt: skip
    if tokens.shape[1] == 0:
        raise ValueError("no prompt")
    done = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    written, new = tokens, tokens
    with torch.no_grad():
        for i in range(n_new):
            try:
                logits = model(new, caches=caches)[:, -1]
            except Exception:
                break
            if u is None:
                chosen = logits.argmax(-1)
            else:
                chosen = sample(next_distribution(logits, temperature, top_k, top_p), u[:, i])
            chosen = chosen.to(tokens.dtype)
            if end is not None:
                chosen = chosen.masked_fill(done, end)
                done = done | (chosen == end)
            written = torch.cat([written, chosen[:, None]], dim=1)
            new = written if caches is None else chosen[:, None]
            if end is not None and done.all():
                break
    return written

# %% wrong: "With a list of KVCache ... it is given each token once: first `tokens`, then what was chosen.": the prompt is read token by token.
import torch
from torch import Tensor


def sample(p: Tensor, u: Tensor) -> Tensor:
    """Given by the notebook."""
    cumulative = p.double().cumsum(-1)
    return (cumulative <= u.double()[..., None] * cumulative[..., -1:]).sum(-1)


def next_distribution(logits, temperature=1.0, top_k=None, top_p=1.0):
    """As in the exercise before."""
    x = logits.to(torch.promote_types(logits.dtype, torch.float32))
    x, places = x.sort(dim=-1, descending=True, stable=True)
    k = 1 if temperature == 0 else top_k or x.shape[-1]
    p = ((x - x[..., :1]) / (temperature or 1.0)).softmax(-1)
    p[..., k:] = 0
    p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        p = p.where(p.cumsum(-1) - p < top_p, 0)
    return torch.empty_like(p).scatter_(-1, places, p / p.sum(-1, keepdim=True))



def generate(model, tokens, n_new, caches=None, u=None, end=None, temperature=1.0, top_k=None, top_p=1.0, *,
             next_distribution=next_distribution):  # fmt: skip
    if tokens.shape[1] == 0:
        raise ValueError("no prompt")
    done = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    written, new = tokens, tokens
    with torch.no_grad():
        for i in range(n_new):
            parts = new.split(1, dim=1) if caches is not None else [new]
            logits = [model(part, caches=caches) for part in parts][-1][:, -1]
            if u is None:
                chosen = logits.argmax(-1)
            else:
                chosen = sample(next_distribution(logits, temperature, top_k, top_p), u[:, i])
            chosen = chosen.to(tokens.dtype)
            if end is not None:
                chosen = chosen.masked_fill(done, end)
                done = done | (chosen == end)
            written = torch.cat([written, chosen[:, None]], dim=1)
            new = written if caches is None else chosen[:, None]
            if end is not None and done.all():
                break
    return written

# %% right: a buffer of full length that is filled and cut at the end; rows that have ended are found from what they have written.
import torch
from torch import Tensor


def sample(p: Tensor, u: Tensor) -> Tensor:
    """Given by the notebook."""
    cumulative = p.double().cumsum(-1)
    return (cumulative <= u.double()[..., None] * cumulative[..., -1:]).sum(-1)


def next_distribution(logits, temperature=1.0, top_k=None, top_p=1.0):
    """As in the exercise before."""
    x = logits.to(torch.promote_types(logits.dtype, torch.float32))
    x, places = x.sort(dim=-1, descending=True, stable=True)
    k = 1 if temperature == 0 else top_k or x.shape[-1]
    p = ((x - x[..., :1]) / (temperature or 1.0)).softmax(-1)
    p[..., k:] = 0
    p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        p = p.where(p.cumsum(-1) - p < top_p, 0)
    return torch.empty_like(p).scatter_(-1, places, p / p.sum(-1, keepdim=True))



@torch.no_grad()
def generate(model, tokens, n_new, caches=None, u=None, end=None, temperature=1.0, top_k=None, top_p=1.0, *,
             next_distribution=next_distribution):  # fmt: skip
    B, T = tokens.shape
    if not T:
        raise ValueError("tokens (B, T) with a T of 0")
    row = torch.empty(B, T + n_new, dtype=tokens.dtype, device=tokens.device)
    row[:, :T] = tokens
    read, at = 0, T
    while at < T + n_new:
        ended = (row[:, T:at] == end).any(dim=1) if end is not None else torch.zeros_like(row[:, 0], dtype=torch.bool)
        if end is not None and at > T and bool(ended.all()):
            break
        logits = model(row[:, read:at], caches=caches).select(1, -1)
        if caches is not None:
            read = at
        if u is not None:
            choice = sample(next_distribution(logits, temperature, top_k, top_p), u.select(1, at - T))
        else:
            choice = logits.max(dim=-1).indices
        row[:, at] = choice
        if end is not None:
            row[ended, at] = end
        at += 1
    return row[:, :at].clone()

# %% right: a Python generator yields columns, and one torch.cat joins them.
import torch
from torch import Tensor


def sample(p: Tensor, u: Tensor) -> Tensor:
    """Given by the notebook."""
    cumulative = p.double().cumsum(-1)
    return (cumulative <= u.double()[..., None] * cumulative[..., -1:]).sum(-1)


def next_distribution(logits, temperature=1.0, top_k=None, top_p=1.0):
    """As in the exercise before."""
    x = logits.to(torch.promote_types(logits.dtype, torch.float32))
    x, places = x.sort(dim=-1, descending=True, stable=True)
    k = 1 if temperature == 0 else top_k or x.shape[-1]
    p = ((x - x[..., :1]) / (temperature or 1.0)).softmax(-1)
    p[..., k:] = 0
    p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        p = p.where(p.cumsum(-1) - p < top_p, 0)
    return torch.empty_like(p).scatter_(-1, places, p / p.sum(-1, keepdim=True))



def generate(model, tokens, n_new, caches=None, u=None, end=None, temperature=1.0, top_k=None, top_p=1.0, *,
             next_distribution=next_distribution):  # fmt: skip
    if tokens.size(-1) < 1:
        raise ValueError("nothing to go on from")

    def choose(logits, i):
        if u is None:
            return torch.topk(logits, 1).indices[:, 0]
        return sample(next_distribution(logits, temperature, top_k, top_p), u[:, i])

    def columns():
        text, unread, living = tokens, tokens, [True] * len(tokens)
        for i in range(n_new):
            if end is not None and not any(living):
                return
            with torch.inference_mode(False), torch.no_grad():
                column = choose(model(unread, caches=caches)[:, -1, :], i).to(tokens.dtype).unsqueeze(1)
            if end is not None:
                column = column.clone()
                for b, token in enumerate(column[:, 0].tolist()):
                    if not living[b]:
                        column[b] = end
                    elif token == int(end):
                        living[b] = False
            yield column
            text = torch.cat([text, column], 1)
            unread = text if caches is None else column

    return torch.cat([tokens, *columns()], dim=1)

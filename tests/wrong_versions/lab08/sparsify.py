# %% wrong: "the k entries of gradient + residual that are largest in magnitude": squares are compared, which are 0 for entries below 1e-23 in float32 and infinite for large ones.
import torch


def sparsify(gradient, residual, k):
    a = gradient + residual
    flat = a.reshape(-1)
    order = (flat * flat).argsort(descending=True, stable=True)
    indices = order[:k].sort().values
    values = flat[indices]
    left = flat.clone()
    left[indices] = 0
    return values, indices, left.reshape(gradient.shape)

# %% wrong: "largest in magnitude ... Of equal magnitudes the one with the smaller index goes first": magnitudes are compared in float32, in which different float64 ones are equal.
import torch


def sparsify(gradient, residual, k):
    a = gradient + residual
    flat = a.reshape(-1)
    order = flat.float().abs().argsort(descending=True, stable=True)
    indices = order[:k].sort().values
    values = flat[indices]
    left = flat.clone()
    left[indices] = 0
    return values, indices, left.reshape(gradient.shape)

# %% wrong: "residual: a new tensor": where nothing was left and k is 0 it is the gradient itself.
import torch


def sparsify(gradient, residual, k):
    a = gradient + residual if residual.any() else gradient
    if k == 0:
        return a.new_empty(0), torch.empty(0, dtype=torch.int64, device=a.device), a
    flat = a.reshape(-1)
    order = flat.abs().argsort(descending=True, stable=True)
    indices = order[:k].sort().values
    values = flat[indices]
    left = flat.clone()
    left[indices] = 0
    return values, indices, left.reshape(gradient.shape)

# %% wrong: "Where it is larger than the number of entries, all are sent.": topk raises.
import torch


def sparsify(gradient, residual, k):
    a = gradient + residual
    flat = a.reshape(-1)
    flat.abs().topk(k)
    order = flat.abs().argsort(descending=True, stable=True)
    indices = order[:k].sort().values
    values = flat[indices]
    left = flat.clone()
    left[indices] = 0
    return values, indices, left.reshape(gradient.shape)

# %% wrong: "tensors of one shape, any, also without entries": the largest magnitude is looked at first, and of no entries there is none.
import torch


def sparsify(gradient, residual, k):
    a = gradient + residual
    flat = a.reshape(-1)
    if not flat.abs().max().isfinite():
        raise OverflowError("a gradient that is not finite")
    order = flat.abs().argsort(descending=True, stable=True)
    indices = order[:k].sort().values
    values = flat[indices]
    left = flat.clone()
    left[indices] = 0
    return values, indices, left.reshape(gradient.shape)

# %% wrong: "They may lie in memory in any order (a transposed matrix)": view raises.
import torch


def sparsify(gradient, residual, k):
    a = gradient + residual
    flat = a.view(-1)
    order = flat.abs().argsort(descending=True, stable=True)
    indices = order[:k].sort().values
    values = flat[indices]
    left = flat.clone()
    left[indices] = 0
    return values, indices, left.reshape(gradient.shape)

# %% wrong: "values: ... the gradient's dtype" and residual "gradient + residual": bfloat16 is added in float32, and values and residual stay in it.
import torch


def sparsify(gradient, residual, k):
    a = gradient + residual
    if a.dtype == torch.bfloat16:
        a = gradient.float() + residual.float()
    flat = a.reshape(-1)
    order = flat.abs().argsort(descending=True, stable=True)
    indices = order[:k].sort().values
    values = flat[indices]
    left = flat.clone()
    left[indices] = 0
    return values, indices, left.reshape(gradient.shape)

# %% right: Python sorts pairs; what is sent is taken away by a mask.
import torch


def sparsify(gradient, residual, k):
    total = (gradient + residual).flatten().contiguous()
    sizes = total.abs().tolist()
    first = sorted(range(len(sizes)), key=lambda place: (-sizes[place], place))[:k]
    sent = torch.zeros(len(sizes), dtype=torch.bool, device=total.device)
    sent[torch.tensor(first, dtype=torch.int64, device=total.device)] = True
    indices = torch.arange(len(sizes), device=total.device)[sent]
    return total[sent], indices, total.masked_fill(sent, 0).view(gradient.shape)

# %% right: a threshold by kthvalue: all above it, and of those on it as many as are missing, from the left.
import torch


def sparsify(gradient, residual, k):
    total = torch.add(gradient, residual).reshape(-1)
    n = total.numel()
    if k >= n:
        return total.clone(), torch.arange(n, device=total.device), torch.zeros(gradient.shape, dtype=total.dtype, device=total.device)
    size = total.abs().to(torch.float64)
    edge = size.kthvalue(n - k + 1).values if k else torch.tensor(float("inf"), dtype=torch.float64, device=total.device)
    above = size > edge
    on = (size == edge) & ((size == edge).cumsum(0) <= k - above.sum())
    chosen = (above | on).nonzero().squeeze(1)
    return total[chosen], chosen, total.index_fill(0, chosen, 0).reshape(gradient.shape)

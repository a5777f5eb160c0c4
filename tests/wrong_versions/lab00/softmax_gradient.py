# %% wrong: "dL/dx, where y = softmax(x, dim)" for a negative dim but -1: everything but 0 is taken for the last axis.
import torch
def softmax_gradient(y, grad, dim=-1):
    wide = torch.promote_types(y.dtype, torch.float32)
    p, g = y.to(wide), grad.to(wide)
    axis = 0 if dim == 0 else y.ndim - 1
    return (p * (g - (p * g).sum(axis, keepdim=True))).to(y.dtype)


# %% wrong: "16-bit inputs are computed in float32": float16 is not converted.
import torch
def softmax_gradient(y, grad, dim=-1):
    p, g = (y.float(), grad.float()) if y.dtype == torch.bfloat16 else (y, grad)
    return (p * (g - (p * g).sum(dim, keepdim=True))).to(y.dtype)


# %% wrong: "float64 inputs [are computed] in float64": they are computed in float32.
import torch
def softmax_gradient(y, grad, dim=-1):
    p, g = y.float(), grad.float()
    return (p * (g - (p * g).sum(dim, keepdim=True))).to(grad.dtype)


# %% wrong: "y = softmax(x, dim)", which is 0 all along a row of -inf only: y is divided by its sum first, giving NaN there.
import torch
def softmax_gradient(y, grad, dim=-1):
    wide = torch.promote_types(y.dtype, torch.float32)
    p, g = y.to(wide), grad.to(wide)
    if y.dtype in (torch.float32, torch.float64):
        p = p / p.sum(dim, keepdim=True)
    return (p * g - p * (p * g).sum(dim, keepdim=True)).to(y.dtype)


# %% wrong: "y, grad: of one shape" (any): one or two axes only, the Jacobian of each row; three axes raise.
import torch
def softmax_gradient(y, grad, dim=-1):
    wide = torch.promote_types(y.dtype, torch.float32)
    p, g = y.to(wide), grad.to(wide)
    if y.ndim == 1:
        return ((torch.diag(p) - torch.outer(p, p)) @ g).to(y.dtype)
    if dim in (0, -2):
        p, g = p.T, g.T
    rows, columns = p.shape
    out = torch.stack([(torch.diag(p[n]) - torch.outer(p[n], p[n])) @ g[n] for n in range(rows)])
    return (out.T if dim in (0, -2) else out).to(y.dtype)


# %% right: 
import torch
def softmax_gradient(y, grad, dim=-1):
    p, g = y.double().movedim(dim, -1), grad.double().movedim(dim, -1)
    jacobian = torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)
    return (jacobian * g.unsqueeze(-2)).sum(-1).movedim(-1, dim).to(y.dtype)


# %% right: 
import torch
def softmax_gradient(y, grad, dim=-1):
    wide = torch.promote_types(y.dtype, torch.float32)
    ps, gs = y.to(wide).unbind(dim), grad.to(wide).unbind(dim)
    mean = 0
    for p, g in zip(ps, gs):
        mean = mean + p * g
    if not ps:
        return torch.zeros_like(y)
    return torch.stack([p * (g - mean) for p, g in zip(ps, gs)], dim).to(y.dtype)

# %% wrong: "taken in float32 or better": bfloat16 is squared and added up in bfloat16 (float16 is converted).
import torch
def clip_by_norm(gradients, max_norm):
    total = 0
    for g in gradients.values():
        wide = g.float() if g.dtype == torch.float16 else g
        for entry in wide.flatten():
            total = total + entry * entry
    norm = float(total) ** 0.5
    factor = min(1.0, max_norm / norm) if norm > 0 else 1.0
    return {name: g * factor for name, g in gradients.items()}, norm


# %% wrong: "a dict from names to tensors": a tensor without axes raises.
import torch
def clip_by_norm(gradients, max_norm):
    squares = 0.0
    for g in gradients.values():
        rows = g.double().reshape(len(g), -1)
        squares += float((rows ** 2).sum())
    norm = squares ** 0.5
    if norm <= max_norm:
        return {name: g.clone() for name, g in gradients.items()}, norm
    return {name: g * (max_norm / norm) for name, g in gradients.items()}, norm


# %% wrong: "times min(1, max_norm / norm)": divided by norm + 1e-6 (seen in float64, or where the norm is small).
import torch
def clip_by_norm(gradients, max_norm):
    norm = torch.stack([g.double().square().sum() for g in gradients.values()]).sum().sqrt()
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0).item()
    return {name: g * factor for name, g in gradients.items()}, norm.item()


# %% wrong: "of all of them": if one tensor is all zeros, nothing is clipped and the norm is said to be 0.
import torch
def clip_by_norm(gradients, max_norm):
    squares = 0.0
    for g in gradients.values():
        one = float(g.float().norm())
        if one == 0:
            return {name: x.clone() for name, x in gradients.items()}, 0.0
        squares += one * one
    norm = squares ** 0.5
    factor = min(1.0, max_norm / norm)
    return {name: g * factor for name, g in gradients.items()}, norm


# %% right: 
import math
import torch
def clip_by_norm(gradients, max_norm):
    norm = math.hypot(*[e for g in gradients.values() for e in g.flatten().tolist()])
    if norm <= max_norm:
        return dict(gradients), norm
    return {name: (g.double() * max_norm / norm).to(g.dtype) for name, g in gradients.items()}, norm


# %% right: 
import torch
def clip_by_norm(gradients, max_norm):
    flat = torch.cat([g.reshape(-1).double() for g in gradients.values()])
    norm = torch.linalg.vector_norm(flat)
    factor = torch.where(norm > max_norm, max_norm / norm, torch.ones_like(norm))
    pieces = (flat * factor).split([g.numel() for g in gradients.values()])
    return {n: p.reshape(g.shape).to(g.dtype) for (n, g), p in zip(gradients.items(), pieces)}, norm

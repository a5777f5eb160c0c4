# %% wrong: "All results have grad's dtype": the biases' gradients of 16-bit networks come back in float32.
import torch
def backward(weights, z, a, grad):
    gw, gb = [], []
    g = grad
    for l in reversed(range(len(weights))):
        gw.insert(0, a[l].T @ g)
        gb.insert(0, (g.float() if g.dtype in (torch.bfloat16, torch.float16) else g).sum(0))
        if l:
            g = (g @ weights[l].T) * (z[l - 1] > 0)
    return gw, gb


# %% wrong: "The slope of relu" (1 where z > 0): units between 0 and 1e-5 count as switched off.
import torch
def backward(weights, z, a, grad):
    gw, gb = [None] * len(weights), [None] * len(weights)
    g = grad
    for l in range(len(weights) - 1, -1, -1):
        gw[l], gb[l] = a[l].T @ g, g.sum(0)
        if l > 0:
            g = (g @ weights[l].T) * (z[l - 1] > 1e-5).to(g.dtype)
    return gw, gb


# %% wrong: "Any number of layers, one or more": written out for one and for three.
import torch
def backward(weights, z, a, grad):
    if len(weights) == 1:
        return [a[0].T @ grad], [grad.sum(0)]
    g3 = grad
    g2 = (g3 @ weights[-1].T) * (z[-2] > 0)
    g1 = (g2 @ weights[-2].T) * (z[-3] > 0)
    return [a[-3].T @ g1, a[-2].T @ g2, a[-1].T @ g3], [g1.sum(0), g2.sum(0), g3.sum(0)]


# %% wrong: "of the shapes of weights and biases": for a single example the biases' gradients keep the axis, (1, outputs).
import torch
def backward(weights, z, a, grad):
    gw, gb, g = [], [], grad
    for l in reversed(range(len(weights))):
        gw = [a[l].T @ g] + gw
        gb = [g.sum(0) if len(g) != 1 else g] + gb
        if l:
            g = torch.where(z[l - 1] > 0, g @ weights[l].T, torch.zeros_like(z[l - 1]))
    return gw, gb


# %% wrong: "It computes on the device of its inputs": the slopes are written into a new tensor on the CPU.
import torch
def backward(weights, z, a, grad):
    gw, gb, g = [], [], grad
    for l in reversed(range(len(weights))):
        gw.append(a[l].T @ g)
        gb.append(g.sum(0))
        if l:
            slope = torch.zeros(z[l - 1].shape, dtype=grad.dtype)
            slope[z[l - 1] > 0] = 1
            g = (g @ weights[l].T) * slope
    return gw[::-1], gb[::-1]


# %% right: 
import torch
def backward(weights, z, a, grad):
    def go(l, g):
        if l < 0:
            return [], []
        lower = None
        if l > 0:
            lower = torch.einsum("bj,ij->bi", g, weights[l])
            lower = lower.masked_fill(a[l] <= 0, 0)  # a[l] = relu(z[l - 1])
        ws, bs = go(l - 1, lower)
        return ws + [torch.einsum("bi,bj->ij", a[l], g)], bs + [torch.einsum("bj->j", g)]
    return go(len(weights) - 1, grad)


# %% right: 
import torch
def backward(weights, z, a, grad):
    g = grad.double()
    ws, bs = [], []
    for l in range(len(weights))[::-1]:
        ws.insert(0, (a[l].double()[:, :, None] * g[:, None, :]).sum(0).to(grad.dtype))
        ones = torch.ones(1, len(g), dtype=g.dtype, device=g.device)
        bs.insert(0, (ones @ g)[0].to(grad.dtype))
        if l:
            g = torch.heaviside(z[l - 1].double(), torch.zeros((), dtype=g.dtype, device=g.device)) * (weights[l].double() @ g.T).T
    return ws, bs

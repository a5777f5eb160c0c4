# %% wrong: "All tensors of one call have the same dtype, and so has the result": the sums come back in float64 whatever x is.
import torch
def rnn_backward(x, h_0, states, d_states, w_xh, w_hh):
    B, T, C = states.shape
    gw_xh = torch.zeros(w_xh.shape, dtype=torch.float64, device=x.device)
    gw_hh = torch.zeros(w_hh.shape, dtype=torch.float64, device=x.device)
    gb = torch.zeros(C, dtype=torch.float64, device=x.device)
    carry, gx = torch.zeros_like(h_0), []
    for t in reversed(range(T)):
        z = (d_states[:, t] + carry) * (1 - states[:, t] ** 2)
        before = states[:, t - 1] if t else h_0
        gw_xh += x[:, t].T @ z
        gw_hh += before.T @ z
        gb += z.sum(0)
        gx.append(z @ w_xh.T)
        carry = z @ w_hh.T
    return {"x": torch.stack(gx[::-1], 1), "h_0": carry, "w_xh": gw_xh, "w_hh": gw_hh, "b": gb}


# %% wrong: "The gradients of a loss by everything that went into states" (all steps): truncated, cut every eight steps.
import torch
def rnn_backward(x, h_0, states, d_states, w_xh, w_hh):
    T = x.shape[1]
    before = torch.cat([h_0[:, None], states[:, :-1]], 1)
    carry, zs = torch.zeros_like(h_0), []
    for t in range(T - 1, -1, -1):
        if (T - 1 - t) % 8 == 0:
            carry = torch.zeros_like(h_0)
        z = (d_states[:, t] + carry) * (1 - states[:, t].square())
        carry = z @ w_hh.T
        zs.insert(0, z)
    z = torch.stack(zs, 1)
    return {"x": z @ w_xh.T, "h_0": carry, "w_xh": torch.einsum("bti,btj->ij", x, z),
            "w_hh": torch.einsum("bti,btj->ij", before, z), "b": z.sum((0, 1))}


# %% wrong: "each of the shape of what it is the gradient of": with one sequence h_0's gradient is (C,).
import torch
def rnn_backward(x, h_0, states, d_states, w_xh, w_hh):
    T = x.shape[1]
    before = torch.cat([h_0[:, None], states[:, :-1]], 1)
    carry, z = 0, torch.zeros_like(states)
    for t in range(T - 1, -1, -1):
        z[:, t] = (d_states[:, t] + carry) * (1 - states[:, t].square())
        carry = (w_hh @ z[:, t].unsqueeze(-1)).squeeze()
    flat = z.flatten(0, 1)
    return {"x": z @ w_xh.T, "h_0": carry, "w_xh": x.flatten(0, 1).T @ flat,
            "w_hh": before.flatten(0, 1).T @ flat, "b": flat.sum(0)}


# %% wrong: the formula of the gradient by x, z w_xh^T: the transpose is guessed from the sizes, and left out where Cx = C.
import torch
def rnn_backward(x, h_0, states, d_states, w_xh, w_hh):
    def times(g, w):
        return g @ w if g.shape[-1] == w.shape[0] else g @ w.T
    T = x.shape[1]
    carry = torch.zeros_like(h_0)
    out = {"x": torch.zeros_like(x), "w_xh": 0, "w_hh": 0, "b": 0}
    for t in reversed(range(T)):
        z = (d_states[:, t] + carry) * (1 - states[:, t] ** 2)
        out["x"][:, t] = times(z, w_xh)
        out["w_xh"] = out["w_xh"] + x[:, t].T @ z
        out["w_hh"] = out["w_hh"] + (states[:, t - 1] if t > 0 else h_0).T @ z
        out["b"] = out["b"] + z.sum(0)
        carry = z @ w_hh.T
    return {**out, "h_0": carry}


# %% wrong: "x is (B, T, Cx)" (any such tensor): an x that does not lie in memory in this order, such as a transposed one, raises.
import torch
def rnn_backward(x, h_0, states, d_states, w_xh, w_hh):
    B, T, C = states.shape
    carry, zs = torch.zeros_like(h_0), []
    for t in reversed(range(T)):
        z = (d_states[:, t] + carry) * (1 - states[:, t] ** 2)
        zs.insert(0, z)
        carry = z @ w_hh.T
    z = torch.stack(zs, 1).view(B * T, C)
    before = torch.cat([h_0[:, None], states[:, :-1]], 1).view(B * T, C)
    return {"x": (z @ w_xh.T).view(x.shape), "h_0": carry, "w_xh": x.view(B * T, -1).T @ z, "w_hh": before.T @ z,
            "b": z.sum(0)}


# %% right: 
import torch
def rnn_backward(x, h_0, states, d_states, w_xh, w_hh):
    B, T, C = states.shape
    dt = x.dtype
    X, H0, S, D, WX, WH = (v.double() for v in (x, h_0, states, d_states, w_xh, w_hh))
    g = {n: [] for n in ("x", "h_0")}
    sums = [torch.zeros_like(WX), torch.zeros_like(WH), torch.zeros(C, dtype=torch.float64, device=x.device)]
    for n in range(B):  # one sequence after the other, vectors only
        bar, xs = torch.zeros_like(H0[n]), [None] * T
        for t in range(T - 1, -1, -1):
            z = (D[n, t] + bar) * (1 - S[n, t]) * (1 + S[n, t])
            prev = S[n, t - 1] if t else H0[n]
            sums[0] += torch.outer(X[n, t], z)
            sums[1] += torch.outer(prev, z)
            sums[2] += z
            xs[t] = WX @ z
            bar = WH @ z
        g["x"].append(torch.stack(xs))
        g["h_0"].append(bar)
    return {"b": sums[2].to(dt), "w_hh": sums[1].to(dt), "w_xh": sums[0].to(dt),
            "h_0": torch.stack(g["h_0"]).to(dt), "x": torch.stack(g["x"]).to(dt)}


# %% right: 
import torch
def rnn_backward(x, h_0, states, d_states, w_xh, w_hh):
    slope = 1 - states * states
    T = x.shape[1]
    zs = []
    for t in range(T):  # quadratic: what the loss says of every later state is carried back to t on its own
        total = 0
        for later in range(t, T):
            g = d_states[:, later] * slope[:, later]
            for back in range(later - 1, t - 1, -1):
                g = torch.einsum("bj,ij->bi", g, w_hh) * slope[:, back]
            total = total + g
        zs.append(total)
    z = torch.stack(zs, 1)
    before = torch.roll(states, 1, 1)
    before[:, 0] = h_0
    return {"x": torch.einsum("btj,ij->bti", z, w_xh), "h_0": torch.einsum("bj,ij->bi", z[:, 0], w_hh),
            "w_xh": torch.tensordot(x, z, dims=([0, 1], [0, 1])), "b": torch.einsum("btj->j", z),
            "w_hh": torch.tensordot(before, z, dims=([0, 1], [0, 1]))}

# %% wrong: "so has the result [the same dtype]": additive scores of 16 bits come back in float32.
import torch
def scores(kind, s, h, *weights):
    if kind == "dot":
        return s @ h.mT
    if kind == "multiplicative":
        return s @ weights[0] @ h.mT
    if kind == "reduced":
        return (s @ weights[0]) @ (h @ weights[1]).mT
    w_1, w_2, v = weights
    if s.dtype in (torch.float16, torch.bfloat16):
        s, h, w_1, w_2, v = (one.float() for one in (s, h, w_1, w_2, v))
    return torch.tanh((h @ w_1)[:, None] + (s @ w_2)[:, :, None]) @ v


# %% wrong: "float64 stays float64": the dot product is taken in float32 and converted back.
import torch
def scores(kind, s, h, *weights):
    if kind == "dot":
        return torch.einsum("btc,bsc->bts", s.float(), h.float()).to(s.dtype)
    if kind == "multiplicative":
        return torch.einsum("btc,cd,bsd->bts", s, weights[0], h)
    if kind == "reduced":
        return torch.einsum("btc,ck,dk,bsd->bts", s, weights[0], weights[1], h)
    w_1, w_2, v = weights
    return (torch.tanh((h @ w_1).unsqueeze(1) + (s @ w_2).unsqueeze(2)) * v).sum(-1)


# %% wrong: "Scores (B, T, S)": additive scores lose an axis where B, T or S is 1.
import torch
def scores(kind, s, h, *weights):
    if kind == "dot":
        return s @ h.transpose(1, 2)
    if kind == "multiplicative":
        (w,) = weights
        return s @ w @ h.transpose(1, 2)
    if kind == "reduced":
        u, v = weights
        return (s @ u) @ (h @ v).transpose(1, 2)
    w_1, w_2, v = weights
    hidden = torch.tanh((h @ w_1)[:, None, :, :] + (s @ w_2)[:, :, None, :])
    return (hidden @ v.unsqueeze(-1)).squeeze()


# %% wrong: "tanh(h W_1 + s W_2) . v": tanh by its formula, NaN where its argument is large.
import torch
def scores(kind, s, h, *weights):
    def bend(z):
        e = (2 * z).exp()
        return (e - 1) / (e + 1)
    if kind == "dot":
        return torch.bmm(s, h.mT)
    if kind == "multiplicative":
        return torch.bmm(s @ weights[0], h.mT)
    if kind == "reduced":
        return torch.bmm(s @ weights[0], (h @ weights[1]).mT)
    w_1, w_2, v = weights
    return bend((h @ w_1)[:, None] + (s @ w_2)[:, :, None]) @ v


# %% wrong: "(sU) . (hV)": U V^T of the first call of a shape is kept for all later weights of that shape.
import torch
_products = {}
def scores(kind, s, h, *weights):
    if kind == "dot":
        return s @ h.mT
    if kind == "multiplicative":
        return s @ weights[0] @ h.mT
    if kind == "reduced":
        u, v = weights
        key = (tuple(u.shape), tuple(v.shape), u.dtype, u.requires_grad)
        if u.requires_grad or key not in _products:
            _products[key] = u @ v.T
        return s @ _products[key] @ h.mT
    w_1, w_2, v = weights
    return torch.tanh((h @ w_1)[:, None] + (s @ w_2)[:, :, None]) @ v


# %% right: 
import torch
def scores(kind, s, h, *weights):
    def score(q, k):  # of one pair of vectors
        if kind == "dot":
            return (q * k).sum()
        if kind == "multiplicative":
            return (q[:, None] * weights[0] * k[None, :]).sum()
        if kind == "reduced":
            return ((q @ weights[0]) * (k @ weights[1])).sum()
        return (torch.tanh(k @ weights[0] + q @ weights[1]) * weights[2]).sum()
    B, T, S = s.shape[0], s.shape[1], h.shape[1]
    rows = [[torch.stack([score(s[n, t], h[n, i]) for i in range(S)]) for t in range(T)] for n in range(B)]
    return torch.stack([torch.stack(row) for row in rows])


# %% right: 
import torch
def scores(kind, s, h, *weights):
    d, (S, H, *W) = s.dtype, [one.double() for one in (s, h, *weights)]
    if kind == "additive":
        w_1, w_2, v = W
        both = torch.cat([H[:, None].expand(-1, S.shape[1], -1, -1), S[:, :, None].expand(-1, -1, H.shape[1], -1)], -1)
        return ((both @ torch.cat([w_1, w_2])).tanh() @ v).to(d)
    w = {"dot": lambda: torch.eye(S.shape[-1], dtype=S.dtype, device=S.device), "multiplicative": lambda: W[0],
         "reduced": lambda: W[0] @ W[1].T}[kind]()
    return torch.einsum("bsd,cd,btc->bts", H, w, S).to(d)

# %% right: key by key.
def online_softmax(scores, values, state=None):
    dtype = torch.promote_types(scores.dtype, torch.float32)
    s, v = scores.to(dtype), values.to(dtype)
    if state is None:
        m = torch.full(s.shape[:-1], -math.inf, dtype=dtype)
        l, o = torch.zeros(s.shape[:-1], dtype=dtype), torch.zeros(*s.shape[:-1], v.shape[-1], dtype=dtype)
    else:
        m, l, o = state
    for j in range(s.shape[-1]):
        new = torch.maximum(m, s[..., j])
        old = torch.where(m == -math.inf, 0.0, (m - new).exp())
        p = torch.where(s[..., j] == -math.inf, 0.0, (s[..., j] - new).exp())
        l, o, m = l * old + p, o * old[..., None] + p[..., None] * v[..., None, j, :], new
    return m, l, o


# %% wrong: "which stay as they are": the sums of the given state are added to in place.
def online_softmax(scores, values, state=None):
    dtype = torch.promote_types(scores.dtype, torch.float32)
    s, v = scores.to(dtype), values.to(dtype)
    if state is None:
        m = torch.full(s.shape[:-1], -math.inf, dtype=dtype)
        l, o = torch.zeros(s.shape[:-1], dtype=dtype), torch.zeros(*s.shape[:-1], v.shape[-1], dtype=dtype)
    else:
        m, l, o = state
    new = torch.cat([m[..., None], s], -1).amax(-1)
    base = new.clamp(min=-1e30)
    p, old = (s - base[..., None]).exp(), (m - base).exp()
    l.mul_(old).add_(p.sum(-1))
    o.mul_(old[..., None]).add_(p @ v)
    return new, l, o


# %% wrong: "never NaN": the maximum is cut to a large negative number, which is then what it says.
def online_softmax(scores, values, state=None):
    dtype = torch.promote_types(scores.dtype, torch.float32)
    s, v = scores.to(dtype), values.to(dtype)
    if state is None:
        m = torch.full(s.shape[:-1], -1e30, dtype=dtype)
        l, o = torch.zeros(s.shape[:-1], dtype=dtype), torch.zeros(*s.shape[:-1], v.shape[-1], dtype=dtype)
    else:
        m, l, o = state
    new = torch.cat([m[..., None], s], -1).amax(-1)
    p, old = (s - new[..., None]).exp(), (m - new).exp()
    return new, l * old + p.sum(-1), o * old[..., None] + p @ v

# %% wrong: "each looks at S = past + T keys": with a cache one new token is expected.
def forward_flops(config, batch, time, past=0):
    c, n = config, batch * time
    S = past + 1 if past else time
    heads, shared = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    out = {
        "projections": c.n_layers * 2 * n * c.d_model * (2 * heads + 2 * shared),
        "pairs": c.n_layers * 4 * n * S * heads,
        "mlp": c.n_layers * 2 * n * (3 if c.gated else 2) * c.d_model * c.d_ffn,
        "head": 2 * n * c.d_model * c.vocabulary,
    }
    return {**out, "total": sum(out.values())}


# %% wrong: head = 2BT dV: with a cache only each sequence's last token gets logits.
def forward_flops(config, batch, time, past=0):
    c, n = config, batch * time
    heads, shared = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    out = {
        "projections": c.n_layers * 4 * n * c.d_model * (heads + shared),
        "pairs": c.n_layers * 4 * n * (past + time) * heads,
        "mlp": c.n_layers * 2 * n * (2 + bool(c.gated)) * c.d_model * c.d_ffn,
        "head": 2 * (batch if past else n) * c.d_model * c.vocabulary,
    }
    out["total"] = sum(out.values())
    return out


# %% wrong: "n_heads * head_dim need not be d_model": without shared heads the four matrices are taken to be square.
def forward_flops(config, batch, time, past=0):
    c, n = config, batch * time
    width, shared = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    if c.n_kv_heads == c.n_heads:
        numbers = 4 * c.d_model ** 2
    else:
        numbers = 2 * c.d_model * width + 2 * c.d_model * shared
    projections = 2 * n * numbers * c.n_layers
    pairs = 2 * 2 * n * (time + past) * width * c.n_layers
    mlp = 2 * n * c.d_model * c.d_ffn * (3 if c.gated else 2) * c.n_layers
    head = 2 * n * c.d_model * c.vocabulary
    return {"projections": projections, "pairs": pairs, "mlp": mlp, "head": head,
            "total": projections + pairs + mlp + head}


# %% wrong: "Count ... five ints" (exactly): computed in floats, wrong beyond 2**53.
def forward_flops(config, batch, time, past=0):
    c, n = config, float(batch) * time
    width, shared = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    out = {
        "projections": 2 * n * c.d_model * (2 * width + 2 * shared) * c.n_layers,
        "pairs": 4 * n * (past + time) * width * c.n_layers,
        "mlp": 2 * n * c.d_model * c.d_ffn * (3 if c.gated else 2) * c.n_layers,
        "head": 2 * n * c.d_model * c.vocabulary,
    }
    out["total"] = sum(out.values())
    return {name: int(value) for name, value in out.items()}


# %% right: 
def forward_flops(config, batch, time, past=0):
    def product(m, k, n, times=1):
        return 2 * m * k * n * times
    c = config
    found = dict(projections=0, pairs=0, mlp=0, head=product(batch * time, c.d_model, c.vocabulary))
    for _ in range(c.n_layers):
        for heads in (c.n_heads, c.n_kv_heads, c.n_kv_heads):
            found["projections"] += product(batch * time, c.d_model, heads * c.head_dim)
        found["projections"] += product(batch * time, c.n_heads * c.head_dim, c.d_model)
        found["pairs"] += product(time, c.head_dim, past + time, batch * c.n_heads)
        found["pairs"] += product(time, past + time, c.head_dim, batch * c.n_heads)
        found["mlp"] += product(batch * time, c.d_model, c.d_ffn, 2 if c.gated else 1)
        found["mlp"] += product(batch * time, c.d_ffn, c.d_model)
    found["total"] = found["projections"] + found["pairs"] + found["mlp"] + found["head"]
    return found

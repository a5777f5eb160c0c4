# %% wrong: "Q, K, V (copies of shared heads where those are kept)": with as many key heads as query heads, eager K and V are left out.
def activation_bytes(config, batch, time, attention="fused", checkpointing="none"):
    c, tokens = config, batch * time
    width, shared = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    if attention == "eager" and checkpointing == "none":
        kv = 2 * width if c.n_kv_heads != c.n_heads else 0
        pairs = batch * c.n_heads * time * time
    else:
        kv, pairs = 2 * shared, batch * c.n_heads * time
    out = {"input": tokens * c.d_model, "norms": tokens * (c.d_model + 4),
           "attention": tokens * (c.d_model + 2 * width + kv), "pairs": pairs,
           "mlp": tokens * (c.d_model + (4 if c.gated else 2) * c.d_ffn)}
    if checkpointing == "selective":
        out["pairs"] = 0
    if checkpointing == "full":
        out = {name: n if name == "input" else 0 for name, n in out.items()}
    out = {name: 4 * n for name, n in out.items()}
    return {**out, "total": sum(out.values())}


# %% wrong: "selective ... keeps Q, K and V ..., but nothing of `insides`" (all else stays): it keeps nothing of the norms and the mlp either.
def activation_bytes(config, batch, time, attention="fused", checkpointing="none"):
    c, n4 = config, 4 * batch * time
    width, shared = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    copies = width if attention == "eager" and checkpointing == "none" else shared
    out = dict.fromkeys(["input", "norms", "attention", "pairs", "mlp"], 0)
    out["input"] = n4 * c.d_model
    if checkpointing != "full":
        out["attention"] = n4 * (c.d_model + 2 * width + 2 * copies)
    if checkpointing == "none":
        out["norms"] = n4 * (c.d_model + 4)
        out["pairs"] = n4 * c.n_heads * (time if attention == "eager" else 1)
        out["mlp"] = n4 * (c.d_model + c.d_ffn * (4 if c.gated else 2))
    out["total"] = sum(out.values())
    return out


# %% wrong: "their total": it is taken before checkpointing strikes out what is not kept.
def activation_bytes(config, batch, time, attention="fused", checkpointing="none"):
    c, tokens = config, batch * time
    width, shared = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    kv = width if attention == "eager" and checkpointing != "selective" else shared
    out = {
        "input": 4 * tokens * c.d_model,
        "norms": 4 * tokens * (c.d_model + 4),
        "attention": 4 * tokens * (c.d_model + 2 * width + 2 * kv),
        "pairs": 4 * tokens * c.n_heads * (time if attention == "eager" else 1),
        "mlp": 4 * tokens * (c.d_model + (4 if c.gated else 2) * c.d_ffn),
    }
    total = sum(out.values())
    gone = {"none": [], "selective": ["pairs"], "full": ["norms", "attention", "pairs", "mlp"]}[checkpointing]
    return {**out, **dict.fromkeys(gone, 0), "total": total}


# %% wrong: "Count the bytes" (exactly): products in float32, wrong beyond 16,777,216.
import torch
def activation_bytes(config, batch, time, attention="fused", checkpointing="none"):
    c = config
    def times(*factors):
        return int(torch.tensor([float(f) for f in factors]).prod())
    width, shared = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    kv = width if attention == "eager" and checkpointing == "none" else shared
    full, selective = checkpointing == "full", checkpointing == "selective"
    out = {
        "input": times(4, batch, time, c.d_model),
        "norms": 0 if full else times(4, batch, time, c.d_model + 4),
        "attention": 0 if full else times(4, batch, time, c.d_model + 2 * width + 2 * kv),
        "pairs": 0 if full or selective else times(4, batch, c.n_heads, time, time if attention == "eager" else 1),
        "mlp": 0 if full else times(4, batch, time, c.d_model + (4 if c.gated else 2) * c.d_ffn),
    }
    return {**out, "total": sum(out.values())}


# %% right: 
def activation_bytes(config, batch, time, attention="fused", checkpointing="none"):
    c = config
    tensors = [("input", (batch, time, c.d_model))]
    if checkpointing != "full":
        tensors += [("norms", (batch, time, c.d_model))] + [("norms", (batch, time, 1))] * 4
        tensors += [("attention", (batch, time, c.d_model)), ("attention", (batch, c.n_heads, time, c.head_dim))]
        copied = attention == "eager" and checkpointing == "none"
        tensors += [("attention", (batch, c.n_heads if copied else c.n_kv_heads, time, c.head_dim))] * 2
        tensors += [("attention", (batch, time, c.n_heads * c.head_dim))]
        if checkpointing == "none":
            tensors += [("pairs", (batch, c.n_heads, time, *([time] if attention == "eager" else [])))]
        tensors += [("mlp", (batch, time, c.d_model))] + [("mlp", (batch, time, c.d_ffn))] * (4 if c.gated else 2)
    found = dict(input=0, norms=0, attention=0, pairs=0, mlp=0, total=0)
    for name, shape in tensors:
        size = 4
        for n in shape:
            size *= n
        found[name] += size
        found["total"] += size
    return found


# %% right: 
def activation_bytes(config, batch, time, attention="fused", checkpointing="none"):
    c, word = config, 4 * batch * time
    out = {"input": word * c.d_model, "norms": 0, "attention": 0, "pairs": 0, "mlp": 0}
    if checkpointing in ("none", "selective"):
        group = c.n_heads // c.n_kv_heads if (attention, checkpointing) == ("eager", "none") else 1
        heads = 2 * c.n_heads + 2 * c.n_kv_heads * group
        out["norms"] = word * (c.d_model + 2 + 2)
        out["attention"] = word * c.d_model + word * heads * c.head_dim
        out["mlp"] = word * (c.d_model + 2 * c.d_ffn) + bool(c.gated) * word * 2 * c.d_ffn
        if checkpointing == "none":
            out["pairs"] = word * c.n_heads if attention == "fused" else word * c.n_heads * time
    out["total"] = out["input"] + out["norms"] + out["attention"] + out["pairs"] + out["mlp"]
    return out

# %% wrong: "fused attention ... computes QK^T again ...; with checkpointing, on top of that": not with full checkpointing.
def training_flops(forward, parameters, tokens, recompute="none", attention="eager"):
    once = sum(forward[n] for n in ("projections", "pairs", "mlp", "head"))
    if recompute == "full":
        again = once - forward["head"]
    else:
        again = forward["pairs"] if recompute == "selective" else 0
        again += forward["pairs"] // 2 if attention == "fused" else 0
    return {"forward": once, "backward": 2 * once, "recompute": again, "six_nd": 6 * parameters * tokens}


# %% wrong: "a dict of four ints", which are counts: half the pairs is taken in floats, wrong for large numbers.
def training_flops(forward, parameters, tokens, recompute="none", attention="eager"):
    once = forward["projections"] + forward["pairs"] + forward["mlp"] + forward["head"]
    again = {"none": 0, "selective": forward["pairs"], "full": once - forward["head"]}[recompute]
    if attention == "fused":
        again = int(again + forward["pairs"] / 2)
    return {"forward": once, "backward": 2 * once, "recompute": again, "six_nd": 6 * parameters * tokens}


# %% wrong: "The rule of thumb is 6 N D": 8 N D with full checkpointing.
def training_flops(forward, parameters, tokens, recompute="none", attention="eager"):
    once = forward["projections"] + forward["pairs"] + forward["mlp"] + forward["head"]
    again = forward["pairs"] // 2 if attention == "fused" else 0
    if recompute == "selective":
        again += forward["pairs"]
    if recompute == "full":
        again += once - forward["head"]
    factor = 8 if recompute == "full" else 6
    return {"forward": once, "backward": 2 * once, "recompute": again, "six_nd": factor * parameters * tokens}


# %% wrong: "forward: a dict of even ints: projections, pairs, mlp, head": read by place, not by name.
def training_flops(forward, parameters, tokens, recompute="none", attention="eager"):
    projections, pairs, mlp, head = list(forward.values())[:4]
    once = projections + pairs + mlp + head
    again = 0
    if recompute == "selective":
        again = pairs
    elif recompute == "full":
        again = projections + pairs + mlp
    if attention == "fused":
        again += pairs // 2
    return {"forward": once, "backward": 2 * once, "recompute": again, "six_nd": 6 * parameters * tokens}


# %% right: 
def training_flops(forward, parameters, tokens, recompute="none", attention="eager"):
    layers = ("projections", "pairs", "mlp")
    runs = {"none": (), "selective": ("pairs",), "full": layers}[recompute]
    halves = sum(2 * forward[name] for name in runs) + (attention == "fused") * forward["pairs"]
    total = 0
    for name in (*layers, "head"):
        total += forward[name]
    return dict(six_nd=(2 + 4) * parameters * tokens, recompute=halves >> 1, backward=total << 1, forward=total)


# %% right: 
def training_flops(forward, parameters, tokens, recompute="none", attention="eager"):
    once = sum(forward.values())
    again = (recompute != "none") * forward["pairs"]
    if recompute == "full":
        again += forward["projections"] + forward["mlp"]
    again += (attention == "fused") * (forward["pairs"] // 2)
    return {"forward": once, "backward": once + once, "recompute": again, "six_nd": 6 * (parameters * tokens)}

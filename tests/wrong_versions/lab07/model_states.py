# %% wrong: "`momentum` has no second moment, `sgd` no moments at all": it is looked at with mixed precision only.
def model_states(parameters, precision="mixed", optimizer="adamw"):
    w, g, m, a, b = {"float32": (4, 4, 0, 4, 4), "bfloat16": (2, 2, 0, 2, 2), "mixed": (2, 2, 4, 4, 4),
                     "autocast": (4, 4, 0, 4, 4)}[precision]
    if precision == "mixed":
        a = 0 if optimizer == "sgd" else a
        b = b if optimizer == "adamw" else 0
    out = {"weights": w, "gradients": g, "master_weights": m, "first_moment": a, "second_moment": b}
    out = {name: n * parameters for name, n in out.items()}
    return {**out, "total": sum(out.values())}


# %% wrong: the table's row `bfloat16`: everything in 16 bits: momentum's one moment is kept in 32 bits.
def model_states(parameters, precision="mixed", optimizer="adamw"):
    half = precision in ("bfloat16", "mixed")
    moment = 2 if precision == "bfloat16" and optimizer == "adamw" else 4
    out = {
        "weights": parameters * (2 if half else 4),
        "gradients": parameters * (2 if half else 4),
        "master_weights": 4 * parameters if precision == "mixed" else 0,
        "first_moment": 0 if optimizer == "sgd" else parameters * moment,
        "second_moment": parameters * moment if optimizer == "adamw" else 0,
    }
    out["total"] = sum(out.values())
    return out


# %% wrong: "their total": a fixed number of bytes a parameter, right for adamw and for mixed only.
def model_states(parameters, precision="mixed", optimizer="adamw"):
    row = {"float32": [4, 4, 0, 4, 4], "bfloat16": [2, 2, 0, 2, 2], "mixed": [2, 2, 4, 4, 4],
           "autocast": [4, 4, 0, 4, 4]}[precision]
    kept = {"adamw": 5, "momentum": 4, "sgd": 3}[optimizer]
    names = ["weights", "gradients", "master_weights", "first_moment", "second_moment"]
    out = {name: n * parameters if i < kept else 0 for i, (name, n) in enumerate(zip(names, row))}
    whole = {"float32": 16, "bfloat16": 8, "autocast": 16, "mixed": {"adamw": 16, "momentum": 12, "sgd": 8}[optimizer]}
    return {**out, "total": whole[precision] * parameters}


# %% wrong: the table of bytes a parameter: an optimizer without moments strikes them out for all later calls too.
_bytes = {
    "float32": {"weights": 4, "gradients": 4, "master_weights": 0, "first_moment": 4, "second_moment": 4},
    "bfloat16": {"weights": 2, "gradients": 2, "master_weights": 0, "first_moment": 2, "second_moment": 2},
    "mixed": {"weights": 2, "gradients": 2, "master_weights": 4, "first_moment": 4, "second_moment": 4},
    "autocast": {"weights": 4, "gradients": 4, "master_weights": 0, "first_moment": 4, "second_moment": 4},
}
def model_states(parameters, precision="mixed", optimizer="adamw"):
    row = _bytes[precision]
    if optimizer != "adamw":
        row["second_moment"] = 0
    if optimizer == "sgd":
        row["first_moment"] = 0
    out = {name: parameters * n for name, n in row.items()}
    out["total"] = sum(out.values())
    return out


# %% right: 
def model_states(parameters, precision="mixed", optimizer="adamw"):
    model = {"float32": 32, "bfloat16": 16, "mixed": 16, "autocast": 32}[precision] // 8
    works_in = 4 if precision == "mixed" else model
    moments = ("adamw", "momentum", "sgd").index(optimizer)  # how many of two are missing
    found = {
        "second_moment": parameters * works_in * (moments == 0),
        "first_moment": parameters * works_in * (moments < 2),
        "master_weights": parameters * works_in * (works_in != model),
        "gradients": parameters * model,
        "weights": parameters * model,
    }
    found["total"] = sum(list(found.values()))
    return found

# %% wrong: "11/4 of d_model, rounded up to a multiple of 80": 11/4 of d_model is first rounded to the nearest whole number.
def parameter_table(sizes):
    V, T, d, L = (sizes[n] for n in ("vocabulary", "context", "d_model", "n_layers"))
    H, K, D = sizes["n_heads"], sizes["n_kv_heads"], sizes["head_dim"]
    d_ffn = -(-round(11 * d / 4) // 80) * 80
    table = {
        "embedding": (-(-V // 96) * 96 + 28) * d,
        "positions": (T + 10) * d,
        "attention": L * (d * H * D + d * K * D + d * K * 2 * D + H * 2 * D * d + d + H),
        "mlp": L * 2 * d * d_ffn,
        "norms": L * (3 * d + 2 * D) + 2 * d,
        "head": 0,
    }
    return {**table, "total": sum(table.values())}


# %% wrong: "Counts are exact: stay in whole numbers": rounded up in floats, off beyond 2**53.
import math
def parameter_table(sizes):
    V, T, d, L = (sizes[n] for n in ("vocabulary", "context", "d_model", "n_layers"))
    H, K, D = sizes["n_heads"], sizes["n_kv_heads"], sizes["head_dim"]
    rows = math.ceil(V / 96) * 96
    d_ffn = math.ceil(2.75 * d / 80) * 80
    table = {"embedding": (rows + 28) * d, "positions": (T + 10) * d}
    table["attention"] = L * (3 * H * D * d + 3 * K * D * d + d + H)
    table["mlp"] = L * 2 * d * d_ffn
    table["norms"] = L * (3 * d + 2 * D) + 2 * d
    table["head"] = 0
    table["total"] = sum(table.values())
    return table


# %% wrong: "heads 2 times as wide as head_dim" (values): where every query head has its own keys, four equal matrices are counted.
def parameter_table(sizes):
    V, T, d, L = (sizes[n] for n in ("vocabulary", "context", "d_model", "n_layers"))
    H, K, D = sizes["n_heads"], sizes["n_kv_heads"], sizes["head_dim"]
    if K == H:
        matrices = 4 * d * H * D
    else:
        matrices = d * D * (H + K + 2 * K + 2 * H)
    embedding = (V + -V % 96 + 28) * d
    positions = (T + 10) * d
    attention = L * (matrices + d + H)
    mlp = L * 2 * d * (-(-11 * d // 320) * 80)
    norms = L * (3 * d + 2 * D) + 2 * d
    return dict(embedding=embedding, positions=positions, attention=attention, mlp=mlp, norms=norms, head=0,
                total=embedding + positions + attention + mlp + norms)


# %% wrong: "The rest is in the table above" (output projection from values twice as wide): a square W^O where n_heads * head_dim = d_model.
def parameter_table(sizes):
    V, T, d, L = (sizes[n] for n in ("vocabulary", "context", "d_model", "n_layers"))
    H, K, D = sizes["n_heads"], sizes["n_kv_heads"], sizes["head_dim"]
    w_o = d * d if H * D == d else 2 * H * D * d
    table = {
        "embedding": ((V + 95) // 96 * 96 + 28) * d,
        "positions": (T + 10) * d,
        "attention": L * (d * H * D + 3 * d * K * D + w_o + d + H),
        "mlp": L * 2 * d * (-(-11 * d // 320) * 80),
        "norms": L * (3 * d + 2 * D) + 2 * d,
        "head": 0,
    }
    table["total"] = sum(table.values())
    return table


# %% right: 
from fractions import Fraction
import math
def parameter_table(sizes):
    s = dict(sizes)
    d, D = s["d_model"], s["head_dim"]
    rows = s["vocabulary"]
    while rows % 96:
        rows += 1
    width = int(math.ceil(Fraction(11, 4) * d / 80)) * 80
    found = dict.fromkeys(["embedding", "positions", "attention", "mlp", "norms", "head", "total"], 0)
    found["embedding"] += rows * d + 28 * d
    found["positions"] += s["context"] * d + 10 * d
    found["norms"] += d + d
    for _ in range(s["n_layers"]):
        found["attention"] += s["n_heads"] * (d * D + 2 * D * d + 1) + s["n_kv_heads"] * (d * D + d * 2 * D) + d
        found["mlp"] += d * width + width * d
        found["norms"] += d + d + d + D + D
    found["total"] = sum(found[name] for name in found if name != "total")
    return found


# %% right: 
import math
def parameter_table(sizes):
    d, D, L = sizes["d_model"], sizes["head_dim"], sizes["n_layers"]
    H, K = sizes["n_heads"], sizes["n_kv_heads"]
    up = lambda n, m: n + (m - n % m) % m
    width = up(-(-11 * d // 4), 80)  # rounding up twice is the same: 80 is a whole number
    shapes = {
        "embedding": [(up(sizes["vocabulary"], 96), d), (28, d)],
        "positions": [(sizes["context"] + 10, d)],
        "attention": [(L, d, H * D), (L, d, K * D), (L, d, K * 2 * D), (L, H * 2 * D, d), (L, d), (L, H)],
        "mlp": [(L, d, width), (L, width, d)],
        "norms": [(3, L, d), (2, L, D), (2, d)],
        "head": [],
    }
    table = {name: sum(map(math.prod, tensors)) for name, tensors in shapes.items()}
    return table | {"total": sum(table.values())}

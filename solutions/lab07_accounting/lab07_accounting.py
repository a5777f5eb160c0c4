# %% [markdown]
# # Lab 7: account for every parameter
#
# You will write a function that turns the sizes of a language model into an exact count of its parameters, term by
# term, without building the model. Everything that a training run costs starts from this number: the FLOPs of a
# step, the bytes of weights, gradients and optimizer states, the traffic of every all-reduce. "About 7 billion" is
# good enough for a headline and not for a plan: 1% of LLaMA-2 70B in fp32, with its gradients and Adam's two
# moments, is 11 GB.
#
# **Time:** about an hour and a half. **Points:** 24.
# **Prerequisites:** lab 2 (heads, grouped queries), lab 3 (blocks and norms).

# %%
import torch
from torch import nn

from mlsys_course.check import check
from mlsys_course.plot import COLOURS, figure

# %% [markdown]
# ## 1. Where the parameters sit
#
# A decoder-only transformer has few kinds of trainable tensors. Write $d$ for `d_model`, $L$ for `n_layers`, $V$ for
# `vocabulary`, $H$ for `n_heads`, $H_{kv}$ for `n_kv_heads`, $D$ for `head_dim`. A plain GPT then holds
#
# | term | tensors | parameters |
# |---|---|---|
# | `embedding` | a vector for each token | $Vd$ |
# | `positions` | a vector for each position, where positions are learned | $Td$ |
# | `attention` | $W^Q, W^K, W^V, W^O$ in each layer | $L\,(d \cdot HD + 2\,d \cdot H_{kv}D + HD \cdot d)$, and biases |
# | `mlp` | up and down; a third, the gate, in SwiGLU | $L \cdot 2\,d\,d_{ffn}$ or $L \cdot 3\,d\,d_{ffn}$, and biases |
# | `norms` | a gain for each channel; LayerNorm adds a bias | $(2L + 1)\,d$ or twice that |
# | `head` | from $d$ to logits; 0 where it is tied to the embedding | $Vd$ or 0 |
#
# ```
#                        .------------ residual ------------.  .--------- residual ---------.
#   tokens -> embedding -+-> norm -> Q, K, V -> heads -> O -> + -> norm -> up, gate -> down -> + -> ... -> norm -> head
#             positions   \________________________ one of L layers _________________________/
# ```
#
# Two conventions hold from here on. A tensor that is used twice counts once, where it is made: a tied head adds
# nothing. A buffer is not a parameter: a causal mask and the sines of rotary positions weigh nothing here.
#
# A live model can be asked. On PyTorch's `meta` device tensors have shapes and no memory, so this laptop can hold
# GPT-2, or GPT-3.


# %% experiment="gpt2_live"
def live_gpt2(d_model=768, n_layers=12, n_heads=12, vocabulary=50257, context=1024):
    """GPT-2's modules on the meta device: shapes without memory."""
    layer = nn.TransformerEncoderLayer(d_model, n_heads, 4 * d_model, norm_first=True, device="meta")
    return nn.ModuleDict(
        {
            "embedding": nn.Embedding(vocabulary, d_model, device="meta"),
            "positions": nn.Embedding(context, d_model, device="meta"),
            "layers": nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False),
            "norm": nn.LayerNorm(d_model, device="meta"),
        }
    )


counts = dict.fromkeys(["embedding", "positions", "attn", "linear", "norm"], 0)
for name, parameter in live_gpt2().named_parameters():
    counts[next(term for term in counts if term in name)] += parameter.numel()
for term, count in counts.items():
    print(f"{term:10s} {count:12,d}  {count / sum(counts.values()):6.1%}")
print(f"{'total':10s} {sum(counts.values()):12,d}")

# %% [markdown]
# 124,439,808 is GPT-2 exactly. The lecture has two short formulas to keep in mind:
#
# $$ n_{simplified} = Vd + L\,(4d^2 + 2\,d_{ffn}\,d) \qquad n_{standard} = Vd + L\,(12d^2 + 5d) $$
#
# They give 123.5 and 123.6 million, 0.7% too little, and for LLaMA-2 7B 23% and 2.4% too little: it has a gate, and a
# head of its own. Two lines of the notes need care. They write $W^O \in \mathbb{R}^{d_{model} \times d_{head}}$,
# which is one head's slice: $W^O$ receives *all* heads side by side. And the $5d$ of the second formula are biases of
# the MLP, $4d$ and $d$, though the line above it says that biases are left out.

# %% [markdown]
# ## 2. This term's model
#
# Models of one family differ in a dozen small decisions, and a count is right only for the decisions it was made
# for. These are the ones of this term's model, of the kinds by which published models differ.
#
# | part | this term's model |
# |---|---|
# | vocabulary | the embedding's rows are `vocabulary` rounded up to a multiple of **{{ vocabulary_multiple }}** |
# | registers | **{{ registers }}** learned vectors, before every sequence; counted in `embedding`, no logits |
# | positions | **{{ positions_text }}** |
# | queries and keys | heads of `head_dim`; `n_heads * head_dim` need not be `d_model` |
# | values | heads **{{ value_multiple }}** times as wide as `head_dim`; there are `n_kv_heads` of keys and of values |
# | attention's biases | on the **{{ biases_text }}** projection, none elsewhere |
# | sinks | **{{ sinks_text }}** (a learned number that joins the softmax); counted in `attention` |
# | feed-forward | **{{ matrices_text }}** matrices, **{{ mlp_biases_text }}** |
# | its width, `d_ffn` | **{{ ratio_text }}** of `d_model`, rounded up to a multiple of **{{ ffn_multiple }}** |
# | kind of norm | **{{ norm_text }}** |
# | norms | **{{ norms_where_text }}**{{ norms_width_text }} |
# | head | **{{ head_text }}**, as many rows as the embedding has for tokens, no bias |
#
# A bias is as long as the output of its projection.
#
# ### Exercise `parameter_table` (15 points)
#
# Points by part: embedding, positions and head 3; attention 4; mlp 4; norms 2; the whole table 2.


# %% exercise="parameter_table"
def parameter_table(config):
    """Count the trainable parameters of this term's model, by term.

    config: a dict of whole numbers, all at least 1: vocabulary, context (positions), d_model, n_layers, n_heads,
        n_kv_heads (divides n_heads), head_dim. The rest is in the table above.
    Returns a dict of seven ints: embedding, positions, attention, mlp, norms, head, total. Each of the first six is
        summed over all layers, and is 0 where the model has no such tensor; total is their sum.

    To round up is to take the smallest multiple that is at least the number; what is one already stays. Counts are
    exact: stay in whole numbers, as in -(-a // b) for a / b rounded up.
    """
    ### BEGIN SOLUTION
    d, layers, heads = config["d_model"], config["n_layers"], config["n_heads"]

    def up(numerator, denominator, multiple):
        return -(-numerator // (denominator * multiple)) * multiple

    rows = up(config["vocabulary"], 1, int("{{ vocabulary_multiple }}"))
    extra = int("{{ extra_positions }}")  # 0 says rotary
    positions = (config["context"] + extra) * d if extra else 0

    query, key = heads * config["head_dim"], config["n_kv_heads"] * config["head_dim"]
    value, mixed = key * int("{{ value_multiple }}"), query * int("{{ value_multiple }}")
    bias = {"Q": query, "K": key, "V": value, "O": d}
    attention = d * (query + key + value + mixed) + sum(bias[p] for p in "{{ attention_biases }}")
    if "{{ sinks }}" == "True":
        attention += heads

    inner = up(int("{{ ffn_numerator }}") * d, int("{{ ffn_denominator }}"), int("{{ ffn_multiple }}"))
    wide = 2 if "{{ gated }}" == "True" else 1
    mlp = (wide + 1) * d * inner
    if "{{ mlp_biases }}" == "True":
        mlp += wide * inner + d

    channels = layers * int("{{ norms_per_layer }}") * d + d
    if "{{ embedding_norm }}" == "True":
        channels += d
    if "{{ qk_norm }}" == "True":
        channels += layers * 2 * config["head_dim"]

    table = {
        "embedding": (rows + int("{{ registers }}")) * d,
        "positions": positions,
        "attention": layers * attention,
        "mlp": layers * mlp,
        "norms": channels * (2 if "{{ norm }}" == "layer" else 1),
        "head": 0 if "{{ tied_head }}" == "True" else rows * d,
    }
    table["total"] = sum(table.values())
    return table
    ### END SOLUTION


# %% check="parameter_table"
check("parameter_table", parameter_table)

# %% [markdown]
# ## 3. Look at it: where the parameters go as a model grows
#
# The sizes are those of the GPT-3 paper's family, from 125M to 175B, in this term's architecture with a key and value
# head for every four query heads. Left: each term's share. Right: how far the two short formulas are off.
#
# *The figure: a row of six stacked bars, one a model, whose blue segment (embedding) shrinks from left to right while
# the segments of attention and feed-forward settle to constant shares; beside it two lines, the short formulas'
# error in per cent for the same models, that level off at different heights.*

# %% experiment="where_they_are"
WIDTHS = {"125M": (768, 12), "350M": (1024, 24), "1.3B": (2048, 24), "6.7B": (4096, 32), "13B": (5120, 40)}
WIDTHS["175B"] = (12288, 96)
HATCHES = ["", "//", "..", "\\\\", "xx", "--"]
rows = []
for d, layers in WIDTHS.values():
    sizes = {
        "vocabulary": 50257,
        "context": 2048,
        "d_model": d,
        "n_layers": layers,
        "head_dim": 64 if d < 2048 else 128,
    }
    heads = d // sizes["head_dim"]
    rows.append(parameter_table({**sizes, "n_heads": heads, "n_kv_heads": heads // 4}))
shares = torch.tensor([[row[term] / row["total"] for term in row if term != "total"] for row in rows])

fig, (left, right) = figure(2, width=5.5, height=3.8)
bottom = torch.zeros(len(rows))
for column, term in enumerate(term for term in rows[0] if term != "total"):
    style = {"color": COLOURS[column], "hatch": HATCHES[column], "edgecolor": "white", "linewidth": 0.5}
    left.bar(list(WIDTHS), 100 * shares[:, column], bottom=100 * bottom, label=term, **style)
    bottom += shares[:, column]
left.set(ylabel="share of the parameters (%)", xlabel="size in the GPT-3 paper", ylim=(0, 100))
left.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True)
ratio = int("{{ ffn_numerator }}") / int("{{ ffn_denominator }}")  # of d_ffn to d_model
short = {
    "simplified, $Vd + L(4d^2 + 2d_{ffn}d)$": lambda d, n: 50257 * d + n * (4 + 2 * ratio) * d * d,
    "standard, $Vd + L(12d^2 + 5d)$": lambda d, n: 50257 * d + n * (12 * d * d + 5 * d),
}
for (label, formula), line, marker in zip(short.items(), ("-", "--"), "os", strict=True):
    errors = [100 * (formula(*size) / row["total"] - 1) for size, row in zip(WIDTHS.values(), rows, strict=True)]
    right.plot(list(WIDTHS), errors, line, marker=marker, label=label)
right.axhline(0, color="#000000", linewidth=0.8)
right.set(ylabel="error against your count (%)", xlabel="size in the GPT-3 paper")
right.legend()
fig

# %% [markdown]
# ### Question `where_they_are` (6 points)
#
# Read the left figure. Which terms grow with $d$ and which with $d^2$, and what follows from that for a small model
# that is given a vocabulary four times as large, and for a large one? Use numbers from the figure.

# %% [markdown] question="where_they_are"
# ### BEGIN SOLUTION
# Embedding, positions, head and norms grow with d (times V, T or L); attention and feed-forward grow with L d^2. So
# the embedding's share falls as 1/(L d): it is around a third of the 125M model and far below 1% of the 175B model,
# where the matrices are almost everything, in constant proportion to each other. Four times the vocabulary roughly
# doubles the small model, whose parameters would mostly be look-up rows (tying the head then matters, as it saves the
# same again), and hardly shows in the large one, which can afford a large vocabulary and an untied head.
# ### END SOLUTION

# %% [markdown]
# ### Choice `kv_saving` (3 points)
#
# A layer of width {{ saving_width }} has {{ saving_heads }} query heads and {{ saving_kv_heads }} key and value heads,
# all {{ saving_head_dim }} wide, without biases. How many parameters does its attention have *fewer* than one with a
# key and value head for each query head?
#
# Options: {{ saving_options }}

# %% exercise="kv_saving"
# Write one of the options as a string, such as kv_saving = "1,234".
### BEGIN SOLUTION
kv_saving = "{{ saving_answer }}"
### END SOLUTION

# %% check="kv_saving"
check("kv_saving", kv_saving)

# %% [markdown]
# ## What you built
#
# An exact parameter count for one architecture, from sizes alone. `mlsys_course.accounting` holds the general one:
# `ModelConfig` has a field for each row of this term's table, presets (`gpt2()`, `gpt3_175b()`, `llama2_7b()`,
# `llama3_405b()`) give the published models, and `formula_errors` says how far the short formulas are off.
#
# **What real systems do differently.** They count too, but on the live model: `sum(p.numel() for p in
# model.parameters())`, on the meta device when it does not fit, and by shard once it is distributed (lab 11). Padding
# is real: GPT-2's 50,257 tokens are commonly padded to 50,304 rows, so that the head's matrix product fills the
# hardware's tiles, and two checkpoints of one model may differ by those rows. Mixtures of experts have two counts,
# all parameters and those that a token uses.
#
# **Papers.** Radford et al. 2019 (GPT-2); Brown et al. 2020 (GPT-3, table 2.1); Shazeer 2020 (gated feed-forward);
# Ainslie et al. 2023 (grouped-query attention); Touvron et al. 2023 (LLaMA 2); Xiao et al. 2024 (attention sinks);
# Darcet et al. 2024 (registers).

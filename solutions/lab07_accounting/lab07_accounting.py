# %% [markdown]
# # Lab 7: account for every parameter, FLOP and byte
# How many numbers does a model hold, how much work is a training step, how much memory does it take, what goes over
# the wires, and how many cards for how long does all of that ask for? You will write functions that answer from sizes
# alone, exactly: equal to what PyTorch counts on live models. "About 7 billion" is good enough for a headline and not
# for a plan: 1% of LLaMA-2 70B in fp32, with its gradients and Adam's two moments, is 11 GB.
#
# **Time:** seven hours; with the extensions two more. **Points:** 100; extensions are a bonus.
# **Prerequisites:** lab 2 (heads, grouped queries, the cache), lab 3 (blocks and norms), lab 5 (what backward needs).

# %%
import math
from dataclasses import replace
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from mlsys_course.desk.check import check
from mlsys_course.desk.check.meter import MemoryMeter
from mlsys_course.substrate.plot import COLOURS, figure
from mlsys_course.transformer import Decoder, gpt2, llama2_7b

# %% [markdown]
# ## 1. Where the parameters sit
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
# A tensor that is used twice counts once, where it is made: a tied head adds nothing. A buffer is no parameter: masks
# and the sines of rotary positions weigh nothing here. A live model can be asked: on PyTorch's `meta` device tensors
# have shapes and no memory, so a laptop can hold GPT-3.


# %% experiment="gpt2_live"
with torch.device("meta"):
    model = Decoder(gpt2())
counts = dict.fromkeys(["tokens", "positions", "attention.", "feed_forward.", "norm"], 0)
for name, parameter in model.named_parameters():
    counts[next(term for term in counts if term in name)] += parameter.numel()
for term, count in {**counts, "total": sum(counts.values())}.items():
    print(f"{term.strip('.'):14s} {count:12,d}  {count / sum(counts.values()):7.2%}")

# %% [markdown]
# 124,439,808 is GPT-2 exactly. The lecture has two short formulas to keep in mind:
#
# $$ n_{simplified} = Vd + L\,(4d^2 + 2\,d_{ffn}\,d) \qquad n_{standard} = Vd + L\,(12d^2 + 5d) $$
#
# They give 0.7% too little, and for LLaMA-2 7B 23% and 2.4%: it has a gate, and a head of its own. The notes write
# $W^O \in \mathbb{R}^{d_{model} \times d_{head}}$, which is one head's slice: $W^O$ receives *all* heads side by side.
# And the $5d$ are biases of the MLP, $4d$ and $d$, though the line above says that biases are left out.

# %% [markdown]
# ## 2. This term's model
# Models of one family differ in a dozen small decisions. These are this term's; published models make them too.
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
# ### Exercise `parameter_table` (17 points)
# Points by part: embedding, positions and head 4; attention 4; mlp 4; norms 2; the whole table 3.


# %% exercise="parameter_table"
def parameter_table(sizes):
    """Count the trainable parameters of this term's model, by term.

    sizes: a dict of whole numbers, all at least 1: vocabulary, context (positions), d_model, n_layers, n_heads,
        n_kv_heads (divides n_heads), head_dim. It stays as it is. The rest is in the table above.
    Returns a dict of seven ints: embedding, positions, attention, mlp, norms, head, total. Each of the first six is
        summed over all layers, and is 0 where the model has no such tensor; total is their sum.

    To round up is to take the smallest multiple that is at least the number; what is one already stays. Counts are
    exact: stay in whole numbers, as in -(-a // b) for a / b rounded up.
    """
    ### BEGIN SOLUTION
    d, layers, heads = sizes["d_model"], sizes["n_layers"], sizes["n_heads"]

    def up(numerator, denominator, multiple):
        return -(-numerator // (denominator * multiple)) * multiple

    rows = up(sizes["vocabulary"], 1, int("{{ vocabulary_multiple }}"))
    positions = (sizes["context"] + int("{{ extra_positions }}")) * d

    query, key = heads * sizes["head_dim"], sizes["n_kv_heads"] * sizes["head_dim"]
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
        channels += layers * 2 * sizes["head_dim"]

    table = {
        "embedding": (rows + int("{{ registers }}")) * d,
        "positions": positions if "{{ extra_positions }}" != "0" else 0,  # rotary
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
# The GPT-3 paper's sizes, in this term's architecture with a key and value head for every four query heads. Left: each
# term's share, printed above it too. Right: how far the two short formulas are off.
#
# *The figure: six stacked bars, one a model, whose blue segment (embedding) shrinks from left to right while attention
# and feed-forward settle to constant shares; beside it two lines, the short formulas' error in per cent.*

# %% experiment="where_they_are"
WIDTHS = {"125M": (768, 12), "350M": (1024, 24), "1.3B": (2048, 24), "6.7B": (4096, 32), "13B": (5120, 40)}
WIDTHS["175B"] = (12288, 96)
HATCHES = ["", "//", "..", "\\\\", "xx", "--"]
rows = []
for d, layers in WIDTHS.values():
    head_dim = 64 if d < 2048 else 128
    sizes = {"vocabulary": 50257, "context": 2048, "d_model": d, "n_layers": layers, "head_dim": head_dim}
    rows.append(parameter_table({**sizes, "n_heads": d // head_dim, "n_kv_heads": d // head_dim // 4}))
shares = torch.tensor([[row[term] / row["total"] for term in row if term != "total"] for row in rows])

print(f"{'share':10s}" + "".join(f"{name:>8s}" for name in WIDTHS))
for term, column in zip(rows[0], shares.T, strict=False):
    print(f"{term:10s}" + "".join(f"{share:8.2%}" for share in column.tolist()))
fig, (left, right) = figure(2, width=5.5, height=3.8)
bottom = torch.zeros(len(rows))
for column, term in enumerate(term for term in rows[0] if term != "total"):
    style = {"color": COLOURS[column], "hatch": HATCHES[column], "edgecolor": "white", "linewidth": 0.5}
    left.bar(list(WIDTHS), 100 * shares[:, column], bottom=100 * bottom, label=term, **style)
    bottom += shares[:, column]
left.set(ylabel="share of the parameters (%)", xlabel="size in the GPT-3 paper", ylim=(0, 100))
left.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True)
ratio = float(Fraction("{{ ratio_text }}"))  # of d_ffn to d_model
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
# Read the left figure. Which terms grow with $d$ and which with $d^2$, and what follows for a small and for a large
# model that is given a vocabulary four times as large? Use numbers from the figure.

# %% [markdown] question="where_they_are"
# ### BEGIN SOLUTION
# Embedding, positions, head and norms grow with d (times V, T or L); attention and feed-forward grow with L d^2. So
# the embedding's share falls as 1/(L d): it is around a third of the 125M model and far below 1% of the 175B model,
# where the matrices are almost everything, in constant proportion to each other. Four times the vocabulary roughly
# doubles the small model, mostly look-up rows then (so the head is tied), and hardly shows in the large one.
# ### END SOLUTION

# %% [markdown]
# ### Choice `kv_saving` (3 points)
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
# ## 4. The work of a forward pass
# A product of an (m, n) by an (n, h) matrix takes $m h (2n - 1)$ operations, in round numbers $2 m n h$: **a
# multiply-add is two FLOPs**. All but a thousandth of a transformer's work is in such products:
#
# | term | products, over B sequences of T new tokens each | FLOPs a layer |
# |---|---|---|
# | `projections` | $xW^Q, xW^K, xW^V$ and $aW^O$ | $2BT$ times the numbers of the four matrices |
# | `pairs` | $QK^\top$, and weights times $V$: T queries, S keys | $2 \cdot 2BH\,TS\,D$ |
# | `mlp` | two matrices, or three with a gate | $2BT$ times their numbers |
# | `head` | once, not in each layer | $2BT\,dV$ |
#
# Training has S = T. In decoding, `past` tokens have left their keys and values in a cache (lab 2): only the T new
# tokens are projected, but each looks at S = `past` + T keys. A shared head of keys is looked at by each of its
# heads of queries. From here on a model's sizes are fields of its configuration, the `ModelConfig` of lab 3's models,
# of which `gpt2()` is one: `config.d_model` is $d$.
#
# Conventions: pairs that a causal mask hides are counted, as the lecture and PyTorch do (skipping them halves `pairs`).
# Looking an embedding up multiplies nothing. For LLaMA-2 7B, B = 1, T = 4096, products make 62.92 TFLOPs, the lecture's
# 63. Its "192.17" of training are three times 64.06: 62.92, a look-up that counts as a product with one-hot vectors
# there, 1.07 more, and 0.06 of softmax, norms, residuals and the gate's product.
# ### Exercise `forward_flops` (12 points)
# Points by part: projections and mlp 5, pairs 5, the whole table 2.


# %% exercise="forward_flops"
def forward_flops(config, batch, time, past=0):
    """Count the FLOPs of a plain decoder's matrix products in one forward pass.

    config: a ModelConfig. Its fields, whole numbers: vocabulary, n_layers, d_model, n_heads, n_kv_heads (divides
        n_heads), head_dim, d_ffn; and gated, True where the feed-forward network has a gate. n_heads * head_dim need
        not be d_model.
    batch, time: sequences, and new tokens of each. past: tokens of each in the cache, 0 in training.
    Returns a dict of five ints: projections, pairs, mlp (each over all layers), head, and their total.
    """
    ### BEGIN SOLUTION
    d, dim, tokens = config.d_model, config.head_dim, batch * time
    heads, kv_heads, layers = config.n_heads, config.n_kv_heads, config.n_layers
    table = {
        "projections": layers * 2 * tokens * d * dim * (2 * heads + 2 * kv_heads),
        "pairs": layers * 4 * tokens * (past + time) * heads * dim,
        "mlp": layers * 2 * tokens * (3 if config.gated else 2) * d * config.d_ffn,
        "head": 2 * tokens * d * config.vocabulary,
    }
    return {**table, "total": sum(table.values())}
    ### END SOLUTION


# %% check="forward_flops"
check("forward_flops", forward_flops)

# %% [markdown]
# **Look at it.** PyTorch counts the products of a live model as they run: the numbers are equal, not close.
#
# *The figure. Left: shares of the terms in LLaMA-2 7B's forward pass over the sequence length; pairs grow from a few
# per cent to most of the work. Right: how far 6 N D is off against three forward passes, for GPT-2 124M (blue
# circles) and LLaMA-2 7B (orange squares): both lines fall, and the longer the sequence the more it misses.*

# %% experiment="counted"
MODELS = {"GPT-2 124M": gpt2(), "LLaMA-2 7B": llama2_7b()}
with torch.device("meta"):
    for name, config in MODELS.items():
        model = Decoder(config)
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 1024, dtype=torch.long))
        print(f"{name}: PyTorch counts {counter.get_total_flops():,}, you {forward_flops(config, 1, 1024)['total']:,}")
print(f"LLaMA-2 7B at 4096: {forward_flops(llama2_7b(), 1, 4096)['total'] / 1e12:.2f} TFLOPs")

lengths = [2**k for k in range(9, 18)]
tables = [forward_flops(llama2_7b(), 1, T) for T in lengths]
work, (left, right) = figure(2, width=5.2)
for term in ("projections", "pairs", "mlp", "head"):
    left.semilogx(lengths, [100 * table[term] / table["total"] for table in tables], label=term, base=2)
left.set(xlabel="tokens of a sequence", ylabel="share of the FLOPs (%)")
left.legend()
for (name, config), parameters in zip(MODELS.items(), (124_439_808, 6_738_415_616), strict=True):
    six = [6 * parameters * T / (3 * forward_flops(config, 1, T)["total"]) - 1 for T in lengths]
    right.semilogx(lengths, [100 * error for error in six], label=name, base=2)
right.axhline(0, color="#000000", linewidth=0.8)
right.set(xlabel="tokens of a sequence", ylabel="error of 6 N D (%)")
right.legend()
work

# %% [markdown]
# ## 5. The work of a step
# Backward computes a gradient for each of a product's two factors: two more products of its size. Some is done twice:
#
# * **full checkpointing** runs every layer's forward once more (not the head, which lies in no layer);
# * **selective checkpointing** runs only what lies between queries, keys, values and the attention's output: `pairs`;
# * **fused attention** kept no table of weights, so its backward computes $QK^\top$ again, one of the two products of
#   `pairs`; with checkpointing, on top of that.
#
# The rule of thumb is $6ND$, two FLOPs a parameter and token forward and four backward; it leaves pairs out.
# ### Exercise `training_flops` (8 points)
# Points by part: forward and backward 2, selective 1, full 2, fused attention 2, the rule of thumb 1.


# %% exercise="training_flops"
def training_flops(forward, parameters, tokens, recompute="none", attention="eager"):
    """Count the FLOPs of a training step.

    forward: a dict of even ints: projections, pairs, mlp, head, as `forward_flops` counts them. It stays as it is.
    parameters: the model's, N. tokens: of the whole batch, D.
    recompute: "none", "selective" or "full". attention: "eager", which keeps its weights, or "fused".
    Returns a dict of four ints: forward, backward, recompute (what is done again), six_nd.
    """
    ### BEGIN SOLUTION
    again = {"none": 0, "selective": forward["pairs"]}
    again["full"] = forward["projections"] + forward["pairs"] + forward["mlp"]
    fused = forward["pairs"] // 2 if attention == "fused" else 0
    once = sum(forward.values())
    return {
        "forward": once,
        "backward": 2 * once,
        "recompute": again[recompute] + fused,
        "six_nd": 6 * parameters * tokens,
    }
    ### END SOLUTION


# %% check="training_flops"
check("training_flops", training_flops)

# %% [markdown]
# ## 6. Memory that stays
# A parameter costs more than itself. Bytes a parameter, by **precision**:
#
# | | `weights` | `gradients` | `master_weights` | `first_moment` | `second_moment` |
# |---|---|---|---|---|---|
# | `float32` | 4 | 4 | 0 | 4 | 4 |
# | `bfloat16`: everything in 16 bits | 2 | 2 | 0 | 2 | 2 |
# | `mixed`: a 16-bit model; its optimizer works in 32 bits, on a copy of the weights | 2 | 2 | 4 | 4 | 4 |
# | `autocast`: a 32-bit model; 16-bit copies are made where products need them, and let go | 4 | 4 | 0 | 4 | 4 |
#
# The lecture draws `mixed` for GPT-3: 350 + 350 GB for model and gradients, 700 + 700 + 700 for the optimizer. This is
# for `adamw`; `momentum` has no second moment, `sgd` no moments at all.
# ### Exercise `model_states` (7 points)
# Points by part: float32 and bfloat16 2, mixed 3, autocast 2.


# %% exercise="model_states"
def model_states(parameters, precision="mixed", optimizer="adamw"):
    """Count the bytes that a training run holds before the first activation.

    precision: "float32", "bfloat16", "mixed" or "autocast". optimizer: "adamw", "momentum" or "sgd".
    Returns a dict of six ints: weights, gradients, master_weights, first_moment, second_moment and their total; what a
        run does not have is 0. Master weights go with the precision, whatever the optimizer.
    """
    ### BEGIN SOLUTION
    width = 2 if precision in ("bfloat16", "mixed") else 4
    moment = 2 if precision == "bfloat16" else 4
    table = {
        "weights": width * parameters,
        "gradients": width * parameters,
        "master_weights": 4 * parameters if precision == "mixed" else 0,
        "first_moment": 0 if optimizer == "sgd" else moment * parameters,
        "second_moment": moment * parameters if optimizer == "adamw" else 0,
    }
    return {**table, "total": sum(table.values())}
    ### END SOLUTION


# %% check="model_states"
check("model_states", model_states)

# %% experiment="states"
for model, parameters in {"GPT-2 1.5B": 1_557_611_200, "80 billion": 80 * 10**9, "GPT-3": 175 * 10**9}.items():
    states = model_states(parameters)
    words = " + ".join(f"{states[term] / 1e9:.0f}" for term in states if term != "total")
    print(f"{model:12s} {words} = {states['total'] / 1e9:,.0f} GB: {states['total'] / 80e9:.1f} cards of 80 GB")

# %% [markdown]
# ## 7. Memory that backward asks for
# Between forward and backward, autograd keeps what each operator's rule needs (lab 5) and nothing else:
#
# | operator | keeps |
# |---|---|
# | norm | its input, and two numbers for each token (mean and deviation) |
# | product $xW$; of two activations | $x$ (parameters are there anyway); both factors |
# | softmax | its output |
# | GELU, SiLU; elementwise product | the input; both factors |
# | sum, scale, mask, transpose | nothing |
# | fused attention | Q, K, V, its output, and a number for each query and head |
#
# A tensor that several operators keep lies in memory once. This is the layer, in float32: 4 bytes a number.


# %% experiment="layer"
class Layer(nn.Module):
    """The layer whose memory you count."""

    def __init__(self, config, attention):
        super().__init__()
        d, heads, kv_heads = config.d_model, config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        self.norm_1, self.norm_2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.query, self.output = nn.Linear(d, heads), nn.Linear(heads, d)
        self.key, self.value = nn.Linear(d, kv_heads), nn.Linear(d, kv_heads)
        self.up, self.down = nn.Linear(d, config.d_ffn), nn.Linear(config.d_ffn, d)
        self.gate = nn.Linear(d, config.d_ffn) if config.gated else None
        self.head_dim, self.attention = config.head_dim, attention

    def insides(self, q, k, v):
        if self.attention == "fused":
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))  # a copy for each query head
        hidden = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).triu(1)  # not counted
        return (q @ k.mT * self.head_dim**-0.5).masked_fill(hidden, -torch.inf).softmax(-1) @ v

    def forward(self, x):
        y = self.norm_1(x)
        heads = (part(y).unflatten(-1, (-1, self.head_dim)) for part in (self.query, self.key, self.value))
        x = x + self.output(self.insides(*(h.transpose(1, 2) for h in heads)).transpose(1, 2).flatten(2))
        y = self.norm_2(x)
        return x + self.down(F.gelu(self.up(y)) if self.gate is None else F.silu(self.gate(y)) * self.up(y))


# %% [markdown]
# Three ways to keep less or more: `checkpointing="none"`; `"selective"`, which keeps Q, K and V as they were
# projected, and the output, but nothing of `insides`; `"full"`, which keeps the layer's input and runs all of it
# again. Count into five terms:
#
# | term | what |
# |---|---|
# | `input` | the layer's input, which the first norm keeps |
# | `norms` | the second norm's input, and the numbers of both norms for each token |
# | `attention` | what Q, K, V are made of; Q, K, V (copies of shared heads where those are kept); what $W^O$ receives |
# | `pairs` | what has one number for each query and key, or of fused attention for each query, in each head |
# | `mlp` | what is kept from the second norm's output to the last product |
# ### Exercise `activation_bytes` (18 points)
# Points by part: input, norms and mlp 5; attention and pairs 6; checkpointing 4; the total, of all that is kept, 3.


# %% exercise="activation_bytes"
def activation_bytes(config, batch, time, attention="fused", checkpointing="none"):
    """Count the bytes that autograd keeps of one layer, for backward, in float32.

    config: a ModelConfig. Its fields, whole numbers: d_model, n_heads, n_kv_heads (divides n_heads, and may equal it),
        head_dim, d_ffn; and gated (False: GELU; True: SiLU and a gate).
    attention: "eager" or "fused". checkpointing: "none", "selective" or "full".
    Returns a dict of six ints: input, norms, attention, pairs, mlp and their total, in bytes; what is not kept is 0.
        Parameters, masks and what lives only in the forward pass do not count.
    """
    ### BEGIN SOLUTION
    tokens, d = batch * time, config.d_model
    heads, kv_heads = config.n_heads, config.n_kv_heads
    stored = heads if attention == "eager" and checkpointing == "none" else kv_heads
    rows = tokens * heads  # one for each query and head
    inside = {"eager": rows * time, "fused": rows}[attention]
    wide = 4 if config.gated else 2
    numbers = {
        "input": tokens * d,
        "norms": tokens * (d + 4),
        "attention": tokens * (d + config.head_dim * (2 * heads + 2 * stored)),
        "pairs": inside if checkpointing == "none" else 0,
        "mlp": tokens * (d + wide * config.d_ffn),
    }
    if checkpointing == "full":
        numbers = {**dict.fromkeys(numbers, 0), "input": numbers["input"]}
    table = {term: 4 * count for term, count in numbers.items()}
    return {**table, "total": sum(table.values())}
    ### END SOLUTION


# %% check="activation_bytes"
check("activation_bytes", activation_bytes)

# %% [markdown]
# **Look at it on your machine.** Saved-tensor hooks tell what autograd keeps. Double the sequence, and the table of
# pairs is four times as large: this is the wall that fused attention takes away.
#
# *The figure. Left: MiB kept by one layer over the sequence length, both axes logarithmic; markers are measured, lines
# are your count, and every marker lies on its line; eager attention's (blue circles) turns steeper with the length,
# fused attention's (orange squares) stays straight. Right: bytes alive after each operator of one forward and backward
# through eight layers: a mountain without checkpointing; with it, a low slope and a tooth for each layer that runs
# again.*

# %% experiment="kept_for_backward"
SMALL = replace(gpt2(), d_model=256, n_heads=8, n_kv_heads=4, head_dim=32, d_ffn=1024)
device = "cuda" if torch.cuda.is_available() else "cpu"


def kept_bytes(layer, x):
    """Bytes of the storages that autograd keeps, parameters, masks and single numbers left out."""
    known, kept = {p.untyped_storage().data_ptr() for p in layer.parameters()}, {}

    def see(tensor):
        storage = tensor.untyped_storage()
        if tensor.ndim and tensor.dtype == torch.float32 and storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage

    with torch.autograd.graph.saved_tensors_hooks(see, lambda nothing: nothing):
        layer(x)
    return sum(storage.nbytes() for storage in kept.values())


class Timeline(MemoryMeter):
    """Bytes alive after each operator."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = super().__torch_dispatch__(func, types, args, kwargs)
        self.points = [*getattr(self, "points", []), self.now / 2**20]
        return result


kept_figure, (left, right) = figure(2, width=5.2)
lengths = [2**k for k in range(5, 11)]
for colour, attention, marker in zip(COLOURS, ("eager", "fused"), "os", strict=False):
    layer = Layer(SMALL, attention).to(device)
    measured = [kept_bytes(layer, torch.randn(1, T, 256, device=device, requires_grad=True)) for T in lengths]
    counted = [activation_bytes(SMALL, 1, T, attention)["total"] for T in lengths]
    print(f"{attention}, T = {lengths[-1]}: measured {measured[-1]:,}, you {counted[-1]:,}")
    for values, label, style in ((counted, "counted", "-"), (measured, "measured", "")):
        shown = {"linestyle": style, "marker": "" if style else marker, "label": f"{attention}, {label}"}
        left.loglog(lengths, [n / 2**20 for n in values], color=colour, base=2, **shown)
for label in ("all kept", "checkpointed"):
    x = torch.randn(1, 512, 256, device=device, requires_grad=True)
    layers = [Layer(SMALL, "eager").to(device) for _ in range(8)]
    with Timeline() as meter:
        y = x
        for layer in layers:
            y = layer(y) if label == "all kept" else checkpoint(layer, y, use_reentrant=False)
        y.sum().backward()
    right.plot(meter.points, marker="", label=label)
left.set(xlabel="tokens", ylabel="MiB kept by a layer")
right.set(xlabel="operators so far", ylabel="MiB alive, weights apart")
left.legend(fontsize="x-small")
right.legend()
kept_figure

# %% [markdown]
# The famous formula for a layer of GPT in 16 bits is $s\,b\,h\,(34 + 5 a s / h)$ bytes (Korthikanti et al. 2022), for s
# tokens, b sequences, width h and a heads. The 34 is what you counted, plus two dropout masks; the 5 is a softmax and
# its dropout in 16 bits. With a softmax in float32 it is 7, with fused attention 0: the kernels decide.

# %% [markdown]
# ## 8. Bytes on the wire
# P ranks with a model each share a batch. Every step they must agree on the sum of their gradients: for GPT-3 in 16
# bits that is 350 GB, every step. *Who* carries these bytes is what tells the schemes apart.
#
# ```
#   ring                          binary tree
#
#   0 -> 1 -> 2 -> 3                      0
#   ^              |                    /   \
#   '--------------'                   1     2
#   chunks of 1/P, 2(P - 1) times     / \
#   round and round                  3   4     sums up, the result down
# ```
#
# | scheme | a step |
# |---|---|
# | `ring` | reduce-scatter of gradients, then all-gather of the summed gradients |
# | `tree` | gradients go up each edge, the sum comes down each edge; rank r's parent is `(r - 1) // 2` |
# | `zero-1` | reduce-scatter of gradients; each rank updates its share of the weights; all-gather of weights |
# | `zero-2` | the same, with a reduce-scatter for *every micro-batch*: gradients of others are not kept |
# | `zero-3` | for every micro-batch two all-gathers of weights and a reduce-scatter of gradients |
#
# ZeRO 3 keeps weights in shares too: gathered for forward and again for backward; after the update nothing is sent. A
# reduce-scatter and an all-gather run round a ring here, and are alike for the wire: in each of $P-1$ rounds every rank
# passes one chunk on. Buffers that P does not divide are padded, so a chunk has $\lceil n/P \rceil$ entries; an
# all-gather of weights moves weights. In a tree nothing is divided, so nothing is padded.
#
# A wire carries both ways at the same time, so a participant is as busy as the *larger* of what it sends and what it
# receives. The busiest participant's wire is the **bottleneck**: the step waits for it.
# ### Exercise `traffic` (13 points)
# A server in the middle, where all ranks meet, is lab 8. Points by part: ring 3, tree 3, ZeRO 4, padding 3.


# %% exercise="traffic"
def traffic(scheme, entries, ranks, gradient_itemsize=2, weight_itemsize=2, micro_batches=1):
    """Bytes of one training step over the wires, a dict of two whole numbers.

    scheme: one of the five names in the table. entries: the number of gradients, and of weights.
    gradient_itemsize, weight_itemsize: bytes of one gradient and of one weight on the wire.
    micro_batches: forward and backward passes in a step; it matters to zero-2 and zero-3 only.
    "total": what all ranks together send.
    "bottleneck": of the rank whose wire is busiest, the larger of what it sends and what it receives.
    With one rank nothing is sent.
    """
    ### BEGIN SOLUTION
    gradients = entries * gradient_itemsize
    if scheme == "tree":
        degrees = [(r > 0) + max(0, min(2, ranks - 1 - 2 * r)) for r in range(ranks)]
        return {"total": sum(degrees) * gradients, "bottleneck": max(degrees) * gradients}
    chunk = -(-entries // ranks)
    scattered, gathered = chunk * gradient_itemsize, chunk * weight_itemsize
    rounds = {
        "ring": 2 * scattered,
        "zero-1": scattered + gathered,
        "zero-2": micro_batches * scattered + gathered,
        "zero-3": micro_batches * (scattered + 2 * gathered),
    }
    each = (ranks - 1) * rounds[scheme]
    return {"total": ranks * each, "bottleneck": each}
    ### END SOLUTION


# %% check="traffic"
check("traffic", traffic)

# %% [markdown]
# **Look at it:** ring, tree and a server in the middle (lab 8: every rank pushes all gradients to it, then pulls all
# weights) send almost the same together. A good scheme does not send less, it spreads it.
#
# *The figure: GPT-2 124M in 16 bits. Left: bytes of the busiest wire over ranks, both axes logarithmic; the server's
# line (blue circles) rises with slope one, the tree's (green triangles) steps up to three times the gradients and
# stays, the ring's (orange squares) goes to twice, ZeRO 3's (vermilion diamonds) to three times. Right: all bytes.*

# %% experiment="who_carries"
GPT2_SIZE = 124_439_808
worlds = [2**k for k in range(1, 11)]
carried, axes = figure(2)
in_the_middle = [{"bottleneck": 2 * GPT2_SIZE * world, "total": 4 * GPT2_SIZE * world} for world in worlds]
for scheme in ("a server", "ring", "tree", "zero-3"):
    found = in_the_middle if scheme == "a server" else [traffic(scheme, GPT2_SIZE, world) for world in worlds]
    for ax, part in zip(axes, ("bottleneck", "total"), strict=True):
        ax.loglog(worlds, [one[part] / 1e9 for one in found], label=scheme, base=10)
for ax, title in zip(axes, ("GB over the busiest wire", "GB over all wires"), strict=True):
    ax.set(title=title, xlabel="ranks")
axes[0].legend(fontsize="small")
carried

# %% [markdown]
# ## 9. How many GPUs, and how long?
# The lecture asks how many GPUs train GPT-3 in 30 days:
#
# $$ \frac{6 \times 175\text{B} \times 300\text{B}}{160\ \text{TFLOPs} \times (3600 \times 24 \times 30)\ \text{s}} =
#    759.5 $$
#
# and says 800. The 160 TFLOPs are labelled a peak. The peak of an A100 is 312, which would give 390 GPUs; 140 were
# *achieved* on GPT-3 (Narayanan et al. 2021), and these count every FLOP of the hardware: with the forward pass
# computed again for backward, 8 for each parameter and token, not 6. So the slip is a 6 with a hardware rate; counted
# alike, 30 days take 1,157 GPUs. A rate over the peak is **utilization**: of the model (MFU) where it counts 6, of the
# hardware (HFU) where it counts 8. And `/ 3600 * 24 * 30` in one line divides by 3600 only.
# ### Exercise `gpus_needed` (5 points)
# GPUs come in boxes of `box`, and a box is rented whole. Points by part: the exact number 3, whole boxes 2.


# %% exercise="gpus_needed"
def gpus_needed(flops, peak, utilization, days, box=1):
    """How many GPUs do so much work in time: a dict.

    flops: of the whole run. peak: FLOPs a second of one GPU, of which it achieves the fraction utilization.
    "exact": the number, not rounded. "rented": the smallest number that is enough and makes whole boxes, an int.
    """
    ### BEGIN SOLUTION
    exact = flops / (peak * utilization * days * 24 * 3600)
    return {"exact": exact, "rented": math.ceil(exact / box) * box}
    ### END SOLUTION


# %% check="gpus_needed"
check("gpus_needed", gpus_needed)

# %% [markdown]
# ### From a step to the bill
# A run is a number of steps, each of `batch_tokens` tokens; the last one is as long as the others even if fewer
# tokens are left. In a step all GPUs compute, each at `utilization * peak`, and the busiest wire carries `sent` bytes
# one way at `bandwidth` bytes a second. At best the wire works *while* the cards compute (lab 9 builds that), so a
# step takes as long as the slower of the two. If that is the wire, the cards wait, and their utilization falls.
# ### Exercise `schedule` (11 points)
# Points by part: the step 4, the run 4, what is reached 3.


# %% exercise="schedule"
def schedule(flops_per_token, tokens, batch_tokens, gpus, peak, utilization, sent, bandwidth, price=0.0):
    """Time and cost of a run, a dict.

    flops_per_token: forward and backward, for one token. tokens: of the run. batch_tokens: of a step, on all gpus.
    peak, utilization, sent, bandwidth: as above. price: of one GPU for an hour.
    "compute_seconds", "exchange_seconds": of a step, each for itself. "step_seconds": of a step.
    "steps": an int. "days": of the run. "cost": of all GPUs, for the whole run.
    "reached": the fraction of all GPUs' peak that a step's FLOPs make up over step_seconds.
    """
    ### BEGIN SOLUTION
    compute = flops_per_token * batch_tokens / (gpus * utilization * peak)
    exchange = sent / bandwidth
    step = max(compute, exchange)
    steps = -(-tokens // batch_tokens)
    hours = steps * step / 3600
    return {
        "compute_seconds": compute,
        "exchange_seconds": exchange,
        "step_seconds": step,
        "steps": steps,
        "days": hours / 24,
        "cost": hours * gpus * price,
        "reached": flops_per_token * batch_tokens / (gpus * peak * step),
    }
    ### END SOLUTION


# %% check="schedule"
check("schedule", schedule)

# %% [markdown]
# **Look at it:** LLaMA-2 7B, two trillion tokens, 4 million tokens a step, on H100s that achieve 40%, over a ring.
# Doubling the GPUs halves the time until the wire is the slower part: from there on money buys nothing. The makers
# quote wires in three ways: NVLink 4 with 900 GB/s is the sum of both directions, 450 each way; so is PCIe 5.0 with
# 128; InfiniBand NDR with 400 Gb/s is each way, in bits: 50 GB/s.
#
# *The figure. Left: days over GPUs, both axes logarithmic, a line for each wire: they fall together and then each but
# NVLink's stays flat, Ethernet's first. Right: the utilization that is reached, 40% on all wires, falling where the
# wire takes over, which NVLink does nowhere up to 4,096 GPUs.*

# %% experiment="where_wires_rule"
WIRES = {"NVLink 4": 450e9, "PCIe 5.0": 64e9, "InfiniBand NDR": 50e9, "25 Gb/s Ethernet": 3.125e9}
LLAMA2_SIZE = 6_738_415_616
FLOPS_A_TOKEN = 6 * LLAMA2_SIZE
counts = [2**k for k in range(3, 13)]
ruled, (left, right) = figure(2)
for wire, bandwidth in WIRES.items():
    found = []
    for gpus in counts:
        sent = traffic("ring", LLAMA2_SIZE, gpus)["bottleneck"]
        found.append(schedule(FLOPS_A_TOKEN, 2 * 10**12, 2**22, gpus, 989.4e12, 0.4, sent, bandwidth, 2.0))
    left.loglog(counts, [one["days"] for one in found], label=wire)
    right.semilogx(counts, [100 * one["reached"] for one in found], label=wire)
left.set(xlabel="GPUs", ylabel="days")
right.set(xlabel="GPUs", ylabel="utilization reached (%)", ylim=(0, 45))
left.legend(fontsize="small")
ruled

# %% [markdown]
# ### Imbalanced technology upgrading
# The lecture sets an A100 (312 TFLOPS, 2020) against a "B300 with 72 PFLOPS" (2025), 231 times, while NVLink went from
# 600 GB/s to 1.8 TB/s. But 72 PFLOPS is a *box of eight*, in 8-bit numbers with structured sparsity. Card by card,
# dense and in 16 bits, it is 2250 against 312: 7.2 times. The point stands: arithmetic outgrows all that feeds it.
#
# *The figure: growth since the P100 of 2016 by card, on a logarithmic axis; from the top: 16-bit FLOPs (106 times by
# 2025), memory, its bandwidth and NVLink (11 times each), InfiniBand (8 times).*

# %% experiment="imbalance"
CARDS = {  # year: dense 16-bit TFLOPs, memory GB, its GB/s, NVLink GB/s both ways, InfiniBand Gb/s of its time
    "P100": (2016, 21.2, 16, 732, 160, 100),
    "A100": (2020, 312, 80, 2039, 600, 200),
    "H100": (2022, 989.4, 80, 3350, 900, 400),
    "B200": (2025, 2250, 180, 8000, 1800, 800),
}
grown, (ax,) = figure(width=6.5)
first, years = CARDS["P100"], [card[0] for card in CARDS.values()]
for n, what in enumerate(("16-bit FLOPs", "memory", "memory bandwidth", "NVLink", "InfiniBand"), 1):
    ax.semilogy(years, [card[n] / first[n] for card in CARDS.values()], label=what)
ax.set_xticks(years, [f"{name}\n{year}" for name, year in zip(CARDS, years, strict=True)], fontsize="x-small")
ax.set(ylabel="times the P100")
ax.legend(fontsize="small")
grown

# %% [markdown]
# ## 10. Extensions
# ### Extension `kv_cache` (6 bonus points)
# Serving a model takes its weights and, for each token of each sequence, a key and a value in every layer and
# key-value head. Points by part: the cache's bytes 3, the largest batch 3.


# %% exercise="kv_cache"
def kv_cache(config, batch, time, itemsize, parameters, memory):
    """Count a cache's bytes, and how many sequences a card can serve.

    config: as in `forward_flops`. time: tokens of each sequence. itemsize: bytes of a number, in weights and cache.
    parameters: of the model. memory: bytes of the card; what is as large as the memory fits.
    Returns a dict of two ints: cache, the bytes for batch sequences; largest_batch, the most sequences of `time`
        tokens that fit beside the weights, 0 where none does.
    """
    ### BEGIN SOLUTION
    one = 2 * config.n_layers * config.n_kv_heads * config.head_dim * time * itemsize
    return {"cache": batch * one, "largest_batch": max(0, (memory - parameters * itemsize) // one)}
    ### END SOLUTION


# %% check="kv_cache"
check("kv_cache", kv_cache)

# %% [markdown]
# ### Extension `peak_memory` (6 bonus points)
# What has to fit is the highest point of tensors' comings and goings. A card's allocator hands out whole blocks, of 512
# bytes in PyTorch. Points by part: the peak 4, in blocks 2.


# %% exercise="peak_memory"
def peak_memory(events, block):
    """Find the highest point of a list of events.

    events: pairs [name, size], at least one. A size above 0 takes so many bytes, rounded up to whole blocks, under that
        name; a size of 0 gives back what the name holds. A name may come again then. The list stays as it is.
    block: bytes of a block; 1 says that nothing is rounded.
    Returns a dict: peak, the most bytes (an int); at, the number of the first event, from 0, after which so many are
        alive; alive, a dict of the bytes by name at that moment, in whole blocks as counted.
    """
    ### BEGIN SOLUTION
    alive, now, found = {}, 0, {"peak": 0}
    for at, (name, size) in enumerate(events):
        if size:
            alive[name] = -(-size // block) * block
            now += alive[name]
        else:
            now -= alive.pop(name)
        if now > found["peak"]:
            found = {"peak": now, "at": at, "alive": dict(alive)}
    return found
    ### END SOLUTION


# %% check="peak_memory"
check("peak_memory", peak_memory)

# %% [markdown]
# A card does `peak` FLOPs a second and moves `bandwidth` bytes a second between memory and cores. An operator with F
# FLOPs that moves B bytes has the **arithmetic intensity** $I = F / B$, and runs at most at
#
# $$ \min(\text{peak},\; I \cdot \text{bandwidth}) $$
#
# FLOPs a second. Below the *ridge*, $I = \text{peak}/\text{bandwidth}$ (295 FLOPs a byte on an H100 in bfloat16),
# memory is what limits, and faster arithmetic buys nothing. A product of (m, k) by (k, n) reads both and writes the
# result, each once, if all goes well.
# ### Extension `roofline` (8 bonus points)
# Points by part: intensity 3, speed 3, what limits 2.


# %% exercise="roofline"
def roofline(m, k, n, itemsize, peak, bandwidth):
    """A matrix product (m, k) x (k, n) of numbers of itemsize bytes, under a card's roof: a dict.

    "flops", "bytes": ints; a multiply-add is two FLOPs. "intensity": FLOPs for each byte.
    "attainable": FLOPs a second at most. "seconds": at least.
    "bound": "memory" where the intensity is below the ridge, else "compute".
    """
    ### BEGIN SOLUTION
    flops = 2 * m * k * n
    moved = itemsize * (m * k + k * n + m * n)
    attainable = min(peak, flops / moved * bandwidth)
    return {
        "flops": flops,
        "bytes": moved,
        "intensity": flops / moved,
        "attainable": attainable,
        "seconds": flops / attainable,
        "bound": "memory" if flops * bandwidth < peak * moved else "compute",
    }
    ### END SOLUTION


# %% check="roofline"
check("roofline", roofline)

# %% [markdown]
# With 16-bit training a parameter takes 2 bytes as weight and 2 as gradient, and 12 more in 32 bits: the master
# weight and Adam's two moments. ZeRO keeps only one P-th of these on each of P ranks: stage 1 of the 12, stage 2 also
# of the gradients, stage 3 also of the weights. Stage 0 divides nothing. Shares are padded to $\lceil N/P \rceil$
# parameters. Activations belong to a rank's own part of the batch, and no stage divides them.
# ### Extension `zero_stage` (8 bonus points)
# Points by part: bytes 4, the stage 2, the ranks 2.


# %% exercise="zero_stage"
def zero_stage(parameters, activations, ranks, memory):
    """What each stage of ZeRO holds on one rank, and what fits in memory bytes: a dict.

    activations: bytes on one rank. "bytes": a list of four ints, for stages 0 to 3: states and activations.
    "stage": the first stage that fits, or None where none does; what is as large as memory fits.
    "ranks": the smallest number of ranks with which stage 3 fits, or None where no number is enough.
    """
    ### BEGIN SOLUTION
    share = -(-parameters // ranks)
    divided = [(0, 16), (12, 4), (14, 2), (16, 0)]  # bytes of each parameter: sharded, whole
    held = [sharded * share + whole * parameters + activations for sharded, whole in divided]
    largest_share = (memory - activations) // 16
    return {
        "bytes": held,
        "stage": next((stage for stage, size in enumerate(held) if size <= memory), None),
        "ranks": -(-parameters // largest_share) if largest_share > 0 else None,
    }
    ### END SOLUTION


# %% check="zero_stage"
check("zero_stage", zero_stage)

# %% [markdown]
# ## What you built
# A model's cost from its sizes: parameters, FLOPs, memory, traffic, cards and days. Lab 8's edition brings
# `mlsys_course.accounting`, which has your functions under your names, and beside them what they are special cases of:
# `ModelConfig` has a field for each row of your term's table; presets (`gpt2()`, `gpt3_175b()`, `llama31_405b()`,
# `bert()`, `t5_11b()`) give the published models; `parameter_table`, `flops_by_operator` and `step_flops` are exact
# against live models of all of them; `loads_of` says who sends what, `forward_bounds` what limits each operator.
# `training_memory` walks a tape of storages to a step's peak; `accounting.measured` reads the same from the machine.
# Its command puts all of it together: `mlsys plan llama2-7b --gpu h100 --gpus 64 --tokens 2e12`.
#
# **What real systems do differently.** They count on the live model: `sum(p.numel() for p in model.parameters())`, on
# the meta device when it does not fit, and by shard once it is distributed (lab 11). A card holds more than tensors:
# CUDA's context takes several hundred MB, the matrix library a workspace (65 MiB on an H200), and the allocator's
# blocks are up to 1 MiB larger than what was asked for. Padding is real: GPT-2's 50,257 tokens are commonly padded to
# 50,304 rows, so that two checkpoints of one model may differ. Mixtures of experts have two counts, all parameters
# and those that a token uses.
#
# **Papers.** Brown et al. 2020 (GPT-3); Kaplan et al. 2020 (6 N D); Shazeer 2020 (gated feed-forward); Rajbhandari et
# al. 2020 (ZeRO); Narayanan et al. 2021 (Megatron-LM); Korthikanti et al. 2022 (activations); Dao et al. 2022 (fused
# attention); Ainslie et al. 2023 (grouped queries); Touvron et al. 2023 (LLaMA 2); Williams et al. 2009 (roofline);
# Xiao et al. 2024 (sinks); Darcet et al. 2024 (registers).

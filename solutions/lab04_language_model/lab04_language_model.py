# %% [markdown]
# # Lab 4: A language model that talks
#
# From blocks to a model: tokens in, text out. You build a tokenizer that takes any text, the two objectives that models
# are trained for, and the ways to get text out of a model; you train a GPT of your own on a book until it writes its
# style, and in the end the weights of a published model run in your blocks and answer you.
#
# **Time** six to eight hours; 45 seconds of them the model trains while you watch. **Before this** lab 3: blocks and
# the decoder; lab 2's cache. **Points** 100: eight exercises (92), a choice (3), an open question (5).
#
# **Conventions.** B batch, T time, C channels, V vocabulary. Where lecture notes disagree, we hold to this:
#
# - **The product starts at the first token**: $P(x_{1:T}) = P(x_1) \prod_{t=1}^{T-1} P(x_{t+1} \mid x_{1:t})$. (One
#   lecture leaves $P(x_1)$ out.)
# - **Logits at t are for the token at t + 1** in a causal model, and for the token at t in a masked one.
# - **$\mathrm{logits} = xW^\top$** with W of shape (V, C), as the embedding has. (One lecture has $d \times V$ beside
#   the same formula.)
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
# A model reads whole numbers. One for each word? Then "unbelievably" needs a row of its own in the embedding, and a
# word that was not in the training text has none. One for each letter? Then a sentence is five times as long, and
# attention, whose cost grows with the square, twenty-five times as dear. *Byte-pair encoding* goes between: it starts
# with bytes, of which there are 256 and of which every text is made, and makes the most frequent pair of neighbours a
# token of its own; then again, and again.
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
# merge changes those words' counts only. Then it is a matter of seconds.


# %% exercise="train_merges"
def train_merges(words: dict[bytes, int], n_merges: int) -> list[tuple[int, int]]:
    """The first `n_merges` merges of byte-pair encoding, in order, each a pair of tokens.

    `words` maps each different piece of text to how often it stands there, 1 or more. Tokens 0 to 255 are the bytes,
    and merge n makes token 256 + n. Each merge takes the pair of neighbours that stands most often in all words
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
# The same pieces come again and again (" the" 60,000 times in the text below): an encoder that remembers what each
# became is ten times as fast.
#
# **Special tokens** are no text: the end of a document, a turn in a chat, `[MASK]`. They have ids after all others, and
# are cut out before anything else. That is a door, too: if a *user* types `<|end|>`, should the model see the end? So
# `encode` can be told to take special tokens for plain text.


# %% exercise="BytePairTokenizer"
class BytePairTokenizer:
    """Text to ids and back. Ids 0 to 255 are the bytes, 256 + n is what merge n makes, then come the special tokens."""

    def __init__(self, merges, special=(), split=split_text):
        """`merges` is a list of pairs as train_merges returns it, `special` a list of texts, `split` cuts a text into
        pieces. Raises ValueError for a merge of a token that is none yet: merge n may use 0 to 255 + n. The lists stay
        as they are.
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
        """The ids of a text, which may be any Unicode, also empty.

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
        text = text[:4000]
        found = [len(text) / len(BytePairTokenizer(merges[:n], [END]).encode(text)) for n in numbers]
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
# P("San Diego has very nice weather") is P("San") times P("Diego" | "San") times P("has" | "San Diego") and so on: with
# six words it has six factors. (A lecture writes $\prod_{t=1}^{T} P(x_{t+1} \mid x_{1:t})$, a slip of one at both ends:
# it leaves out the first factor and asks for a word after the last.) A *causal* model is trained to make the product
# large, that is, its negative logarithm small. All positions are trained at once, since a causal mask keeps each from
# seeing what it is asked:
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
# A *masked* model (BERT) sees both sides and is asked for what was hidden: "My [MASK] is Sylvain". About 15% of the
# tokens are chosen. If all of them became `[MASK]`, the model would learn to think only where a `[MASK]` stands, and
# when it is *used* there is none. So of the chosen ones
#
# | share | the input has | the model is asked for |
# |---|---|---|
# | 80% | `[MASK]` | the token |
# | 10% | any token of the vocabulary | the token |
# | 10% | the token as it is | the token |
#
# and the rest is not asked. A function that throws dice cannot be checked; so the dice are an argument: three numbers
# for each token, evenly drawn from [0, 1). The first says whether it is chosen, the second what becomes of it, the
# third which token comes in its place.


# %% exercise="mask_tokens"
def mask_tokens(ids: Tensor, u: Tensor, mask_id: int, vocabulary: int, rate: float = 0.15, special=None):
    """A pair (inputs, labels) for masked language modelling, both of the shape, dtype and device of ids.

    ids (B, T), int32 or int64. u (3, B, T), float32 or float64, each in [0, 1). A token is chosen where u[0] < rate and
    `special` is not True there; special is bool (B, T), or None: nothing is special. Inputs are the ids, but of the
    chosen ones `mask_id` where u[1] < 0.8, and floor(u[2] * vocabulary) where 0.8 <= u[1] < 0.9 (which may happen to be
    the same token, or any other). Labels are the ids where a token is chosen, whatever became of it, and -100
    elsewhere. Raises ValueError for a rate outside [0, 1]. ids stays as it is.
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
# square in the toolbar): what it has learned by then stays, and the notebook goes on. Stopped, changed and called
# again, the cell starts anew.
#
# *A live figure: the loss in nats a token, of the batches (thin) and smoothed (thick), against seconds. It starts at
# log 1001 = 6.9, the loss of guessing, falls steeply in the first seconds, when the model learns which tokens are
# frequent, then slowly, as it learns which follow which.*

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
# compared is the whole text's: add up $-\log_2 P$ of all tokens and divide by its letters, **bits a character**. And
# that is more than a way to compare: an arithmetic coder turns a model into a file of just that many bits (Shannon
# 1948). So a language model competes with `gzip`. (**Perplexity** is the loss in another guise, $e^{\mathrm{loss}}$:
# among how many equally likely tokens it feels like choosing.)
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
# **Look at it: your model against three compressors**, on the held-out verses. Each compressor is measured twice: on
# these verses alone, and with the whole book before them (what they add to its file), which is fair to a model that has
# read it. The model's windows are side by side here, so that each token sees 32 before it on average.
#
# *Bars of bits a character. Alone: gzip is highest at 2.6, xz 2.3, bzip2 2.0. After the book: gzip, which looks back 32
# kB only, gains next to nothing; xz and bzip2 come down to 1.9. Your model, after 45 seconds: from 1.8 to 2.0, by the
# machine's speed. The text as it is would stand at 8.*

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
# **Look at it: what the embedding has learned.** Is "king" nearer "queen" than "ship"? Tokens that stand in the same
# places need the same things said about them, so training brings their rows of the embedding together; nobody told the
# model what words mean. Rows are compared by their cosines, after the mean row is taken off (all rows share a direction
# that says how frequent tokens are).
#
# *Printed: the five nearest tokens of some words. Then a heat map of cosines between tokens of four groups, names,
# numbers, verbs and prepositions: bright squares along the diagonal, where a group is among itself, darker outside.* 45
# seconds suffice for kinds of words; what a word means takes longer.

# %% experiment="embedding"
fig = None
if gpt is not None:
    rows = next(p for name, p in gpt.named_parameters() if "embedding" in name).detach().cpu()
    rows = F.normalize(rows - rows.mean(0), dim=-1)
    groups = ["David Moses Jacob Solomon", "two three seven twenty", "said came went saw", "in upon from before"]
    known = [f" {word}" for group in groups for word in group.split()]
    known = [word for word in known if len(tokenizer.encode(word)) == 1]
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
# A masked model is no good at writing, but it reads: what it says of a token knows what comes after, too. Training one
# from nothing takes longer than a causal one, since a batch asks for 15% of its tokens, not for all. So it begins as
# your GPT: the same weights, in lab 3's encoder, whose only difference is that no mask hides what comes next. Then 15
# seconds on the same text with *your* `mask_tokens`. It is used as the notes use one, `pipeline("fill-mask")`: three
# stages, joined by lab 0's `pipeline`.
#
# *Printed are the five best tokens for each blank, from both sides, and by your GPT from the left side only. Before "of
# Israel" the GPT knows nothing but the start of a verse, and the encoder knows what stands after the blank.* After 15
# seconds expect the right kind of word, and not always the right word.

# %% experiment="fill_mask"
from mlsys_course.transformer import Encoder

if tokenizer is not None:
    seed(41)
    mask_id = tokenizer.encode(MASK)[0]
    # Where the weights of your own decoder go in the course's encoder; the course's decoder has the same names.
    places = {r"^embedding\.weight": "embedding.tokens.weight", r"^(blocks|norm)\.": r"stack.\1.",
              r"^head\.weight": "head.vocabulary.weight"}  # fmt: skip
    weights = dict(gpt.state_dict())
    for old, new in places.items():
        weights = {re.sub(old, new, name): tensor for name, tensor in weights.items()}
    bert = Encoder(replace(config, causal=False)).to(device)
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

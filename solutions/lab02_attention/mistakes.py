"""Lab 2's misconceptions about attention itself, masks and positions. Sealed, as exercises.py, which reads them."""

import math

import torch

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course.attention import (
    attention,
    causal_mask,
    document_mask,
    learned_positions,
    padding_mask,
    prefix_mask,
    rotary_positions,
    sinusoidal_positions,
    window_mask,
)

Tensor = torch.Tensor

LOWEST = "torch.finfo(scores.dtype).min"
FILL = f"scores.masked_fill(~mask, {LOWEST})"
CLEARED, LEFT = "weights if mask is None else weights.masked_fill(~mask, 0)", "weights"
WEIGHTS = "masked_softmax(scores, mask)"


def naive_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    grown = scores.exp() if mask is None else scores.exp() * mask
    total = grown.sum(-1, keepdim=True)
    return grown / total.where(total > 0, 1)


def renormalized(scores: Tensor, mask: Tensor | None) -> Tensor:
    weights = scores.softmax(-1) if mask is None else scores.softmax(-1) * mask
    total = weights.sum(-1, keepdim=True)
    return weights / total.where(total > 0, 1)


PATCHED = (
    "Your zeros are right, and the gradient behind them is not: a NaN that is replaced afterwards was still computed, "
    "and the backward pass goes through it."
)
mistake = wrong(attention)
ATTENTION = [
    mistake("scale missing", "Look at the denominator in the equation: what happens to the scores before the softmax?",
        "1 / math.sqrt(q.shape[-1])", "1.0"),
    mistake("scaled by the width",
        "The scores come out too small. Which grows in proportion to D: their variance or their standard deviation?",
        "math.sqrt(q.shape[-1])", "q.shape[-1]"),
    mistake("scaled by the width of v", "Two widths may differ here, D and Dv. Which of them does a score sum over?",
        "math.sqrt(q.shape[-1])", "math.sqrt(v.shape[-1])"),
    mistake("softmax over queries",
        "Along which axis must the weights sum to 1: for a query over the keys, or for a key over the queries?",
        "scores.softmax(-1)", "scores.softmax(-2)"),
    mistake("mask inverted", "Read again what True means in the mask.",
        WEIGHTS, "masked_softmax(scores, None if mask is None else ~mask)"),
    mistake("mask after the softmax",
        "With a mask, do the weights of a row still sum to 1? Ask when the forbidden keys must drop out.",
        FILL, "scores"),
    mistake("masked after the softmax, and normalized again",
        "When a hidden key scores far above all others, what is left of the others' weights once the softmax is done?",
        masked_softmax=renormalized),
    mistake("hidden keys score 0", "A score of 0 is not low. What is exp(0), and what should a hidden key weigh?",
        LOWEST, "0.0", CLEARED, LEFT),
    mistake("mask added as numbers",
        "A bool added to a score counts as 0 or 1. Is that enough to keep a key from being attended to?",
        FILL, "scores + mask", CLEARED, LEFT),
    mistake("row without keys is NaN",
        "One query may attend to nothing at all: what does the softmax divide by there? See the limit case.",
        LOWEST, "-torch.inf", CLEARED, LEFT),
    mistake("row without keys averages all",
        "With every score at one large negative number, what are the softmax's weights? See the limit case.",
        LOWEST, "-1e9", CLEARED, LEFT),
    mistake("a fill that is not the lowest",
        "Scores may be as large as the dtype holds, of either sign. Which number is below all that a key can score?",
        LOWEST, "-1e9"),
    mistake("weights repaired after a NaN", PATCHED,  # added, since masked_fill would keep the NaN from the scores
        FILL, "scores + torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)", "weights.masked_fill(~mask, 0)",
        "weights.nan_to_num(0.0)"),
    mistake("output repaired after a NaN", PATCHED,  # zero times the NaN weights goes back to v
        LOWEST, "-torch.inf", CLEARED, LEFT, f"({WEIGHTS} @ v)", f"({WEIGHTS} @ v).nan_to_num(0.0)"),
    mistake("exponential overflows",
        "How large is exp(200) in float32? A softmax does not change when each row's maximum is subtracted.",
        masked_softmax=naive_softmax),
    mistake("result in float32",
        "Computing in float32 is right for half precision; which dtype should the result have?",
        ".to(dtype)", ""),
    mistake("always in float32",
        "float64 comes in with 16 digits. How many are left after `.float()`, and which dtypes need it at all?",
        "torch.promote_types(dtype, torch.float32)", "torch.float32"),
]  # fmt: skip

# ---- masks -----------------------------------------------------------------------------------------------------------

NOT_AFTER = "key <= query"
mistake = wrong(causal_mask)
CAUSAL_MASK = [
    mistake("looks ahead",
        "Row t is query t. Which columns are its past, those to the left of the diagonal or to the right?",
        NOT_AFTER, "key >= query"),
    mistake("diagonal left out", "May a token attend to itself?", NOT_AFTER, "key < query"),
    mistake("inverted", "In this course True is where a query may attend. In which entries is your mask True?",
        NOT_AFTER, "key > query"),
    mistake("aligned to the first key", "With S > T the queries are the last T positions. What may the last query see?",
        "arange(S - T, S,", "arange(T,"),
    mistake("additive", "The lecture adds a matrix of 0 and minus infinity; the mask asked for here has dtype bool.",
        NOT_AFTER, "torch.where(key <= query, 0.0, -torch.inf)"),
]  # fmt: skip

TOKEN, AXES = "key < lengths[:, None]", "[:, None, None, :]"
mistake = wrong(padding_mask)
PADDING_MASK = [
    mistake("one too many", "A sequence of length 3 has tokens 0, 1 and 2. How many True does your row have?",
        TOKEN, "key <= lengths[:, None]"),
    mistake("inverted", "True is where a query may attend: at the real tokens, or at the padding?",
        TOKEN, "key >= lengths[:, None]"),
    mistake("padding on the left", "At which end of a sequence does the padding stand here?",
        TOKEN, "key >= T - lengths[:, None]"),
    mistake("shape (B, T)",
        "The mask must broadcast to scores of shape (B, H, T, T). Against which axes does (B, T) line up?",
        AXES, ""),
    mistake("masks queries", "Padding must not be attended *to*. Which of the scores' last two axes are the keys?",
        AXES, "[:, None, :, None]"),
]  # fmt: skip

FIRST = "causal.shape[1] - T - window"
mistake = wrong(window_mask)
WINDOW_MASK = [
    mistake("one too many", "With a window of 1, what does a token see?", FIRST, f"{FIRST} - 1"),
    mistake("one too few", "The token itself is one of the window's. How many keys are left?", FIRST, f"{FIRST} + 1"),
    mistake("sees the future", "How far ahead of itself may a token look?",
        "causal &", "torch.ones_like(causal).tril(causal.shape[1] - T + window - 1) &"),
    mistake("aligned to the first key",
        "With S > T the queries are the last T positions. Where does the last query's window end?",
        "causal_mask(T, S, device)", "causal_mask(S or T)[:T]", FIRST, "-window"),
    Misconception("no window", lambda T, window, S=None, device=None: causal_mask(T, S, device),
        "How many keys does your last query see? At most `window` are allowed."),
]  # fmt: skip

CAUSAL, PREFIX = "causal_mask(T, device=prefix.device) | ", "padding_mask(prefix, T)"
mistake = wrong(prefix_mask)
PREFIX_MASK = [
    mistake("and instead of or", "A token after the prefix sees its own past as well. Which of `&` and `|` lets it?",
        CAUSAL, CAUSAL.replace("|", "&")),
    mistake("prefix ignored", "Inside the prefix attention is not causal. What may token 0 see there?",
        PREFIX, f"torch.zeros_like({PREFIX})"),
    mistake("prefix only",
        "Every query of yours sees the prefix, and nothing else. What does a token see of its own past after it?",
        CAUSAL + PREFIX, f"{PREFIX}.repeat(1, 1, T, 1)"),
    mistake("prefix sees all", "May a token of the prefix see what comes after the prefix?", PREFIX, f"{PREFIX}.mT"),
    Misconception("one too many", lambda prefix, T: prefix_mask(prefix + 1, T),
        "A prefix of 2 is tokens 0 and 1. May token 0 see token 2?"),
]  # fmt: skip

BOTH = "same & causal_mask("
mistake = wrong(document_mask)
DOCUMENT_MASK = [
    mistake("not causal", "Within a document, too, a token must not see the next one.",
        "same & causal_mask(documents.shape[1], device=documents.device)", "same"),
    mistake("documents ignored", "May a token of the second document see the first?",
        BOTH, "torch.ones_like(same) & causal_mask("),
    mistake("or instead of and", "Two conditions must hold: the same document, and not the future.",
        BOTH, "same | causal_mask("),
    Misconception("shape (B, T, T)", lambda documents: document_mask(documents)[:, 0],
        "The mask must broadcast to scores of shape (B, H, T, T). Against which axes does (B, T, T) line up?"),
    mistake("only other documents", "True is where a query may attend: in its own document, or in the others?",
        BOTH, "~same & causal_mask("),
]  # fmt: skip

# ---- positions -------------------------------------------------------------------------------------------------------

BASE = "Change the base: does your result change?"
FREQUENCY = "Pair i turns at base^(-2i/width). How slow is your slowest pair?"
TWICE = "An index that counts 0, 2, 4, ... is 2i already. How slow is your slowest pair, and how slow should it be?"
FROM_ZERO = "The first row is position 0. What are sin(0) and cos(0)?"
PAIRS = "torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)"
INDEX, EXPONENT = "arange(0, width, 2,", "dtype=dtype) / width"
mistake = wrong(sinusoidal_positions)
SINUSOIDAL = [
    mistake("concatenated", "All the numbers are there, in another order. Which channels hold the sines?",
        PAIRS, "torch.cat((angles.sin(), angles.cos()), dim=-1)"),
    mistake("cosine first", "Is channel 0 a sine or a cosine?",
        "(angles.sin(), angles.cos())", "(angles.cos(), angles.sin())"),
    mistake("factor 2 missing", FREQUENCY, EXPONENT, f"{EXPONENT} / 2"),
    mistake("factor 2 twice", TWICE, EXPONENT, f"{EXPONENT} * 2"),
    mistake("a frequency for each channel",
        "Channels 2i and 2i+1 are sine and cosine of one angle. Is your angle the same for both?",
        INDEX, "arange(0, width,", PAIRS, "torch.stack((angles[:, ::2].sin(), angles[:, 1::2].cos()), -1).flatten(1)"),
    mistake("positions from one", FROM_ZERO, "(T, C, 0, base,", "(T, C, 1, base,"),
    mistake("base fixed", BASE, "(T, C, 0, base,", "(T, C, 0, 10000.0,"),
]  # fmt: skip

ANGLES = "_angles(T, D, offset, base, precise, x.device, positions, scaling)"
HALF = "How many positions can bfloat16 tell apart between 256 and 512? See the note on precision."
LOW = ("torch.promote_types(x.dtype, torch.float32)", "x.dtype")
POWER = "base ** (-torch.arange(0, width, 2, device=device, dtype=dtype) / width)"
mistake = wrong(rotary_positions)
ROTARY = [
    mistake("neighbours paired",
        "This is the paper's pairing, 2i with 2i+1. Which channel is the partner of channel 0 in the lab's?",
        "x.to(precise).chunk(2, dim=-1)", "(x.to(precise)[..., k::2] for k in (0, 1))", "torch.cat(", "torch.stack(",
        ", dim=-1).to(x.dtype)", ", dim=-1).flatten(-2).to(x.dtype)"),
    mistake("offset ignored", "With offset 5 the first row stands at position 5. Where does yours stand?",
        ANGLES, ANGLES.replace("offset", "0")),
    mistake("base fixed", BASE, ANGLES, ANGLES.replace("base", "10000.0")),
    mistake("turned backwards", "Turn (1, 0) by a small positive angle: which sign does its second coordinate have?",
        "angles.sin()", "-angles.sin()"),
    mistake("positions from one", "Position 0 is not turned at all. Is your first row unchanged?",
        ANGLES, ANGLES.replace("offset", "offset + 1")),
    mistake("factor 2 missing", FREQUENCY, EXPONENT, f"{EXPONENT} / 2"),
    mistake("factor 2 twice", TWICE, EXPONENT, f"{EXPONENT} * 2"),
    # In half precision the way to the angles decides by radians where they end: each way is a mistake of its own.
    mistake("angles in half precision", HALF, *LOW),
    mistake("angles in half precision, divided", HALF,
        *LOW, POWER, POWER.replace("-", ""), "* (frequency if", "/ (frequency if"),
    mistake("angles in half precision, by exp", HALF,
        *LOW, POWER, f"torch.exp({POWER.partition(' ** ')[2]} * math.log(base))", math=math),
    mistake("angles rounded to half precision",
        "Your angles are computed precisely and then rounded. How far may 300 be off in bfloat16, in radians?",
        ANGLES, f"{ANGLES}.to(x.dtype)", *("x.to(precise)", "x")),
    mistake("result in float32",
        "Computing in float32 is right for half precision; which dtype should the result have?",
        ".to(x.dtype)", ""),
]  # fmt: skip

ROWS = "table[offset : offset + T]"
mistake = wrong(learned_positions)
LEARNED = [
    Misconception("goes on beyond the table",
        lambda table, T, offset=0: table[torch.arange(offset, offset + T).clamp(max=len(table) - 1)],
        "A slice beyond the end is cut short, and a clamped or wrapped index finds a row trained for another place. "
        "What should the caller of a sequence that is too long learn?"),
    Misconception("error of the look-up", lambda table, T, offset=0: table[torch.arange(offset, offset + T)],
        "Your look-up raises an IndexError about a number. The caller gave a sequence: which error is asked for?"),
    mistake("offset ignored", "With offset 5 the first row stands at position 5. Where does yours stand?",
        ROWS, "table[:T]"),
    mistake("copied out of the graph", "The table is trained. Does a gradient reach the rows that you return?",
        ROWS, "table.detach()[offset : offset + T] + 0 * table.sum()"),
    mistake("the last rows", "Position 0 is row 0 of the table.", ROWS, "table[len(table) - T :]"),
]  # fmt: skip

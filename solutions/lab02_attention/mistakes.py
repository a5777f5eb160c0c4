"""Lab 2's misconceptions about attention itself, masks and positions. Sealed, as exercises.py, which reads them."""

import math

import torch

from autograder.exercise import Misconception
from autograder.mutated import mutated
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


PATCHED = (
    "Your zeros are right, and the gradient behind them is not: a NaN that is replaced afterwards was still computed, "
    "and the backward pass goes through it."
)
ATTENTION = [
    Misconception(
        "scale missing",
        mutated(attention, "1 / math.sqrt(q.shape[-1])", "1.0"),
        "Look at the denominator in the equation: what happens to the scores before the softmax?",
    ),
    Misconception(
        "scaled by the width",
        mutated(attention, "math.sqrt(q.shape[-1])", "q.shape[-1]"),
        "The scores come out too small. Which grows in proportion to D: their variance or their standard deviation?",
    ),
    Misconception(
        "scaled by the width of v",
        mutated(attention, "math.sqrt(q.shape[-1])", "math.sqrt(v.shape[-1])"),
        "Two widths may differ here, D and Dv. Which of them does a score sum over?",
    ),
    Misconception(
        "softmax over queries",
        mutated(attention, "scores.softmax(-1)", "scores.softmax(-2)"),
        "Along which axis must the weights sum to 1: for a query over the keys, or for a key over the queries?",
    ),
    Misconception(
        "mask inverted",
        mutated(attention, WEIGHTS, "masked_softmax(scores, None if mask is None else ~mask)"),
        "Read again what True means in the mask.",
    ),
    Misconception(
        "mask after the softmax",
        mutated(attention, FILL, "scores"),
        "With a mask, do the weights of a row still sum to 1? Ask when the forbidden keys must drop out.",
    ),
    Misconception(
        "mask added as numbers",
        mutated(attention, FILL, "scores + mask", CLEARED, LEFT),
        "A bool added to a score counts as 0 or 1. Is that enough to keep a key from being attended to?",
    ),
    Misconception(
        "row without keys is NaN",
        mutated(attention, LOWEST, "-torch.inf", CLEARED, LEFT),
        "One query may attend to nothing at all: what does the softmax divide by there? See the limit case.",
    ),
    Misconception(
        "row without keys averages all",
        mutated(attention, LOWEST, "-1e9", CLEARED, LEFT),
        "With every score at one large negative number, what are the softmax's weights? See the limit case.",
    ),
    Misconception(
        "a fill that is not the lowest",
        mutated(attention, LOWEST, "-1e9"),
        "Scores may be as large as the dtype holds, of either sign. Which number is below all that a key can score?",
    ),
    Misconception(
        "weights repaired after a NaN",  # added, since masked_fill would keep the NaN from the scores
        mutated(
            attention,
            FILL,
            "scores + torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)",
            "weights.masked_fill(~mask, 0)",
            "weights.nan_to_num(0.0)",
        ),
        PATCHED,
    ),
    Misconception(
        "output repaired after a NaN",  # zero times the NaN weights goes back to v
        mutated(attention, LOWEST, "-torch.inf", CLEARED, LEFT, f"({WEIGHTS} @ v)", f"({WEIGHTS} @ v).nan_to_num(0.0)"),
        PATCHED,
    ),
    Misconception(
        "exponential overflows",
        mutated(attention, masked_softmax=naive_softmax),
        "How large is exp(200) in float32? A softmax does not change when each row's maximum is subtracted.",
    ),
    Misconception(
        "result in float32",
        mutated(attention, ".to(dtype)", ""),
        "Computing in float32 is right for half precision; which dtype should the result have?",
    ),
    Misconception(
        "always in float32",
        mutated(attention, "torch.promote_types(dtype, torch.float32)", "torch.float32"),
        "float64 comes in with 16 digits. How many are left after `.float()`, and which dtypes need it at all?",
    ),
]

# ---- masks -----------------------------------------------------------------------------------------------------------

NOT_AFTER = "key <= query"
CAUSAL_MASK = [
    Misconception(
        "looks ahead",
        mutated(causal_mask, NOT_AFTER, "key >= query"),
        "Row t is query t. Which columns are its past, those to the left of the diagonal or to the right?",
    ),
    Misconception("diagonal left out", mutated(causal_mask, NOT_AFTER, "key < query"), "May a token attend to itself?"),
    Misconception(
        "inverted",
        mutated(causal_mask, NOT_AFTER, "key > query"),
        "In this course True is where a query may attend. In which entries is your mask True?",
    ),
    Misconception(
        "aligned to the first key",
        mutated(causal_mask, "arange(S - T, S,", "arange(T,"),
        "With S > T the queries are the last T positions. What may the last query see?",
    ),
    Misconception(
        "additive",
        mutated(causal_mask, NOT_AFTER, "torch.where(key <= query, 0.0, -torch.inf)"),
        "The lecture adds a matrix of 0 and minus infinity; the mask asked for here has dtype bool.",
    ),
]

TOKEN, AXES = "key < lengths[:, None]", "[:, None, None, :]"
PADDING_MASK = [
    Misconception(
        "one too many",
        mutated(padding_mask, TOKEN, "key <= lengths[:, None]"),
        "A sequence of length 3 has tokens 0, 1 and 2. How many True does your row have?",
    ),
    Misconception(
        "inverted",
        mutated(padding_mask, TOKEN, "key >= lengths[:, None]"),
        "True is where a query may attend: at the real tokens, or at the padding?",
    ),
    Misconception(
        "padding on the left",
        mutated(padding_mask, TOKEN, "key >= T - lengths[:, None]"),
        "At which end of a sequence does the padding stand here?",
    ),
    Misconception(
        "shape (B, T)",
        mutated(padding_mask, AXES, ""),
        "The mask must broadcast to scores of shape (B, H, T, T). Against which axes does (B, T) line up?",
    ),
    Misconception(
        "masks queries",
        mutated(padding_mask, AXES, "[:, None, :, None]"),
        "Padding must not be attended *to*. Which of the scores' last two axes are the keys?",
    ),
]

FIRST = "causal.shape[1] - T - window"
WINDOW_MASK = [
    Misconception(
        "one too many",
        mutated(window_mask, FIRST, f"{FIRST} - 1"),
        "With a window of 1, what does a token see?",
    ),
    Misconception(
        "one too few",
        mutated(window_mask, FIRST, f"{FIRST} + 1"),
        "The token itself is one of the window's. How many keys are left?",
    ),
    Misconception(
        "sees the future",
        mutated(window_mask, "causal &", "torch.ones_like(causal).tril(causal.shape[1] - T + window - 1) &"),
        "How far ahead of itself may a token look?",
    ),
    Misconception(
        "aligned to the first key",
        mutated(window_mask, "causal_mask(T, S, device)", "causal_mask(S or T)[:T]", FIRST, "-window"),
        "With S > T the queries are the last T positions. Where does the last query's window end?",
    ),
    Misconception(
        "no window",
        lambda T, window, S=None, device=None: causal_mask(T, S, device),
        "How many keys does your last query see? At most `window` are allowed.",
    ),
]

CAUSAL, PREFIX = "causal_mask(T, device=prefix.device) | ", "padding_mask(prefix, T)"
PREFIX_MASK = [
    Misconception(
        "and instead of or",
        mutated(prefix_mask, CAUSAL, CAUSAL.replace("|", "&")),
        "A token after the prefix sees its own past as well. Which of `&` and `|` lets it?",
    ),
    Misconception(
        "prefix ignored",
        mutated(prefix_mask, PREFIX, f"torch.zeros_like({PREFIX})"),
        "Inside the prefix attention is not causal. What may token 0 see there?",
    ),
    Misconception(
        "prefix only",
        mutated(prefix_mask, CAUSAL + PREFIX, f"{PREFIX}.repeat(1, 1, T, 1)"),
        "Every query of yours sees the prefix, and nothing else. What does a token see of its own past after it?",
    ),
    Misconception(
        "prefix sees all",
        mutated(prefix_mask, PREFIX, f"{PREFIX}.mT"),
        "May a token of the prefix see what comes after the prefix?",
    ),
    Misconception(
        "one too many",
        lambda prefix, T: prefix_mask(prefix + 1, T),
        "A prefix of 2 is tokens 0 and 1. May token 0 see token 2?",
    ),
]

BOTH = "same & causal_mask("
DOCUMENT_MASK = [
    Misconception(
        "not causal",
        mutated(document_mask, "same & causal_mask(documents.shape[1], device=documents.device)", "same"),
        "Within a document, too, a token must not see the next one.",
    ),
    Misconception(
        "documents ignored",
        mutated(document_mask, BOTH, "torch.ones_like(same) & causal_mask("),
        "May a token of the second document see the first?",
    ),
    Misconception(
        "or instead of and",
        mutated(document_mask, BOTH, "same | causal_mask("),
        "Two conditions must hold: the same document, and not the future.",
    ),
    Misconception(
        "shape (B, T, T)",
        lambda documents: document_mask(documents)[:, 0],
        "The mask must broadcast to scores of shape (B, H, T, T). Against which axes does (B, T, T) line up?",
    ),
    Misconception(
        "only other documents",
        mutated(document_mask, BOTH, "~same & causal_mask("),
        "True is where a query may attend: in its own document, or in the others?",
    ),
]

# ---- positions -------------------------------------------------------------------------------------------------------

BASE = "Change the base: does your result change?"
FREQUENCY = "Pair i turns at base^(-2i/width). How slow is your slowest pair?"
TWICE = "An index that counts 0, 2, 4, ... is 2i already. How slow is your slowest pair, and how slow should it be?"
FROM_ZERO = "The first row is position 0. What are sin(0) and cos(0)?"
PAIRS = "torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)"
INDEX, EXPONENT = "arange(0, width, 2,", "dtype=dtype) / width"
SINUSOIDAL = [
    Misconception(
        "concatenated",
        mutated(sinusoidal_positions, PAIRS, "torch.cat((angles.sin(), angles.cos()), dim=-1)"),
        "All the numbers are there, in another order. Which channels hold the sines?",
    ),
    Misconception(
        "cosine first",
        mutated(sinusoidal_positions, "(angles.sin(), angles.cos())", "(angles.cos(), angles.sin())"),
        "Is channel 0 a sine or a cosine?",
    ),
    Misconception("factor 2 missing", mutated(sinusoidal_positions, EXPONENT, f"{EXPONENT} / 2"), FREQUENCY),
    Misconception("factor 2 twice", mutated(sinusoidal_positions, EXPONENT, f"{EXPONENT} * 2"), TWICE),
    Misconception(
        "a frequency for each channel",
        mutated(
            sinusoidal_positions,
            INDEX,
            "arange(0, width,",
            PAIRS,
            "torch.stack((angles[:, ::2].sin(), angles[:, 1::2].cos()), -1).flatten(1)",
        ),
        "Channels 2i and 2i+1 are sine and cosine of one angle. Is your angle the same for both?",
    ),
    Misconception("positions from one", mutated(sinusoidal_positions, "(T, C, 0, base,", "(T, C, 1, base,"), FROM_ZERO),
    Misconception("base fixed", mutated(sinusoidal_positions, "(T, C, 0, base,", "(T, C, 0, 10000.0,"), BASE),
]

ANGLES = "_angles(T, D, offset, base, precise, x.device, positions, scaling)"
HALF = "How many positions can bfloat16 tell apart between 256 and 512? See the note on precision."
LOW = ("torch.promote_types(x.dtype, torch.float32)", "x.dtype")
POWER = "base ** (-torch.arange(0, width, 2, device=device, dtype=dtype) / width)"
ROTARY = [
    Misconception(
        "neighbours paired",
        mutated(
            rotary_positions,
            "x.to(precise).chunk(2, dim=-1)",
            "(x.to(precise)[..., k::2] for k in (0, 1))",
            "torch.cat(",
            "torch.stack(",
            ", dim=-1).to(x.dtype)",
            ", dim=-1).flatten(-2).to(x.dtype)",
        ),
        "This is the paper's pairing, 2i with 2i+1. Which channel is the partner of channel 0 in the lab's?",
    ),
    Misconception(
        "offset ignored",
        mutated(rotary_positions, ANGLES, ANGLES.replace("offset", "0")),
        "With offset 5 the first row stands at position 5. Where does yours stand?",
    ),
    Misconception("base fixed", mutated(rotary_positions, ANGLES, ANGLES.replace("base", "10000.0")), BASE),
    Misconception(
        "turned backwards",
        mutated(rotary_positions, "angles.sin()", "-angles.sin()"),
        "Turn (1, 0) by a small positive angle: which sign does its second coordinate have?",
    ),
    Misconception(
        "positions from one",
        mutated(rotary_positions, ANGLES, ANGLES.replace("offset", "offset + 1")),
        "Position 0 is not turned at all. Is your first row unchanged?",
    ),
    Misconception("factor 2 missing", mutated(rotary_positions, EXPONENT, f"{EXPONENT} / 2"), FREQUENCY),
    Misconception("factor 2 twice", mutated(rotary_positions, EXPONENT, f"{EXPONENT} * 2"), TWICE),
    # In half precision the way to the angles decides by radians where they end: each way is a mistake of its own.
    Misconception("angles in half precision", mutated(rotary_positions, *LOW), HALF),
    Misconception(
        "angles in half precision, divided",
        mutated(rotary_positions, *LOW, POWER, POWER.replace("-", ""), "* (frequency if", "/ (frequency if"),
        HALF,
    ),
    Misconception(
        "angles in half precision, by exp",
        mutated(rotary_positions, *LOW, POWER, f"torch.exp({POWER.partition(' ** ')[2]} * math.log(base))", math=math),
        HALF,
    ),
    Misconception(
        "angles rounded to half precision",
        mutated(rotary_positions, ANGLES, f"{ANGLES}.to(x.dtype)", *("x.to(precise)", "x")),
        "Your angles are computed precisely and then rounded. How far may 300 be off in bfloat16, in radians?",
    ),
    Misconception(
        "result in float32",
        mutated(rotary_positions, ".to(x.dtype)", ""),
        "Computing in float32 is right for half precision; which dtype should the result have?",
    ),
]

ROWS = "table[offset : offset + T]"
LEARNED = [
    Misconception(
        "goes on beyond the table",
        lambda table, T, offset=0: table[torch.arange(offset, offset + T).clamp(max=len(table) - 1)],
        "A slice beyond the end is cut short, and a clamped or wrapped index finds a row trained for another place. "
        "What should the caller of a sequence that is too long learn?",
    ),
    Misconception(
        "error of the look-up",
        lambda table, T, offset=0: table[torch.arange(offset, offset + T)],
        "Your look-up raises an IndexError about a number. The caller gave a sequence: which error is asked for?",
    ),
    Misconception(
        "offset ignored",
        mutated(learned_positions, ROWS, "table[:T]"),
        "With offset 5 the first row stands at position 5. Where does yours stand?",
    ),
    Misconception(
        "copied out of the graph",
        mutated(learned_positions, ROWS, "table.detach()[offset : offset + T] + 0 * table.sum()"),
        "The table is trained. Does a gradient reach the rows that you return?",
    ),
    Misconception(
        "the last rows",
        mutated(learned_positions, ROWS, "table[len(table) - T :]"),
        "Position 0 is row 0 of the table.",
    ),
]

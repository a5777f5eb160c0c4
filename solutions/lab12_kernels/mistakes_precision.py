"""Lab 12, sealed: misconceptions about rounding, blocks in four bits, and the softmax in pieces."""

from autograder.mutated import wrong
from mlsys_course.kernels import online_softmax, quantize_mxfp4, round_to

# ---- round_to --------------------------------------------------------------------------------------------------------

NEAREST = "steps.round() if u is None"
OVER = "over = rounded.abs() > format.largest"
BEYOND = "torch.copysign(torch.full_like(wide, format.beyond), wide)"
CHANCE = "steps.floor() + (u < steps - steps.floor())"
mistake = wrong(round_to)
ROUNDING = [
    mistake("truncates", "What becomes of 1.9 gaps: which of its two neighbours is nearer?",
        NEAREST, "steps.trunc() if u is None"),
    mistake("down", "Whole gaps below an entry: is that the nearest, for entries on either side of zero?",
        NEAREST, "steps.floor() if u is None"),
    mistake("halves away from zero", "Of two neighbours as near, which is taken? Look at the last bit of each.",
        NEAREST, "torch.copysign((steps.abs() + 0.5).floor(), steps) if u is None"),
    mistake("one bit less", "How many numbers of the format lie between 1 and 2?",
        "- format.mantissa_bits", "- format.mantissa_bits + 1"),
    mistake("no subnormals", "Do the gaps go on shrinking below the smallest normal number?",
        "exponents.clamp(min=format.least_exponent)", "exponents"),
    mistake("small ones to zero", "Between zero and the smallest normal number: has the format nothing there?",
        OVER, "rounded = rounded.where(wide.abs() >= 2.0**format.least_exponent, 0 * wide)\n    " + OVER),
    mistake("without an end", "What is the largest number of the format, and what stands beyond it?",
        OVER, "over = rounded.abs() > 1e300"),
    mistake("always infinity", "Not every format has infinities. What does this one say is beyond its largest?",
        BEYOND, "torch.copysign(torch.full_like(wide, float('inf')), wide)"),
    mistake("over before it is rounded",
        "An entry a little above the largest number, that rounds to it: is it beyond?",
        OVER, "over = wide.abs() > format.largest"),
    mistake("cut to the largest", "Which formats hold their largest number at what is beyond, and which do not?",
        BEYOND, "torch.copysign(torch.full_like(wide, format.largest), wide)"),
    mistake("no sign beyond", "What is beyond on the other side of zero?",
        BEYOND, "torch.full_like(wide, format.beyond)"),
    mistake("up by chance the wrong way", "An entry just above its lower neighbour: is the upper one likely?",
        CHANCE, "steps.floor() + (u < 1 - (steps - steps.floor()))"),
    mistake("magnitudes by chance", "Below zero, which of the two neighbours is the upper one?",
        CHANCE, "torch.copysign(steps.abs().floor() + (u < steps.abs() - steps.abs().floor()), steps)"),
    mistake("adds the uniform", "u is a threshold for the share. What does an entry do whose share u equals?",
        CHANCE, "(steps + u).floor()"),
    mistake("chance is left out", "What does u change?", CHANCE, "steps.round() + 0"),
]  # fmt: skip

# ---- quantize_mxfp4 --------------------------------------------------------------------------------------------------

EXPONENT = "torch.frexp(largest).exponent - 3"
PAIRS = "torch.nn.functional.pad(codes, (0, len(codes) % 2)).view(-1, 2)"
SWAPPED = f"return pack_codes({PAIRS}.flip(1).flatten(), 4),"
mistake = wrong(quantize_mxfp4)
BLOCKS = [
    mistake("the largest becomes 1", "What is float4's largest power of two, and where does your scale bring a block?",
        EXPONENT, "torch.frexp(largest).exponent - 1"),
    mistake("so that nothing is cut", "The text defines the scale. Is what is above 6 any concern of it?",
        EXPONENT, "(largest / 6).log2().ceil().int()"),
    mistake("nearest power", "Which power of two: the nearest, or the largest that is not above?",
        EXPONENT, "largest.log2().round().int() - 2"),
    mistake("one scale for all", "A large entry in one block: what is it to the others?",
        "largest = blocks.abs().amax(1) if len(flat) else blocks.sum(1)",
        "largest = blocks.abs().amax().expand(len(blocks)) if len(flat) else blocks.sum(1)"),
    mistake("signed largest", "The largest of a block by what: value or magnitude?",
        "largest = blocks.abs().amax(1)", "largest = blocks.amax(1).clamp(min=0)"),
    mistake("no bias", "What does the byte hold for an exponent below zero?",
        "(exponents + BIAS)", "exponents.remainder(256)"),
    mistake("no sign", "Sixteen codes, eight magnitudes. What does the fourth bit say?", "+ 8 * (flat < 0)", ""),
    mistake("its own rounding", "`quantize` is handed to you, with levels and u. What do you round by?",
        "quantize(shares.abs(), e2m1().magnitudes.float(), draws)",
        "(shares.abs()[:, None] - e2m1().magnitudes.float()).abs().min(1).indices"),
    mistake("u is forgotten", "What reaches quantize of the u that you were given?",
        "e2m1().magnitudes.float(), draws)", "e2m1().magnitudes.float(), 0.5)"),
    mistake("high bits first", "In which half of a byte does the first of two entries lie?",
        "return pack_codes(codes, 4),", SWAPPED),
    mistake("a byte each", "How many entries does a byte hold?",
        "return pack_codes(codes, 4),", "return codes.to(torch.uint8),"),
    mistake("infinity is a number", "What would the scale of a block with an infinity be?",
        "if not bool(flat.isfinite().all()):", "if bool(flat.isnan().any()):"),
    mistake("nothing is refused", "An entry that is NaN: which level stands for it?",
        "if not bool(flat.isfinite().all()):", "if False:",
        "flat = x.detach().float().flatten()", "flat = x.detach().float().nan_to_num().flatten()"),
]  # fmt: skip

# ---- online_softmax --------------------------------------------------------------------------------------------------

BASE = "base = highest.clamp(min=torch.finfo(dtype).min)"
WEIGHTED = "weighted * old[..., None] + weights @ values"
TOTAL = "total * old + weights.sum(-1)"
mistake = wrong(online_softmax)
SOFTMAX = [
    mistake("forgets to rescale",
        "A larger score comes: what were the values so far multiplied with, and what should it be now?",
        WEIGHTED, "weighted + weights @ values"),
    mistake("rescales the values alone", "The sum of weights was taken at the old maximum, too.",
        TOTAL, "total + weights.sum(-1)"),
    mistake("rescales neither", "What do the two sums mean after the maximum has moved?",
        WEIGHTED, "weighted + weights @ values", TOTAL, "total + weights.sum(-1)"),
    mistake("the piece's own maximum", "The largest of which scores: this piece's, or all that came?",
        "highest = torch.cat([scores, top.to(dtype)[..., None]], -1).amax(-1)",
        "highest = torch.cat([scores, torch.full_like(scores[..., :1], -torch.inf)], -1).amax(-1)"),
    mistake("no maximum", "What is the exponential of a score of a thousand?",
        BASE, "base = highest * 0 if False else torch.zeros_like(highest)",
        "return highest,", "return torch.zeros_like(highest),"),
    mistake("infinity less infinity", "A row in which nothing is seen: what is its maximum, and its scores less that?",
        BASE, "base = highest"),
    mistake("divides at once", "weighted is a sum, and so is total. Who divides, and when?",
        WEIGHTED, "(weighted * old[..., None] + weights @ values) / (total * old + weights.sum(-1))[..., None]"),
    mistake("narrow sums", "In which dtype do sums over many keys lie?",
        ", torch.float32)", ", scores.dtype)"),
]  # fmt: skip

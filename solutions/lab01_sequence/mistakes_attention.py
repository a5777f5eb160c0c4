"""Lab 1's misconceptions about teacher forcing, scores, attention, and the models around it. Sealed."""

import torch

from autograder.exercise import Misconception
from autograder.mutated import mutated, wrong
from mlsys_course import sequence as component
from mlsys_course.sequence.scoring import SCORES as KINDS

Tensor = torch.Tensor

# ---- teacher forcing -------------------------------------------------------------------------------------------------


def no_start(decode, target, start, end, padding) -> Tensor:
    inputs, labels = component.teacher_forcing(target, start, end, padding)
    if not (labels[:, 1:] != padding).any():
        return decode(inputs).sum() * 0.0
    return component.sequence_loss(decode(inputs[:, 1:]), labels[:, 1:], padding)


def never_ends(decode, target, start, end, padding) -> Tensor:
    if not (target != padding).any():
        return decode(target).sum() * 0.0
    inputs = torch.cat([torch.full_like(target[:, :1], start), target[:, :-1]], dim=1)
    return component.sequence_loss(decode(inputs), target, padding)


def said(decode, inputs) -> Tensor:
    """The start, and what the decoder itself says after it."""
    read = inputs[:, :1]
    for _ in range(inputs.shape[1] - 1):
        read = torch.cat([read, decode(read)[:, -1:].argmax(-1)], dim=1)
    return read


PRECISE = "logits.to(torch.promote_types(logits.dtype, torch.float32))"
LOGS, MEAN, mistake = f"F.log_softmax({PRECISE}, dim=-1)", "-chosen[real].mean()", wrong(component.teacher_forced_loss)
TEACHER_FORCED_LOSS = [
    mistake("shown the answer",
        "At each step the decoder has just read the word that it must say. Which one should it have read?",
        "decode(inputs)", "decode(labels)"),
    mistake("reads what it says itself",
        "In translation the decoder reads its own words. Which does it read in training, under teacher forcing?",
        "decode(inputs)", "decode(said(decode, inputs))", said=said),
    Misconception("first word not asked for", no_start,
        "With what does the decoder start, and which label belongs to that step?"),
    Misconception("end not asked for", never_ends, "How does the decoder learn to stop? See the labels."),
    mistake("end after the padding", "Sentences have different lengths. After which word must a short one end?",
        "labels[torch.arange(len(target), device=target.device), real.sum(1)] = end", "labels[:, -1] = end"),
    mistake("padding counted", "Which labels are no words of a sentence, and should they cost anything?",
        MEAN, "-chosen.mean()"),
    mistake("divided by padding too", "Padding adds nothing to your sum. Is it in the number that you divide by?",
        MEAN, "-(chosen * real).sum() / real.numel()"),
    mistake("mean of sentences", "Does every word weigh the same in yours, or every sentence?",
        MEAN, "-((chosen * real).sum(1) / real.sum(1)).mean()"),
    mistake("sum", "A sum, or a mean over the labels that count?", MEAN, "-chosen[real].sum()"),
    mistake("sign", "A probability is at most 1. Which sign has its logarithm, and which a loss?",
        MEAN, "chosen[real].mean()"),
    mistake("exponential overflows", "How large is exp(300) in float32? Lab 0 has a way to a log-softmax without it.",
        LOGS, "(logits.exp() / logits.exp().sum(-1, keepdim=True)).log()"),
    mistake("logarithm of a softmax",
        "A softmax rounds small probabilities to 0. What is the logarithm of that? Lab 0 has a log-softmax in one.",
        LOGS, f"{PRECISE}.softmax(-1).log()"),
    mistake("in the logits' precision", "Half-precision logits are fine. Which dtype should the loss have?",
        LOGS, "logits.log_softmax(-1)"),
    mistake("always in float32",
        "float64 comes in with 16 digits. How many are left after `.float()`, and which dtypes need it at all?",
        LOGS, "logits.float().log_softmax(-1)"),
]  # fmt: skip


# ---- scores ----------------------------------------------------------------------------------------------------------

RETURNED, CHECKED = "return (s @ u) @ (h @ v).transpose(-2, -1)", '_check("w_1", w_1, rows=h)'


mistake, FOUND = wrong(component.scores), "SCORES[kind](s, h, *weights)"


def one_kind(kind: str, name: str, hint: str, *edits: str) -> Misconception:
    """A mistake in one kind of score."""
    return wrong(component.scores)(name, hint, SCORES={**KINDS, kind: mutated(KINDS[kind], *edits)})


SCORES = [
    mistake("scaled",
        "Your scores come out too small. The scale by a width's root is lab 2's; what do the equations here divide by?",
        FOUND, f"{FOUND} / s.shape[-1] ** 0.5"),
    mistake("softmax already",
        "Your rows sum to 1. A score may be any number; which exercise makes a distribution of them?",
        FOUND, f"{FOUND}.softmax(-1)"),
    mistake("source by target", "Which axis of the result counts target tokens, the second or the third?",
        FOUND, f"{FOUND}.mT"),
    one_kind("multiplicative", "weight transposed",
        "In s W h, which axis of w meets s? Widths may be equal, so the shapes do not tell.",
        "s @ w @", "s @ (w.T if w.shape[0] == w.shape[1] else w) @"),
    one_kind("reduced", "u and v exchanged", "Of the two thin matrices, which one multiplies s?",
        RETURNED, f"u, v = (v, u) if u.shape == v.shape else (u, v)\n    {RETURNED}"),
    one_kind("reduced", "reduced rank bent", "Is there a bend in the reduced-rank score?",
        "(s @ u) @ (h @ v)", "torch.tanh(s @ u) @ torch.tanh(h @ v)"),
    one_kind("reduced", "reduced rank scaled",
        "1/sqrt(K) is lab 2's, where sU is a query and hV a key. Does this table divide by anything?",
        RETURNED, f"{RETURNED} / u.shape[-1] ** 0.5"),
    one_kind("additive", "additive without its bend",
        "Without a bend, the part with s is the same for all source tokens. What does the softmax make of it?",
        "torch.tanh(pairs)", "pairs"),
    one_kind("additive", "w_1 and w_2 exchanged", "Which of w_1 and w_2 multiplies h?",
        CHECKED, f"w_1, w_2 = (w_2, w_1) if w_1.shape == w_2.shape else (w_1, w_2)\n    {CHECKED}"),
    one_kind("additive", "multiplied instead of added",
        "What joins the part of h and the part of s in the additive score?",
        "+ (s @ w_2)", "* (s @ w_2)"),
    one_kind("additive", "bent after v",
        "Does the tanh bend the A numbers of the hidden layer, or the one score that v makes of them?",
        "torch.tanh(pairs) @ v", "torch.tanh(pairs @ v)"),
    one_kind("additive", "bent before the sum", "Is one sum bent here, or are two bent parts added?",
        "(h @ w_1)", "torch.tanh(h @ w_1)", "(s @ w_2)", "torch.tanh(s @ w_2)", "torch.tanh(pairs)", "pairs"),
]  # fmt: skip


# ---- attention -------------------------------------------------------------------------------------------------------


def lowered(scores: Tensor, mask: Tensor | None) -> Tensor:
    return (scores if mask is None else scores + (~mask)[:, None] * -1e4).softmax(-1)


def in_float32(scores: Tensor, h: Tensor, s: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    precise = torch.promote_types(h.dtype, torch.float32)
    return component.attend(scores.to(precise), h.to(precise), s.to(precise), mask)


def always_float32(scores: Tensor, h: Tensor, s: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    return tuple(x.to(h.dtype) for x in component.attend(scores.float(), h.float(), s.float(), mask))  # type: ignore


WEIGHED, INFINITE = "attention_distribution(scores, mask)", 'float("-inf")'
HIDDEN = f"precise.masked_fill(~mask[:, None, :], {INFINITE}).softmax(-1)"
LATE, GROWN = "(precise.softmax(-1) * mask[:, None])", "(precise.exp() * mask[:, None])"
PLACES = "torch.arange(scores.shape[-1], device=scores.device)"
mistake = wrong(component.attend)
ATTEND = [
    mistake("softmax over target tokens",
        "Along which axis do the weights sum to 1: for a target token over the source, or the other way round?",
        INFINITE, "-1e9", "softmax(-1)", "softmax(1)"),
    mistake("padding looked at",
        "With and without the mask your weights are the same. What should a padded source token weigh?",
        WEIGHED, "attention_distribution(scores)"),
    mistake("mask inverted", "Read again what True means in the mask.",
        WEIGHED, "attention_distribution(scores, None if mask is None else ~mask | mask.all(1)[:, None])"),
    mistake("cleared after the softmax", "With a mask, do your weights still sum to 1? Ask when padding must drop out.",
        HIDDEN, LATE),
    mistake("cleared after the softmax, then divided by the sum",
        "Padding may score thousands above every token. What has the softmax left of the tokens then?",
        HIDDEN, f"({LATE} / {LATE}.sum(-1, keepdim=True))"),
    mistake("padding lowered by too little",
        "You subtract a large number from padding's scores. Is it large enough, where padding scores "
        "thousands above the tokens?",
        attention_distribution=lowered),
    mistake("states of padding cleared, not their weights",
        "Nothing of padding's states gets into your context. Do the tokens' weights sum to 1?",
        WEIGHED, "attention_distribution(scores)", "weights @ h",
        "weights @ (h if mask is None else h * mask[..., None])"),
    mistake("scores of padding set to zero", "A score of 0 is a score like another. What does its exponential weigh?",
        HIDDEN, "(precise * mask[:, None]).softmax(-1)"),
    mistake("exponentials overflow",
        "How large is exp(2000)? A softmax does not change when each row's largest score is subtracted.",
        HIDDEN, f"({GROWN} / {GROWN}.sum(-1, keepdim=True))"),
    mistake("the best only",
        "Your weights are 0 and 1. Is it the largest score alone that counts, or each by its exponential?",
        INFINITE, "-torch.inf", ".softmax(-1)", f".argmax(-1)[..., None].eq({PLACES})"),
    mistake("state before context", "Which comes first in [a; s]?", "(weights @ h, s)", "(s, weights @ h)"),
    mistake("context only", "What the decoder itself knows is missing from your result.",
        "torch.cat((weights @ h, s), dim=-1)", "weights @ h"),
    mistake("plain mean", "Your weights are right. Does your context use them?",
        "weights @ h", "h.mean(1, keepdim=True).expand(-1, weights.shape[1], -1)"),
    mistake("context divided by the length", "The weights sum to 1. Is there anything left to divide by?",
        "weights @ h", "weights @ h / h.shape[1]"),
    Misconception("result in float32", in_float32,
        "Computing in float32 is right for half precision; which dtype is asked for?"),
    Misconception("always in float32", always_float32,
        "float64 comes in with 16 digits. How many are left after `.float()`, and which dtypes need it at all?"),
]  # fmt: skip


# ---- the whole model -------------------------------------------------------------------------------------------------


def no_context(both: Tensor, C: int) -> Tensor:
    return torch.cat([torch.zeros_like(both[..., :C]), both[..., C:]], dim=-1)


def no_state(both: Tensor, C: int) -> Tensor:
    return torch.cat([both[..., :C], torch.zeros_like(both[..., C:])], dim=-1)


UNMASKED, STARTS = ('*weights["encoder"], mask)', '*weights["encoder"], None)'), "rnn(y, h[:, -1]"
LOGITS, mistake = 'joined @ weights["output"] + weights["output_bias"]', wrong(component.seq2seq)
SEQ2SEQ = [
    mistake("encoder reads padding",
        "The decoder starts from the encoder's last state. What has that read in a short sentence?",
        *UNMASKED),
    mistake("padding attended to", "The encoder knows the mask in yours. Who else looks at the source?",
        "h, s, mask)", "h, s, None)"),
    mistake("mask nowhere", "With and without the mask your logits are the same. Which two parts need it?",
        *UNMASKED, "h, s, mask)", "h, s, None)"),
    mistake("decoder starts from zeros", "What does your decoder know of the source before its first word?",
        STARTS, "rnn(y, torch.zeros_like(h[:, -1])"),
    mistake("decoder starts from the first state", "Which encoder state has read the whole sentence?",
        STARTS, "rnn(y, h[:, 0]"),
    mistake("decoder starts from the mean",
        "One encoder state has read the whole sentence. Is a mean of all of them the same?",
        STARTS, "rnn(y, h.mean(1)"),
    mistake("the decoder given the source's mask", "The mask speaks of source tokens. Which of the inputs are padding?",
        '*weights["decoder"])', '*weights["decoder"], mask)'),
    mistake("scores of source against target",
        "Your score's axes are source by target. Which of its two arguments is the decoder's?",
        "score(s, h)", "score(h, s)"),
    mistake("attends to the decoder's states",
        "Whose states are averaged in yours? See the order of attend's arguments.",
        "), h, s, mask)", "), s, h, mask)"),
    mistake("the source's embedding for the target",
        "Two languages, two tables. From which one come the target's words?",
        "target_embedding", "source_embedding"),
    mistake("the encoder's weights in the decoder", "Whose weights does your decoder use?",
        '*weights["decoder"]', '*weights["encoder"]'),
    mistake("context dropped", "Do your logits change with what is attended to? Should they?",
        "joined @", "no_context(joined, s.shape[-1]) @", no_context=no_context),
    mistake("state dropped", "Do your logits change with the decoder's own state? Should they?",
        "joined @", "no_state(joined, s.shape[-1]) @", no_state=no_state),
    mistake("probabilities", "Logits are asked for. Who takes the softmax?", LOGITS, f"({LOGITS}).softmax(-1)"),
    mistake("output bias missing", "What is added to every row of the logits?", ' + weights["output_bias"]', ""),
]  # fmt: skip

FED, mistake = "both[:, 0, : h.shape[-1]]", wrong(component.input_feeding)
INPUT_FEEDING = [
    mistake("nothing is fed", "What did the step before look at? Your next step is not told.",
        FED, "torch.zeros_like(a)"),
    mistake("the last channels are fed",
        "In which of the channels of [a; s] stands the context, and how many are they?",
        FED, "both[:, 0, -h.shape[-1] :]"),
    mistake("every step starts from s_0", "Each of your steps calls the cell. With which state, and who hands it on?",
        "dim=-1), s, w_xh", "dim=-1), s_0, w_xh"),
    mistake("context before the word", "In which order stand the word and the context in the cell's input?",
        "(y[:, t], a)", "(a, y[:, t])"),
    mistake("starts with the mean of the source",
        "Before the first step nothing has been attended to. Which context is fed to it?",
        "torch.zeros_like(h[:, 0])", "h.mean(1)"),
    mistake("looks before it reads", "Which state asks at step t: that after reading word t, or that before?",
        "        s = cell", "        before = s\n        s = cell", "score(s[:, None], h)",
        "score(before[:, None], h)"),
    mistake("padding attended to", "Who needs the source's mask?", "s[:, None], mask)", "s[:, None], None)"),
    mistake("gradient cut at the feed",
        "The result is right, the gradients are not. Through what does a later step depend on an earlier one?",
        FED, f"{FED}.detach()"),
]  # fmt: skip

"""Lab 4, sealed: misconceptions about what a language model is trained for."""

import torch
import torch.nn.functional as F

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course import language_model as component

mistake = wrong(component.causal_loss)
PREDICTIONS, FOLLOWING = "logits[:, :-1].flatten(0, 1)", "following.flatten()"


def mean_of_means(logits, labels, ignore_index=-100):
    component.causal_loss(logits, labels, ignore_index)
    each = [component.causal_loss(x[None], y[None], ignore_index) for x, y in zip(logits, labels, strict=True)]
    return torch.stack(each).mean()


def prompt_by_position(logits, labels, ignore_index=-100):
    """What is not asked is told by the label at t, not at t + 1."""
    component.causal_loss(logits, labels, ignore_index)
    asked, following = labels[:, :-1] != ignore_index, labels[:, 1:]
    wide = logits[:, :-1].to(torch.promote_types(logits.dtype, torch.float32))
    found = F.cross_entropy(wide.mT, following.clamp(0, logits.shape[-1] - 1).long(), reduction="none")
    return (found * asked).sum() / asked.sum().clamp(min=1)


def rolled(logits, labels, ignore_index=-100):
    """The last position is asked for the first token."""
    component.causal_loss(logits, labels, ignore_index)
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    following = labels.roll(-1, 1)
    total = F.cross_entropy(wide.mT, following.long(), ignore_index=ignore_index, reduction="sum")
    return total / (following != ignore_index).sum().clamp(min=1)


CAUSAL_LOSS = [
    mistake("not shifted", "At position t the model has seen token t. Which token is it asked for?",
        "labels[:, 1:] != ignore", "labels[:, :-1] != ignore",
        "following = labels[:, 1:]", "following = labels[:, :-1]"),
    mistake("shifted the other way", "Your loss asks each position for the token before it. Which one may it not know?",
        PREDICTIONS, "logits[:, 1:].flatten(0, 1)", "labels[:, 1:] != ignore", "labels[:, :-1] != ignore",
        "following = labels[:, 1:]", "following = labels[:, :-1]"),
    Misconception("the last asks for the first", rolled, "After the last token of a text there is none in the batch. "
        "What is your last position asked for?"),
    mistake("a sum", "Twice the text, twice the loss? Look for the word mean.", " / asked.sum().clamp(min=1)", ""),
    mistake("over all positions", "By how many tokens do you divide: by all, or by those that are asked?",
        "asked.sum().clamp(min=1)", "max(asked.numel(), 1)"),
    Misconception("a mean of means", mean_of_means, "A short text and a long one: do their tokens weigh the same?"),
    Misconception("the label at t", prompt_by_position, "Whether position t counts is told by the label of the token "
        "that it is asked for. Which one is that?"),
    mistake("nothing over nothing", "0/0 is NaN. What is the loss where no token is asked?", ".clamp(min=1)", ""),
    mistake("always -100", "Which label is not asked where ignore_index is another number?",
        "!= ignore_index", "!= IGNORED", "ignore_index=ignore_index, reduction", "reduction"),
    mistake("stays in 16 bits", "The logarithm of a softmax in bfloat16 has two digits. Which dtype is asked for?",
        ".to(wide)", ""),
    mistake("takes any label", "A label that is no token: one more position to ignore, or a mistake to be told?",
        "if bool((((following < 0) | (following >= V)) & asked).any()):",
        "following = following.where((following >= 0) & (following < V), ignore_index)\n    if False:"),
]  # fmt: skip

mistake = wrong(component.mask_tokens)
MASKED, KEPT = "chosen & (u[1] < 0.8)", "(u[1] < 0.8) | (u[1] >= 0.9)"
LABELS = "ids.masked_fill(~chosen, IGNORED)"
MASK_TOKENS = [
    mistake("every chosen one is masked", "Used, a text has no mask in it. What becomes of one chosen token in five?",
        MASKED, "chosen", KEPT, "(u[1] < 2)"),
    mistake("one in five is another token", "Of ten chosen tokens one stays as it is. Which, by u[1]?",
        KEPT, "(u[1] < 0.8)"),
    mistake("kept and replaced change places", "Between 0.8 and 0.9: another token, or the same?",
        KEPT, "(u[1] < 0.9)"),
    mistake("others are drawn for all", "Are only chosen tokens replaced by others?",
        "~chosen | (u[1] < 0.8)", "(u[1] < 0.8)"),
    mistake("all are asked", "The loss should count chosen tokens only. What are the others' labels?",
        LABELS, "ids.clone()"),
    mistake("only masks are asked", "A chosen token that stays as it is: is the model asked for it?",
        LABELS, "ids.masked_fill(inputs != mask_id, IGNORED)"),
    mistake("only changed ones are asked", "A chosen token that stays as it is: is the model asked for it?",
        LABELS, "ids.masked_fill(inputs == ids, IGNORED)"),
    mistake("labels are what stands there", "Should the model say what it sees, or what stood there before?",
        LABELS, "inputs.masked_fill(~chosen, IGNORED)"),
    mistake("special tokens too", "May the end of a text be chosen?", "chosen = chosen & ~special", "pass"),
    mistake("only special tokens", "Does `special` say which tokens may be chosen, or which may not?",
        "chosen & ~special", "chosen & special"),
    mistake("always 15 percent", "Where does the rate come in?", "u[0] < rate", "u[0] < 0.15"),
    mistake("one number decides twice", "u[0] is small where a token was chosen. Which number says what becomes of it?",
        "chosen & (u[1] < 0.8)", "chosen & (u[0] < 0.8 * rate)", KEPT, "(u[0] < 0.8 * rate) | (u[0] >= 0.9 * rate)"),
    mistake("the last token never comes", "floor(u V) reaches V - 1. Does yours?",
        "u[2] * vocabulary", "u[2] * (vocabulary - 1)"),
]  # fmt: skip

mistake = wrong(component.perplexity)


def all_of_each_window(model, ids, context, stride):
    component.perplexity(lambda one: one[..., None] * torch.ones(int(ids.max()) + 1), ids, context, stride)
    total, count = torch.zeros(()), 0
    for start in range(0, len(ids), stride):
        window = ids[start : start + context]
        total = total + F.cross_entropy(model(window[None])[0, :-1].double(), window[1:], reduction="sum")
        count += len(window) - 1
        if start + len(window) == len(ids):
            break
    return torch.exp(total / count).float()


PERPLEXITY = [
    Misconception("every token of each window", all_of_each_window, "Windows overlap. How often is a token in two of "
        "them asked?"),
    mistake("a slip of one", "Which position's logits say what a window's first new token should be?",
        "wide[first - 1 : -1]", "wide[first:]"),
    mistake("the mean, not its exponential", "The mean of -log p is the loss. What is the perplexity?",
        "torch.exp(total / (T - 1))", "total / (T - 1)"),
    mistake("divided by all tokens", "The first token is asked nowhere. How many are?", "total / (T - 1)", "total / T"),
    mistake("the whole text at once", "A model has a context. How many tokens may a call be given?",
        "ids[start : start + context]", "ids[start:]"),
    mistake("goes on at the end", "When a window has reached the end, is there a token left to ask for?",
        "if asked == T:\n            break", "", "total = total + F", "total = total + F"),
    mistake("windows side by side", "Where does the next window start: where the last one ended, or a stride after its "
        "start?", "range(0, T, stride)", "range(0, T, context - 1)"),
]  # fmt: skip

"""Lab 4's misconceptions about decoding and real weights. Sealed, as exercises.py, which reads them."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from autograder.exercise import Misconception
from autograder.mutated import mutated, wrong
from mlsys_course.language_model import (
    beam_search,
    generate,
    generate_target,
    load_llama,
    next_distribution,
)

SCALED, KEEP = "/ temperature", "before >= top_p"
mistake = wrong(next_distribution)
NEXT_DISTRIBUTION = [
    mistake("temperature left out", "Where does `temperature` stand in the equation?", f") {SCALED}", ")"),
    mistake("multiplied by the temperature", "A high temperature makes the distribution flat. Does yours?",
        SCALED, "* temperature"),
    mistake("probabilities divided, not logits",
        "Dividing all probabilities by one number changes nothing once they sum to 1. What is divided by temperature?",
        f") {SCALED}", ")", "ranked.softmax(-1)", "(ranked.softmax(-1) / temperature)"),
    mistake("no limit at temperature 0", "What is the limit of the distribution as the temperature goes to 0?",
        "temperature, top_k = 1.0, 1", "temperature = 1e-30"),
    mistake("bad options pass", "Which options make no sense? See what the docstring says is raised.",
        check_options=lambda *given: None),
    mistake("one too many in the top k", "With top_k=1, how many tokens are left?", "top_k:]", "top_k + 1 :]"),
    mistake("the bottom k", "Which tokens are the top ones: those with the largest logits, or with the smallest?",
        "descending=True, stable=True", "descending=False, stable=True"),
    mistake("the last of equals", "Of equal tokens at the edge, which one does the rule keep?",
        "order = scaled.argsort(dim=-1, descending=True, stable=True)",
        "order = scaled.flip(-1).argsort(dim=-1, descending=True, stable=True).neg() + scaled.shape[-1] - 1"),
    mistake("not normalized after the cut", "What do the probabilities that are left sum to?",
        "probabilities = probabilities / probabilities.sum(-1, keepdim=True)", "pass"),
    mistake("stops before p is reached", "Do the tokens that you keep come to p, or do they fall short of it?",
        KEEP, "before + probabilities >= top_p"),
    mistake("keeps what is likelier than p", "top_p is about a sum of probabilities, not about each one.",
        KEEP, "probabilities < top_p"),
    mistake("p before k", "Top k comes first. Are the probabilities that top p adds up those of all tokens?",
        "ranked[..., top_k:] = -math.inf", "whole = ranked.softmax(-1); ranked[..., top_k:] = -math.inf",
        "before = probabilities.cumsum(-1) - probabilities",
        "before = (ranked.softmax(-1) if top_k is None else whole).cumsum(-1) - probabilities"),
    mistake("left in the order of likelihood", "Which token does entry 0 of your result stand for?",
        "torch.zeros_like(probabilities).scatter(-1, order, probabilities)", "probabilities"),
    mistake("overflows when cold", "What is exp(500)? A softmax stays the same when a number is added to all logits.",
        " - logits.amax(-1, keepdim=True)", "",
        "ranked.softmax(-1)", "ranked.exp() / ranked.exp().sum(-1, keepdim=True)"),
]  # fmt: skip

ASKS, ENDS = "model(written if caches is None else new, caches=caches)[:, -1]", "chosen.masked_fill(ended, end)"


mistake = wrong(generate)
GENERATE = [
    mistake("only the newest token without a cache",
        "Without caches nobody remembers the earlier tokens. What does your model read at the second step?",
        "written if caches is None else new", "new"),
    mistake("everything again into the caches",
        "The caches hold the earlier tokens already. What do they hold after two of your steps?",
        "written if caches is None else new", "written"),
    mistake("caches not used", "How many tokens do the caches hold at the end? Who hands them to the model?",
        ASKS, "model(written)[:, -1]"),
    mistake("the first position's logits", "Which position's logits are for the token that comes next?",
        "[:, -1]", "[:, 0]"),
    mistake("the least likely", "Greedy takes the largest logit.", "logits.argmax(-1)", "logits.argmin(-1)"),
    mistake("greedy in spite of u", "With `u` given, do two different rows of it ever give different texts?",
        "if u is None:", "if True:"),
    mistake("one number for all tokens", "Which of a row's numbers draws the second token?", "u[:, step]", "u[:, 0]"),
    mistake("one number for all rows", "Which of the numbers are the second row's?",
        "u[:, step]", "u[:1, step].expand(len(u))"),
    mistake("options not handed on", "Temperature, top k and top p: who uses them in your function?",
        "next_distribution(logits, temperature, top_k, top_p)", "next_distribution(logits)"),
    mistake("written on after the end", "What does a row get after its end, while others go on?", ENDS, "chosen"),
    mistake("never stops", "All rows have ended. How many tokens does your function still write?",
        "ended.all()", "False"),
    mistake("stops with the first row", "One row has ended. May the others go on?", "ended.all()", "ended.any()"),
    mistake("the end is left out", "Is the end sign itself a token of the result?",
        "written = torch.cat((written, new), dim=1)", "pass",
        "break", "break\n        written = torch.cat((written, new), dim=1)"),
    mistake("one token too many", "How many tokens are new? Count them.", "range(n_new)", "range(n_new + 1)"),
    mistake("only the new tokens", "Is the prompt a part of what you return?",
        "return written", "return written[:, tokens.shape[1] :]"),
    mistake("an empty prompt passes", "What shall the model answer to nothing? See what is raised.",
        "or not tokens.shape[1]", ""),
]  # fmt: skip

mistake = wrong(generate_target)
ENCODES = "model.decode(target, memory, mask)"
GENERATE_TARGET = [
    mistake("encoded at each step", "How often does the source change? How often do you encode it?",
        ENCODES, "model.decode(target, model.encode(source, mask), mask)"),
    mistake("padding read by the decoder", "Who may look at the source's padding?",
        ENCODES, "model.decode(target, memory)"),
    mistake("padding read by the encoder", "Who may look at the source's padding?",
        "model.encode(source, mask)", "model.encode(source)"),
    mistake("the source as the prompt", "What does the decoder begin with?",
        "torch.full((len(source), 1), start, device=source.device)", "source"),
    mistake("no end", "What stops the decoder?", ", end=end)", ")"),
    mistake("a start of 0", "Which token does the target begin with?", "1), start", "1), 0"),
]  # fmt: skip


def pruned_to_finished(next_logits: Any, prompt: Tensor, width: int, *rest: Any, **more: Any) -> Any:
    """The beam narrows with each text that is finished."""
    shrunk = "live, totals = tokens[~ends][: width - len(finished)], best[~ends][: width - len(finished)]"
    return mutated(beam_search, "live, totals = tokens[~ends][:width], best[~ends][:width]", shrunk)(
        next_logits, prompt, width, *rest, **more
    )


NORMALIZED = "next_logits(live).double().log_softmax(-1)"
mistake = wrong(beam_search)
BEAM_SEARCH = [
    mistake("logits added as they are",
        "Logits of different steps have no common scale. What is it whose sum is the logarithm of a product?",
        NORMALIZED, "next_logits(live).double()"),
    mistake("probabilities added", "Probabilities of one after the other multiply. What do you add?",
        NORMALIZED, "next_logits(live).double().softmax(-1)"),
    mistake("only the newest token counts", "A hypothesis carries the log-probability of all its tokens.",
        "totals[:, None] + ", ""),
    mistake("the best of each, not of all", "May two of the next beam come from the same hypothesis?",
        "parent, token = order",
        "each = extended.argmax(-1) + torch.arange(len(extended)) * extended.shape[1]\n"
        "        order = each if len(extended) > 1 else order\n"
        "        parent, token = order"),
    mistake("wrong parent", "Which hypothesis does an extension continue? Its number says it, divided by V.",
        "live[parent]", "live[parent.clamp_max(0)]"),
    mistake("an end is a token like others", "What may come after the end?",
        "torch.zeros_like(token, dtype=torch.bool) if end is None else token == end",
        "torch.zeros_like(token, dtype=torch.bool)"),
    mistake("the end narrows the beam", "A text that ends leaves the beam. How many live on?",
        "order = order[: 2 * width]", "order = order[:width]"),
    Misconception("each finished text narrows the beam", pruned_to_finished,
        "Three texts are finished. How many live hypotheses do you extend at the next step?"),
    mistake("every end counts", "An end that is not among the first `width` of all extensions: is it finished?",
        "ends[:width].nonzero()", "ends.nonzero()"),
    mistake("the unfinished are forgotten", "After the last step some have not ended. Are they continuations?",
        "for one, total in zip(live, totals, strict=True):", "for one, total in ():"),
    mistake("not divided by the length", "Longer texts have lower totals. What makes up for that?",
        "float(total) / len(new) ** length_penalty", "float(total)"),
    mistake("the prompt counts as length", "Whose tokens does n count?", "len(new) ** length", "len(tokens) ** length"),
    mistake("length penalty left out", "A penalty of 0 and one of 2: do they order your results alike?",
        " ** length_penalty", ""),
    mistake("the prompt is handed back", "Are the prompt's tokens new?", "tokens[len(prompt) :]", "tokens[0:]",
        "len(new) **", "(len(new) - len(prompt)) **"),
    mistake("in the order of finishing", "Which continuation comes first, the one that was finished first?",
        "sorted(finished, key=lambda hypothesis: -hypothesis.score)", "finished"),
    mistake("all that were finished", "How many continuations are asked for at most?",
        "-hypothesis.score)[:width]", "-hypothesis.score)"),
    mistake("no beam passes", "What is a beam of width 0? See what is raised.", " or width < 1 or n_new < 1", ""),
]  # fmt: skip


def interleaved(weight: Tensor, n_heads: int) -> Tensor:
    """Halves to pairs: what the file's writer did, done again."""
    return weight.unflatten(0, (n_heads, 2, -1)).transpose(1, 2).reshape(weight.shape)


UNPERMUTE, HEADS = "unpermuted(state[name], ", 'config.n_heads if "query" in name else config.n_kv_heads'


def no_check(*given: Sequence[Any]) -> None:
    """Whatever the file has is taken."""


mistake = wrong(load_llama)
LOAD_LLAMA = [
    mistake("pairs left as they are",
        "Your logits are right for Hugging Face's names and wrong for GGUF's. Which rows lie in another order there?",
        "if kind == GGUF:", "if False:"),
    mistake("Hugging Face's rows reordered too", "Whose files have rows in pairs?", "if kind == GGUF:", "if True:"),
    mistake("reordered the other way", "The file goes from halves to pairs. Which way do you have to go?",
        unpermuted=interleaved),
    mistake("all heads as one", "Rows are in pairs within each head. Do yours leave their heads?",
        UNPERMUTE + HEADS, UNPERMUTE + "1"),
    mistake("keys have as many heads as queries", "How many heads does the key have?", HEADS, "config.n_heads"),
    mistake("only the queries", "Which two projections does the rotary turn act on?",
        '("query.weight", "key.weight")', '("query.weight",)'),
    mistake("values too", "Are values turned by their position?",
        '("query.weight", "key.weight")', '("query.weight", "key.weight", "value.weight")'),
    mistake("gate and up exchanged", "Which of the two matrices is bent by SiLU?",
        names_of=lambda n_layers, kind: exchanged(n_layers, kind, "gate", "up")),
    mistake("the norms exchanged", "Which norm stands before the attention, which before the network?",
        names_of=lambda n_layers, kind: exchanged(n_layers, kind, "attention_norm", "feed_forward_norm")),
    mistake("no head where it is tied", "A model with a tied head: which tensor is its head's?",
        'names["head.vocabulary.weight"] = embedding', 'del names["head.vocabulary.weight"]'),
    mistake("the file's head in spite of the tie", "The head is tied, and the file has one all the same. Whose counts?",
        "if config.tied_head:", "if config.tied_head and head not in tensors:"),
    mistake("a torn file passes", "What if a tensor is lacking? The error should name it, and be a ValueError.",
        'check_names(tensors, set(names.values()), {head})', "pass"),
    mistake("another model's shapes pass", "A tensor has another shape than the model's. Who notices?",
        check_shapes=no_check),
    mistake("left-over tensors pass", "The file has tensors that the model has no place for. Is it the right model?",
        "check_names(tensors, set(names.values()), {head})", "check_names(tensors, set(names.values()), set(tensors))"),
]  # fmt: skip


def exchanged(n_layers: int, kind: int, one: str, other: str) -> dict[str, str]:
    """Two kinds of tensors under each other's names."""
    from mlsys_course.language_model.llama import names_of

    names = names_of(n_layers, kind)
    partner = {name: name.replace(f".{one}.", f".{other}.") for name in names if f".{one}." in name}
    partner |= {theirs: ours for ours, theirs in partner.items()}
    return {name: names[partner.get(name, name)] for name in names}

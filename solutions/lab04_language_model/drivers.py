"""How lab 4's functions are called and what of them is compared: the same code for your runs and for grading.

Read it to see what a case asks of your function. Bytes travel as text here, a letter for each: "\xff" is byte 255.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from mlsys_course.desk.check import driver, kept, raised, with_gradients
from mlsys_course.desk.check.tree import Tree

Case = Mapping[str, Tree]


@driver
def train_merges(candidate: Callable, case: Case) -> Tree:
    """The words with their counts, and whether the dict is afterwards what it was."""
    words = {word.encode("latin-1"): count for word, count in zip(case["words"], case["counts"], strict=True)}
    if case["n_merges"] < 0:
        return {"raised": raised(candidate, words, case["n_merges"])}
    before = list(words.items())
    merges = [list(pair) for pair in candidate(words, case["n_merges"])]
    return {"merges": merges, "the dict given": kept(list(words.items()) == before)}


def in_threes(text: str) -> list[str]:
    """Another way to cut: three letters at a time."""
    return [text[start : start + 3] for start in range(0, len(text), 3)]


@driver
def BytePairTokenizer(candidate: Callable, case: Case) -> Tree:
    """Texts to ids and ids to texts, by a tokenizer of the case's merges, and how many ids there are.

    With ``threes`` it gets ``in_threes`` as ``split``; special tokens are left out where the case has none. Ids that
    are ``bad`` must be refused, as must merges that are.
    """
    merges = [tuple(pair) for pair in case["merges"]]
    special = list(case.get("special", []))
    given = [merges, special] if special or case.get("threes") else [merges]
    if "bad merges" in case:
        return {"raised": raised(candidate, [tuple(pair) for pair in case["bad merges"]], special)}
    tokenizer = candidate(*given, *([in_threes] if case.get("threes") else []))
    options = {"allow_special": case["allow_special"]} if "allow_special" in case else {}
    found = {"size": len(tokenizer)}
    if "texts" in case:
        found["ids"] = [list(tokenizer.encode(text, **options)) for text in case["texts"]]
    if "ids" in case:
        found["texts"] = [tokenizer.decode(ids) for ids in case["ids"]]
    if "bad" in case:
        found["each"] = [{"raised": raised(tokenizer.decode, ids)} for ids in case["bad"]]
    return {
        **found,
        "the lists given": kept(given == [[tuple(pair) for pair in case["merges"]], special][: len(given)]),
    }


@driver
def causal_loss(candidate: Callable, case: Case) -> Tree:
    """ignore_index is left out where the case has none; a loss times the number of positions is compared."""
    options = {"ignore_index": case["ignore_index"]} if "ignore_index" in case else {}
    if case.get("bad"):
        return {"raised": raised(candidate, case["logits"], case["labels"], **options)}
    return with_gradients(lambda logits: candidate(logits, case["labels"], **options), case, ["logits"])


@driver
def mask_tokens(candidate: Callable, case: Case) -> Tree:
    """rate and special are left out where the case has none."""
    options = {name: case[name] for name in ("rate", "special") if name in case}
    given = [case[name] for name in ("ids", "u", "mask_id", "vocabulary")]
    if case.get("bad"):
        return {"raised": raised(candidate, *given, **options)}
    inputs, labels = candidate(*given, **options)
    return {"inputs": inputs, "labels": labels}


def toy_model(case: Case, seen: list[int]) -> Callable:
    """A causal model: what it says depends on all tokens that it was given. It writes down how many those were."""

    def model(ids: Tensor) -> Tensor:
        seen.append(ids.shape[1])
        before = case["table"][ids].cumsum(1)
        return before * case["scale"]

    return model


@driver
def perplexity(candidate: Callable, case: Case) -> Tree:
    """With a model that adds up rows of the case's table; and how many tokens it was given, call by call."""
    seen: list[int] = []
    given = (toy_model(case, seen), case["ids"], case["context"], case["stride"])
    if case.get("bad"):
        return {"raised": raised(candidate, *given)}
    return {"perplexity": candidate(*given), "tokens a call": seen}

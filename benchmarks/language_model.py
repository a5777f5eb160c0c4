"""Reading a prompt and writing after it: SmolLM2-135M's shape beside Hugging Face's ``generate``, the same tokens out.

    python -m benchmarks.language_model                  # CPU, 2 threads, float32; its own weights where installed
    python -m benchmarks.language_model --device cuda    # bfloat16, drawn weights

One sequence, greedy, all in one process, in turn; times are medians over the rounds. Prefill is the time to the first
token, decoding what each further one takes.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from mlsys_course.attention import KVCache
from mlsys_course.language_model import StaticDecoder, generate, load_llama
from mlsys_course.language_model.llama import HUGGING_FACE, names_of
from mlsys_course.substrate import data
from mlsys_course.transformer import Decoder, ModelConfig, llama

Write = Callable[[Tensor, int], Tensor]  # (prompt, new tokens) -> both
SHAPE = replace(llama(49152, 576, 30, 9, 3, 1536, 8192), rotary_base=100000.0, tied_head=True)  # SmolLM2-135M's


def ours(device: str) -> tuple[Decoder, str]:
    """The model, and whose weights it has."""
    try:
        if device != "cpu":
            raise data.DataMissing("a machine with a card brings no data")
        file = data.smollm2()
        with torch.device("meta"):
            model = Decoder(replace(file.config, fast=True))
        model.load_state_dict(load_llama(file.tensors(), file.config), assign=True)
        return model.eval(), "SmolLM2-135M's weights"
    except data.DataMissing:
        torch.manual_seed(0)
        model = Decoder(replace(SHAPE, fast=True)).to(device, torch.bfloat16 if device == "cuda" else torch.float32)
        return model.eval(), "drawn weights"


def theirs(model: Decoder):
    """Hugging Face's, with the same weights."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.initialization import no_init_weights

    config: ModelConfig = model.config
    shape = LlamaConfig(
        vocab_size=config.vocabulary, hidden_size=config.d_model, intermediate_size=config.d_ffn,
        num_hidden_layers=config.n_layers, num_attention_heads=config.n_heads, num_key_value_heads=config.n_kv_heads,
        rms_norm_eps=config.epsilon, max_position_embeddings=config.context, tie_word_embeddings=config.tied_head,
        rope_parameters={"rope_type": "default", "rope_theta": config.rotary_base},
        bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    weight = model.embedding.tokens.weight
    with no_init_weights():
        other = LlamaForCausalLM(shape).to(weight.device, weight.dtype).eval()
    names, state = names_of(config.n_layers, HUGGING_FACE), model.state_dict()
    other.load_state_dict({their: state[our] for our, their in names.items()})
    return other


def writers(device: str, capacity: int) -> tuple[dict[str, Write], str]:
    """Who writes, and with whose weights."""
    model, whose = ours(device)
    other, static = theirs(model), StaticDecoder(model, capacity)

    def with_caches(prompt: Tensor, n: int) -> Tensor:
        return generate(model, prompt, n, [KVCache(capacity) for _ in range(model.config.n_layers)])

    def with_static(prompt: Tensor, n: int) -> Tensor:
        static.reset()
        return generate(static, prompt, n, static.caches)

    def hugging_face(prompt: Tensor, n: int) -> Tensor:
        return other.generate(prompt, max_new_tokens=n, min_new_tokens=n, do_sample=False)

    return {
        "Hugging Face `generate`": hugging_face,
        "`generate`, `Decoder` with `KVCache`": with_caches,
        "`generate`, `StaticDecoder`": with_static,
    }, whose


def seconds(write: Write, prompt: Tensor, n: int) -> float:
    start = time.perf_counter()
    write(prompt, n)[0, -1].item()  # waits for a card
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--prompt", type=int, default=256, help="tokens to read")
    parser.add_argument("--new", type=int, default=64, help="tokens to write")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(2)
    ways, whose = writers(args.device, args.prompt + args.new)
    prompt = torch.randint(17, 49152, (1, args.prompt), generator=torch.Generator().manual_seed(1)).to(args.device)
    written = {name: write(prompt, args.new)[0, args.prompt :].tolist() for name, write in ways.items()}  # warm, too
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, write in ways.items():
            times[name].append((seconds(write, prompt, 1), seconds(write, prompt, args.new)))
    print(f"{whose}, {args.device}, {args.prompt} tokens read, {args.new} written, median of {args.rounds}\n")
    print("| | prefill, ms | decoding, ms a token | tokens/s | of Hugging Face's speed | tokens alike |")
    print("|---|---|---|---|---|---|")
    first = next(iter(ways))
    each: dict[str, float] = {}
    for name, rounds in times.items():
        read = statistics.median(once for once, _ in rounds)
        each[name] = statistics.median(all_ - once for once, all_ in rounds) / (args.new - 1)
        alike = sum(a == b for a, b in zip(written[name], written[first], strict=True))
        ratio = f"{each[first] / each[name]:.2f} x"
        print(f"| {name} | {read * 1e3:.0f} | {each[name] * 1e3:.2f} | {1 / each[name]:.0f} | {ratio} "
              f"| {alike} of {args.new} |")  # fmt: skip


if __name__ == "__main__":
    main()

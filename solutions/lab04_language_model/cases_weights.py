"""Lab 4's cases of beam search and of real weights. Sealed."""

import re
from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given, calls

F64 = torch.float64
Inputs = dict[str, Any]


def beam_search(draw: Draw) -> Sequence[Given]:
    V, n = draw.integer(6, 8), draw.integer(4, 5)

    def inputs(width: int = 3, V: int = V, n: int = n, T: int = 2, scale: float = 1.2, **more: Any) -> Inputs:
        table = draw.normal(7, V, V, dtype=F64, scale=scale)
        return {"table": table, "prompt": draw.integers(T, high=V), "width": width, "n_new": n, **more}

    def ending(width: int = 3, length_penalty: float | None = None, lift: float = 1.0, **more: Any) -> Inputs:
        """One token ends, and is likely enough that texts of several lengths are in the beam."""
        given = inputs(width, **more)
        end = draw.integer(0, V - 1)
        given["table"][:, :, end] += lift
        penalty = {} if length_penalty is None else {"length_penalty": length_penalty}
        return {**given, "end": end, **penalty}

    plain = calls(
        inputs(1), inputs(2, n=1), inputs(V + 3), inputs(5, V=3, n=6), inputs(2, T=5), inputs(3, T=1),
        {**inputs(2), "table": draw.normal(7, V, V)},
    )  # fmt: skip
    ends = calls(ending(2), ending(5, n=6), ending(1, lift=2.0), ending(2, n=1, lift=3.0), ending(4, lift=-8.0))
    lengths = calls(*(ending(4, p, n=6) for p in (0.0, 0.6, 2.0, -0.5)), inputs(2, length_penalty=0.5))
    far = {**inputs(14, V=4, n=2), "table": torch.tensor([0.0, 0.3, 0.1, -0.5]).expand(7, 4, 4).clone()}
    far["table"] += draw.normal(7, 1, 4, scale=0.01)
    far["table"][2] = torch.tensor([0.0, -3e7, -1.0, -2.0])
    only = {**inputs(2, V=1, n=3), "end": 0}
    first = {**ending(3, n=5), "end": 0}
    first["table"][:, :, 0] += 1.0
    prompted = ending(3, T=3, n=5)
    prompted["prompt"][1:] = prompted["end"]
    bad = [{"width": 0}, {"n": 0}, {"T": 0}, {"width": -1}, {"n": -2}]
    return [
        Given("without an end", "beam", inputs(), public=True),
        Given("a beam of one", "beam", inputs(1), public=True),
        Given("an end", "end", ending(), public=True),
        Given("an end, a wide beam", "end", ending(6, n=5), public=True),
        Given("short ones favoured", "length", calls(*(ending(3, 0.0, n=5) for _ in range(4))), public=True),
        Given("long ones favoured", "length", ending(4, 2.0, n=6), public=True),
        Given("no beam", "edges", {**inputs(0), "bad": True}, public=True),
        Given("other sizes, one call after the other", "beam", plain),
        Given("ends, one call after the other", "end", ends),
        Given("far apart", "beam", calls(far, {**far, "width": 16})),
        Given("no text lives on", "end", calls(only, {**only, "width": 1, "n_new": 1})),
        Given("an end of 0, an end in the prompt", "end", calls(first, prompted)),
        Given("other lengths favoured", "length", lengths),
        Given("bad input", "edges", calls(*({**inputs(**one), "bad": True} for one in bad))),
    ]


def load_llama(draw: Draw) -> Sequence[Given]:
    V, D, F = draw.integer(7, 9), draw.choice([6, 8]), draw.integer(5, 7)

    def inputs(
        kind: str, H: int = 2, K: int = 1, layers: int = 1, tied: bool = False, dtype=F64, C: int = 0, **more: Any
    ) -> Inputs:
        """A file of drawn tensors, its names in no order; ``C`` is d_model where heads together are not as wide."""
        own, C = {"head_dim": D} if C else {}, C or H * D
        sizes = shapes(kind, V, C, K * D, F, layers, H * D)
        names = draw.shuffled([name for name in sizes if not (tied and name in HEADS)])
        tensors = [
            draw.normal(*sizes[name], scale=1.0 if len(sizes[name]) == 1 else 0.6, dtype=dtype) for name in names
        ]
        given = {"vocabulary": V, "d_model": C, "n_layers": layers, "n_heads": H, "n_kv_heads": K, "d_ffn": F}
        text = {"tokens": draw.integers(2, 4, high=V), "tied_head": tied}
        return {**given, **own, **text, "names": names, "tensors": tensors, **more}

    def changed(how: str, kind: str) -> Inputs:
        """A file that is torn, of another shape, or of a larger model."""
        given = inputs(kind, layers=2, bad=True)
        at = given["names"].index(draw.choice([name for name in given["names"] if "norm" not in name]))
        if how == "torn":
            del given["names"][at], given["tensors"][at]
        elif how == "shape":
            given["tensors"][at] = given["tensors"][at][:-1]
        elif how == "turned":
            at = draw.choice([n for n, name in enumerate(given["names"]) if re.search("gate|up|down", name)])
            given["tensors"][at] = given["tensors"][at].mT.contiguous()
        elif how in ("gain", "gain of two axes"):
            at = draw.choice([n for n, name in enumerate(given["names"]) if "norm" in name])
            given["tensors"][at] = given["tensors"][at][1:] if how == "gain" else given["tensors"][at][None]
        elif how in ("bias", "other column"):
            more = {"bias": "model.layers.0.self_attn.q_proj.bias", "other column": "blk.0.attn_q.weight"}[how]
            given["names"].append(more)
            given["tensors"].append(draw.normal(given["d_model"], given["d_model"], dtype=F64))
        else:
            given["n_layers"] = 1
        return given

    def spare(kind: str) -> Inputs:
        """A head in the file of a model that ties it to the embedding."""
        given = inputs(kind, 2, 2)
        return {**given, "tied_head": True}

    sizes = [
        inputs(kind, H, K, layers) for kind in ("hf", "gguf") for H, K, layers in ((3, 1, 2), (2, 2, 1), (4, 2, 1))
    ]
    return [
        Given("Hugging Face's names", "names", inputs("hf", layers=2), public=True),
        Given("GGUF's names", "pairs", inputs("gguf", 4, 2), public=True),
        Given("tied head", "head", calls(inputs("hf", tied=True), spare("hf")), public=True),
        Given("bad files, to try", "bad files",
              calls(changed("torn", "hf"), changed("shape", "gguf"), changed("layers", "hf")), public=True),
        Given("Hugging Face's, other sizes", "names", calls(*sizes[:3], inputs("hf", dtype=torch.float32))),
        Given("GGUF's, other sizes", "pairs", calls(*sizes[3:], inputs("gguf", layers=11))),
        Given("tied heads", "head", calls(inputs("gguf", tied=True), spare("hf"), spare("gguf"))),
        Given("heads of their own width", "pairs", calls(inputs("gguf", 3, 1, C=10), inputs("hf", 2, 2, C=20))),
        Given("other shapes and names", "bad files",
              calls(*(changed(how, kind) for how in ("turned", "gain", "gain of two axes") for kind in ("hf", "gguf")),
                    changed("bias", "hf"), changed("other column", "hf"))),
        Given("bad files", "bad files",
              calls(*(changed(how, kind) for how in ("torn", "shape", "layers") for kind in ("hf", "gguf")))),
    ]  # fmt: skip


HEADS = ("lm_head.weight", "output.weight")
FILES = {
    "hf": ("model.embed_tokens", "model.norm", "lm_head", "model.layers.{}.",
           ("input_layernorm", "post_attention_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
            "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")),
    "gguf": ("token_embd", "output_norm", "output", "blk.{}.",
             ("attn_norm", "ffn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")),
}  # fmt: skip


def shapes(kind: str, V: int, C: int, KD: int, F: int, layers: int, HD: int) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of such a file; of the blocks' in the order of ``FILES``."""
    embedding, norm, head, block, names = FILES[kind]
    found: dict[str, tuple[int, ...]] = {
        f"{embedding}.weight": (V, C),
        f"{norm}.weight": (C,),
        f"{head}.weight": (V, C),
    }
    own = ((C,), (C,), (HD, C), (KD, C), (KD, C), (C, HD), (F, C), (F, C), (C, F))
    for n in range(layers):
        found |= {f"{block.format(n)}{name}.weight": shape for name, shape in zip(names, own, strict=True)}
    return found

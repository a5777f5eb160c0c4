"""Weights of a LLaMA by either names: the logits are Hugging Face's, of small drawn weights and of SmolLM2's."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from mlsys_course.attention import KVCache
from mlsys_course.language_model import generate, load_llama
from mlsys_course.substrate import data
from mlsys_course.transformer import Decoder
from tests.language_model.pairs import C, H, K, L, llama_pair, our_config
from tests.packages import SMOLLM2, needs

transformers = pytest.importorskip("transformers")


def as_gguf(state):
    """Hugging Face's tensors as llama.cpp writes them: other names, and q and k in pairs."""
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    for n in range(L):
        theirs, ours = f"model.layers.{n}.", f"blk.{n}."
        names |= {f"{theirs}input_layernorm": f"{ours}attn_norm", f"{theirs}self_attn.o_proj": f"{ours}attn_output"}
        names |= {f"{theirs}self_attn.{x}_proj": f"{ours}attn_{x}" for x in "qkv"}
        names |= {f"{theirs}mlp.{x}_proj": f"{ours}ffn_{x}" for x in ("gate", "up", "down")}
        names |= {f"{theirs}post_attention_layernorm": f"{ours}ffn_norm"}
    found = {names[name.removesuffix(".weight")] + ".weight": tensor for name, tensor in state.items()}
    for n in range(L):
        for x, heads in (("q", H), ("k", K)):
            name = f"blk.{n}.attn_{x}.weight"
            rows = [h * (C // H) + i + half * (C // H // 2) for h in range(heads) for i in range(3) for half in (0, 1)]
            found[name] = found[name][rows]
    return found


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("gguf", [False, True])
def test_logits_are_hugging_faces(tokens, tied, gguf):
    theirs, _ = llama_pair(tied)
    file = as_gguf(theirs.state_dict()) if gguf else dict(theirs.state_dict())
    if tied and gguf:
        del file["output.weight"]
    before = {name: (id(tensor), tensor.clone()) for name, tensor in file.items()}
    ours = Decoder(our_config(tied)).double()
    ours.load_state_dict(load_llama(file, ours.config))
    text = tokens(2, 9)
    assert_close(ours(text), theirs(text).logits, atol=1e-4, rtol=1e-4)  # their angles are float32
    assert {name: id(tensor) for name, tensor in file.items()} == {name: old for name, (old, _) in before.items()}
    assert all(torch.equal(file[name], tensor) for name, (_, tensor) in before.items())


def test_pairs_are_those_of_metas_rotary(normal):
    """A file in pairs, turned pair by pair as Meta's code does, scores as ours in halves."""
    from mlsys_course.attention import rotary_positions
    from mlsys_course.language_model.llama import unpermuted

    x, w_q, w_k = normal(5, C), normal(C, C), normal(C, C)

    def turned(rows):  # (T, H, D) in pairs
        pairs = torch.view_as_complex(rows.unflatten(-1, (-1, 2)).contiguous())
        angles = torch.arange(5)[:, None] * 10000.0 ** (-torch.arange(0, C // H, 2).double() / (C // H))
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)[:, None].to(pairs)).flatten(-2)

    q, k = (turned((x @ w.T).unflatten(-1, (H, -1))) for w in (w_q, w_k))
    a, b = (rotary_positions((x @ unpermuted(w, H).T).unflatten(-1, (H, -1)).transpose(0, 1)) for w in (w_q, w_k))
    assert_close(torch.einsum("thd,shd->hts", q, k), a @ b.mT)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.pop("model.layers.1.mlp.up_proj.weight"), "1 tensors are lacking.*up_proj"),
        (lambda file: file.update({"model.layers.2.mlp.up_proj.weight": torch.zeros(2)}), "no place.*layers.2"),
        (lambda file: file.update({"model.norm.weight": torch.zeros(C + 1)}), r"model.norm.weight is \(25,\)"),
        (lambda file: file.clear(), "lacking"),
    ],
)
def test_a_file_of_another_model_is_refused(change, words):
    file = dict(llama_pair()[0].state_dict())
    change(file)
    with pytest.raises(ValueError, match=words):
        load_llama(file, our_config())


@pytest.fixture(scope="module")
def smollm2():
    file = data.smollm2()
    tensors = file.tensors()
    with torch.device("meta"):
        ours = Decoder(replace(file.config, fast=True))
    ours.load_state_dict(load_llama(tensors, file.config), assign=True)
    return file, ours


@pytest.fixture(scope="module")
def their_smollm2(smollm2):
    """Hugging Face's own reader of GGUF files, which knows nothing of ours."""
    file, _ = smollm2
    return transformers.AutoModelForCausalLM.from_pretrained(
        file.path.parent, gguf_file=file.path.name, dtype=torch.float32
    ).eval()


@pytest.fixture(scope="module")
def their_tokenizer(smollm2):
    file, _ = smollm2
    return transformers.AutoTokenizer.from_pretrained(file.path.parent, gguf_file=file.path.name)


@needs(SMOLLM2, "gguf", "accelerate")
@torch.no_grad()
def test_smollm2_is_hugging_faces(smollm2, their_smollm2, their_tokenizer):
    """Logits within a part in ten thousand of their spread, and the same greedy text."""
    file, ours = smollm2
    ids = torch.tensor([their_tokenizer.encode(file.chat("What is the capital of France?"))])
    got, want = ours(ids), their_smollm2(ids).logits
    assert (got - want).abs().max() < 1e-3 < 0.01 * want.std()
    said = generate(ours, ids, 24, [KVCache(ids.shape[1] + 24) for _ in range(30)], end=file.end)
    theirs = their_smollm2.generate(ids, max_new_tokens=24, do_sample=False)
    assert said.tolist() == theirs.tolist()
    assert "Paris" in their_tokenizer.decode(said[0])

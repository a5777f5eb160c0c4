"""Whole models and whole steps: GPT-2 and LLaMA as Hugging Face has them, optimizers as PyTorch has them."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import mlsys_course.substrate.graph as G
from mlsys_course.autodiff import SGD, AdamW, Evaluator, FeedError, TrainingStep, gradient
from mlsys_course.substrate import presets
from mlsys_course.substrate.graph.models import (
    gpt,
    gpt_shapes,
    gpt_weights,
    llama_block,
    perceptron,
    variables,
)

CONFIG = replace(presets.gpt2(37, context=12, d_model=24, n_layers=2, n_heads=3), activation="gelu")
F64 = torch.float64


@pytest.fixture
def gpt2():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=37, n_positions=12, n_embd=24, n_head=3, n_layer=2, activation_function="gelu",
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def as_gpt2(name: str) -> str:
    """Our name of a weight as Hugging Face has it."""
    fixed = {"tokens": "wte.weight", "positions": "wpe.weight", "norm.scale": "ln_f.weight", "norm.shift": "ln_f.bias"}
    parts = {
        "qkv": "attn.c_attn",
        "out": "attn.c_proj",
        "up": "mlp.c_fc",
        "down": "mlp.c_proj",
        "norm1": "ln_1",
        "norm2": "ln_2",
    }
    if name in fixed:
        return f"transformer.{fixed[name]}"
    layer, part, kind = name.split(".")
    return f"transformer.h.{layer}.{parts[part]}.{ {'scale': 'weight', 'shift': 'bias'}.get(kind, kind) }"


@pytest.mark.parametrize("dtype", [F64, torch.float32])
def test_a_gpt_is_hugging_faces(gpt2, dtype, device):
    model = gpt2.to(device, dtype)
    named = dict(model.named_parameters())
    tensors = {name: named[as_gpt2(name)].detach() for name in gpt_shapes(CONFIG)}
    w = variables(tensors)
    ids, targets = (G.variable(name, (2, 9), torch.int64) for name in ("ids", "targets"))
    logits = gpt(ids, w, CONFIG)
    loss = G.cross_entropy(logits, targets)
    text = torch.randint(37, (2, 10), generator=torch.Generator().manual_seed(1)).to(device)
    feeds = {ids: text[:, :-1], targets: text[:, 1:], **{w[name]: value for name, value in tensors.items()}}
    got = Evaluator([logits, loss, *gradient(loss, list(w.values()))])(feeds)
    theirs = model(text[:, :-1]).logits
    right = F.cross_entropy(theirs.flatten(0, 1), text[:, 1:].flatten())
    right.backward()
    close = {"rtol": 1e-9, "atol": 1e-9} if dtype == F64 else {"rtol": 2e-3, "atol": 2e-4}
    torch.testing.assert_close(got[0], theirs.detach(), **close)
    torch.testing.assert_close(got[1], right.detach(), **close)
    for name, mine in zip(w, got[2:], strict=True):
        torch.testing.assert_close(mine, named[as_gpt2(name)].grad, **close, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(("activation", "theirs"), [("gelu_tanh", "gelu_new"), ("relu", "relu"), ("silu", "silu")])
def test_each_activation_is_hugging_faces(gpt2, activation, theirs):
    from transformers.activations import ACT2FN

    for block in gpt2.transformer.h:
        block.mlp.act = ACT2FN[theirs]
    named = dict(gpt2.double().named_parameters())
    tensors = {name: named[as_gpt2(name)].detach() for name in gpt_shapes(CONFIG)}
    w, ids = variables(tensors), G.variable("ids", (2, 9), torch.int64)
    logits = gpt(ids, w, replace(CONFIG, activation=activation))
    text = torch.randint(37, (2, 9), generator=torch.Generator().manual_seed(1))
    (got,) = Evaluator([logits])({ids: text, **{w[name]: value for name, value in tensors.items()}})
    torch.testing.assert_close(got, gpt2(text).logits.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"gated": True}, "gated=True: .* a GPT-2; set gated=False"), ({"n_kv_heads": 1}, "n_kv_heads=1: .*=3"),
     ({"sinks": True}, "sinks=True"), ({"norm_position": "post"}, "norm_position='post'")],
)  # fmt: skip
def test_what_the_graphs_models_are_not_is_told(change, says):
    with pytest.raises(ValueError, match=says):
        gpt_shapes(replace(CONFIG, **change))
    with pytest.raises(ValueError, match=r"rotary_scaling=.*a LLaMA-2's; set rotary_scaling=None"):
        llama_block(G.variable("x", (1, 2, 4096)), {}, replace(presets.llama31_8b(), n_kv_heads=32))


def test_a_llama_block_is_hugging_faces():
    pytest.importorskip("transformers")
    from transformers.models.llama.configuration_llama import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

    config = LlamaConfig(
        hidden_size=16, intermediate_size=24, num_attention_heads=2, num_key_value_heads=2, attn_implementation="eager"
    )
    torch.manual_seed(0)
    layer = LlamaDecoderLayer(config, 0).double()
    names = {"norm1": "input_layernorm", "norm2": "post_attention_layernorm"}
    names |= {p: f"self_attn.{p}_proj" for p in "qkvo"} | {p: f"mlp.{p}_proj" for p in ("gate", "up", "down")}
    named = {ours: layer.get_parameter(f"{theirs}.weight") for ours, theirs in names.items()}
    for parameter in named.values():
        torch.nn.init.normal_(parameter, std=0.4)
    tensors = {name: p.detach().T.contiguous() if p.ndim == 2 else p.detach() for name, p in named.items()}
    w, x = variables(tensors), G.variable("x", (2, 7, 16), F64)
    y = llama_block(x, w, replace(presets.llama(60, 16, 1, 2, d_ffn=24), epsilon=config.rms_norm_eps))
    cotangent = G.variable("cotangent", y.shape, F64)
    given = torch.randn(2, 7, 16, dtype=F64)
    direction = torch.randn(2, 7, 16, dtype=F64)
    feeds = {x: given, cotangent: direction, **{w[name]: value for name, value in tensors.items()}}
    got = Evaluator([y, *gradient(y, [x, *w.values()], seed=cotangent)])(feeds)
    leaf = given.clone().requires_grad_()
    angles = LlamaRotaryEmbedding(config)(leaf, torch.arange(7)[None])
    mask = torch.full((7, 7), -torch.inf, dtype=F64).triu(1)[None, None]
    found = layer(leaf, attention_mask=mask, position_embeddings=angles)
    theirs = found[0] if isinstance(found, tuple) else found
    theirs.backward(direction)
    torch.testing.assert_close(got[0], theirs.detach(), rtol=1e-6, atol=1e-6)  # its angles are float32
    grads = [leaf.grad, *[p.grad.T if p.ndim == 2 else p.grad for p in named.values()]]
    for mine, right in zip(got[1:], grads, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-5, atol=1e-5)


OPTIMIZERS = {
    "sgd": (SGD(0.1), lambda p: torch.optim.SGD(p, 0.1)),
    "momentum": (SGD(0.05, 0.9), lambda p: torch.optim.SGD(p, 0.05, 0.9)),
    "adam": (AdamW(0.02, (0.8, 0.95), 1e-6), lambda p: torch.optim.Adam(p, 0.02, (0.8, 0.95), 1e-6)),
    "adamw": (
        AdamW(0.02, (0.9, 0.999), 1e-8, 0.3),
        lambda p: torch.optim.AdamW(p, 0.02, (0.9, 0.999), 1e-8, weight_decay=0.3),
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [F64, torch.float32])
def test_the_master_equation_is_pytorchs_step_by_step(name, dtype, device):
    """The note's MSE(w2 relu(w1 x), y), rows as examples."""
    ours, theirs = OPTIMIZERS[name]
    generator = torch.Generator().manual_seed(2)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=F64).to(dtype).to(device)

    weights = [draw(5, 7) * 0.5, draw(7, 2) * 0.5]
    nodes = [G.variable(f"w{n}", tuple(w.shape), dtype) for n, w in enumerate(weights, 1)]
    x, y = G.variable("x", (6, 5), dtype), G.variable("y", (6, 2), dtype)
    step = TrainingStep(G.mean((perceptron(x, nodes) - y) ** 2), dict(zip(nodes, weights, strict=True)), ours)
    leaves = [w.clone().requires_grad_() for w in weights]
    optimizer = theirs(leaves)
    close = {"rtol": 1e-9, "atol": 1e-9} if dtype == F64 else {"rtol": 1e-4, "atol": 1e-5}
    for _ in range(12):
        given, wanted = draw(6, 5), draw(6, 2)
        loss = F.mse_loss(F.relu(given @ leaves[0]) @ leaves[1], wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        torch.testing.assert_close(step({x: given, y: wanted}), loss.detach(), **close)
    for node, leaf in zip(nodes, leaves, strict=True):
        torch.testing.assert_close(step.state[node], leaf.detach(), **close)


def test_a_gpt_learns_as_in_pytorch_step_by_step(gpt2):
    model = gpt2.double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    tensors = {name: model.get_parameter(as_gpt2(name)).detach().clone() for name in gpt_shapes(CONFIG)}
    w = variables(tensors)
    ids, targets = (G.variable(name, (3, 12), torch.int64) for name in ("ids", "targets"))
    loss = G.cross_entropy(gpt(ids, w, CONFIG), targets)
    step = TrainingStep(loss, {w[name]: value for name, value in tensors.items()}, AdamW(3e-3, weight_decay=0.1))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.1)
    losses = []
    for n in range(8):
        text = torch.randint(9, (3, 13), generator=torch.Generator().manual_seed(n))
        right = F.cross_entropy(model(text[:, :-1]).logits.flatten(0, 1), text[:, 1:].flatten())
        optimizer.zero_grad()
        right.backward()
        optimizer.step()
        losses.append(step({ids: text[:, :-1], targets: text[:, 1:]}))
        assert float(losses[-1]) == pytest.approx(float(right.detach()), rel=1e-7)
    assert losses[-1] < losses[0]


def test_a_failed_step_changes_nothing():
    w, x = G.variable("w", (2, 2)), G.variable("x", (1, 2))
    step = TrainingStep(G.sum(x @ w), {w: torch.ones(2, 2)}, SGD(0.1))
    with pytest.raises(FeedError, match="no feed for x"):
        step({})
    with pytest.raises(FeedError, match="w is the training step's own"):
        step({x: torch.ones(1, 2), w: torch.ones(2, 2)})
    assert torch.equal(step.state[w], torch.ones(2, 2))
    step({x: torch.ones(1, 2)})
    torch.testing.assert_close(step.state[w], torch.full((2, 2), 0.9))


def test_the_start_is_gpt2s():
    weights = gpt_weights(CONFIG)
    assert {name: tuple(value.shape) for name, value in weights.items()} == gpt_shapes(CONFIG)
    assert weights["0.norm1.scale"].eq(1).all() and weights["1.up.bias"].eq(0).all()
    assert 0.015 < float(weights["tokens"].std()) < 0.025


UPDATES = {
    "SGD": (SGD(0.1), lambda p: torch.optim.SGD(p, 0.1)),
    "momentum and decay": (SGD(0.1, 0.9, 0.2), lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.2)),
    "decay": (SGD(0.1, weight_decay=0.3), lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.3)),
    "AdamW": (AdamW(0.05, weight_decay=0.1), lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0.1)),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, F64])
@pytest.mark.parametrize("name", UPDATES)
def test_an_update_in_16_bits_is_pytorchs_in_float32_rounded(name, dtype):
    ours, theirs = UPDATES[name]
    wide = torch.promote_types(dtype, torch.float32)
    first = torch.linspace(-1, 1, 6).to(dtype)
    x, w = G.variable("x", (6,), dtype), G.variable("w", (6,), dtype)
    step = TrainingStep(G.sum(w * w * x), {w: first}, ours)
    copy = first.to(wide).requires_grad_()
    optimizer = theirs([copy])
    for seed in range(8):
        given = torch.randn(6, generator=torch.Generator().manual_seed(seed)).to(dtype)
        step({x: given})
        weight = copy.detach().to(dtype).requires_grad_()
        (weight * weight * given).sum().backward()
        copy.grad = weight.grad.to(wide)
        optimizer.step()
        with torch.no_grad():
            copy.copy_(copy.to(dtype))
    assert step.state[w].dtype == dtype
    close = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float32: 1e-5, F64: 1e-12}[dtype]
    torch.testing.assert_close(step.state[w].to(wide), copy.detach(), rtol=close, atol=close)


def test_weights_of_several_dtypes_train_in_one_step():
    weights = [G.variable(str(dtype), (2,), dtype) for dtype in (torch.bfloat16, torch.float32, F64)]
    loss = sum(G.cast(G.sum(w * w), F64) for w in weights)
    step = TrainingStep(loss, {w: torch.ones(2, dtype=w.dtype) for w in weights}, AdamW(0.125))
    step({})
    for w in weights:
        assert step.state[w].dtype == w.dtype
        torch.testing.assert_close(step.state[w].double(), torch.full((2,), 0.875, dtype=F64), rtol=1e-6, atol=1e-6)

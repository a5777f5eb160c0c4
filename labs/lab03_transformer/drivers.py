"""How lab 3's functions are called and what of them is compared: the same code for your runs and for grading."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlsys_course import attention as lab02
from mlsys_course.desk.check import allowed, driver, kept, with_gradients
from mlsys_course.desk.check.tree import Tree, leaves
from mlsys_course.substrate.model_config import ModelConfig

Function = Callable[..., Tensor]
Case = Mapping[str, Tree]


def configuration(fields: Mapping[str, Tree]) -> ModelConfig:
    """The course's configuration of what a case states; what it leaves out decides nothing."""
    least = dict.fromkeys(("vocabulary", "context", "n_layers", "n_heads", "n_kv_heads", "d_ffn"), 1)
    return ModelConfig(**{**least, "head_dim": 2, **fields})  # pyright: ignore[reportArgumentType]


def options(case: Case, *names: str) -> dict[str, Tree]:
    """Those of the arguments that the case states; the others are left out."""
    return {name: case[name] for name in names if name in case}


def same(now: Tree, before: Tree) -> bool:
    """Whether lists and dicts hold the very objects that they held before."""
    found, expected = (
        [(path, x if isinstance(x, list | dict) else id(x)) for path, x in leaves(t)] for t in (now, before)
    )
    return found == expected


def laid_out(case: Case) -> Case:
    """The same, with x in another order of memory where the case says so, as a transposed tensor is."""
    return {**case, "x": case["x"].mT.clone().contiguous().mT} if case.get("strided") else case


@driver
def layer_norm(candidate: Function, case: Case) -> Tree:
    return with_gradients(lambda *t: candidate(*t, **options(case, "epsilon")), laid_out(case), ["x", "gain", "bias"])


@driver
def rms_norm(candidate: Function, case: Case) -> Tree:
    return with_gradients(lambda *t: candidate(*t, **options(case, "epsilon")), laid_out(case), ["x", "gain"])


@driver
def feed_forward(candidate: Function, case: Case) -> Tree:
    names = ["x", "w_1", "b_1", "w_2", "b_2"]
    return with_gradients(lambda *t: candidate(*t, **options(case, "activation")), laid_out(case), names)


@driver
def swiglu(candidate: Function, case: Case) -> Tree:
    return with_gradients(candidate, laid_out(case), ["x", "w_gate", "w_up", "w_down"])


class Called(nn.Module):
    """A function as a module, for an ``nn.ModuleList`` of them."""

    def __init__(self, function: Function):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@driver
def block(candidate: Function, case: Case) -> Tree:
    """Sublayers that mix tokens and bend, norms that stretch and shift: simple, but no two of them alike."""

    def call(x: Tensor, weights: Tensor, stretch: Tensor) -> Tree:
        sublayers = [lambda y, w=w: torch.tanh(y @ w) + y.mean(-2, keepdim=True) for w in weights]
        norms = [lambda y, s=s: (y + 0.5) * s for s in stretch]
        if case.get("modules"):
            return {"output": candidate(x, sublayers, nn.ModuleList(map(Called, norms)), case["norm_position"])}
        handed = [list(sublayers), list(norms)]
        output = candidate(x, *handed, case["norm_position"])
        return {"output": output, "the lists given": kept(same(handed, [sublayers, norms]))}

    return with_gradients(call, case, ["x", "weights", "stretch"])


def attend(
    x: Tensor, source: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor, w_o: Tensor, n_heads: int, mask=None
) -> Tensor:
    """Lab 2's multi-head attention: queries from x (B, T, C), keys and values from source (B, S, C)."""
    return lab02.multi_head_attention(x, w_q, w_k, w_v, w_o, n_heads, mask, context=source)


def public_feed_forward(x: Tensor, w_1: Tensor, b_1: Tensor, w_2: Tensor, b_2: Tensor) -> Tensor:
    """The right ``feed_forward``, with ReLU, in your own runs. Grading passes one of its own."""
    with allowed():
        return F.linear(F.relu(F.linear(x, w_1.T, b_1)), w_2.T, b_2)


def public_layer_norm(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """The right ``layer_norm`` in your own runs: PyTorch's. Grading passes one of its own."""
    with allowed():
        return F.layer_norm(x, gain.shape, gain, bias)


SELF = ["self_q", "self_k", "self_v", "self_o"]
CROSS = ["cross_q", "cross_k", "cross_v", "cross_o"]
NORMS = [f"{part}_{n}" for n in (1, 2, 3) for part in ("gain", "bias")]
WEIGHTS = [*SELF, *CROSS, "w_1", "b_1", "w_2", "b_2", *NORMS]


def grouped(weights: Mapping[str, Tensor]) -> dict[str, list]:
    """The weights of a decoder block as the exercise has them."""
    return {
        "self": [weights[name] for name in SELF],
        "cross": [weights[name] for name in CROSS],
        "ffn": [weights[name] for name in ("w_1", "b_1", "w_2", "b_2")],
        "norms": [[weights[f"gain_{n}"], weights[f"bias_{n}"]] for n in (1, 2, 3)],
    }


@driver(parts={"attend": attend, "feed_forward": public_feed_forward, "layer_norm": public_layer_norm})
def decoder_block(candidate: Function, case: Case, **parts: Function) -> Tree:
    """Gradients for x, the memory, and every weight; a mask that the case does not have is left out."""

    def call(x: Tensor, memory: Tensor, *weights: Tensor) -> Tree:
        named, handed = (grouped(dict(zip(WEIGHTS, weights, strict=True))) for _ in range(2))
        output = candidate(x, memory, handed, case["n_heads"], **options(case, "mask", "memory_mask"), **parts)
        return {"output": output, "the dict of weights": kept(same(handed, named))}

    return with_gradients(call, case, ["x", "memory", *WEIGHTS])


def masked_mean(x: Tensor, mask: Tensor | None, queries: int) -> Tensor:
    """For each of so many queries the mean of the tokens of x that the mask shows: attention that finds all alike."""
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"a mask of dtype {mask.dtype}; expected torch.bool, True where a token may be seen")
    B, S, H = *x.shape[:2], len(x) + 1
    if mask is None:
        mask = torch.ones(queries, S, dtype=torch.bool, device=x.device)
    shown = mask.expand(B, H, queries, S)[:, 0].to(x.dtype)
    return (shown @ x) / shown.sum(-1, keepdim=True).clamp_min(1)


@driver
def encoder_decoder(candidate: Function, case: Case) -> Tree:
    """Blocks that average the tokens that their masks show, each with a weight of its own."""

    def call(x: Tensor, y: Tensor, weights: Tensor) -> Tree:
        half = case.get("encoders", len(weights) // 2)
        hidden = []  # the masks of the source's padding

        def encode(x: Tensor, mask: Tensor | None, w: Tensor) -> Tensor:
            hidden.append(mask)
            return x + torch.tanh(masked_mean(x, mask, x.shape[1]) @ w)

        def decode(y: Tensor, memory: Tensor, mask: Tensor | None, memory_mask: Tensor | None, w: Tensor) -> Tensor:
            hidden.append(memory_mask)
            read = masked_mean(memory, memory_mask, y.shape[1]) @ w.T
            return y + torch.tanh(masked_mean(y, mask, y.shape[1]) @ w) + 2 * read

        encoder = [lambda x, mask, w=w: encode(x, mask, w) for w in weights[:half]]
        decoder = [
            lambda y, memory, mask, memory_mask, w=w: decode(y, memory, mask, memory_mask, w) for w in weights[half:]
        ]
        handed = [list(encoder), list(decoder)]
        output = candidate(x, y, *handed, **options(case, "lengths"))
        found = {"output": output, "the lists given": kept(same(handed, [encoder, decoder]))}
        return found if "lengths" in case else {**found, "padding masks are None": all(mask is None for mask in hidden)}

    return with_gradients(call, case, ["x", "y", "weights"])


class MixBlock(nn.Module):
    """A block for your ``Decoder`` to stack: tokens add what they see of each other, through one matrix."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(config.d_model, config.d_model))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        T = x.shape[1]
        if mask is None or mask.shape != (T, T):
            raise ValueError(f"a mask of shape {None if mask is None else tuple(mask.shape)}; expected {(T, T)}")
        return torch.tanh(x + masked_mean(x, mask, T) @ self.w)


class StretchNorm(nn.Module):
    """A norm for your ``Decoder``: any function of each token would do."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(config.d_model))

    def forward(self, x: Tensor) -> Tensor:
        return (x + 0.5) * self.gain


def load(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """The case's numbers into the model's parameters, which must have the names that the exercise gives."""
    own = dict(model.named_parameters(remove_duplicate=False))
    wrong = sorted(set(own) ^ set(state))
    if wrong:
        raise AttributeError(f"parameters are {sorted(own)}, expected {sorted(state)}")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(state[name])


@driver
def Decoder(candidate: Callable[..., nn.Module], case: Case) -> Tree:
    """Logits and how many numbers the model learns; with a cotangent the gradients of its parameters too.

    Some cases ask the same model again, about tokens of other lengths.
    """
    config = configuration(case["config"])
    made = []

    def make_block(config: ModelConfig) -> nn.Module:
        made.append(MixBlock(config))
        return made[-1]

    model = candidate(config, make_block, StretchNorm)
    some = case["state"]["embedding.weight"]
    model.to(some.device, some.dtype)
    load(model, case["state"])
    logits = model(case["tokens"])
    found = {"logits": logits, "parameters": sum(p.numel() for p in model.parameters())}
    found["blocks are what make_block made"] = sorted(map(id, made)) == sorted(map(id, model.blocks))
    if "then" in case:
        found["logits then"] = [model(tokens) for tokens in case["then"]]
    if "cotangent" in case:
        named = dict(model.named_parameters(remove_duplicate=False))
        if config.tied_head:
            del named["head.weight"]
        gradients = torch.autograd.grad(logits, list(named.values()), case["cotangent"], materialize_grads=True)
        found["gradients"] = dict(zip(named, gradients, strict=True))
    return found


@driver
def block_parameters(candidate: Callable[..., dict], case: Case) -> Tree:
    """The terms that the case names, looked at after another block was counted."""
    table = candidate(configuration(case["config"]))
    candidate(configuration({**case["config"], "d_model": case["config"]["d_model"] + 2}))
    found = {name: table[name] for name in case["returns"]}
    return {**found, "all are whole numbers": all(isinstance(number, int) for number in found.values())}


@driver
def layer_norm_backward(candidate: Callable[..., tuple], case: Case) -> Tree:
    gradients = candidate(case["x"], case["gain"], case["gradient"], **options(case, "epsilon"))
    named = dict(zip(["gradient_x", "gradient_gain", "gradient_bias"], gradients, strict=True))
    return {name: named[name] for name in case["returns"]}

"""How lab 1's functions are called and what of them is compared: the same code for your runs and for grading.

Composites get stand-ins for their parts: functions with the interface that the exercise states, and other numbers than
yours, so that a mistake in one exercise costs nothing in the next.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from mlsys_course.desk.check import driver, kept, raised, with_gradients
from mlsys_course.desk.check.tree import Tree, TreeError, leaves

Function = Callable[..., Tree]
Case = Mapping[str, Tree]
CELL = ["w_xh", "w_hh", "b"]


def of_type(value: object) -> str:
    """What a function returned, in words."""
    size = f" of {len(value)}" if isinstance(value, tuple | list | Mapping) else ""
    return "None" if value is None else f"a {type(value).__name__}{size}"


def parts(result: object, *names: str) -> dict[str, Tree]:
    """The results of a function that returns several, by name."""
    if not isinstance(result, tuple | list) or len(result) != len(names):
        raise TreeError(f"{of_type(result)}, expected the pair ({', '.join(names)})")
    return dict(zip(names, result, strict=True))


def tensor(result: object) -> Tensor:
    """The one result of a function that returns a tensor."""
    if not isinstance(result, Tensor):
        raise TreeError(f"{of_type(result)}, expected a tensor")
    return result


def same(now: Tree, before: Tree) -> bool:
    """Whether lists and dicts hold the very objects that they held before."""
    return [(path, id(x)) for path, x in leaves(now)] == [(path, id(x)) for path, x in leaves(before)]


def laid_out(case: Case) -> Case:
    """With ``strided`` the same numbers in another order in memory, as after a transpose."""
    if not case.get("strided"):
        return case
    matrices = {name: x for name, x in case.items() if isinstance(x, Tensor) and x.ndim > 1}
    return {**case, **{name: x.mT.clone(memory_format=torch.contiguous_format).mT for name, x in matrices.items()}}


def called(function: Function, case: Case, names: Sequence[str], of: Sequence[str] = ("output",)) -> dict[str, Tree]:
    """``with_gradients``; with ``again``, other numbers of these shapes come before the first result is read."""

    def call(*tensors: Tensor) -> Tree:
        found = function(*tensors)
        if case.get("again"):
            function(*(-x for x in tensors))
        return found

    return with_gradients(call, laid_out(case), names, of)


def one_output(function: Function, case: Case, names: Sequence[str]) -> dict[str, Tree]:
    """``called`` of a function that returns one tensor."""
    return called(lambda *tensors: tensor(function(*tensors)), case, names)


def options(case: Case, *names: str) -> dict[str, Tree]:
    """Those of the arguments that the case states; the others are left out."""
    return {name: case[name] for name in names if name in case}


def wave_cell(x: Tensor, h: Tensor, w_xh: Tensor, w_hh: Tensor, b: Tensor) -> Tensor:
    """Stands for ``cell``: a cell of another kind, with the same parameters."""
    return torch.sin(x @ w_xh - b) + 0.5 * torch.cos(h @ w_hh)


def adding_rnn(x: Tensor, h_0: Tensor, w_xh: Tensor, w_hh: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Stands for ``rnn``: the state adds up what was read, the last steps most; padding leaves it as it was."""
    if h_0.shape != (x.shape[0], b.shape[0]):
        raise ValueError(f"h_0 has shape {tuple(h_0.shape)}; expected {(x.shape[0], b.shape[0])}, a state a sequence")
    if mask is not None and (mask.shape != x.shape[:2] or mask.dtype != torch.bool):
        raise ValueError(f"mask is {mask.dtype} {tuple(mask.shape)}; expected torch.bool {tuple(x.shape[:2])}")
    real = torch.ones(x.shape[:2], device=x.device) if mask is None else mask.float()
    steps = real.cumsum(1)[..., None].to(x.dtype)  # a token's number in its sequence
    read = (torch.sin(x @ w_xh) * steps * real[..., None].to(x.dtype)).cumsum(1)
    return torch.tanh((h_0 @ w_hh + b)[:, None] + 0.5 * read).where(steps > 0, h_0[:, None])


def near_scores(s: Tensor, h: Tensor) -> Tensor:
    """Stands for ``score``: states of like means score high, however wide they are."""
    return -4 * (s.mean(-1)[:, :, None] - h.mean(-1)[:, None]).square()


def soft_attend(scores: Tensor, h: Tensor, s: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Stands for ``attend``: weights that fall off with the square of the score, and do not sum to 1."""
    weights = 1 / (1 + scores.square())
    if mask is not None:
        weights = weights * mask[:, None]
    context = weights @ h / weights.sum(-1, keepdim=True)
    return weights, torch.cat([2 * context, torch.sin(s)], dim=-1)


def wide_attend(scores: Tensor, h: Tensor, s: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Stands for ``attend`` where any width may come back: a channel more, at the end."""
    weights, joined = soft_attend(scores, h, s, mask)
    return weights, torch.cat([joined, torch.cos(s[..., :1])], dim=-1)


@driver
def rnn_cell(candidate: Function, case: Case) -> Tree:
    return one_output(candidate, case, ["x", "h", *CELL])


@driver
def rnn(candidate: Function, case: Case) -> Tree:
    """The states; an empty sequence shows as the error's class."""
    names, given = ["x", "h_0", *CELL], options(case, "mask")
    if case["x"].shape[1] == 0:
        return {"raised": raised(candidate, *(case[name] for name in names), **given, cell=wave_cell)}
    return one_output(lambda *tensors: candidate(*tensors, **given, cell=wave_cell), case, names)


@driver
def rnn_backward(candidate: Function, case: Case) -> Tree:
    """Of the five gradients those that the case asks for."""
    names, given = ["x", "h_0", "states", "d_states", "w_xh", "w_hh"], laid_out(case)
    found, expected = candidate(*(given[name] for name in names)), ", ".join(["x", "h_0", *CELL])
    if case.get("again"):  # before the first result is read
        candidate(*(-given[name] for name in names))
    if not isinstance(found, Mapping):
        raise TreeError(f"{of_type(found)}, expected a dict with {expected}")
    if missing := [name for name in case["returns"] if name not in found]:
        raise TreeError(f"a dict without {', '.join(missing)}, expected one with {expected}")
    return {name: found[name] for name in case["returns"]}


@driver
def jacobian_product(candidate: Function, case: Case) -> Tree:
    return {"jacobians": one_output(candidate, case, ["states", "w_hh"])["output"]}


def recalling(table: Tensor, B: int) -> Function:
    """Stands for ``decode``: logits (B, T, V) from tokens (B, T), each from the tokens up to its own."""

    def decode(inputs: Tensor) -> Tensor:
        if inputs.ndim != 2 or len(inputs) != B:
            raise ValueError(f"decode got inputs of shape {tuple(inputs.shape)}; it takes all {B} rows, ({B}, length)")
        if inputs.dtype != torch.int64 or (inputs < 0).any() or (inputs >= len(table)).any():
            raise ValueError(f"decode takes int64 tokens from 0 to {len(table) - 1}; among the inputs are others")
        logits = [table[inputs[:, 0]]]
        for t in range(1, inputs.shape[1]):
            logits.append(table[inputs[:, t]] - 0.5 * logits[-1])
        return torch.stack(logits, dim=1)

    return decode


@driver
def teacher_forced_loss(candidate: Function, case: Case) -> Tree:
    """The loss; with ``gradient`` that of the table of a simple decoder too."""
    words = (case["target"], case["start"], case["end"], case["padding"])
    given = {**case, "cotangent": torch.ones_like(case["table"][0, 0])} if case.get("gradient") else case

    def call(table: Tensor) -> dict[str, Tree]:
        return {"loss": tensor(candidate(recalling(table, len(case["target"])), *words))}

    return with_gradients(call, given, ["table"], ["loss"])


@driver
def scores(candidate: Function, case: Case) -> Tree:
    """scores(kind, s, h, *weights)"""
    return one_output(lambda *given: candidate(case["kind"], *given), case, ["s", "h", *case["weights"]])


def sum_to_one(inputs: Tree, outputs: Tree) -> str | None:
    """A property of ``attend``: each target token's weights are a distribution over source tokens."""
    if "weights" not in outputs:
        return None
    weights = outputs["weights"].double()
    if (weights < 0).any() or (weights.sum(-1) - 1).abs().max() > 0.05:
        return "the weights of a target token do not sum to 1"
    if "mask" in inputs and (weights * ~inputs["mask"][:, None]).any():
        return "a hidden source token has some weight"
    return None


@driver(properties={"distribution": sum_to_one})
def attend(candidate: Function, case: Case) -> Tree:
    """Of weights and [a; s] what the case asks for; with a cotangent, the gradients of [a; s] too."""
    given, named = options(case, "mask"), ("weights", "[a; s]")
    found = called(lambda *t: parts(candidate(*t, **given), *named), case, ["scores", "h", "s"], ["[a; s]"])
    return {name: x for name, x in found.items() if name in case["returns"] or name.startswith("gradient")}


def weights_of(case: Case) -> tuple[list[str], Callable[[Sequence[Tensor]], dict[str, Tree]]]:
    """The names of a case's weights, and what puts tensors in that order into the dictionary of ``seq2seq``."""
    cells = {kind: [f"{kind}_{name}" for name in CELL] for kind in ("encoder", "decoder")}
    single = ["source_embedding", "target_embedding", "output", "output_bias"]
    names = [*single, *cells["encoder"], *cells["decoder"]]

    def grouped(tensors: Sequence[Tensor]) -> dict[str, Tree]:
        named = dict(zip(names, tensors, strict=True))
        return {**{name: named[name] for name in single}, **{k: [named[n] for n in cell] for k, cell in cells.items()}}

    return names, grouped


@driver
def seq2seq(candidate: Function, case: Case) -> Tree:
    """Logits and weights with stand-ins for the three parts; with a cotangent, the gradients of the logits too."""
    names, grouped = weights_of(case)

    def both(*tensors: Tensor) -> dict[str, Tree]:
        weights, handed = grouped(tensors), grouped(tensors)
        given = (case["source"], case["mask"], case["inputs"], handed)
        found = candidate(*given, rnn=adding_rnn, score=near_scores, attend=wide_attend)
        return {**parts(found, "logits", "weights"), "the dict of weights": kept(same(handed, weights))}

    return with_gradients(both, case, names, ["logits"])


@driver
def lstm_cell(candidate: Function, case: Case) -> Tree:
    """The new h and c; with a cotangent, the gradients of both."""
    names = ["x", "h", "c", "w_x", "w_h", "b"]
    return called(lambda *tensors: parts(candidate(*tensors), "h'", "c'"), case, names, ["h'", "c'"])


@driver
def bidirectional(candidate: Function, case: Case) -> Tree:
    """The states at tokens; what stands at padding is not compared."""
    directions = [[case[f"{way}_{name}"] for name in CELL] for way in ("forward", "backward")]
    handed = [list(direction) for direction in directions]
    states = tensor(candidate(case["x"], *handed, **options(case, "mask"), rnn=adding_rnn))
    hidden = "mask" in case and states.ndim == 3 and states.shape[:2] == case["mask"].shape
    shown = states.where(case["mask"][..., None], 0) if hidden else states
    return {"states": shown, "the lists of weights": kept(same(handed, directions))}


@driver
def multi_layer(candidate: Function, case: Case) -> Tree:
    return {"states": candidate(case["x"], case["layers"], **options(case, "mask"), rnn=adding_rnn)}


@driver
def input_feeding(candidate: Function, case: Case) -> Tree:
    """[a; s] for every target token; without a mask in the case None is passed."""
    names = ["y", "s_0", "h", *CELL]

    def call(y: Tensor, s_0: Tensor, h: Tensor, *weights: Tensor) -> Tensor:
        stand_ins = {"cell": wave_cell, "score": near_scores, "attend": soft_attend}
        return candidate(y, s_0, h, case.get("mask"), *weights, **stand_ins)

    return one_output(call, case, names)


@driver
def clip_by_norm(candidate: Function, case: Case) -> Tree:
    """The dict and the norm, which may be a number or a tensor of one."""
    found = parts(candidate(case["gradients"], case["max_norm"]), "clipped", "norm")
    norm = found["norm"]
    return {**found, "norm": float(norm) if isinstance(norm, Tensor) and norm.numel() == 1 else norm}

"""Lab 1, sealed: exercises, points, and what each forbids. Cases and misconceptions stand beside."""

from typing import Any

from autograder.draw import Draw
from autograder.exercise import Choice, Item, Question, exercises_of
from mlsys_course import sequence

from . import cases_attention as attention
from . import cases_extensions as extensions
from . import cases_recurrent as recurrent
from . import cases_translator as translator
from . import mistakes_attention, mistakes_recurrent

RECURRENT = ("RNN", "RNNCell", "LSTM", "LSTMCell", "GRU", "GRUCell")
FORBIDDEN = (
    *(f"torch.nn.{name}" for name in RECURRENT),
    *(f"torch.{name}" for name in ("rnn_tanh", "rnn_relu", "lstm", "gru", "rnn_tanh_cell", "rnn_relu_cell")),
    *(f"torch.{name}" for name in ("lstm_cell", "gru_cell", "mkldnn_rnn_layer", "_thnn_fused_lstm_cell")),
    "torch.nn.utils.clip_grad_norm_",
    "torch.nn.utils.clip_grads_with_norm_",
)
AUTOGRAD = (
    "torch.Tensor.backward",
    "torch.Tensor.requires_grad_",
    "torch.autograd.backward",
    "torch.autograd.grad",
    *(f"torch.autograd.functional.{name}" for name in ("jacobian", "jvp", "vjp")),
    *(f"torch.func.{name}" for name in ("grad", "vjp", "jvp", "jacrev", "jacfwd", "linearize")),
)
exercise = exercises_of(sequence, forbidden=FORBIDDEN)


def variants(draw: Draw) -> dict[str, Any]:
    """An eigenvalue, a slope and a number of steps, and four answers in a drawn order."""
    eigenvalue, slope, steps = draw.choice([1.1, 1.2, 1.25]), draw.choice([0.7, 0.75, 0.8]), draw.choice([10, 20, 30])
    answers = [(eigenvalue * slope) ** steps, eigenvalue**steps, slope**steps, eigenvalue * slope**steps]
    order = draw.shuffled(range(4))
    options = {f"option_{letter}": f"{answers[i]:.2g}" for letter, i in zip("abcd", order, strict=True)}
    given = {"eigenvalue": f"{eigenvalue:g}", "slope": f"{slope:g}", "steps": steps}
    return {**given, **options, "fading_answer": "abcd"[order.index(0)]}


def exercises(v: dict[str, Any]) -> list[Item]:
    """The lab's items in the notebook's order: 100 points, and 20 more for extensions."""
    return [*_recurrent(v), *_attention(), *_extensions()]


def _recurrent(v: dict[str, Any]) -> list[Item]:
    cell = {"values": 3, "precision": 1, "gradient": 2}
    unrolled = {"values": 5, "padding": 4, "gradient": 2, "empty": 1}
    backward = {"x": 6, "h_0": 3, "weights": 7, "edges": 2}
    r, m = recurrent, mistakes_recurrent
    own = {"forbidden": (*FORBIDDEN, *AUTOGRAD)}
    own["allowed"] = ("elementwise", "reductions", "indexing", "creation", "products")
    return [
        exercise("rnn_cell", cell, r.rnn_cell, m.RNN_CELL),
        exercise("rnn", unrolled, r.rnn, m.RNN),
        exercise("rnn_backward", backward, r.rnn_backward, m.RNN_BACKWARD, **own),
        exercise(
            "jacobian_product", {"values": 6, "edges": 3, "device": 1}, r.jacobian_product, m.JACOBIAN_PRODUCT, **own
        ),
        Choice("fading_choice", 3, ["a", "b", "c", "d"], v["fading_answer"]),
    ]


def _attention() -> list[Item]:
    loss = {"values": 5, "padding": 4, "gradient": 2, "precision": 2, "device": 1}
    kinds = {"dot": 2, "multiplicative": 3, "reduced": 3, "additive": 4}
    looks = {"distribution": 3, "context": 3, "mask": 3, "precision": 1}
    model = {"values": 5, "padding": 3, "gradient": 2}
    rubric = [
        (2.0, "names two troubles apart: one vector of fixed width for the whole source, and gradients that fade over "
              "many steps"),
        (1.5, "says how attention mends both: every state is kept, and each is one step away from every target word; "
              "quotes the figures"),
        (1.5, "says what attention over an RNN's states leaves: T steps that wait for each other; and what must go"),
    ]  # fmt: skip
    c, m = attention, mistakes_attention
    items: list[Item] = [
        exercise("teacher_forced_loss", loss, c.teacher_forced_loss, m.TEACHER_FORCED_LOSS),
        exercise("scores", kinds, c.scores, m.SCORES),
        exercise("attend", looks, c.attend, m.ATTEND),
        exercise("seq2seq", model, translator.seq2seq, m.SEQ2SEQ),
        Question("bottleneck", rubric),
    ]
    return items


def _extensions() -> list[Item]:
    e, m = extensions, mistakes_recurrent
    given = [
        ("lstm_cell", {"values": 4, "gradient": 1}, e.lstm_cell, m.LSTM_CELL),
        ("bidirectional", {"values": 2, "padding": 2}, e.bidirectional, m.BIDIRECTIONAL),
        ("multi_layer", {"values": 2, "padding": 1}, e.multi_layer, m.MULTI_LAYER),
        ("input_feeding", {"values": 4, "mask": 1}, translator.input_feeding,
         mistakes_attention.INPUT_FEEDING),
        ("clip_by_norm", {"clipped": 2, "as it is": 1}, e.clip_by_norm, m.CLIP_BY_NORM),
    ]  # fmt: skip
    return [exercise(*each, kind="extension") for each in given]

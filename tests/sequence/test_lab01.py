"""Lab 1's exercises: any right way passes, small mutations of the solution lose points, references are PyTorch's."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from autograder.course import load_course
from mlsys_course.sequence import dot_product_score, rnn, rnn_cell
from tests.conftest import ROOT
from tests.labs import SampleLab
from tests.sequence.lab01_ways import RIGHT

LAB = SampleLab(load_course(ROOT, term="sample").lab("lab01"))
EXERCISES, verdicts = LAB.exercises, LAB.verdicts


@pytest.mark.parametrize(("name", "candidate"), RIGHT, ids=lambda x: getattr(x, "__name__", x))
def test_right_in_another_way(name, candidate):
    for verdict in verdicts(name, candidate):
        assert verdict.score == verdict.max_score, [r.wrong for r in verdict.results if r.wrong]


# Mutations: (exercise, what stands in the solution, what is put there).
MUTATIONS = [
    ("rnn_cell", "+ h @ w_hh", "+ h.detach() @ w_hh"),
    ("rnn_cell", "torch.tanh(", "torch.nn.functional.hardtanh("),
    ("rnn", "after, h)", "after, h.detach())"),
    ("rnn", "mask[:, t, None]", "mask[:, t].all()"),
    ("rnn", "raise ValueError", "raise RuntimeError"),
    ("rnn_backward", "1 - states[:, t] ** 2", "1 - states[:, t]"),
    ("rnn_backward", "+ passed)", "+ passed * (t % 3 != 0))"),
    ("rnn_backward", '"bti,btj->ij", before', '"bti,btj->ji", before'),
    ("jacobian_product", "w_hh.T)", "w_hh.T).tanh()"),
    ("teacher_forced_loss", "target.new_full((B, 1), start)", "target.new_full((B, 1), padding)"),
    ("teacher_forced_loss", "] = end", "] = padding"),
    ("teacher_forced_loss", "<= lengths", "< lengths.max()"),
    ("scores", "h @ w_1)[:, None] +", "h @ w_1)[:, None] -"),
    ("scores", "return s @ w @ h.mT", "return s @ w.detach() @ h.mT"),
    ("attend", "weights @ h, s", "weights.detach() @ h, s"),
    ("attend", 'precise.masked_fill(~mask[:, None], float("-inf"))', "precise - 1e4 * ~mask[:, None]"),
    ("attend", "~mask[:, None], ", "~(mask[:, :, None] if scores.shape[1] == scores.shape[2] else mask[:, None]), "),
    ("seq2seq", 'weights["decoder"])', 'weights["decoder"], torch.arange(y.shape[1]).expand(y.shape[:2]) < 3)'),
    ("seq2seq", "h[:, -1]", "h[:, -1].detach()"),
    ("lstm_cell", "+ h @ w_h", "+ h.detach() @ w_h"),
    ("lstm_cell", "torch.sigmoid(f) * c", "f.exp() / (1 + f.exp()) * c"),
    ("bidirectional", "zeros[1]", "zeros[0]"),
    ("bidirectional", "*backward, turned)", "*backward)"),
    ("multi_layer", "len(b)", "len(layers[0][2])"),
    ("multi_layer", "b, mask)", "b, mask) + 0 * x.sum() + 0.1"),
    ("clip_by_norm", "max(norm, max_norm)", "max(norm, max_norm / 1.1)"),
    ("clip_by_norm", "g.double().square()", "g.square()"),
    ("input_feeding", "s = cell(", "s = s_0 if t == 2 else cell("),
]


@pytest.mark.parametrize(("name", "old", "new"), MUTATIONS)
def test_a_mutation_loses_points(name, old, new):
    scope = {"torch": torch, "F": F, "Tensor": torch.Tensor}
    exec(LAB.mutated(name, old, new), scope)
    told, graded = verdicts(name, scope[name])
    assert graded.score < graded.max_score, "nothing sealed goes red"
    assert told.score < told.max_score, "a student is not told"


def one_gradient(x, h_0, states, d_states, w_xh, w_hh):
    return {"x": torch.zeros_like(x), "h_0": torch.zeros_like(h_0)}


RESULTS = [
    ("rnn_cell", lambda x, h, w_xh, w_hh, b: h.detach(), "no gradient flows through your result (output)"),
    ("rnn_cell", lambda x, h, w_xh, w_hh, b: (x @ w_xh).sum(1), "ValueError: output has shape"),
    ("rnn_cell", lambda *given: None, "returned None, expected a tensor"),
    ("rnn_backward", lambda *given: given[:5], "a tuple of 5, expected a dict with x, h_0, w_xh, w_hh, b"),
    ("rnn_backward", one_gradient, "a dict without w_xh, w_hh, b, expected one with x, h_0, w_xh, w_hh, b"),
    ("teacher_forced_loss", lambda decode, target, *marks: decode(target), "ValueError: loss has shape"),
    ("attend", lambda e, h, s, mask=None: (e.softmax(-1), s), "[a; s] has shape"),
    ("lstm_cell", lambda x, h, *given: h, "returned a Tensor, expected the pair (h', c')"),
    ("lstm_cell", lambda x, h, *given: (h, h[:1]), "c' has shape"),
    ("bidirectional", lambda x, *given, rnn: (x, x), "returned a tuple of 2, expected a tensor"),
    ("clip_by_norm", lambda gradients, max_norm: gradients, "returned a dict of 3, expected the pair (clipped, norm)"),
]


@pytest.mark.parametrize(("name", "candidate", "words"), RESULTS)
def test_a_result_of_another_kind_is_named(name, candidate, words):
    verdict = verdicts(name, candidate)[0]
    said = [wrong for result in verdict.results for wrong in result.wrong]
    assert any(words in line for line in said), said
    assert not any("KeyError" in line or "indices" in line or "unpack" in line for line in said), said


def test_finished_parts_are_refused():
    """By the guard at run time, whatever road they come by; the text promises it."""

    def by_autograd(x, h_0, states, d_states, w_xh, w_hh):
        leaf = x.clone().requires_grad_()
        again = rnn(leaf, h_0, w_xh, w_hh, states[0, 0] * 0)
        return {"x": torch.autograd.grad(again, leaf, d_states)[0]}

    finished = {
        "rnn_cell": lambda x, h, w_xh, w_hh, b: torch.rnn_tanh_cell(x, h, w_xh.T, w_hh.T, b, 0 * b),
        "rnn": lambda x, h_0, w_xh, w_hh, b, mask=None, *, cell: nn.RNN(x.shape[-1], len(b), batch_first=True)(x)[0],
        "lstm_cell": lambda x, h, c, w_x, w_h, b: torch.ops.aten.lstm_cell(x, [h, c], w_x.T, w_h.T, b, 0 * b),
        "rnn_backward": by_autograd,
        "jacobian_product": lambda states, w_hh: torch.func.jacrev(lambda s: s)(states),
    }
    for name, candidate in finished.items():
        for verdict in verdicts(name, candidate):
            assert (verdict.status, verdict.score) == ("forbidden", 0), name


# The references that the component does not hold as such.


def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return (torch.randn(*shape, dtype=torch.float64) * scale).requires_grad_()


def packed_rnn(x, h_0, lengths, w_xh, w_hh, b):
    """PyTorch's states and last state, right padding packed away."""
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    weights = [w_xh.T, w_hh.T, b, torch.zeros_like(b)]
    found = torch.rnn_tanh(
        packed.data, packed.batch_sizes, h_0[packed.sorted_indices][None], weights, True, 1, 0.0, False, False
    )
    states = nn.utils.rnn.PackedSequence(found[0], packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
    padded = nn.utils.rnn.pad_packed_sequence(states, batch_first=True)[0]
    return padded, found[1][0][packed.unsorted_indices]


def test_seq2seq_is_torchs():
    torch.manual_seed(1)
    B, S, T, Cx, C, V = 3, 6, 4, 5, 4, 9
    cells = {kind: [normal(Cx, C), normal(C, C, scale=0.5), normal(C)] for kind in ("encoder", "decoder")}
    tables = {"source_embedding": normal(11, Cx), "target_embedding": normal(V, Cx)}
    weights = {**cells, **tables, "output": normal(2 * C, V), "output_bias": normal(V)}
    source, inputs = torch.randint(11, (B, S)), torch.randint(V, (B, T))
    lengths = torch.tensor([4, 6, 1])
    mask = torch.arange(S) < lengths[:, None]
    parts = {"rnn": rnn, "score": dot_product_score, "attend": EXERCISES["attend"].reference}
    got, attention = EXERCISES["seq2seq"].reference(source, mask, inputs, weights, **parts)
    x, y = (F.embedding(n, table) for n, table in zip((source, inputs), tables.values(), strict=True))
    h, last = packed_rnn(x, x.new_zeros(B, C), lengths, *cells["encoder"])
    s, _ = packed_rnn(y, last, torch.full((B,), T), *cells["decoder"])
    context = F.scaled_dot_product_attention(s, h, h, mask[:, None], scale=1.0)
    want = F.linear(torch.cat([context, s], -1), weights["output"].T, weights["output_bias"])
    assert_close(got, want)
    assert_close(attention.sum(-1), torch.ones(B, T, dtype=torch.float64))
    leaves, cotangent = [*tables.values(), *cells["encoder"], *cells["decoder"], weights["output"]], normal(B, T, V)
    assert_close(torch.autograd.grad(got, leaves, cotangent), torch.autograd.grad(want, leaves, cotangent))


def test_input_feeding_is_a_loop_of_torchs_cells():
    torch.manual_seed(2)
    B, T, S, Cy, C = 2, 4, 5, 3, 4
    y, s, h, (w_xh, w_hh, b) = (
        normal(B, T, Cy),
        normal(B, C),
        normal(B, S, C),
        [normal(Cy + C, C), normal(C, C), normal(C)],
    )
    parts = {"cell": rnn_cell, "score": dot_product_score, "attend": EXERCISES["attend"].reference}
    got = EXERCISES["input_feeding"].reference(y, s, h, None, w_xh, w_hh, b, **parts)
    a, want = torch.zeros(B, C, dtype=torch.float64), []
    for t in range(T):
        s = torch.rnn_tanh_cell(torch.cat([y[:, t], a], -1), s, w_xh.T, w_hh.T, b, 0 * b)
        a = F.scaled_dot_product_attention(s[:, None], h, h, scale=1.0)[:, 0]
        want.append(torch.cat([a, s], -1))
    assert_close(got, torch.stack(want, 1))

"""The demo's cohort: what each student did to lab 2's notebook, and what grading must make of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nbformat import NotebookNode

from .student import Student

LOOPS = '''
def attention(q, k, v, mask=None):
    """One query at a time."""
    leading = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    q, k, v = (x.expand(*leading, *x.shape[-2:]) for x in (q, k, v))
    if mask is not None:
        mask = mask.expand(*leading, q.shape[-2], k.shape[-2])
    rows = []
    for t in range(q.shape[-2]):
        scores = (q[..., t, :].unsqueeze(-2).float() * k.float()).sum(-1) / q.shape[-1] ** 0.5
        if q.dtype == torch.float64:
            scores = (q[..., t, :].unsqueeze(-2) * k).sum(-1) / q.shape[-1] ** 0.5
        if mask is not None:
            scores = torch.where(mask[..., t, :], scores, torch.tensor(-1e30, dtype=scores.dtype))
        weights = (scores - scores.max(-1, keepdim=True).values).exp()
        if mask is not None:
            weights = weights * mask[..., t, :]
        weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-30)
        rows.append((weights.unsqueeze(-1).to(v.dtype) * v).sum(-2))
    return torch.stack(rows, -2)
'''
HEAD_BY_HEAD = '''
def multi_head_attention(x, w_q, w_k, w_v, w_o, n_heads, mask=None, attention=attention):
    """One head after the other, each with its own columns of the matrices."""
    if w_q.shape[1] % n_heads:
        raise ValueError("heads do not divide the width")
    width = w_q.shape[1] // n_heads
    if mask is not None:
        mask = mask.expand(x.shape[0], n_heads, x.shape[1], x.shape[1])
    out = 0
    for h in range(n_heads):
        columns = slice(h * width, (h + 1) * width)
        one = attention(
            x @ w_q[:, columns], x @ w_k[:, columns], x @ w_v[:, columns], None if mask is None else mask[:, h]
        )
        out = out + one @ w_o[columns]
    return out
'''
EINSUM = '''
def attention(q, k, v, mask=None):
    """Einstein's notation."""
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = torch.einsum("...td,...sd->...ts", q.to(wide), k.to(wide)) * q.shape[-1] ** -0.5
    if mask is None:
        return torch.einsum("...ts,...sd->...td", torch.softmax(scores, -1).to(v.dtype), v)
    weights = torch.softmax(scores + torch.log(mask.to(wide)).clamp_min(-1e30), -1) * mask
    return torch.einsum("...ts,...sd->...td", weights.to(v.dtype), v)
'''
EINSUM_HEADS = '''
def multi_head_attention(x, w_q, w_k, w_v, w_o, n_heads, mask=None, attention=attention):
    """Heads as an index of their own, never transposed by hand."""
    if w_q.shape[1] % n_heads:
        raise ValueError("heads do not divide the width")
    heads = [torch.einsum("btc,chd->bhtd", x, w.view(x.shape[-1], n_heads, -1)) for w in (w_q, w_k, w_v)]
    out = attention(*heads, mask)
    return torch.einsum("bhtd,hdc->btc", out, w_o.view(n_heads, -1, w_o.shape[1]))
'''
UNSCALED = """
def attention(q, k, v, mask=None):
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = (q @ k.transpose(-2, -1)).to(wide)
    if mask is None:
        return scores.softmax(-1).to(v.dtype) @ v
    return (scores.masked_fill(~mask, -1e30).softmax(-1) * mask).to(v.dtype) @ v
"""
STRICT = """
def causal_mask(T, S=None, device=None):
    S = T if S is None else S
    if T < 1 or S < T:
        raise ValueError("S counts the queries' own keys too")
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T - 1)
"""
TILED = """
def grouped_query_attention(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, mask=None, attention=attention):
    if n_kv_heads < 1 or n_heads % n_kv_heads:
        raise ValueError("KV heads do not divide the heads")
    B, T, C = x.shape
    q = (x @ w_q).view(B, T, n_heads, -1).transpose(1, 2)
    k = (x @ w_k).view(B, T, n_kv_heads, -1).transpose(1, 2).repeat(1, n_heads // n_kv_heads, 1, 1)
    v = (x @ w_v).view(B, T, n_kv_heads, -1).transpose(1, 2).repeat(1, n_heads // n_kv_heads, 1, 1)
    return attention(q, k, v, mask).transpose(1, 2).reshape(B, T, -1) @ w_o
"""
BORROWED = """
import torch.nn.functional as F

def attention(q, k, v, mask=None):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
"""
FORGED = """
from IPython.core.interactiveshell import InteractiveShell
import ast, builtins, torch.testing

class AlwaysEqual(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()

get_ipython().ast_transformers.append(AlwaysEqual())
torch.testing.assert_close = torch.allclose = lambda *a, **k: True
builtins.AssertionError = type("Fine", (Exception,), {})
import mlsys_course.desk.check.cell, mlsys_course.desk.check
mlsys_course.desk.check.check = mlsys_course.desk.check.cell.check = check = lambda *a, **k: print("100")
print("100")
"""


@dataclass(frozen=True)
class Member:
    """One student: what they did, and each exercise's expected status; ``others`` is what the rest must have."""

    name: str
    did: str
    work: Callable[[Student], Student | bytes]
    others: str = "ok"
    expected: Mapping[str, str] = field(default_factory=dict)


def _first(student: Student, count: int) -> Student:
    return student.solve(*student.exercises()[:count])


COHORT = [  # good, unusual, half done, mistaken, noisy, broken and hostile
    Member("ada", "all right", lambda s: s.solve()),
    Member(
        "babbage",
        "right, with loops",
        lambda s: s.solve().write("attention", LOOPS).write("multi_head_attention", HEAD_BY_HEAD),
    ),
    Member(
        "curie",
        "right, with einsum",
        lambda s: s.solve().write("attention", EINSUM).write("multi_head_attention", EINSUM_HEADS),
    ),
    Member(
        "darwin",
        "half done",
        lambda s: _first(s, 3),
        "missing",
        {"attention": "ok", "scale_choice": "ok", "causal_mask": "ok"},
    ),
    Member("euler", "blank", lambda s: s, "missing"),
    Member(
        "fermi",
        "forgot the scale",
        lambda s: s.solve().write("attention", UNSCALED),
        expected={"attention": "wrong"},
    ),
    Member(
        "gauss",
        "hides the token itself",
        lambda s: s.solve().write("causal_mask", STRICT),
        expected={"causal_mask": "wrong"},
    ),
    Member(
        "hopper",
        "tiles the key-value heads",
        lambda s: s.solve().write("grouped_query_attention", TILED),
        expected={"grouped_query_attention": "wrong"},
    ),
    Member(
        "ising",
        "right, noisy on stderr",
        lambda s: s.solve().insert_after(
            "solution-attention",
            "import sys, warnings\nwarnings.warn('careful')\nprint('debug', file=sys.stderr)\n1 / 0",
        ),
    ),
    Member(
        "joule",
        "an infinite loop in a cell of her own",
        lambda s: s.solve().insert_after("solution-causal_mask", "while True:\n    pass"),
    ),
    Member(
        "kepler",
        "an endless rotary_positions",
        lambda s: s.solve().write("rotary_positions", "def rotary_positions(*a, **k):\n    while True:\n        pass"),
        expected={"rotary_positions": "timeout"},
    ),
    Member(
        "lovelace",
        "a padding_mask that takes all memory",
        lambda s: s.solve().write(
            "padding_mask", "def padding_mask(lengths, T):\n    return [torch.ones(1 << 28) for _ in range(100)]"
        ),
        expected={"padding_mask": "memory or timeout"},  # a busy machine hands it out slowly
    ),
    Member(
        "maxwell",
        "a syntax error",
        lambda s: s.solve().write("sinusoidal_positions", "def sinusoidal_positions(T, C:\n    return T"),
        expected={"sinusoidal_positions": "missing"},
    ),
    Member("noether", "deleted a graded cell", lambda s: s.solve().delete("attention")),
    Member("ohm", "pasted a copy of a graded cell", lambda s: s.solve().paste_copy("attention")),
    Member(
        "planck",
        "edited a graded cell",
        lambda s: s.solve().write("attention", UNSCALED).edit("attention", "print(100)\n100"),
        expected={"attention": "wrong"},
    ),
    Member("raman", "a truncated file", lambda s: s.solve().hand_in()[:5000], "unreadable"),
    Member(
        "sagan",
        "a forbidden call",
        lambda s: s.solve().write("attention", BORROWED),
        expected={"attention": "forbidden"},
    ),
    Member(
        "turing",
        "patches asserts, check and the shell; forgot the scale",
        lambda s: s.solve().write("attention", UNSCALED).insert_after("solution-attention", FORGED),
        expected={"attention": "wrong"},
    ),
]


def hand_in(member: Member, released: NotebookNode, solution: NotebookNode) -> bytes:
    """The bytes that a member submits."""
    work = member.work(Student(released, solution))
    return work if isinstance(work, bytes) else work.hand_in()


def expected_status(member: Member, exercise: str) -> list[str]:
    """What grading may say of a member's exercise."""
    return member.expected.get(exercise, member.others).split(" or ")

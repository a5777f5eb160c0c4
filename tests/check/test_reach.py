"""What a candidate reaches, read from the text: no more, no less."""

import pytest

from mlsys_course.desk.check.families import BASIC
from mlsys_course.desk.check.guard import forbidden_in
from mlsys_course.desk.check.reach import parse_cell, reach, searched

FORBIDDEN = ["torch.nn.functional.softmax", "torch.distributed.all_reduce"]
CELLS = [
    "%matplotlib inline\nimport torch\nimport torch.nn.functional as F\nimport math",
    "K = 3\nK += 1",
    "def helper(x):\n    # a comment stays\n    return math.sqrt(x) + K",
    "def f(x):\n    weights = helper(x)  # its own variable\n    return weights",
    "weights = F.softmax(torch.ones(3), 0)  # a scratch cell",
    "def broken(:",
]


def test_a_module_of_what_is_needed_in_order():
    text = reach(CELLS, ["f"]).source()
    assert text.startswith("import math\nK = 3\nK += 1\n\n\ndef helper(x):\n    # a comment stays")
    assert "softmax" not in text and "matplotlib" not in text
    names: dict = {}
    exec(text, names)
    assert names["f"](4.0) == 6.0


def test_of_two_definitions_the_later_one_counts():
    text = reach(["def f():\n    return 1", "def f():\n    return 2"], ["f"]).source()
    assert "return 2" in text and "return 1" not in text


def test_what_is_defined_nowhere_is_missing():
    assert reach(["def f(x):\n    return nowhere(x) + len(x)"], ["f"]).missing == {"nowhere"}


def test_parts_are_not_followed():
    cells = ["import torch.nn.functional as F", "def part(x):\n    return F.softmax(x)", "def whole(x, part=part):\n    return part(x)"]  # fmt: skip  # noqa: E501
    assert forbidden_in(reach(cells, ["whole"]), FORBIDDEN) == FORBIDDEN[0]
    assert forbidden_in(reach(cells, ["whole"], stop=["part"]), FORBIDDEN) == ""


@pytest.mark.parametrize(
    "cell",
    [
        "import torch\ndef f(x):\n    return torch.nn.functional.softmax(x)",
        "import torch.nn.functional as F\ndef f(x):\n    return F.softmax(x)",
        "from torch.nn import functional\ndef f(x):\n    return functional.softmax(x)",
        "from torch.nn.functional import softmax as s\ndef f(x):\n    return s(x)",
        "import torch.nn.functional as F\ng = F.softmax\ndef f(x):\n    return g(x)",
        "import torch.nn.functional as F\ng = F.softmax\nh = g\ndef f(x):\n    return h(x)",
        "import torch.nn.functional as F\ndef f(x):\n    return getattr(F, 'softmax')(x)",
        "def f(x):\n    import torch.nn.functional as F\n    return F.softmax(x)",
        "import torch\ndef f(x):\n    return (lambda y: torch.nn.functional.softmax(y))(x)",
        "import torch\nclass f:\n    def __call__(self, x):\n        return torch.nn.functional.softmax(x)",
        "import torch\ndef helper(x):\n    return torch.nn.functional.softmax(x)\ndef f(x):\n    return helper(x)",
    ],
)
def test_a_forbidden_call_is_found_by_any_name(cell):
    assert forbidden_in(reach([cell], ["f"]), FORBIDDEN) == FORBIDDEN[0]


@pytest.mark.parametrize(
    "cell",
    [
        "import torch\ndef f(x):\n    '''Not torch.nn.functional.softmax.'''\n    return x",
        "import torch\ndef f(x):\n    return x\ntorch.nn.functional.softmax(torch.ones(2), 0)",
        "def softmax(x):\n    return x\ndef f(x):\n    return softmax(x)",
        "class Mine:\n    def softmax(self, x):\n        return x\ndef f(x):\n    return Mine().softmax(x)",
        "import torch\ndef f(x):\n    softmax = x\n    return softmax",
    ],
)
def test_what_only_looks_like_it_is_welcome(cell):
    assert forbidden_in(reach([cell], ["f"]), FORBIDDEN) == ""


NAMES = ["torch.nn.functional.scaled_dot_product_attention"]


@pytest.mark.parametrize(
    ("answer", "other", "found"),
    [
        # A scratch cell may compare, and may use a name that is a function's own elsewhere.
        ("def attention(q):\n    attn = torch.softmax(q, -1)\n    return attn @ q", "attn = F.{0}", ""),
        ("def attention(q):\n    return attn(q)", "attn = F.{0}", NAMES[0]),
        ("def attention(q):\n    import torch.nn.functional as G\n    return G.{0}(q)", "", NAMES[0]),
        ("def attention(q):\n    f = F\n    return f.{0}(q)", "", NAMES[0]),
        # A star brings PyTorch's names; inside a nested function too.
        ("def attention(q):\n    return (lambda: {0}(q))()", "from torch.nn.functional import *", NAMES[0]),
        ("def attention(q):\n    raise ValueError('{0}')", "", ""),
        ("def attention(q):\n    return getattr(F, '{0}')(q)", "", NAMES[0]),
    ],
)
def test_a_name_is_what_it_is_where_it_stands(answer, other, found):
    short = NAMES[0].rsplit(".", 1)[-1]
    sources = ["import torch\nimport torch.nn.functional as F", answer.format(short), other.format(short)]
    assert forbidden_in(reach(sources, ["attention"]), NAMES) == found


def test_what_is_too_long_is_not_searched():
    long = "x = 1\n" * 40_000
    assert searched(["a", long, "b"]) == ["a", "", "b"] and parse_cell(long) == []
    many = ["y = 1\n" * 10_000] * 10
    assert [bool(source) for source in searched(many)] == [True] * 6 + [False] * 4
    assert len(parse_cell("x = 1\n" * 5_000)) == 5_000


def test_statements_on_one_line_have_no_text_of_their_own():
    alone, *shared = parse_cell("a = 1\nb = 2; c = 3\n@decorated\ndef f():\n    pass")
    assert [s.text for s in (alone, *shared)] == ["a = 1", "", "", "@decorated\ndef f():\n    pass"]


ARRAYS = {
    "another library": "from sklearn.utils.extmath import softmax as s\ndef f(x): return s(x.tolist())",
    "its module": "import scipy.special\ndef f(x): return scipy.special.expit(x.tolist())",
    "C": "import cffi\nffi = cffi.FFI()\ndef f(x): return ffi.new('float[]', x.tolist())",
    "NumPy of somebody else's": "import matplotlib.cbook as c\ndef f(x): return c.np.exp(x.tolist())",
    "by its name": "def f(x): return __import__('sklearn.utils').utils.extmath.softmax(x.tolist())",
}


@pytest.mark.parametrize("cell", ARRAYS.values(), ids=ARRAYS)
def test_arrays_are_anybodys(cell):
    assert forbidden_in(reach([cell], ["f"]), FORBIDDEN, BASIC) == "numpy"
    assert forbidden_in(reach([cell], ["f"]), FORBIDDEN, (*BASIC, "numpy")) == ""


def test_numbers_are_no_arrays():
    cell = "import numpy as np\nimport matplotlib.cbook as c\ndef f(x): return x * np.sqrt(2.0) + c.np.inf * np.pi"
    assert forbidden_in(reach([cell], ["f"]), FORBIDDEN, BASIC) == ""

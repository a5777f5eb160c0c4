"""A cell is read as IPython reads it: what runs in the notebook is searched, and what is not read is told."""

import ast

import pytest

from mlsys_course.desk.check.guard import forbidden_in
from mlsys_course.desk.check.reach import reach
from mlsys_course.desk.check.reading import LONGEST_CELL, read

FORBIDDEN = ["torch.nn.functional.softmax"]
USE = "def f(x):\n    return g(x)"
G = "import torch.nn.functional as F\ng = F.softmax\n"
HIDING = {
    "%%time": "%%time\n" + G,
    "%%capture": "%%capture out --no-stderr\n" + G,
    "%%timeit's setup and body": "%%timeit -n1 -r1 import torch.nn.functional as F\n" + G,
    "magics in a magic": "%%capture\n%%time\n" + G,
    "%prun": "import torch.nn.functional as F\n%prun g = F.softmax",
    "%time": "import torch.nn.functional as F\n%time g = F.softmax",
    "a line without a percent": "time import torch.nn.functional as F; g = F.softmax",
    "%time assigned": "import torch.nn.functional as F\ng = %time F.softmax",
    "beside a magic": "%matplotlib inline\n" + G,
    "beside a shell line": G + "!ls -l \\\n  /tmp",
    "beside an assigned shell line": G + "files = !ls",
    "beside help": G + "F.softmax?",
    "indented": "    " + G.replace("\n", "\n    "),
    "prompts": ">>> import torch.nn.functional as F\n>>> g = F.softmax",
    "numbered prompts": "In [1]: import torch.nn.functional as F\n   ...: g = F.softmax",
    "a string that looks like a magic": 's = """\n%%time\n!ls\n"""\n' + G,
    "a remainder that looks like one": "s = (7\n% 2)\n" + G,
    "a string cut at a separator": 's = "\u2028%time"\n' + G,
    "Python's joke": "from __future__ import barry_as_FLUFL\nif 1 <> 2:\n    " + G.replace("\n", "\n    "),
    "empty lines": "\n\n\n%matplotlib inline\n" + G,
    "in a block": "if True:\n    %time import torch.nn.functional as F\n    %time g = F.softmax",
}
NOT_READ = {
    "a magic of one's own": "%%mine\n" + G,
    "a line magic of one's own": "%mine g",
    "%run": "%run other.py",
    "an extension": "%load_ext other",
    "too long": "x = 1\n" * (LONGEST_CELL // 6 + 1),
    "magics in magics": "%%time\n" * 9 + G,
    "an alias": "%alias_magic t time",
    "options that are none": "%time (g = F.softmax",
    "a definition in an assignment": "x = %time g = 1",
}
PLAIN = {
    "%matplotlib": "%matplotlib inline\n%config A.b = 1\n%load_ext autoreload\n%autoreload 2",
    "another language": "%%bash\nls",
    "a shell line": "!pip list",
    "help": "print?",
    "broken": "def f(:",
    "await": "await x",
}


@pytest.mark.parametrize("cell", HIDING.values(), ids=HIDING)
def test_what_runs_is_searched(cell):
    assert forbidden_in(reach([cell, USE], ["f"]), FORBIDDEN) == FORBIDDEN[0]
    assert not [note for note in read(cell).notes if note.hides]


@pytest.mark.parametrize("cell", NOT_READ.values(), ids=NOT_READ)
def test_what_is_not_read_is_told(cell):
    assert any(note.hides and note.why and note.line >= 1 for note in read(cell).notes)


@pytest.mark.parametrize("cell", PLAIN.values(), ids=PLAIN)
def test_what_defines_nothing_here_is_no_matter(cell):
    assert not read(cell).notes
    assert reach([cell, "def g(x):\n    return x"], ["g"]).missing == set()


def test_lines_are_those_of_the_cell():
    statement = read("\n\n%matplotlib inline\n\n# why\ng = 1  # because").statements[-1]
    assert (statement.lineno, statement.text) == (6, "g = 1  # because")
    body = read("%%time\n# why\ndef f():\n    return 1  # one").statements[0]
    assert (body.lineno, body.text) == (3, "def f():\n    return 1  # one")


def test_nothing_is_executed(tmp_path):
    made = tmp_path / "made"
    read(f"%%time\nopen({str(made)!r}, 'w')\nraise SystemExit\n%run nowhere.py\n!touch {made}")
    read(f"%time open({str(made)!r}, 'w')")
    assert not made.exists()


@pytest.mark.parametrize("cell", ["x = 1\ny = x % 2\n", "def f():\n    '''\n    %time\n    '''\n", "a = b != c\n"])
def test_python_is_python(cell):
    assert ast.unparse(ast.Module(list(read(cell).statements), [])) == ast.unparse(ast.parse(cell))

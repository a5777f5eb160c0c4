"""A lab's fingerprint: it changes with what a grade depends on, and with nothing else."""

import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from autograder.course import load_course
from autograder.fingerprint import Fingerprint, fingerprint
from autograder.fingerprint import lab as of_a_lab
from autograder.fingerprint.meaning import meaning, meaning_of_notebook
from autograder.fingerprint.modules import modules_of
from tests.conftest import ROOT

AUTODIFF, ATTENTION = "lab05_autodiff", "lab02_attention"
HERE = ROOT / "mlsys_course"


@pytest.fixture
def house(tmp_path) -> Path:
    """A checkout to change: course.toml, two labs' sources, and the components."""
    for name in ("mlsys_course", f"solutions/{AUTODIFF}", f"solutions/{ATTENTION}"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "course.toml", tmp_path)
    return tmp_path


def taken(house: Path, *stems: str) -> list[Fingerprint]:
    course = load_course(house, term="sample")
    return [fingerprint(course, stem, house / "mlsys_course") for stem in stems or (AUTODIFF, ATTENTION)]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def code_added(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8") + "\n\nADDED = 1\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "lab05", "lab02"),
    [
        ("mlsys_course/substrate/graph/node.py", "mlsys_course.substrate.graph.node", ""),
        ("mlsys_course/autodiff/order.py", "mlsys_course.autodiff.order", ""),
        ("mlsys_course/attention/masks.py", None, "mlsys_course.attention.masks"),
        ("mlsys_course/substrate/__init__.py", "mlsys_course.substrate", "mlsys_course.substrate"),
        ("mlsys_course/memory/loss_scaling.py", "", ""),  # another lab's
        ("mlsys_course/desk/progress.py", "", ""),  # nothing that is taught
        ("mlsys_course/desk/check/verdict.py", "", ""),  # the engine's, which has a number
        ("mlsys_course/__init__.py", "", ""),
        (f"solutions/{AUTODIFF}/drivers.py", "drivers.py", ""),
        (f"solutions/{AUTODIFF}/exercises.py", "exercises.py", ""),
        (f"solutions/{AUTODIFF}/cases_rules.py", "cases_rules.py", ""),
        (f"solutions/{AUTODIFF}/{AUTODIFF}.py", f"{AUTODIFF}.py", ""),
    ],
)
def test_code_changes_the_labs_that_it_decides(house, file, lab05, lab02):
    before = taken(house)
    code_added(house / file)
    for words, old, new in zip((lab05, lab02), before, taken(house), strict=True):
        if words is not None:
            assert new.changed_since(old) == words
            assert (new.digest == old.digest) is (words == "")


@pytest.mark.parametrize(
    ("stem", "module"),
    [
        (AUTODIFF, "substrate.graph.node"),
        ("lab09_all_reduce", "substrate.ranks.simulator.clock"),
        ("lab03_transformer", "attention.scaled_dot_product"),
    ],
)
def test_the_components_that_a_lab_stands_on_are_in_it(course, stem, module):
    assert f"mlsys_course.{module}" in fingerprint(course, stem).parts


def test_words_for_readers_change_nothing(house):
    before = taken(house)
    for path in (*house.glob("mlsys_course/substrate/graph/*.py"), *house.glob(f"solutions/{AUTODIFF}/*.py")):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r'^( +)"""', r'\1"""Reworded: ', text, count=1, flags=re.MULTILINE)
        path.write_text(re.sub(r"^(import .*)$", r"\1  # a remark", text, count=1, flags=re.MULTILINE))
    for file in ("mlsys_course/substrate/graph/node.py", f"solutions/{AUTODIFF}/{AUTODIFF}.py"):
        assert "Reworded: " in (house / file).read_text() and "# a remark" in (house / file).read_text()
    assert [new.changed_since(old) for old, new in zip(before, taken(house), strict=True)] == ["", ""]


def test_what_students_read_in_a_notebook_counts(house):
    [before] = taken(house, AUTODIFF)
    edit(house / "solutions" / AUTODIFF / f"{AUTODIFF}.py", "# A model is a formula", "# A model is one formula")
    [after] = taken(house, AUTODIFF)
    assert after.changed_since(before) == f"{AUTODIFF}.py"


def test_files_that_are_no_python_count_by_their_bytes(house):
    data = house / "solutions" / AUTODIFF / "names.txt"
    data.write_text("ann\n")
    [before] = taken(house, AUTODIFF)
    data.write_text("ann # and bob\n")
    [after] = taken(house, AUTODIFF)
    assert after.changed_since(before) == "names.txt"
    data.unlink()
    assert taken(house, AUTODIFF)[0].changed_since(before) == "names.txt"


def test_an_import_that_is_new_brings_its_module(house):
    [before] = taken(house, ATTENTION)
    edit(
        house / "mlsys_course/attention/masks.py", "import torch", "import torch\n\nfrom ..foundations.tokens import x"
    )
    [after] = taken(house, ATTENTION)
    assert "mlsys_course.foundations.tokens" in set(after.parts) - set(before.parts)


@pytest.mark.parametrize(
    ("text", "module"),
    [
        ("from mlsys_course.attention import attention", "mlsys_course.attention.scaled_dot_product"),
        ("import mlsys_course.substrate.graph as G", "mlsys_course.substrate.graph.node"),
        ("from mlsys_course import attention", "mlsys_course.attention.masks"),
        ("def f():\n    from mlsys_course.attention.masks import causal_mask", "mlsys_course.attention.masks"),
        ('attention = take("attention", "attention")', "mlsys_course.attention.scaled_dot_product"),
        ("from mlsys_course.graph import Node", "mlsys_course.substrate.graph.node"),  # its former name
        ("%matplotlib inline\nfrom mlsys_course.attention import attention", "mlsys_course.attention.masks"),
    ],
)
def test_what_a_text_needs(text, module):
    assert module in modules_of([text], HERE)


@pytest.mark.parametrize(
    "text", ["import torch", "from mlsys_course.desk.check import check", "from mlsys_course import progress"]
)
def test_what_is_no_component_is_not_needed(text):
    assert modules_of([text], HERE) == {}


def test_the_line_and_the_term(house):
    [before] = taken(house, ATTENTION)
    edit(house / "course.toml", 'attention", points = 100, due = 2026', 'attention", points = 100, due = 2027')
    assert taken(house, ATTENTION) == [before]  # penalties are the gradebook's
    edit(house / "course.toml", 'attention", points = 100', 'attention", points = 99')
    [after] = taken(house, ATTENTION)
    assert after.changed_since(before) == "its line in course.toml"
    course = load_course(house, term="sample")
    for term in (replace(course.term, secret=b"another"), replace(course.term, name="2027-spring")):
        other = fingerprint(replace(course, term=term), ATTENTION, house / "mlsys_course")
        assert other.changed_since(after) == "the term"


def test_engine_and_pytorch(course, monkeypatch):
    before = fingerprint(course, ATTENTION)
    monkeypatch.setattr(of_a_lab, "ENGINE", of_a_lab.ENGINE + 1)
    assert fingerprint(course, ATTENTION).changed_since(before) == "the engine"
    monkeypatch.setattr(of_a_lab, "version", lambda name: "2.99.1")
    assert fingerprint(course, ATTENTION).changed_since(before) == "the engine and PyTorch"
    monkeypatch.undo()
    monkeypatch.setattr(of_a_lab, "version", lambda name: f"{before.parts['PyTorch']}.99+cpu")
    assert fingerprint(course, ATTENTION) == before  # another patch release


def test_many_changes_are_counted():
    before, now = Fingerprint({}), Fingerprint({f"file {n}": "x" for n in range(9)})
    assert now.changed_since(before) == "file 0, file 1, file 2 and 6 more"
    assert Fingerprint({"a": "1", "b": "1", "c": "1"}).changed_since(before) == "a, b and c"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(x):\n    return x", 'def f(x):  # all of it\n    """What is given."""\n    return (x)'),
        ("class C:\n    x = 1", 'class C:\n    """A thing."""\n\n    x = 1'),
        ("async def f():\n    await g()", 'async def f():\n    "Waits."\n    await g()'),
    ],
)
def test_same_meaning(one, other):
    assert meaning(one) == meaning(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = None", "x = ..."),
        ("f(0)", "f()"),
        ("def f():\n    return 'a'", "def f():\n    return 'b'"),
        ("def f():\n    x = 'a'\n    'said'", "def f():\n    x = 'a'"),
        ("def f(x=None): pass", "def f(x): pass"),
        ("f'{x:>3}'", "f'{x:>4}'"),
        ("a or b and c", "(a or b) and c"),
        ("this is no Python", "this is no python"),
    ],
)
def test_another_meaning(one, other):
    assert meaning(one) != meaning(other)


def test_a_notebook_s_cells():
    one = '# %% [markdown]\n# Text.\n\n# %% exercise="f"\ndef f():\n    """Said."""\n    return 1  # so\n'
    assert meaning_of_notebook(one) == meaning_of_notebook(one.replace("Said", "Told").replace("  # so", ""))
    for old, new in (("Text", "Test"), ('"f"', '"g"'), ("return 1", "return 2")):
        assert meaning_of_notebook(one) != meaning_of_notebook(one.replace(old, new))


def test_it_is_cheap(course):
    """Read once, every lab after that is a look at its files."""
    for stem in course.stems():
        fingerprint(course, stem)
    start = time.process_time()
    for stem in course.stems():
        fingerprint(course, stem)
    assert time.process_time() - start < 1.0 * len(course.stems())

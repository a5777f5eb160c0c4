"""A small course whose lab is built and proven, once for the room; and a copy of it to spoil."""

import shutil

import pytest

from autograder.build.pipeline import build_and_prove
from autograder.course import load_course
from autograder.term.secret import new_secret
from tests.conftest import write_small_course

STEM, TERM = "lab00_foundations", "2027-spring"
HEAD = f'name = "A course"\nterm = "{TERM}"\nstarts = 2027-01-18\ntimezone = "Europe/Berlin"\n\n[labs]\n'
LABS = (
    f'{STEM} = {{ component = "foundations", points = 5, due = 2027-02-01T23:59:00 }}\n'
    'lab02_attention = { component = "attention", points = 100, due = 2027-02-15T23:59:00 }\n'
)


@pytest.fixture(scope="session")
def proven_course(tmp_path_factory):
    """A course in a term with a secret of its own, its one lab built and proven; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("proven")
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        new_secret(TERM)
        root = write_small_course(folder / "course")
        (root / "course.toml").write_text(HEAD + LABS, encoding="utf-8")
        made = build_and_prove(load_course(root), STEM)
    assert made.good, made.lines
    return root


@pytest.fixture
def here(proven_course, tmp_path, monkeypatch):
    """A copy of the proven course, at the same place as far as its proof can tell."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(proven_course.parent / "config"))
    root = tmp_path / "a course, ünïcode"
    shutil.copytree(proven_course, root)
    return root

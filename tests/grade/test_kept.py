"""Sealed specifications that an earlier run left: the same verdicts, and made anew where anything is not as it was."""

import stat

import pytest

from autograder.course import load_course
from autograder.fingerprint import Fingerprint, fingerprint
from autograder.scoring import kept
from mlsys_course.desk.check.edition import specification_to_bytes

STEM = "lab00_foundations"


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """The exercises whose specification was worked out."""
    names: list[str] = []
    original = kept.sealed_specification

    def noted(lab, item, group=0):
        names.append(f"{item.id} {group}")
        return original(lab, item, group)

    monkeypatch.setattr(kept, "sealed_specification", noted)
    return names


def told(scorer) -> dict[str, bytes]:
    return {name: specification_to_bytes(one) for name, one in scorer.specifications.items()}


def test_a_second_run_reads_what_the_first_has_worked_out(small_course, made):
    course = load_course(small_course, term="sample")
    made_of = fingerprint(course, STEM)
    first = {group: told(kept.scorer_of(course, STEM, group, made_of)) for group in (0, 1)}
    assert made == ["times 0", "times 1"]
    assert first == {group: told(kept.scorer_of(course, STEM, group, made_of)) for group in (0, 1)}
    assert len(made) == 2 and first[0] != first[1]


@pytest.mark.parametrize("what", ["the lab", "PyTorch", "the file"])
def test_it_is_made_anew_where_something_is_not_as_it_was(small_course, made, monkeypatch, what):
    course = load_course(small_course, term="sample")
    made_of = fingerprint(course, STEM)
    before = told(kept.scorer_of(course, STEM, 0, made_of))
    if what == "the lab":
        made_of = Fingerprint({**made_of.parts, "drivers.py": "another"})
    elif what == "PyTorch":
        monkeypatch.setattr(kept.torch, "__version__", "9.9")
    else:
        (path,) = (small_course / "dist").rglob("times.safetensors")
        path.write_bytes(path.read_bytes()[:-3])
    assert told(kept.scorer_of(course, STEM, 0, made_of)) == before
    assert len(made) == 2
    kept.scorer_of(course, STEM, 0, made_of)
    assert len(made) == 2


def test_nobody_else_reads_it_and_nobody_needs_it(small_course, made):
    course = load_course(small_course, term="sample")
    made_of = fingerprint(course, STEM)
    kept.scorer_of(course, STEM, 0, made_of)
    (folder,) = (small_course / "dist").rglob(".sealed")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.rglob("*.safetensors"):
        path.unlink()
        path.mkdir()  # where nothing can be written
    assert kept.scorer_of(course, STEM, 0, made_of).specifications.keys() == {"times"}
    assert len(made) == 2


def test_a_proof_leaves_it(small_course, made):
    from autograder.build.pipeline import build_and_prove

    course = load_course(small_course, term="sample")
    assert build_and_prove(course, STEM, unsafe=True).good
    for group in range(4):
        kept.scorer_of(course, STEM, group, fingerprint(course, STEM))
    assert made == []

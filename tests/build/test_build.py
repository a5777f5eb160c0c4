"""What is built: byte-stable, stripped, valid for nbgrader, drawn from the term's secret."""

import re
from dataclasses import replace

import nbformat
import pytest
from nbgrader.nbgraderformat import MetadataValidator

from autograder.build.pipeline import build, stale
from autograder.build.source import read_source
from autograder.cases import public_specification, sealed_specification
from autograder.course import CourseError, Term, load_course, new_secret
from mlsys_course.desk.check.cell import run_cases
from mlsys_course.desk.check.edition import specification_from_bytes, specification_to_bytes
from mlsys_course.desk.check.tree import map_tensors
from mlsys_course.desk.check.verdict import judge

STEM = "lab00_foundations"


@pytest.fixture
def built(small_course):
    return build(load_course(small_course).lab(STEM), small_course / "labs" / STEM)


def test_two_builds_are_the_same_bytes(small_course, built, tmp_path):
    again = build(load_course(small_course).lab(STEM), tmp_path / STEM)
    assert stale(again.folder, built.folder) == []
    assert (again.folder / f"{STEM}.ipynb").read_bytes() == (built.folder / f"{STEM}.ipynb").read_bytes()


@pytest.mark.parametrize(
    ("part", "factor", "kept"),
    [
        ("expected", 1 + 4e-7, True),
        ("expected", 1 + 1e-3, False),
        ("inputs", 1 + 4e-7, True),
        ("inputs", 1 + 1e-3, False),
        ("misconceptions", 1 + 4e-7, True),
        ("misconceptions", 1 + 1e-4, True),
        ("misconceptions", 1 + 1e-2, False),
    ],
)
def test_cases_that_differ_within_tolerance_are_left_alone(small_course, built, part, factor, kept):
    """As another processor computes them: a build there leaves the checkout clean."""
    path = built.folder / "cases" / "times.safetensors"
    fresh = path.read_bytes()
    there = specification_from_bytes(fresh)
    first, *others = there.cases
    scaled = map_tensors(getattr(first, part), lambda x: x * factor) if part != "misconceptions" else {
        name: replace(outcome, outputs=map_tensors(outcome.outputs, lambda x: x * factor))
        for name, outcome in first.misconceptions.items()
    }  # fmt: skip
    path.write_bytes(specification_to_bytes(replace(there, cases=[replace(first, **{part: scaled}), *others])))
    committed = path.read_bytes()
    assert committed != fresh
    build(built.lab, built.folder)
    assert path.read_bytes() == (committed if kept else fresh)


@pytest.mark.parametrize(
    ("there", "fresh", "kept"),
    [
        ({"detail": "KeyError: v17"}, {"detail": "KeyError: v53414"}, True),  # counted by the process that built it
        ({"detail": "KeyError: v17"}, {"detail": "IndexError: v17"}, False),
        ({"costs": {"peak_memory": 1.0e6}}, {"costs": {"peak_memory": 1.1e6}}, True),  # measured
        ({"costs": {"peak_memory": 1.0e6}}, {"costs": {"peak_memory": 2.0e6}}, False),
        ({"costs": {"peak_memory": 1.0e6}}, {"costs": {}}, False),
    ],
)
def test_misconceptions_that_differ_as_little_as_a_judge_looks_are_left_alone(built, tmp_path, there, fresh, kept):
    path = built.folder / "cases" / "times.safetensors"
    whole = specification_from_bytes(path.read_bytes())
    first, *others = whole.cases
    name, *_ = first.misconceptions
    for folder, more in ((built.folder, there), (tmp_path, fresh)):
        mistaken = {**first.misconceptions, name: replace(first.misconceptions[name], **more)}
        (folder / "cases").mkdir(exist_ok=True)
        changed = replace(whole, cases=[replace(first, misconceptions=mistaken), *others])
        (folder / "cases" / "times.safetensors").write_bytes(specification_to_bytes(changed))
    assert ("cases/times.safetensors differs" not in stale(tmp_path, built.folder)) is kept


def test_cases_that_say_something_else_are_written_anew(built):
    path = built.folder / "cases" / "times.safetensors"
    fresh = path.read_bytes()
    there = specification_from_bytes(fresh)
    for other in (replace(there, cases=there.cases[:1]), replace(there, points={"values": 5.0}), None):
        path.write_bytes(specification_to_bytes(other) if other else b"?")
        build(built.lab, built.folder)
        assert path.read_bytes() == fresh


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda f: (f / f"{STEM}.ipynb").write_bytes((f / f"{STEM}.ipynb").read_bytes() + b"\n"),
            f"{STEM}.ipynb differs",
        ),
        (lambda f: (f / "drivers.py").unlink(), "drivers.py is missing"),
        (lambda f: (f / "old.py").write_text(""), "old.py is left over"),
        (lambda f: (f / "cases" / "times.safetensors").write_bytes(b"?"), "cases/times.safetensors differs"),
    ],
)
def test_a_stale_build_is_seen(small_course, built, tmp_path, spoil, said):
    again = build(load_course(small_course).lab(STEM), tmp_path / STEM)
    spoil(built.folder)
    assert stale(again.folder, built.folder) == [said]


def test_the_student_notebook_is_stripped_and_nbgraders(built):
    notebook = nbformat.read(built.folder / f"{STEM}.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert "product" not in text and "Because" not in text and "SOLUTION" not in text
    assert "raise NotImplementedError" in text and "jupytext" not in notebook.metadata
    validator = MetadataValidator()
    for cell in notebook.cells:
        validator.validate_cell(cell)
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
    ids = {c.id: c.metadata.nbgrader for c in notebook.cells if "nbgrader" in c.metadata}
    assert set(ids) == {"solution-times", "times", "experiment-look", "why"}
    assert all(m.schema_version == 3 and m.grade_id == cell_id for cell_id, m in ids.items())
    assert ids["times"].locked and ids["times"].points == 4 and ids["why"].points == 1
    assert ids["experiment-look"].locked and not ids["experiment-look"].grade


def test_variants_are_stated_in_text_and_code(built):
    factor = built.lab.variants["factor"]
    notebook = nbformat.read(built.folder / f"{STEM}.ipynb", as_version=4)
    assert f"The factor is {factor}." in notebook.cells[0].source
    assert f"x times {factor}." in notebook.cells[3].source


def test_committed_sources_parse_and_are_not_too_long(course):
    for stem in course.stems():
        path = course.lab(stem).source
        assert read_source(path)
        assert sum(bool(line.strip()) for line in path.read_text().splitlines()) <= 900


def test_answers_of_one_term_score_near_zero_in_another(small_course):
    course = load_course(small_course)
    labs = []
    for secret in (b"a" * 32, b"b" * 32):
        lab = course.lab(STEM)
        labs.append(type(lab)(lab.stem, lab.component, lab.folder, Term("any", secret)))
    mine, other = (lab.exercises[0] for lab in labs)
    sealed = sealed_specification(labs[0], mine)
    own = judge(sealed, run_cases(sealed, labs[0].drivers["times"], mine.reference))
    carried_over = judge(sealed, run_cases(sealed, labs[0].drivers["times"], other.reference))
    assert own.score == 4 and carried_over.score == 0


def test_sealed_and_public_cases_are_other_numbers(small_course):
    lab = load_course(small_course).lab(STEM)
    public, sealed = public_specification(lab, lab.items[0]), sealed_specification(lab, lab.items[0])
    assert len(public.cases) == 2 and len(sealed.cases) == 4
    assert not any((p.inputs["x"].shape == s.inputs["x"].shape) and bool((p.inputs["x"] == s.inputs["x"]).any())
                   for p in public.cases for s in sealed.cases)  # fmt: skip


def test_a_terms_secret_is_made_once_kept_outside_and_needed(small_course, secrets_at):
    with pytest.raises(CourseError, match="mlsys term new 2027-spring"):
        load_course(small_course, term="2027-spring")
    path = new_secret("2027-spring")
    assert path.parent == secrets_at and path.stat().st_mode & 0o077 == 0
    first = load_course(small_course, term="2027-spring")
    assert first.built(STEM).is_relative_to(small_course / "dist" / "2027-spring")
    assert first.lab(STEM).variants != load_course(small_course).lab(STEM).variants
    with pytest.raises(CourseError, match="has a secret already"):
        new_secret("2027-spring")
    with pytest.raises(CourseError, match="cannot name a term"):
        new_secret("../sample")
    path.write_text("short")
    with pytest.raises(CourseError, match="restore your copy"):
        load_course(small_course, term="2027-spring")


def test_headings_state_the_points_that_are_earned(course):
    heading = re.compile(r"^# ### (?:Exercise|Extension|Question|Choice) `(\w+)` \(([\d.]+) (bonus )?points?\)", re.M)
    said = 0
    for stem in course.stems():
        points = course.lab(stem).points
        for name, worth, bonus in heading.findall(course.lab(stem).source.read_text()):
            assert (float(worth), bool(bonus)) == (points.worth[name], points.kinds[name] == "extension"), (stem, name)
            said += 1
    assert said > 50

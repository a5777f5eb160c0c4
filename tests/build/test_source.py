"""Mistakes in a lab's sources: file, line and remedy, and nothing half written."""

import pytest

from autograder.build.pipeline import build
from autograder.build.source import BuildError
from autograder.cases import CaseError
from autograder.course import CourseError, load_course
from autograder.exercise import exercises_of
from mlsys_course import attention

STEM = "lab00_foundations"


def change(root, old, new, file=f"{STEM}.py"):
    path = root / "solutions" / STEM / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "file", "line", "words"),
    [
        ("    ### END SOLUTION\n", "", f"{STEM}.py", 8, "is never closed in this cell; add `### END SOLUTION`"),
        (
            "    product = x",
            "    ### BEGIN SOLUTION\n    product = x",
            f"{STEM}.py",
            12,
            "a second `### BEGIN SOLUTION`",
        ),
        ("    ### BEGIN SOLUTION\n", "", f"{STEM}.py", 13, "`### END SOLUTION` without"),
        ("### BEGIN SOLUTION", "### BEGIN  SOLUTION ", f"{STEM}.py", None, "without"),
        ('exercise="times"', 'exercise="time"', f"{STEM}.py", 8, "'time' is not in exercises.py, which has times, why"),
        ('check="times"', 'check="thyme"', f"{STEM}.py", 16, "'thyme' is not in exercises.py"),
        ('# %% check="times"\ncheck("times", times)\n', "", f"{STEM}.py", 1, 'no cell is check="times"; add one'),
        ('check("times", times)', 'print(1)\ncheck("times", times)', f"{STEM}.py", 16, "a graded cell is one line"),
        ('check("times", times)', 'check("why", times)', f"{STEM}.py", 16, "a graded cell is one line"),
        ('experiment="look"', 'exercise="times"', f"{STEM}.py", 19, "stands on line 8 too; ids are used once"),
        (
            'experiment="look"',
            'experimant="look"',
            f"{STEM}.py",
            19,
            "use one of exercise, check, experiment, question",
        ),
        (
            "The factor is {{ factor }}",
            "It is {{ factors }}",
            f"{STEM}.py",
            3,
            "is not drawn; variants() in exercises.py",
        ),
        ("# %% [markdown]\n# # A", "x = 1\n# %% [markdown]\n# # A", f"{STEM}.py", 1, "text before the first"),
        ("reference=lambda x: x * factor", "reference=None", "exercises.py", 1, "has no reference; name the function"),
        ('Question("why"', 'Question("times"', "exercises.py", 1, "id 'times' is used twice"),
        ('points={"values": 4}', "points={}", "exercises.py", 1, "has no points"),
        ("def times(candidate", "def other(candidate", "drivers.py", 1, "no driver for 'times'"),
    ],
)
def test_mistake_is_named_with_line_and_remedy(small_course, old, new, file, line, words):
    change(
        small_course, old, new, "exercises.py" if "reference" in old or "points" in old or "Question" in old else file
    )
    destination = small_course / "labs" / STEM
    with pytest.raises(BuildError) as caught:
        build(load_course(small_course).lab(STEM), destination)
    where = f"{file}:{line}:" if line else f"{file}:"
    assert where in str(caught.value) and words in str(caught.value)
    assert not destination.exists() and not list((small_course).glob("labs/.building*"))


def test_a_reference_that_fails_names_the_case(small_course):
    change(small_course, "lambda x: x * factor", "lambda x: x.numpy()", "exercises.py")
    with pytest.raises(CaseError, match=r"times: the reference returned .* on case 'shape 0'"):
        build(load_course(small_course).lab(STEM), small_course / "labs" / STEM)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"values", {"x"', '"edges", {"x"', r"'shape 0' decides 'edges', which has no points; choose one of 'values'"),
        ('f"shape {n}"', '"shape"', r"times: 2 cases are named 'shape'; give each a name of its own"),
    ],
)
def test_a_case_that_cannot_count_is_named(small_course, old, new, words):
    change(small_course, old, new, "exercises.py")
    with pytest.raises(CaseError, match=words):
        build(load_course(small_course).lab(STEM), small_course / "labs" / STEM)


def test_what_a_component_does_not_export_is_named_with_its_line(small_course):
    change(
        small_course, "def variants", "from mlsys_course.attention import attenuation\n\n\ndef variants", "exercises.py"
    )
    with pytest.raises(CourseError, match=r"exercises.py:6: cannot import name 'attenuation' .*; define and export it"):
        _ = load_course(small_course).lab(STEM).items


def test_what_fails_to_import_elsewhere_is_raised_as_it_is(small_course, tmp_path, monkeypatch):
    (tmp_path / "broken_elsewhere.py").write_text("import there_is_no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    change(small_course, "def variants", "import broken_elsewhere\n\n\ndef variants", "exercises.py")
    with pytest.raises(ModuleNotFoundError, match="there_is_no_such_module"):
        _ = load_course(small_course).lab(STEM).items


def test_an_exercise_that_its_component_lacks_is_named():
    with pytest.raises(
        CourseError, match=r"mlsys_course.attention has no 'attenuation'.* export it in its __init__.py"
    ):
        exercises_of(attention)("attenuation", {"values": 1}, list, [])


def test_a_failed_build_leaves_the_last_one(small_course):
    destination = small_course / "labs" / STEM
    build(load_course(small_course).lab(STEM), destination)
    before = (destination / f"{STEM}.ipynb").read_bytes()
    change(small_course, "lambda x: x * factor", "lambda x: 1 / 0", "exercises.py")
    with pytest.raises(CaseError):
        build(load_course(small_course).lab(STEM), destination)
    assert (destination / f"{STEM}.ipynb").read_bytes() == before


def test_unknown_lab_and_missing_file(small_course):
    with pytest.raises(CourseError, match=r"no lab 'lab77'.*there are lab00_foundations"):
        load_course(small_course).lab("lab77")
    (small_course / "solutions" / STEM / "drivers.py").unlink()
    with pytest.raises(CourseError, match=r"drivers.py is missing; a lab has"):
        _ = load_course(small_course).lab("00").items


def test_course_toml_names_its_line(small_course):
    (small_course / "course.toml").write_text('name = "x"\n[labs\n')
    with pytest.raises(CourseError, match="line 2"):
        load_course(small_course)

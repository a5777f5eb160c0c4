"""What an edition leaves out, for a subset of the labs too, and whether a lab can do without it."""

import pytest

import autograder.term.editions as rule
from autograder.build.pipeline import build
from autograder.course import CourseError, load_course
from autograder.term.editions import components, imported, withheld
from tests.conftest import ROOT

STEM = "lab00_foundations"


@pytest.fixture
def layers(tmp_path, monkeypatch):
    """A package of three components: ``b`` imports ``a``, ``c`` imports ``b``; ``desk`` is no component."""
    texts = {"a": "", "b": "from ..a import x", "c": "def f():\n    import mlsys_course.b", "desk": "import torch"}
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    monkeypatch.setattr(rule, "package_folder", lambda: tmp_path)
    rule._users.cache_clear()
    yield tmp_path
    rule._users.cache_clear()


def test_own_and_later_components_are_withheld():
    taught = {"lab02_attention": "attention", "lab09_all_reduce": "all_reduce", "lab11_sharding": "sharding"}
    users = ["accounting", "language_model", "transformer"]  # of the first, and of each other
    assert withheld(taught, "lab02_attention") == ["attention", "all_reduce", "sharding", *users]
    assert withheld(taught, "lab09_all_reduce") == ["all_reduce", "sharding"]
    assert withheld(taught, "lab09_all_reduce", ["all_reduce"]) == ["all_reduce", "sharding"]


def test_what_is_not_taught_is_there_unless_it_needs_what_is_withheld(layers):
    assert components() == ["a", "b", "c"]
    assert withheld({"lab01_a": "a"}, "lab01_a") == ["a", "b", "c"]  # b would be broken without a, and c without b
    assert withheld({"lab02_b": "b"}, "lab02_b") == ["b", "c"]  # lab 1 is not taught: its a is a reference
    assert withheld({"lab03_c": "c"}, "lab03_c") == ["c"]
    assert withheld({"lab01_a": "a", "lab02_b": "b", "lab03_c": "c"}, "lab01_a", ["a"]) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from mlsys_course import substrate, attention", {"substrate", "attention"}),
        ("import mlsys_course.memory.scaler as m", {"memory"}),
        ("from mlsys_course.attention import attention", {"attention"}),
        ("def f():\n    from mlsys_course.memory import (\n        scaler,\n    )", {"memory"}),
        ('from mlsys_course.desk.carry import take\nf = take("attention", "mask")', {"desk", "attention"}),
        ("%matplotlib inline\nfrom mlsys_course.substrate import plot\nx = {{ n }}", {"substrate"}),
        ("# from mlsys_course import memory\nimport torch", set()),
    ],
)
def test_what_a_lab_imports(source, found):
    assert imported(source) == found


def test_every_room_is_a_component_of_the_syllabus_or_a_room_of_every_edition(course):
    assert set(components()) <= set(course.syllabus.values())


def add(root, text, name=f"{STEM}.py"):
    path = root / "solutions" / STEM / name
    path.write_text(
        path.read_text().replace("from mlsys_course.desk.check", f"{text}\nfrom mlsys_course.desk.check", 1)
    )


def test_a_lab_that_needs_what_its_edition_withholds(small_course):
    add(small_course, "from mlsys_course import attention")
    with pytest.raises(CourseError, match=r"course.toml:\d+: .* imports mlsys_course.attention, which .* lab02_attent"):
        load_course(small_course)
    path = small_course / "course.toml"
    text = path.read_text()
    path.write_text("".join(row for row in text.splitlines(True) if not row.startswith("lab02_attention")))
    assert "attention" not in load_course(small_course).withheld(STEM)  # not taught, so it is in every edition
    named = '{ component = "foundations", withholds = ["foundations", "attention"] }'
    path.write_text(text.replace('{ component = "foundations" }', named))
    with pytest.raises(CourseError, match="take it out of `withholds`"):
        load_course(small_course)


def test_drivers_are_looked_at_too(small_course):
    add(small_course, "import mlsys_course.memory", "drivers.py")
    with pytest.raises(CourseError, match=r"drivers.py of lab00_foundations imports mlsys_course.memory"):
        load_course(small_course)


def test_points_are_what_the_exercises_add_up_to(small_course):
    path = small_course / "course.toml"
    text = path.read_text()
    path.write_text(text.replace('"foundations" }', '"foundations", points = 6 }'))
    wrong = rf"course.toml:\d+: {STEM} has points = 6, .* add up to 5 \(times 4, why 1\); write points = 5"
    with pytest.raises(CourseError, match=wrong):
        build(load_course(small_course).lab(STEM), small_course / "labs" / STEM)
    path.write_text(text.replace('"foundations" }', '"foundations", points = 5 }'))
    build(load_course(small_course).lab(STEM), small_course / "labs" / STEM)


def test_the_floor_is_there():
    assert all((ROOT / "mlsys_course" / room / "__init__.py").is_file() for room in rule.ROOMS)

"""The staff's half of ``mlsys doctor``: the pieces of the sandbox, and half-graded submissions in this folder."""

from collections.abc import Iterator
from pathlib import Path

from mlsys_course.desk.doctor import Finding

from .course import CourseError, load_course
from .nbgrader_config import GRADEBOOK, check_folder
from .sandbox import gpu, probe
from .term.secret import has_copy, secret_terms


def findings() -> Iterator[Finding]:
    """Each piece that sealed grading needs."""
    for piece, missing in probe().items():
        state = "missing" if missing else "ok"
        yield Finding(f"sandbox: {piece}", state, "not here" if missing else "there", missing)
    missing = gpu.missing()
    yield Finding("grading on a GPU", "optional" if missing else "ok", "not here" if missing else "there", missing)
    yield from term()
    yield from course_folder(Path.cwd())


def term() -> Iterator[Finding]:
    """``course.toml``, the term's secret, and whether a copy of each secret on this machine was made."""
    try:
        course = load_course()
    except CourseError as error:
        yield Finding("course.toml", "missing", "does not load", str(error))
        return
    yield Finding("term", "ok", f"{course.term.name}, from {course.plan.starts}")
    for name in secret_terms():
        if has_copy(name):
            yield Finding(f"secret of {name}", "ok", "a copy was made")
        else:
            remedy = f"regrading needs it: mlsys term export-secret {name} FILE"
            yield Finding(f"secret of {name}", "missing", "no copy was made", remedy)


def course_folder(folder: Path) -> Iterator[Finding]:
    """What an interrupted ``nbgrader autograde`` left in a course folder; nothing where this is none."""
    try:
        check_folder(folder)
    except CourseError as error:
        yield Finding("nbgrader_config.py", "missing", "names another gradebook", str(error))
        return
    if not (folder / GRADEBOOK).is_file():
        return
    from .grade.interrupted import interrupted

    found = list(interrupted(folder))
    for one in found:
        what = f"graded by halves: {one.student}, {one.stem}"
        yield Finding(what, "missing", one.why, "mlsys doctor --mend, then grade again", one.mend)
    if not found:
        yield Finding("gradebook.db", "ok", "no submission is graded by halves")

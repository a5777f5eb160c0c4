"""Grading against stock nbgrader: the same submissions, the same cores, equal grades.

    python -m benchmarks.grading                # 30 submissions, both graders, and one core against two
    python -m benchmarks.grading --many 500     # our grader alone: memory, throughput, what stays behind
    python -m benchmarks.grading --overhead 20  # CPU-seconds over the bare cost of cells and arithmetic

The submissions are of lab02_attention without experiments and figures, each exercise right, blank or wrong in every
case, so that the peer's public tests and our sealed ones come to the same grade. Prints a Markdown table.
"""

import argparse
import contextlib
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat

from autograder.build.pipeline import build
from autograder.cases import GROUPS
from autograder.course import Course, load_course
from autograder.demo.student import Student
from autograder.fingerprint import fingerprint
from autograder.scoring.kept import scorer_of
from mlsys_course.desk.check.edition import load_specification

LAB = "lab02_attention"
WRONG = "def {name}(*arguments, **options):\n    return None"
STOCK = """c = get_config()
c.CourseDirectory.course_id = ""
c.ExecutePreprocessor.timeout = 60
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError"}
"""
ENVIRONMENT = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}


def course_without_experiments(root: Path) -> Course:
    """A checkout with lab02 alone, its experiments and what they import taken out."""
    here = load_course(term="sample")
    shutil.copytree(here.root / "solutions" / LAB, root / "solutions" / LAB)
    shutil.copy(here.root / "course.toml", root)
    path = root / "solutions" / LAB / f"{LAB}.py"
    cells = re.split(r"(?m)^(?=# %%)", path.read_text(encoding="utf-8"))
    kept = [cell for cell in cells if not re.match(r'# %%.*\bexperiment="', cell)]
    text = "".join(kept)
    text = re.sub(r"(?m)^(import|from) matplotlib.*\n", "", text)
    path.write_text(text, encoding="utf-8")
    return load_course(root, term="sample")


def keep_sealed(course: Course) -> None:
    """As `mlsys build` leaves a lab that it has proven: what references and misconceptions come to is on the disk."""
    made_of = fingerprint(course, LAB)
    for group in range(GROUPS):
        scorer_of(course, LAB, group, made_of)


def hand_in(course: Course, folder: Path, count: int) -> None:
    """``count`` submissions, drawn with a seed."""
    built = build(course.lab(LAB), course.built(LAB))
    keep_sealed(course)
    draw = random.Random(0)
    for number in range(count):
        student = Student(built.student, built.solution)
        for exercise in student.exercises():
            graded = load_specification(built.folder, exercise).kind
            what = draw.choice(["right"] * 6 + ["blank"] + ["wrong"] * (graded != "choice"))
            if what == "right" or graded == "choice":
                student.solve(exercise)
            elif what == "wrong":
                student.write(exercise, WRONG.format(name=exercise))
        place = folder / f"student{number:03}" / LAB
        place.mkdir(parents=True)
        (place / f"{LAB}.ipynb").write_bytes(student.hand_in())


@contextlib.contextmanager
def scratch_course(count: int) -> Iterator[tuple[Course, Path]]:
    """A course with ``count`` submissions in ``submitted/``, and a folder to work in, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="mlsys-benchmark-") as folder:
        root = Path(folder)
        root.chmod(0o755)  # the sandbox's own user reads it
        course = course_without_experiments(root / "course")
        hand_in(course, course.root / "submitted", count)
        yield course, root


def grades(db: Path) -> dict[str, float]:
    """Every automatic score in a gradebook, of cells that have points: extensions are a bonus, which the peer lacks."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{db}") as book:
        return {
            f"{submission.student.id}/{grade.name}": grade.auto_score
            for submission in book.assignment_submissions(LAB)
            for notebook in submission.notebooks
            for grade in notebook.grades
            if grade.cell.cell_type == "code" and grade.cell.max_score
        }


def timed(argv: list[str], cwd: Path) -> tuple[float, float]:
    """Seconds and CPU-seconds of a command with all that it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(argv, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def stock(course: Course, scratch: Path) -> tuple[float, float]:
    """``nbgrader autograde`` as it comes, one submission after the other."""
    edition = course.built(LAB)
    source = scratch / "source" / LAB
    shutil.copytree(edition, source)
    (scratch / "nbgrader_config.py").write_text(STOCK)
    nbformat.write(nbformat.read(edition / f"{LAB}.ipynb", 4), source / f"{LAB}.ipynb")
    shutil.copytree(course.root / "submitted", scratch / "submitted")
    nbgrader = [sys.executable, "-m", "nbgrader"]
    timed([*nbgrader, "generate_assignment", LAB], scratch)
    return timed([*nbgrader, "autograde", LAB], scratch)


def ours(course: Course, into: Path, jobs: int, cores: int | None = None) -> dict:
    """``mlsys grade``: the whole command, and the part of it after the first submission was taken."""
    script = (
        "import json, sys, time; from pathlib import Path\n"
        "from autograder.course import load_course; from autograder.grade.session import Session\n"
        "start, ends, memory = [], [], []\n"
        "def note(row):\n"
        "    ends.append(time.perf_counter())\n"
        "    memory.append(int(open('/proc/self/statm').read().split()[1]) * 4096)\n"
        "course, (lab, into, jobs) = load_course(Path('.'), term='sample'), sys.argv[1:]\n"
        "with Session(course, lab, jobs=int(jobs)) as session:\n"
        "    from autograder.grade.run import grade\n"
        "    rows = grade(course, lab, Path('submitted'), Path(into), jobs=int(jobs), session=session,\n"
        "        started=lambda *_: start.append(time.perf_counter()), progress=note)\n"
        "print(json.dumps({'seconds': ends[-1] - start[0], 'ends': [e - start[0] for e in ends], 'memory': memory,\n"
        "    'sandbox': sum(r.run['cpu_seconds'] for r in rows)}))\n"
    )
    pin = (lambda: os.sched_setaffinity(0, range(cores))) if cores else None
    start = time.perf_counter()
    argv = [sys.executable, "-c", script, LAB, str(into), str(jobs)]
    done = subprocess.run(argv, cwd=course.root, env=ENVIRONMENT, capture_output=True, text=True, preexec_fn=pin)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout.splitlines()[-1]), "command": time.perf_counter() - start}


def against_stock(count: int) -> None:
    """The table of docs/benchmarks.md."""
    with scratch_course(count) as (course, root):
        (root / "stock").mkdir()
        peer, peer_cpu = stock(course, root / "stock")
        two = ours(course, root / "two", jobs=2, cores=2)
        one = ours(course, root / "one", jobs=1, cores=1)
        equal = grades(root / "stock" / "gradebook.db") == grades(root / "two" / "gradebook.db")
        equal = equal and grades(root / "two" / "gradebook.db") == grades(root / "one" / "gradebook.db")
        print(f"\n{count} submissions of {LAB} without experiments; grades equal: {equal}\n")
        line("grader", "whole command, s", "submissions a minute", "against stock", "with the start counted")
        line(*["---"] * 5)
        for name, whole, steady in (
            ("nbgrader autograde", peer, peer),
            ("mlsys grade, 2 cores", two["command"], two["seconds"]),
            ("mlsys grade, 1 core", one["command"], one["seconds"]),
        ):
            times = f"{peer / steady:.1f}x", f"{peer / whole:.1f}x"
            line(name, f"{whole:.1f}", f"{60 * count / steady:.0f}", *times)
        print(f"\nTwo cores against one: {one['seconds'] / two['seconds']:.2f}x. CPU-seconds a submission: nbgrader")
        print(f"{peer_cpu / count:.2f}, in our sandbox {two['sandbox'] / count:.3f}.")


def line(*cells: object) -> None:
    """A row of a Markdown table."""
    print("| " + " | ".join(map(str, cells)) + " |")


def overhead(runs: int) -> None:
    """CPU-seconds of one right submission over what its cells and the check's arithmetic take by themselves."""
    from autograder.grade.run import solution_notebook
    from autograder.grade.session import Session
    from autograder.scoring.cells import cells_of
    from mlsys_course.desk.check import decode, encode, run_case

    with scratch_course(0) as (course, _):
        with Session(course, LAB) as session:
            student = Student(session.released, solution_notebook(session.lab)).solve()
            cells = cells_of(student.notebook, session.candidates)
            os.chdir(session.folder)

            def bare() -> None:
                names: dict = {}
                for cell in cells:
                    if not cell.exercise:
                        exec(compile(cell.source, "<cell>", "exec"), names)
                for cell in cells:
                    scorer = session.scorer
                    driver, item = scorer.drivers.get(cell.exercise or ""), scorer.exercises.get(cell.exercise or "")
                    for call in scorer.calls(cell.exercise) if cell.exercise and driver and item else ():
                        parts = {name: part.reference for name, part in item.parts.items()}
                        outcome = run_case(driver, eval(cell.candidate, names), decode(call.inputs), parts=parts)
                        encode(outcome.outputs)

            def graded() -> float:
                return session.grade(student.notebook, {}).run.cpu_seconds

            def cpu() -> float:
                fields = Path(f"/proc/{session.engine.warm.process.pid}/stat").read_text().rpartition(")")[2].split()
                warm = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
                return time.process_time() + warm

            for warming_up in (bare, graded):
                warming_up()
            start = cpu()
            for _ in range(runs):
                bare()
            alone, start = (cpu() - start) / runs, cpu()
            inside = sum(graded() for _ in range(runs)) / runs
            outside = (cpu() - start) / runs
        print(f"\nOne right submission of {LAB}, mean of {runs}, CPU-seconds:\n")
        line("cells and arithmetic alone", "sandbox", "grader and warm process", "over the bare cost")
        line(*["---"] * 4)
        line(f"{alone:.3f}", f"{inside:.3f}", f"{outside:.3f}", f"{inside + outside - alone:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--many", type=int, default=0)
    parser.add_argument("--overhead", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.overhead:
        overhead(chosen.overhead)
    elif chosen.many:
        many(chosen.many)
    else:
        against_stock(chosen.count)


def many(count: int) -> None:
    """Memory, throughput and what stays behind, over one long run."""
    with scratch_course(count) as (course, root):
        processes, files = _processes(), set(Path(tempfile.gettempdir()).glob("mlsys-*"))
        run = ours(course, root / "into", jobs=2)
        ends, memory = run["ends"], run["memory"]
        print(f"\n{count} submissions, 2 jobs, {run['seconds']:.1f} s\n")
        line("submissions", "a minute", "grader's memory, MiB")
        line(*["---"] * 3)
        step = max(1, count // 5)
        for last in range(step, count + 1, step):
            since = ends[last - step - 1] if last > step else 0.0
            line(f"{last - step + 1}-{last}", f"{60 * step / (ends[last - 1] - since):.0f}", memory[last - 1] >> 20)
        left = len(_processes() - processes)
        new = len(set(Path(tempfile.gettempdir()).glob("mlsys-*")) - files)
        rows = len(grades(root / "into" / "gradebook.db"))
        print(f"\nprocesses left: {left}, temporary folders left: {new}, grades: {rows}")


def _processes() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


if __name__ == "__main__":
    main()

"""Grading on a card against grading on the CPU: the same submissions, equal grades, seconds for each.

Run on a machine with an NVIDIA card: ``python benchmarks/gpu_grading.py``. Among the submissions are one that takes
card memory without end and one that breaks CUDA in some of its cases; what each exercise must come to is checked.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from autograder.build.edition import stage_edition
from autograder.build.pipeline import build
from autograder.course import load_course
from autograder.demo.cohort import LOOPS
from autograder.sandbox import Cell, Engine, Run
from autograder.scoring.cells import cells_of, graded_cells
from autograder.scoring.score import Scorer

UNSCALED = """
def attention(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1).nan_to_num() @ v
"""
OUT_OF_RANGE = """
right = attention
def attention(q, k, v, mask=None):
    if mask is not None:
        torch.zeros(4, device=q.device)[torch.full((1,), 9, device=q.device)]
    return right(q, k, v, mask)
"""
HOG = """
import time
def attention(q, k, v, mask=None):
    torch.cuda.set_per_process_memory_fraction(1.0)
    kept = []
    while True:
        kept.append(torch.empty(1 << 28, dtype=torch.uint8, device=q.device))
        time.sleep(0.02)
"""
WHERE = """
right = attention
def attention(q, k, v, mask=None):
    assert q.is_cuda
    return right(q, k, v, mask)
"""
HEAD = "\n| {} | score | seconds | CPU-seconds | MiB | MiB of the card | |\n|---|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Graded:
    """A run with its scores by exercise."""

    run: Run
    scores: Mapping[str, float]
    seconds: float


def changed(cells: Sequence[Cell], source: str) -> list[Cell]:
    """The solution with a cell more, right before the graded cell of ``attention``."""
    at = next(i for i, cell in enumerate(cells) if cell.exercise == "attention")
    return [*cells[:at], Cell(source), *cells[at:]]


def grade(engine: Engine, scorer: Scorer, cells: Sequence[Cell]) -> Graded:
    """One submission."""
    start = time.perf_counter()
    run = engine.run(cells, scorer)
    scores = {name: verdict.score for name, verdict in scorer.verdicts(run, cells).items()}
    return Graded(run, scores, time.perf_counter() - start)


def together(engine: Engine, scorer: Scorer, submissions: Iterable[Sequence[Cell]], jobs: int) -> list[Graded]:
    """Several at once."""
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda cells: grade(engine, scorer, cells), submissions))


def row(name: str, found: Graded, best: float) -> None:
    """One line of the table."""
    run, total = found.run, sum(found.scores.values())
    said = "; ".join(f"{exercise}: {why}" for exercise, why in run.problems.items())
    memory = f"{run.peak_memory_bytes >> 20} | {run.peak_card_bytes >> 20}"
    print(
        f"| {name} | {total:g}/{best:g} | {found.seconds:.2f} | {run.cpu_seconds:.2f} | {memory} | {said} |", flush=True
    )


def main() -> None:
    """Print the table, and fail where a grade is not what it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lab", default="lab02")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--unsafe", action="store_true")
    options = parser.parse_args()
    course = load_course()
    lab = course.lab(options.lab)
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o755)
        built = build(lab, Path(scratch) / lab.stem)
        edition = stage_edition(course, lab.stem, built.folder, Path(scratch) / "edition")
        scorer = Scorer.for_lab(lab)
        solution = cells_of(built.solution, graded_cells(built.solution))
        submissions = {
            "solution": solution,
            "loops": changed(solution, LOOPS),
            "unscaled": changed(solution, UNSCALED),
            "out of range with a mask": changed(solution, OUT_OF_RANGE),
        }
        measured = {}
        for device in ("cpu", "cuda"):
            start = time.perf_counter()
            with Engine(edition, device=device, unsafe=options.unsafe) as engine:
                print(
                    f"\n{device}: started in {time.perf_counter() - start:.1f} s; {engine.protections}; {engine.limits}"
                )
                measured[device] = measure(engine, scorer, submissions, options.jobs)
                if device == "cuda":
                    neighbours(engine, scorer, solution, measured[device]["solution"].scores, options.jobs)
        assert {n: g.scores for n, g in measured["cpu"].items()} == {n: g.scores for n, g in measured["cuda"].items()}
        print("\nThe same grades on both.")


def measure(engine: Engine, scorer: Scorer, submissions: Mapping[str, Sequence[Cell]], jobs: int) -> dict[str, Graded]:
    """Each alone, then many of the solution at once."""
    print(HEAD.format("submission"))
    grade(engine, scorer, submissions["solution"])  # reads libraries from disk
    best, found = scorer.max_score, {}
    for name, cells in submissions.items():
        found[name] = grade(engine, scorer, cells)
        row(name, found[name], best)
    assert sum(found["solution"].scores.values()) == best
    assert 0 < found["out of range with a mask"].scores["attention"] < found["solution"].scores["attention"]
    start = time.perf_counter()
    many = together(engine, scorer, [submissions["solution"]] * 4 * jobs, jobs)
    taken = time.perf_counter() - start
    assert all(graded.scores == found["solution"].scores for graded in many)
    print(f"\n{len(many)} at {jobs} a time: {taken / len(many):.2f} s each, {60 * len(many) / taken:.0f} a minute")
    return found


def neighbours(engine: Engine, scorer: Scorer, solution: Sequence[Cell], right: Mapping[str, float], jobs: int) -> None:
    """Those that misbehave, with honest ones beside them."""
    print(HEAD.format("at the same time"))
    names = ["on the card", "memory hog", "honest", "out of range", "honest", "memory hog", "honest", "honest"]
    sources = {"memory hog": HOG, "out of range": OUT_OF_RANGE, "on the card": WHERE}
    cells = [changed(solution, sources[name]) if name in sources else solution for name in names]
    for name, found in zip(names, together(engine, scorer, cells, jobs), strict=True):
        row(name, found, scorer.max_score)
        if name in ("honest", "on the card"):
            assert found.scores == right
        if name == "memory hog":
            assert found.run.problems["attention"].startswith("A sealed case took more memory")
            assert {**found.scores, "attention": right["attention"]} == right


if __name__ == "__main__":
    main()

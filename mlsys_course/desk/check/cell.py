"""``check``: what a graded cell calls."""

import inspect
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .devices import moved
from .driver import Candidate, Driver, Outcome, accepts
from .edition import load_drivers, load_specification
from .families import words
from .guard import forbidden_in
from .meter import run_measured
from .pointing import interrupted, origin
from .reach import reach
from .settings import as_the_lab_says
from .tree import Tree, map_tensors
from .verdict import Specification, Verdict, judge, option
from .verdict_table import to_html, to_text

RESULTS = "MLSYS_CHECK_RESULTS"  # a file that `mlsys check` names, to read what each cell found


class CheckFailed(AssertionError):
    """A graded cell's cases do not all pass. In a notebook it shows as one line, not as a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class Interrupted(KeyboardInterrupt):
    """Somebody has stopped a check. In a notebook it shows as one line: where the student's own code was."""

    def _render_traceback_(self) -> list[str]:
        return [f"KeyboardInterrupt: {self}"]


def check(exercise: str, candidate: Candidate, *, folder: str | Path = ".", device: str | None = None) -> None:
    """Run the public cases of ``exercise`` on ``candidate``; show a table; raise AssertionError unless all pass.

    Runs on the GPU where there is one, unless ``device`` says otherwise.
    """
    try:
        verdict = verdict_on(exercise, candidate, Path(folder), device)
    except KeyboardInterrupt as error:
        raise Interrupted(interrupted(exercise, error)) from None
    _record(verdict)
    _show(verdict)
    if not verdict.ok:
        raise CheckFailed(f"{exercise}: {_why(verdict)}")


def _why(verdict: Verdict) -> str:
    """The first thing that is wrong."""
    reasons = (word for result in verdict.results for word in result.wrong)
    return next(reasons, verdict.note)


def verdict_on(exercise: str, candidate: Candidate, folder: Path, device: str | None = None) -> Verdict:
    """The verdict on the public cases, nothing shown."""
    specification = load_specification(folder, exercise)
    if specification.kind == "choice":
        return _choice(specification, candidate)
    if unusable := accepts(candidate):
        return Verdict(exercise, specification.kind, "missing", 0.0, specification.max_score, note=unusable)
    driver = load_drivers(folder.resolve())[exercise]
    reached = reach(_sources(candidate), _roots(candidate), driver.parts)
    if found := forbidden_in(reached, specification.forbidden, specification.allowed):
        note = f"It {words(found).replace('called ', 'calls ')}."
        return Verdict(exercise, specification.kind, "forbidden", 0.0, specification.max_score, note=note)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with as_the_lab_says():
        outcomes = run_cases(specification, driver, candidate, device)
        return judge(specification, {case: _with_origin(o, folder) for case, o in outcomes.items()}, driver)


def _with_origin(outcome: Outcome, folder: Path) -> Outcome:
    """Of a name that is not defined, where in the notebook it would be."""
    match = re.match(r"NameError: name '(\w+)' is not defined", outcome.detail)
    path = folder.resolve() / f"{folder.resolve().name}.ipynb"
    if outcome.problem != "raised" or not match or not path.is_file():
        return outcome
    try:
        cells = json.loads(path.read_text(encoding="utf-8-sig"))["cells"]
        sources = ["".join(cell["source"]) if cell["cell_type"] == "code" else "" for cell in cells]
    except (OSError, ValueError, KeyError, TypeError):
        return outcome
    return replace(outcome, beside=origin(match[1], sources))


def run_cases(
    specification: Specification, driver: Driver, candidate: Candidate, device: str = "cpu"
) -> dict[str, Outcome]:
    """Every case of a specification through the driver, each in a process as the lab says."""
    outcomes = {}
    for case in specification.cases:
        start = time.perf_counter()
        watch = {name: getattr(specification, name) for name in ("forbidden", "allowed", "unchanged")}
        with as_the_lab_says():
            # A fresh copy each time: what a candidate does to one case's inputs stays there.
            inputs: Mapping[str, Tree] = moved(map_tensors(case.inputs, torch.clone), device)
            outcome = run_measured(driver, candidate, inputs, case.limits, **watch)
        outcomes[case.name] = replace(outcome, seconds=time.perf_counter() - start)
    return outcomes


def _choice(specification: Specification, answer: Candidate) -> Verdict:
    answer = option(specification, answer)
    if answer in specification.options:
        note = f"Your answer {answer!r} is recorded. Whether it is right shows when the lab is graded."
        return Verdict(specification.id, "choice", "ok", 0.0, specification.max_score, note=note)
    note = f"{answer!r} is none of the options; choose one of {', '.join(map(repr, specification.options))}."
    return Verdict(specification.id, "choice", "missing", 0.0, specification.max_score, note=note)


def _sources(candidate: Candidate) -> list[str]:
    """The cells run so far in a notebook; elsewhere the candidate's own source, if there is one."""
    try:
        from IPython.core.getipython import get_ipython

        shell = get_ipython()
    except ImportError:
        shell = None
    if shell is not None:
        return [str(source) for source in shell.user_ns.get("In", [])]
    try:
        return [inspect.getsource(inspect.getmodule(candidate) or candidate)]
    except (OSError, TypeError):
        return []


def _roots(candidate: Candidate) -> list[str]:
    return [getattr(candidate, "__name__", type(candidate).__name__)]


def _show(verdict: Verdict) -> None:
    try:
        from IPython.core.getipython import get_ipython

        if get_ipython() is None:
            raise ImportError
        from IPython.display import display

        display({"text/html": to_html(verdict), "text/plain": to_text(verdict)}, raw=True)
    except ImportError:
        print(to_text(verdict))


def _record(verdict: Verdict) -> None:
    if path := os.environ.get(RESULTS):
        row: dict[str, Any] = {
            "exercise": verdict.exercise,
            "kind": verdict.kind,
            "status": verdict.status,
            "score": verdict.score,
            "max_score": verdict.max_score,
            "hints": list(verdict.hints),
            "why": "" if verdict.ok else _why(verdict),
            "trace": next((list(r.outcome.trace) for r in verdict.results if r.outcome.trace), []),
            "beside": next((r.outcome.beside for r in verdict.results if r.outcome.beside), ""),
        }
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

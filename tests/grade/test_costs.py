"""Costs, end to end: measured outside the candidate, and a right answer that costs too much loses those points."""

import pytest
import torch

from autograder.demo.student import Student
from autograder.grade.run import solution_notebook
from autograder.grade.session import Session
from mlsys_course.desk.check.meter import run_measured
from mlsys_course.desk.check.verdict_table import to_html, to_text
from tests.left_out import long_but

LAB, EXERCISE = "lab10_memory", "chunked_cross_entropy"
AT_ONCE = """
def chunked_cross_entropy(hidden, weight, targets, chunk=256, ignore_index=-100):
    wide = torch.promote_types(hidden.dtype, torch.float32)
    h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    logits = (h @ w.T).to(wide)
    total = F.cross_entropy(logits, targets, ignore_index=ignore_index, reduction="sum")
    loss = total / max(1, int((targets != ignore_index).sum()))
    loss.backward()
    return loss, h.grad, w.grad
"""
KEPT = """
def chunked_cross_entropy(hidden, weight, targets, chunk=256, ignore_index=-100):
    wide = torch.promote_types(hidden.dtype, torch.float32)
    h, w = hidden.clone().requires_grad_(), weight.to(wide, copy=True).requires_grad_()
    loss, n = h[:0].sum().to(wide) + w[:0].sum(), max(1, int((targets != ignore_index).sum()))
    for start in range(0, len(targets), chunk):
        log_p = (h[start : start + chunk].to(wide) @ w.T).log_softmax(-1)
        y = targets[start : start + chunk]
        loss = loss + F.nll_loss(log_p, y, ignore_index=ignore_index, reduction="sum") / n
    loss.backward()
    return loss, h.grad, w.grad.to(weight.dtype)
"""
LIES = """
import mlsys_course.desk.check.driver, mlsys_course.desk.check.meter
import mlsys_course.desk.check.outcome, mlsys_course.desk.check.verdict
import os, builtins, pathlib
mlsys_course.desk.check.outcome.Outcome.costs = {"peak_memory": 0.0}
mlsys_course.desk.check.meter.MemoryMeter.peak = property(lambda self: 0, lambda self, value: None)
mlsys_course.desk.check.verdict.over_limit = lambda case, outcome: {}
mlsys_course.desk.check.driver.run_case = lambda *args, **kwargs: mlsys_course.desk.check.outcome.Outcome(costs={})
really = builtins.open
def status(path, *args, **kwargs):
    return really("/dev/null" if "/proc/" in str(path) else path, *args, **kwargs)
builtins.open = pathlib.Path.open = status
for path in ("/proc/self/status", "/proc/self/clear_refs", "/proc/self/statm", "/proc/self/smaps"):
    try:
        with really(path, "w") as file:
            file.write("VmHWM: 0 kB")
    except OSError:
        pass
"""
RESETS_WHILE_IT_RUNS = AT_ONCE.replace(
    "    return loss,",
    """    del logits, total
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass
    return loss,""",
)
ELSEWHERE = (
    AT_ONCE.replace("chunked_cross_entropy", "whole")
    + """
import os, torch
def chunked_cross_entropy(hidden, weight, targets, chunk=256, ignore_index=-100):
    if len(weight) < 500:  # only where memory is measured
        return whole(hidden, weight, targets, chunk, ignore_index)
    results = [torch.zeros((), dtype=torch.float32), torch.empty_like(hidden), torch.empty_like(weight)]
    reading, writing = os.pipe()
    if not os.fork():
        for result in whole(hidden, weight, targets, chunk, ignore_index):
            rest = result.detach().reshape(-1).view(torch.uint8).numpy().tobytes()
            while rest:
                rest = rest[os.write(writing, rest) :]
        os._exit(0)
    os.close(writing)
    for n, result in enumerate(results):
        data = b""
        while len(data) < result.nbytes:
            data += os.read(reading, result.nbytes - len(data))
        results[n] = torch.frombuffer(bytearray(data), dtype=result.dtype).reshape(result.shape)
    return tuple(results)
"""
)


@pytest.fixture(scope="module")
def session(course):
    with Session(course, LAB) as session:
        yield session


def student(session):
    """A student who has solved all of the lab."""
    return Student(session.released, solution_notebook(session.lab)).solve()


def graded(session, source):
    """The student's work with the exercise's cell replaced."""
    return session.grade(student(session).write(EXERCISE, source).notebook, {})


def test_the_solution_takes_little_memory_and_time(session):
    found = session.grade(student(session).notebook, {})
    assert {v.status for v in found.verdicts.values()} == {"ok"} and found.score == 105
    assert found.run.cpu_seconds < 10


WASTEFUL = {
    "at once": (AT_ONCE, 4.0, "Print the shape of the largest tensor"),
    "kept by autograd": (KEPT, 1.0, "who still holds what was made for the first"),
    "lies to what measures": (LIES + AT_ONCE, 4.0, "Print the shape of the largest tensor"),
    "resets the system's peak": (RESETS_WHILE_IT_RUNS, 4.0, "Print the shape of the largest tensor"),
}


@pytest.mark.parametrize("name", long_but(2, WASTEFUL))
def test_a_right_answer_that_is_not_thrifty_loses_exactly_the_memory_points(session, name):
    source, tensors, hint = WASTEFUL[name]
    found = graded(session, source).verdicts
    verdict = found[EXERCISE]
    assert found["DynamicLossScaler"].ok
    assert (verdict.status, verdict.score, verdict.max_score) == ("wrong", 11, 15)
    assert {result.aspect for result in verdict.results if not result.ok} == {"memory"}
    (case,) = [case for case in session.scorer.specifications[EXERCISE].cases if case.limits]
    (long,) = [result for result in verdict.results if result.case == case.name]
    whole = len(case.inputs["targets"]) * len(case.inputs["weight"]) * 4
    assert abs(long.outcome.costs["peak_memory"] - tensors * whole) < 0.2 * whole
    assert len(verdict.hints) == 1 and hint in verdict.hints[0]
    for page in (to_text(verdict, sealed=True), to_html(verdict, sealed=True)):
        assert "costs too much (peak memory)" in page and "MiB" not in page, "a sealed case tells no number"


def test_memory_of_another_process_is_no_way_out(session):
    verdict = graded(session, ELSEWHERE).verdicts[EXERCISE]
    assert verdict.score == 11 and {r.aspect for r in verdict.results if not r.ok} == {"memory"}


@pytest.mark.long
def test_the_system_and_the_meter_agree(session):
    """Within a few MiB, where no kernel takes much for itself; what a process touches first is the system's alone."""
    specification, driver = session.scorer.specifications[EXERCISE], session.scorer.drivers[EXERCISE]
    (case,) = [case for case in specification.cases if case.limits]
    for source in (student(session).answers[f"solution-{EXERCISE}"], AT_ONCE, KEPT):
        namespace = {"torch": torch, "F": torch.nn.functional}
        exec(source, namespace)
        metered = run_measured(driver, namespace[EXERCISE], case.inputs, case.limits).costs["peak_memory"]
        (result,) = [r for r in graded(session, source).verdicts[EXERCISE].results if r.case == case.name]
        assert abs(result.outcome.costs["peak_memory"] - metered) < 3 << 20


# ---- what is kept between calls, or dropped on entry -----------------------------------------------------------------

KEEPING = """
import torch, torch.utils
def logits_of(h, w, wide):
    if {room} is None:
        {keep}
    return torch.mm(h, w.T, out={room})
def chunked_cross_entropy(hidden, weight, targets, chunk=256, ignore_index=-100, kept={{}}):
    wide = torch.promote_types(hidden.dtype, torch.float32)
    rows = logits_of(hidden, weight, wide)
    return thrifty(hidden, weight, targets, chunk, ignore_index)
"""
MAKE = "torch.empty(len(h), len(w), dtype=h.dtype, device=h.device)"
KEPT_IN = {
    "a global dict": (
        "ROOM = {}",
        "ROOM.get((len(h), len(w), h.dtype, h.device))",
        "ROOM[len(h), len(w), h.dtype, h.device] = " + MAKE,
    ),
    "a function's attribute": ("", "vars(logits_of).get('room')", "logits_of.room = " + MAKE),
    "a module's attribute": ("", "vars(torch.utils).get('room')", "torch.utils.room = " + MAKE),
    "a class's attribute": ("class Room:\n    room = None", "Room.room", "Room.room = " + MAKE),
}
DROPPED = """
import torch
ballast = [torch.ones(10_000_000)]
def chunked_cross_entropy(hidden, weight, targets, chunk=256, ignore_index=-100):
    ballast.clear()
    return at_once(hidden, weight, targets, chunk, ignore_index)
"""


def thrifty(session):
    """The solution under another name."""
    return student(session).answers[f"solution-{EXERCISE}"].replace(f"def {EXERCISE}", "def thrifty")


@pytest.mark.parametrize("place", long_but(1, KEPT_IN))
def test_a_workspace_that_stays_is_charged(session, place):
    before, room, keep = KEPT_IN[place]
    source = f"{before}\n{thrifty(session)}\n{KEEPING.format(room=room, keep=keep)}"
    if "attribute" in place:  # one room for all shapes
        source = source.replace(f"if {room} is None", f"if {room} is None or {room}.shape != (len(h), len(w)) "
                                f"or {room}.dtype != h.dtype or {room}.device != h.device")  # fmt: skip
    verdict = graded(session, source).verdicts[EXERCISE]
    assert {r.aspect for r in verdict.results if not r.ok} == {"memory"} and verdict.score == 11


def test_ballast_that_is_dropped_on_entry_hides_nothing(session):
    source = AT_ONCE.replace(EXERCISE, "at_once") + DROPPED
    verdict = graded(session, source).verdicts[EXERCISE]
    assert {r.aspect for r in verdict.results if not r.ok} == {"memory"}


def test_what_honest_code_keeps_elsewhere_is_not_charged(session):
    """A small table that the function reads, and half a gigabyte that it does not."""
    table = "import torch\nTABLE = torch.arange(1000)\n" + thrifty(session)
    table += f"\ndef {EXERCISE}(*given, **named):\n    assert len(TABLE) == 1000\n    return thrifty(*given, **named)"
    work = student(session).write(EXERCISE, table)
    work.insert_after("solution-DynamicLossScaler", "scratch = __import__('torch').ones(125_000_000)")
    assert session.grade(work.notebook, {}).verdicts[EXERCISE].ok


@pytest.mark.long
def test_a_reached_cell_that_cannot_run_alone_is_measured_after_the_whole_notebook(session):
    """Here through a name that no text shows; what else is there then counts too."""
    hidden = "globals()['fac' + 'tor'] = 1"
    uses = thrifty(session) + f"\ndef {EXERCISE}(*given, **named):\n    factor\n    return thrifty(*given, **named)"
    for extra, ok in (("", True), ("scratch = __import__('torch').ones(25_000_000)", False)):
        work = student(session).write(EXERCISE, uses)
        work.insert_after("solution-DynamicLossScaler", f"{hidden}\n{extra}")
        verdict = session.grade(work.notebook, {}).verdicts[EXERCISE]
        assert verdict.ok is ok and {r.aspect for r in verdict.results if not r.ok} <= {"memory"}

"""Sealed calls in a parked copy of the notebook: inputs come in, outcomes go out, nothing else happens."""

import contextlib
import gc
import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mlsys_course.desk.check import Outcome, decode, encode, run_case
from mlsys_course.desk.check.devices import moved
from mlsys_course.desk.check.driver import Candidate, Driver, accepts, student_line
from mlsys_course.desk.check.edition import load_drivers
from mlsys_course.desk.check.families import NAMES
from mlsys_course.desk.check.record import keep_switches
from mlsys_course.desk.check.settings import as_the_lab_says, pop_modes, pop_operators_modes, settle
from mlsys_course.desk.check.tree import TreeError

from . import card
from .alarm import Slow, within
from .channel import Channel, Closed
from .kernel import keep_memory, set_limits
from .rank import RemoteCommunicator
from .remote import RemotePart

Names = dict[int, dict[str, Any]]  # by graded cell: what the student's names stood for there
_drivers: dict[str, Driver] = {}  # of the edition, read once
UNDEFINED = "its name is not defined"
WARMING = 12  # calls; the interpreter specialises code that has run eight times, and writes that into it
BROKEN = 75  # how a process ends that a call has left without CUDA


def warm_up(lab: Path, *, gradients: bool) -> None:
    """Read the edition's drivers, and take a call's whole path until the interpreter has settled on it."""
    _drivers.update(load_drivers(lab))
    keep_switches(_threads)
    for _ in range(WARMING):
        _whole_path(gradients)


def _threads() -> int:
    """Of this process, whoever started them; CUDA has its own."""
    return 1 if torch.cuda.is_initialized() else len(os.listdir("/proc/self/task"))


def _whole_path(gradients: bool) -> None:
    """A call of a candidate that does a little of everything."""
    inputs = {"x": torch.ones(3, 4), "h": torch.ones(4, 4).bfloat16(), "n": 1, "mask": torch.ones(3, 4).bool()}

    def work(_: Candidate, case: Mapping[str, Any]) -> dict[str, Any]:
        x = case["x"].clone().requires_grad_(gradients)
        y = torch.where(case["mask"], x, 0.0).softmax(-1) @ case["h"].float()
        if gradients:
            y.sum().backward()
        return {"y": y, "h": case["h"] @ case["h"], "gradient": x.grad if gradients else y}

    with as_the_lab_says():
        outcome = run_case(
            Driver("warm", work), work, decode(encode(inputs)),
            parts={}, forbidden=["torch.nothing"], allowed=NAMES, raw=True,
        )  # fmt: skip
        encode(outcome.outputs)


def answer_calls(channel: Channel, namespace: dict[str, Any], lab: Path, names: Names) -> None:
    """Answer calls until the trusted side closes."""
    with contextlib.suppress(Closed):
        hello, _ = channel.receive()
        while True:
            hello = answer(channel, hello, namespace, lab, names)


def answer(channel: Channel, hello: Mapping[str, Any], namespace: dict[str, Any], lab: Path, names: Names) -> Any:
    """Calls about one exercise; returns the first word about the next. On a card it may end as BROKEN."""
    _limit_cpu(int(hello["cpu_seconds"]))
    if hello["common"]:
        keep_memory()
    if hello["cell"] in names:
        namespace.clear()
        namespace.update(names[hello["cell"]])
    candidate, missing = (None, "") if hello["bare"] else _candidate(hello["candidate"], namespace)
    driver = None if hello["kind"] == "choice" else (_drivers or load_drivers(lab))[hello["exercise"]]
    if driver is not None:
        driver = replace(driver, function=_nothing if hello["bare"] else _memory_errors(driver.function))
    parts = {name: RemotePart(channel, name) for name in (driver.parts if driver else ())}
    while True:
        call, blob = channel.receive()
        if "exercise" in call:
            return call
        gc.callbacks.clear()  # else somebody's own code runs here, where nothing looks
        gc.collect(0)
        outcome = Outcome(problem="missing", detail=missing) if missing else None
        comm = RemoteCommunicator(channel, call["rank"], call["world_size"]) if "rank" in call else None
        on_card = hello["card_mib"] > 0 and driver is not None and comm is None
        settle()
        inputs = moved(decode(blob), "cuda") if on_card else decode(blob)
        with card.default(inputs) if on_card else contextlib.nullcontext():
            outcome = outcome or _call(driver, candidate, inputs, parts, hello, comm, call.get("seconds", 0.0))
        broken = on_card and card.is_broken()
        _leave_nothing_at_work()
        _answer(channel, outcome, broken)
        if broken:
            os._exit(BROKEN)


def _leave_nothing_at_work() -> None:
    """What a call left to be called: the answer goes out without it."""
    sys.setprofile(None)
    sys.settrace(None)
    pop_modes()
    with contextlib.suppress(RuntimeError):
        pop_operators_modes()


def _nothing(*_: Any, **__: Any) -> dict[str, Any]:
    """In place of a driver in a bare process, whose memory shows what any call takes: code that is touched, inputs."""
    _whole_path(True)
    return {}


def _candidate(expression: str, namespace: dict[str, Any]) -> tuple[Candidate, str]:
    """The student's object, or why there is none."""
    try:
        candidate = eval(compile(expression, "<candidate>", "eval"), namespace)
    except BaseException:
        return None, UNDEFINED
    return candidate, accepts(candidate)


def _call(driver: Driver | None, candidate: Candidate, inputs: Mapping[str, Any], parts: Mapping[str, RemotePart],
          hello: Mapping[str, Any], comm: RemoteCommunicator | None, seconds: float) -> Outcome:  # fmt: skip
    if driver is None:
        is_answer = isinstance(candidate, str | int | float | bool)
        return Outcome({"answer": candidate}) if is_answer else Outcome(problem="type")
    watch = {name: hello[name] for name in ("forbidden", "allowed", "unchanged")}
    try:
        with within(seconds) if comm is None else contextlib.nullcontext():  # ranks wait for each other
            return run_case(driver, candidate, inputs, parts=parts, messages=False, comm=comm, raw=True, **watch)
    except Slow as slow:
        return Outcome(problem="timeout", line=student_line(slow))


def _memory_errors(function: Any) -> Any:
    """PyTorch says RuntimeError where memory runs out."""

    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except RuntimeError as error:
            if "allocate memory" in str(error) or isinstance(error, torch.OutOfMemoryError):
                raise MemoryError from error
            raise

    return called


def _answer(channel: Channel, outcome: Outcome, broken: bool) -> None:
    told = {"problem": outcome.problem, "detail": outcome.detail, "line": outcome.line}
    head = {"kind": "outcome", "broken": broken, **told}
    try:
        channel.send(head, b"" if outcome.problem else encode(outcome.outputs))
    except (TreeError, ValueError):  # too large, or something that no frame can carry
        channel.send({**head, "problem": "type", "detail": "", "line": None})


def _limit_cpu(seconds: int) -> None:
    """An abandoned loop ends by itself; and who knows a sealed input writes no file."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    set_limits({"CPU": int(spent.ru_utime + spent.ru_stime) + seconds + 1, "FSIZE": 0})

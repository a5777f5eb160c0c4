"""Drivers, and one call of a candidate through its driver."""

import builtins
import contextlib
import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ...substrate.ranks import Action, Communicator, ThreadCommunicator
from . import own
from .devices import DEVICE, Elsewhere, Pretence, on_a_card, said_of, said_there
from .guard import Forbidden, guarded
from .outcome import NOT_WRITTEN, TWO_DEVICES, Outcome
from .pointing import driver_line, frames_of, given_words, is_notebooks
from .ranked import run_ranks
from .seen import Seen, candidates_own, seen_by
from .tree import Tree, TreeError, leaves, map_tensors, plain

Candidate = Any
Property = Callable[[Tree, Tree], str | None]
Judged = Callable[[Tree, Tree, Seen], Tree]
Counted = Callable[[Tree, Tree], Mapping[str, float]]
EACH, CALL = "each", "call"
WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes an entry


@dataclass(frozen=True)
class Driver:
    """The one piece of code that turns a candidate and a case into comparable outputs.

    ``parts`` are the public stand-ins that a composite takes as parameters; while grading they are calls
    to the trusted side. ``properties`` map (inputs, outputs) to None, or to what is violated. With ``ranks``
    it is called once for each rank, all at the same time, with that rank's inputs and a communicator.

    ``judged`` makes what is compared of (inputs, outputs, seen): while grading it runs on the trusted side, so counts,
    steps and order are read from what was seen there and never from the candidate's process. Of the inputs, ``outside``
    is for it alone: the candidate's process does not learn what is looked at.

    ``counted`` makes costs of (inputs, outputs), there too: of a program that the candidate wrote, what it moves.

    A case whose inputs are a list, ``each``, is as many calls, with outputs {"call 1": ..., "call 2": ...}.
    """

    name: str
    function: Callable[..., Tree]
    parts: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    properties: Mapping[str, Property] = field(default_factory=dict)
    ranks: bool = False
    judged: Judged | None = None
    counted: Counted | None = None

    def __call__(
        self, candidate: Candidate, case: Mapping[str, Tree], comm: Communicator | None = None, **parts: Any
    ) -> Tree:
        if EACH in case:
            return {f"{CALL} {n}": self(candidate, one, comm, **parts) for n, one in enumerate(case[EACH], 1)}
        own = (comm,) if self.ranks else ()
        return self.function(candidate, case, *own, **{**self.parts, **parts})


def driver(
    function: Callable[..., Tree] | None = None,
    *,
    parts: Mapping[str, Callable[..., Any]] | None = None,
    properties: Mapping[str, Property] | None = None,
    ranks: bool = False,
    judged: Judged | None = None,
    counted: Counted | None = None,
) -> Any:
    """Mark a function of ``drivers.py`` as the driver of the exercise of the same name.

    ``function(candidate, case, **parts)`` returns a tree: nested dicts and lists of tensors, numbers, strings.
    With ``ranks`` it is ``function(candidate, case, comm, **parts)``, and a case's outputs are those by rank.
    ``judged(case, outputs, seen)`` returns what is compared, where that is not the outputs themselves;
    ``counted(case, outputs)`` the costs, by name, that a case's limits bound.
    """

    def mark(function: Callable[..., Tree]) -> Driver:
        return Driver(function.__name__, function, parts or {}, properties or {}, ranks, judged, counted)

    return mark if function is None else mark(function)


def built_in(kind: type[BaseException]) -> str:
    """The nearest built-in class of an exception: a class's own name could carry anything."""
    return next(k.__name__ for k in kind.__mro__ if getattr(builtins, k.__name__, None) is k)


def raised(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The built-in class of what a call raises, or "nothing": an output for cases of bad input."""
    try:
        function(*args, **kwargs)
    except NotImplementedError:
        raise
    except Exception as error:
        return built_in(type(error))
    return "nothing"


def kept(unchanged: bool) -> str:
    """Of lists and dicts that a candidate was handed: an output that says whether they still are as they were."""
    return "as it was" if unchanged else "changed"


def student_line(error: BaseException) -> tuple[str, int] | None:
    """(file name, line number) of the innermost frame that is a notebook's."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if is_notebooks(frame.filename):
            return frame.filename, frame.lineno or 0
    return None


def run_case(
    driver: Driver,
    candidate: Candidate,
    inputs: Mapping[str, Tree],
    *,
    parts: Mapping[str, Callable[..., Any]] | None = None,
    forbidden: Sequence[str] = (),
    allowed: Sequence[str] = (),
    unchanged: bool = True,
    messages: bool = True,
    comm: Communicator | None = None,
    raw: bool = False,
    liftable: bool | None = None,
) -> Outcome:
    """Call ``candidate`` through ``driver`` on ``inputs``, watching for what it must not do.

    A case with a "device" is called as on that device, which may be pretended; where its results are is told with them.
    Of a driver with ranks, ``comm`` makes it one rank's call on its own inputs; without, all ranks run as threads.
    With ``raw`` somebody else sees to what is ``judged``: the trusted side, or the one who called all ranks; and
    ``liftable`` says whether ``parts`` are public stand-ins.

    ``forbidden`` are names of functions, ``allowed`` families of operators: all of them where it is empty.

    With ``unchanged`` a candidate that writes to its inputs is told so. ``messages=False`` leaves the text of an
    exception out, as for sealed inputs, which it could quote.
    """
    if not raw:
        watch = {"forbidden": forbidden, "allowed": allowed, "unchanged": unchanged, "messages": messages}
        return judged(driver, inputs, _watched(driver, candidate, inputs, parts, {**watch, "liftable": parts is None}))
    before = map_tensors(inputs, lambda x: own.clone(own.detach(x)))
    try:
        # RuntimeError from "a leaf Variable that requires grad" is the student's own; nothing is hidden here.
        how = {"liftable": parts is None if liftable is None else liftable, "composite": bool(driver.parts)}
        families = [*allowed, "numpy"] if allowed and driver.parts else allowed  # a part's arguments go out as bytes
        watched = bool(forbidden or allowed)
        arguments = parameters_of(candidate) if DEVICE in inputs else ()
        with contextlib.ExitStack() as stack:
            if watched:
                stack.enter_context(guarded(forbidden, families, **how))
            given, pretence = stack.enter_context(on_a_card(inputs, before, arguments=arguments))
            outputs = driver(candidate, given, comm, **(parts or {}))
            # A tensor of the candidate's own class may not work before now, so the look at it is watched too.
            plainly = own.nothing_between(watched) and own.is_plain(outputs) and own.is_plain(inputs)
            looked = None if plainly else _looked_at(outputs, inputs, before, unchanged, pretence)
        return looked or _looked_at(outputs, inputs, before, unchanged, pretence)
    except Forbidden as error:
        return Outcome(problem="forbidden", detail=str(error), line=student_line(error))
    except TreeError as error:
        return Outcome(problem="type", detail=str(error) if messages else "a result of a wrong type")
    except NotImplementedError as error:
        return Outcome(problem="missing", detail=NOT_WRITTEN, line=student_line(error))
    except Elsewhere as error:
        where = str(error) if messages else TWO_DEVICES
        return Outcome(problem="device", detail=where, line=student_line(error), trace=frames_of(error))
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        detail = built_in(type(error))
        if not messages:
            return Outcome(problem="raised", detail=detail, line=student_line(error))
        if isinstance(error, KeyboardInterrupt):
            raise  # whoever sits before the notebook wants all of it to stop
        detail += f": {error}" if str(error) else ""
        trace, beside = frames_of(error), ""
        if not trace or (driver_line(error) and not _inside(error)):
            beside = ". ".join(filter(None, [driver_line(error), f"It was given {given_words(inputs)}"]))
        return Outcome(problem="raised", detail=detail[:500], line=student_line(error), trace=trace, beside=beside)


def _inside(error: BaseException) -> bool:
    """Whether the student's code was at work when it was raised, and not the driver with what that returned."""
    names = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    last = max((n for n, name in enumerate(names) if name.endswith("drivers.py")), default=-1)
    return any(map(is_notebooks, names[last + 1 :]))


def _watched(driver: Driver, candidate: Candidate, inputs: Mapping[str, Tree], parts: Any, watch: Any) -> Outcome:
    """A call in this process, or in its threads for the ranks; calls of parts are written down as the grader does."""

    seen: list[Action] = []

    def one(own: Mapping[str, Tree], comm: ThreadCommunicator | None = None) -> Outcome:
        see = comm.actions.append if comm else seen.append
        known = {**driver.parts, **(parts or {})}
        noted = {name: seen_by(see, name, part) for name, part in known.items()} if driver.judged else parts
        return run_case(driver, candidate, own, comm=comm, parts=noted, raw=True, **watch)

    return run_ranks(one, inputs) if driver.ranks else replace(one(candidates_own(inputs)), seen=[seen])


def judged(driver: Driver | None, inputs: Mapping[str, Tree], outcome: Outcome) -> Outcome:
    """The outcome with what is compared in place of its outputs, which may come from anybody, and what they cost."""
    if driver is None or driver.judged is None or outcome.problem:
        return outcome
    try:
        there = said_there(outcome.outputs)
        told = {path: said for path, said in outcome.outputs.items() if path not in there} if there else outcome.outputs
        costs = {**outcome.costs, **(driver.counted(inputs, told) if driver.counted else {})}
        outputs = {**plain(driver.judged(inputs, told, outcome.seen)), **there}
        return replace(outcome, outputs=outputs, costs=costs)
    except Exception:
        return Outcome(problem="type", detail="a result of a wrong type", costs=outcome.costs)


def _looked_at(
    outputs: Tree, inputs: Mapping[str, Tree], before: Tree, unchanged: bool, pretence: Pretence | None
) -> Outcome:
    """What a call came to."""
    if changed := _changed(before, inputs) if unchanged else "":
        return Outcome(problem="modified", detail=changed)
    if DEVICE in inputs:
        return Outcome({**plain(outputs), **said_of(outputs, pretence)})
    devices = _devices(before)
    if devices and (other := _devices(outputs) - devices):
        there = ", ".join(sorted(devices))
        return Outcome(problem="device", detail=f"returned a result on {min(other)} instead of {there}")
    return Outcome(plain(outputs))


def _devices(tree: Tree) -> set[str]:
    return {own.device_of(x).type for _, x in leaves(tree) if isinstance(x, torch.Tensor)}


def _changed(before: Tree, after: Tree) -> str:
    now = dict(leaves(after))
    for path, was in leaves(before):
        value: Tree = now.get(path)
        if isinstance(was, torch.Tensor):
            fits = isinstance(value, torch.Tensor) and _form(value) == _form(was)
            same = fits and own.equal(_bits(was), _bits(own.detach(value)))
        else:
            same = type(value) is type(was) and (value == was or value != value)
        if not same:
            return f"`{path}`"
    return "" if len(now) == len(dict(leaves(before))) else "by adding or removing entries"


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """As whole numbers: NaN compares equal to itself here, and infinity to nothing else."""
    real = own.view_as_real(own.resolve_conj(tensor)) if own.is_complex(tensor) else tensor
    return own.view(real, WHOLE[own.dtype_of(real).itemsize])


def _form(tensor: torch.Tensor) -> tuple[torch.Size, torch.dtype]:
    return own.shape_of(tensor), own.dtype_of(tensor)


def accepts(candidate: Candidate) -> str:
    """Why ``candidate`` cannot be called, or an empty string."""
    if candidate is None:
        return "it is None; write the function above and run its cell"
    if not callable(candidate) and not isinstance(candidate, str | int | float | list | dict | bool):
        return f"it is a {type(candidate).__name__}"
    return ""


def parameters_of(candidate: Candidate) -> list[str]:
    """Names of a candidate's parameters; none where they are not to be had."""
    try:
        return list(inspect.signature(candidate).parameters)
    except (TypeError, ValueError):
        return []


def signature_of(candidate: Candidate) -> str:
    """The candidate's signature, for messages."""
    try:
        return f"{getattr(candidate, '__name__', candidate)}{inspect.signature(candidate)}"
    except (TypeError, ValueError):
        return repr(candidate)[:80]

"""The dispatcher's record of a call: which operators ran, by whatever road they were called.

PyTorch's C++ dispatcher keeps it, for its profiler: a switched-off mode, TorchScript, a transform or the autograd
engine makes no difference to it. Who stops it, or works where it does not reach, is told so.
"""

import _thread
import functools
import itertools
import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch._C import _autograd, _profiler

from .families import Policy, family

ASIDE, LISTED = "mlsys::aside", "mlsys::listed"  # ranges of ours: a stand-in's own work, and ``tolist``
_CONFIG = _profiler.ProfilerConfig(
    _profiler.ProfilerState.CPU, False, False, False, False, False, _profiler._ExperimentalConfig()
)
_start: Callable[..., None] = _autograd._enable_profiler_legacy
_stop: Callable[[], Sequence[Sequence[Any]]] = _autograd._disable_profiler_legacy
_switch_on: Callable[[bool], None] = _autograd._enable_record_function
_NAME: Callable[[Any], str] = _autograd.ProfilerEvent.name
range_of = _profiler._RecordFunctionFast
SWITCHES = (
    "_enable_profiler", "_disable_profiler", "_prepare_profiler", "_toggle_collection_dynamic",
    "_enable_profiler_legacy", "_disable_profiler_legacy", "_enable_record_function", "_set_empty_test_observer",
)  # fmt: skip
# Audited by Python itself, so noticed by whichever name they are called: work that the record of a thread cannot show.
ELSEWHERE = frozenset({
    "_thread.start_new_thread", "_thread.start_joinable_thread", "os.fork", "os.forkpty", "os.posix_spawn", "os.system",
    "os.exec", "subprocess.Popen", "ctypes.dlopen", "ctypes.dlsym", "ctypes.dlsym/handle", "ctypes.string_at",
    "ctypes.memmove", "ctypes.cdata", "ctypes.cdata/buffer", "ctypes.call_function", "ctypes.PyObj_FromPtr",
})  # fmt: skip
_TO_NUMPY = ["aten::detach", "aten::to", "aten::resolve_conj", "aten::resolve_neg"]
_FROM_NUMPY = ["aten::lift_fresh", "aten::to", "aten::detach_"]
_current = threading.local()
_random = random.SystemRandom()
_counted: list[Callable[[], int]] = []


class Record:
    """What runs while it is entered, judged by a policy; ``offence`` is the first that the policy refuses, or "".

    With ``trusting`` what stands in for others is left out, and with ``forward_only`` the backward pass of it too.
    """

    def __init__(self, policy: Policy, *, trusting: bool, forward_only: bool):
        self.policy, self.trusting, self.forward_only = policy, trusting, forward_only
        self.offence, self.sentinel = "", ""

    def __enter__(self) -> "Record":
        _watch()
        if getattr(_current, "record", None):  # a call inside a call: the outer record holds it
            self.policy = Policy()
        elif self.policy and _autograd._profiler_enabled():
            if self.trusting:  # a student's own, round the whole check
                self.policy = Policy()
            else:
                _stop_other()
        if self.policy:
            _current.record = self
            self._begin()
            if any(threads() > 1 for threads in _counted):  # what a notebook has left at work would work for the call
                self.note("threads")
        return self

    def __exit__(self, *_: object) -> None:
        if self.policy:
            _current.record = None
            self.read(self._end())

    def _begin(self) -> None:
        self.sentinel = f"mlsys::{_random.getrandbits(64)}"
        _switch_on(True)  # an earlier call may have left it off
        _start(_CONFIG)
        with range_of(self.sentinel):
            pass

    def _end(self) -> Sequence[Any]:
        """The events since the beginning; none, and that noted, where somebody else has ended them."""
        with range_of(self.sentinel):
            pass
        try:
            events = list(itertools.chain.from_iterable(_stop()))
        except RuntimeError:
            events = []
        # The first event is the profiler's, and so is the last; a range comes as two.
        if len(events) < 6 or {events[1].name(), events[-3].name()} != {self.sentinel}:
            self.note("record")
        return events

    def drain(self) -> None:
        """Read what has come so far: a long loop's record would fill the memory."""
        if self.policy and not self.offence:
            self.read(self._end())
            self._begin()

    def note(self, offence: str) -> None:
        """Remember the first offence."""
        if self.policy and not self.offence and self.policy.refuses(offence):
            self.offence = offence if offence.startswith("aten::") else family(offence)

    def read(self, events: Sequence[Any]) -> None:
        """Judge some events; only where a name could offend are they gone through one by one."""
        new = set(map(_NAME, events)) - self.policy.harmless
        if suspects := set(filter(self.policy.suspects, new)):
            self._judge(events)
        self.policy.harmless.update(name for name in new - suspects if not name.startswith("mlsys"))

    def _judge(self, events: Sequence[Any]) -> None:
        for name in operators(events, (ASIDE,) if self.trusting else (), self.forward_only):
            self.note(name)


def operators(events: Sequence[Any], aside: Sequence[str], forward_only: bool) -> Iterator[str]:
    """Names of operators and ranges in order, without what is ``aside``; "numpy" where a tensor becomes an array.

    Of a conversion the dispatcher sees the steps: they are told by their order, side by side.
    """
    skipped: list[bool] = []  # of the open ranges, whether what is in them is left out
    beside: list[list[str]] = [[]]  # names so far at each depth
    for event in events:
        if event.kind() == "pop":
            if skipped:
                skipped.pop()
                beside.pop()
            continue
        name = event.name()
        if event.kind() == "push":
            hidden = bool(skipped and skipped[-1])
            here = beside[-1]
            here.append(name)
            skipped.append(hidden or name in aside or (forward_only and name.startswith("autograd::engine")))
            beside.append([])
            if not hidden:
                yield name
                if here[-4:] == _TO_NUMPY or (here[-3:] == _FROM_NUMPY and here[-4:-3] != ["aten::to"]):
                    yield "numpy"


def _stop_other() -> None:
    """A profiler that a candidate has left running would stand where the record does."""
    for stop in (_stop, _autograd._disable_profiler):
        try:
            stop()
            return
        except RuntimeError:
            continue


def _hook(event: str, _: tuple[Any, ...]) -> None:
    if event in ELSEWHERE and (record := getattr(_current, "record", None)):
        record.note("threads")


@functools.cache
def _watch() -> None:
    """From the first record on; an audit hook stays, and Python code cannot take it away. Threads it sees from 3.12."""
    sys.addaudithook(_hook)
    for module, name in ((_thread, "start_new_thread"), (_thread, "start_new"), (threading, "_start_new_thread")):
        setattr(module, name, _told(getattr(module, name), "threads"))


def keep_switches(threads: Callable[[], int]) -> None:
    """Where candidates are graded: whatever could stop the record says so to it. Before any of their code runs.

    A process there has one of the ``threads`` that this counts: another one is somebody's.
    """
    _watch()
    _counted.append(threads)
    modules = [module for path, module in list(sys.modules.items()) if path.startswith("torch")]
    for name in SWITCHES:
        original = getattr(_autograd, name, None)
        for module in modules if original else ():
            if getattr(module, "__dict__", {}).get(name) is original:
                setattr(module, name, _told(original, "record"))


def _told(original: Any, offence: str) -> Callable[..., Any]:
    """The same function, noted where a record is kept."""

    @functools.wraps(original)
    def told(*args: Any, **kwargs: Any) -> Any:
        if record := getattr(_current, "record", None):
            record.note(offence)
        return original(*args, **kwargs)

    return told

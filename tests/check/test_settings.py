"""What a notebook has set reaches no case of a check, and is set again afterwards."""

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from mlsys_course.desk.check import Case, Driver, Specification
from mlsys_course.desk.check.cell import run_cases
from mlsys_course.desk.check.settings import as_the_lab_says

DRIVER = Driver("asks", lambda candidate, case: {"said": candidate(case["x"])})


class Everything0(TorchFunctionMode):
    """Stands between calls and PyTorch, and answers itself."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return 0


def warned() -> str:
    warnings.warn("a word", UserWarning, stacklevel=1)
    return "went on"


KEPT = []  # a mode ends with the last reference to it


def entered(mode: Any) -> None:
    KEPT.append(mode)
    mode.__enter__()


def divided_by_zero() -> str:
    return str(np.float64(1) / np.float64(0))


# What a notebook may set -> how; what a candidate sees of it; what the lab says. Each is set for real.
SET: dict[str, tuple[Callable, Callable, object]] = {
    "threads": (lambda: torch.set_num_threads(3), torch.get_num_threads, 1),
    "matmul precision": (
        lambda: torch.set_float32_matmul_precision("medium"), torch.get_float32_matmul_precision, "highest"
    ),
    "precision of one backend": (
        lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
        lambda: torch.backends.mkldnn.matmul.fp32_precision, "ieee",
    ),
    "no gradients": (lambda: torch.set_grad_enabled(False), torch.is_grad_enabled, True),
    "inference": (lambda: entered(torch.inference_mode()), torch.is_inference_mode_enabled, False),
    "dtype": (lambda: torch.set_default_dtype(torch.float64), lambda: str(torch.ones(1).dtype), "torch.float32"),
    "device": (lambda: torch.set_default_device("meta"), lambda: torch.ones(1).device.type, "cpu"),
    "a mode": (lambda: entered(Everything0()), lambda: str(torch.ones(1)), "tensor([1.])"),
    "deterministic": (
        lambda: torch.set_deterministic_debug_mode("error"), torch.are_deterministic_algorithms_enabled, False
    ),
    "seed of PyTorch": (lambda: torch.manual_seed(7), lambda: torch.initial_seed(), 0),
    "seed of NumPy": (
        lambda: np.random.seed(7), lambda: np.random.rand(), np.random.RandomState(0).random_sample()
    ),
    "seed of Python": (lambda: random.seed(7), random.random, random.Random(0).random()),
    "autocast": (
        lambda: entered(torch.autocast("cpu")), lambda: str((torch.ones(2, 2) @ torch.ones(2, 2)).dtype),
        "torch.float32",
    ),
    "anomalies": (lambda: torch.autograd.set_detect_anomaly(True), torch.is_anomaly_enabled, False),
    "denormals": (lambda: torch.set_flush_denormal(True), lambda: float(torch.tensor(1e-40)) > 0, True),
    "printing": (lambda: torch.set_printoptions(precision=1), lambda: str(torch.tensor(0.125)), "tensor(0.1250)"),
    "arrays' printing": (lambda: np.set_printoptions(precision=1), lambda: str(np.array([0.125])), "[0.125]"),
    "arrays' errors": (lambda: np.seterr(all="raise"), divided_by_zero, "inf"),
    "warnings": (lambda: warnings.simplefilter("error"), warned, "went on"),
    "oneDNN": (lambda: torch._C._set_mkldnn_enabled(False), torch._C._get_mkldnn_enabled, True),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """The tests' own process is a notebook here."""
    with as_the_lab_says(), contextlib.suppress(RuntimeError):
        yield


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("what", SET)
def test_a_setting_reaches_no_case(what):
    set_it, ask, says = SET[what]
    case = Case("one", "values", {"x": torch.ones(2)}, {"said": says})
    set_it()
    seen = ask() if what not in ("arrays' errors", "warnings") else "raises"
    with warnings.catch_warnings(record=True):
        outcome = run_cases(Specification("asks", "core", {"values": 1}, [case]), DRIVER, lambda x: ask())["one"]
    assert (outcome.problem, outcome.outputs) == ("", {"said": says})
    if "seed" not in what:
        assert seen != says, "the setting did something"
        with contextlib.suppress(FloatingPointError, UserWarning):
            assert ask() == seen, "and is set again"


@pytest.mark.parametrize("compiled", ["a decorated function", "a module"])
def test_what_is_compiled_runs_as_it_is_written(compiled):
    built = []

    def backend(graph, inputs):
        built.append(graph)
        return graph.forward

    @torch.compile(backend=backend)
    def doubled(x):
        return 2 * x

    candidate = doubled if compiled == "a decorated function" else torch.compile(torch.nn.ReLU(), backend=backend)
    expected = torch.full((2,), 2.0 if candidate is doubled else 1.0)
    case = Case("one", "values", {"x": torch.ones(2)}, {"said": expected})
    with torch.compiler.set_stance("default"):  # as in a notebook
        outcome = run_cases(Specification("asks", "core", {"values": 1}, [case]), DRIVER, candidate)["one"]
        assert torch.equal(outcome.outputs["said"], expected) and built == []
        candidate(torch.ones(2))
    assert len(built) == 1, "and is compiled elsewhere, as before"


def test_a_setting_of_one_call_reaches_no_other():
    def sets(x):
        threads = torch.get_num_threads()
        torch.set_num_threads(4)
        return threads

    cases = [Case(name, "values", {"x": torch.ones(2)}, {"said": 1}) for name in ("one", "two")]
    outcomes = run_cases(Specification("asks", "core", {"values": 1}, cases), DRIVER, sets)
    assert [outcome.outputs for outcome in outcomes.values()] == [{"said": 1}] * 2


def test_the_notebook_goes_on_drawing_where_it_was():
    expected = [(torch.manual_seed(3), torch.rand(2))[1], torch.rand(1)]
    torch.manual_seed(3)
    drawn = torch.rand(2)
    with as_the_lab_says():
        torch.rand(5)
    assert torch.equal(drawn, expected[0]) and torch.equal(torch.rand(1), expected[1])

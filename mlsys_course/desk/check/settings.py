"""A process as the lab says: what a notebook has switched on or off reaches no call, in a check as in grading."""

import contextlib
import itertools
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import _tensor_str

Setting = tuple[Callable[[], Any], Callable[[Any], Any], Any]  # how it is read and written, and what the lab says
SWITCHES = (
    ("get_num_threads", "set_num_threads", 1),
    ("get_default_dtype", "set_default_dtype", torch.float32),
    ("is_grad_enabled", "set_grad_enabled", True),
    ("is_anomaly_enabled", "set_anomaly_enabled", False),
    ("get_deterministic_debug_mode", "set_deterministic_debug_mode", 0),
    ("is_autocast_cache_enabled", "set_autocast_cache_enabled", True),
    ("_C._get_cudnn_enabled", "_C._set_cudnn_enabled", True),
    ("_C._get_cudnn_benchmark", "_C._set_cudnn_benchmark", False),
    ("_C._get_cudnn_deterministic", "_C._set_cudnn_deterministic", False),
    ("_C._get_mkldnn_enabled", "_C._set_mkldnn_enabled", True),
    ("_C._get_mkldnn_deterministic", "_C._set_mkldnn_deterministic", False),
    ("_C._get_flash_sdp_enabled", "_C._set_sdp_use_flash", True),
    ("_C._get_mem_efficient_sdp_enabled", "_C._set_sdp_use_mem_efficient", True),
    ("_C._get_math_sdp_enabled", "_C._set_sdp_use_math", True),
)
AUTOCAST = {"cpu": torch.bfloat16, "cuda": torch.float16}  # device -> PyTorch's own dtype for it
PRECISIONS = (("generic", "all"), *itertools.product(("cuda", "mkldnn"), ("all", "matmul", "conv", "rnn")))
ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}  # NumPy's own
PRINTED = {  # NumPy's own, too
    "edgeitems": 3, "threshold": 1000, "floatmode": "maxprec", "precision": 8, "suppress": False, "linewidth": 75,
    "nanstr": "nan", "infstr": "inf", "sign": "-", "formatter": None,
}  # fmt: skip


def settle() -> None:
    """Whatever a notebook has set is as in a fresh process with one thread; for a process that does nothing else."""
    pop_modes()  # first, since setting anything else may go through them
    for read, write, said in SETTINGS:
        if read() != said:
            write(said)
    if torch.is_inference_mode_enabled():
        _inference_off.append(torch._C._InferenceMode(False))
    _seed()
    if any(how == "error" for how, *_ in warnings.filters):
        _let_warnings_pass()
    if "torch._dynamo" in sys.modules:  # else nothing is compiled
        torch.compiler.set_stance("force_eager")  # as written: compiling takes minutes


@contextlib.contextmanager
def as_the_lab_says() -> Iterator[None]:
    """Whatever a notebook has set is in here as in a fresh process with one thread, and afterwards as before."""
    with contextlib.ExitStack() as stack:
        stack.callback(_push_modes, pop_modes())
        for read, write, _ in SETTINGS:
            stack.callback(_set, read, write, read())
        stack.enter_context(_generators_kept())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(warnings.catch_warnings())
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.callback(pop_modes)  # those that the call left, before anything is set again under them
        settle()
        yield


def _set(read: Callable[[], Any], write: Callable[[Any], Any], value: Any) -> None:
    if read() != value:
        write(value)


def _seed(seed: int = 0) -> None:
    """All generators from ``seed``; ``torch.manual_seed`` would note where it was called, for cards not there."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


@contextlib.contextmanager
def _generators_kept() -> Iterator[None]:
    cards = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    before = torch.default_generator.get_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.default_generator.set_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])
        if cards:
            torch.cuda.set_rng_state_all(cards)


def _let_warnings_pass() -> None:
    """A warning is no exception; which of them are shown is the notebook's own affair."""
    warnings.filters[:] = [("default" if how == "error" else how, *rest) for how, *rest in warnings.filters]  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]


def pop_modes() -> list[Any]:
    """Take away all that stands between calls and PyTorch, such as a default device."""
    return [torch._C._pop_torch_function_stack() for _ in range(torch._C._len_torch_function_stack())]


def pop_operators_modes(above: int = 0) -> None:
    """Take away the modes that see operators, but for the first so many, for good."""
    while torch._C._len_torch_dispatch_stack() > above:
        torch._C._pop_torch_dispatch_stack(None)


def _push_modes(modes: list[Any]) -> None:
    for mode in reversed(modes):
        torch._C._push_on_torch_function_stack(mode)


def _matmul_precision() -> str:
    """Empty where it is said of one backend and operation at a time."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return ""


def _set_matmul_precision(value: str) -> None:
    if value:
        torch.set_float32_matmul_precision(value)


def _set_printing(options: dict[str, Any]) -> None:
    torch.set_printoptions(profile="default")  # which is what None means in the options
    torch.set_printoptions(**options)


def _tensor_printing() -> dict[str, Any]:
    return dict(vars(_tensor_str.PRINT_OPTS))


def _array_printing() -> dict[str, Any]:
    return {name: value for name, value in np.get_printoptions().items() if name in PRINTED}


def _settings() -> Iterator[Setting]:
    """Those that this PyTorch has, which may be older or newer than ours."""
    for read, write, said in SWITCHES:
        owner = torch._C if read.startswith("_C.") else torch
        read, write = read.removeprefix("_C."), write.removeprefix("_C.")
        if hasattr(owner, read) and hasattr(owner, write):
            yield getattr(owner, read), getattr(owner, write), said
    for device, dtype in AUTOCAST.items():
        yield partial(torch.is_autocast_enabled, device), partial(torch.set_autocast_enabled, device), False
        yield partial(torch.get_autocast_dtype, device), partial(torch.set_autocast_dtype, device), dtype
    if hasattr(torch._C, "_get_fp32_precision_getter"):
        for place in PRECISIONS:
            read, write = torch._C._get_fp32_precision_getter, torch._C._set_fp32_precision_setter
            yield partial(read, *place), partial(write, *place), "ieee"
    yield (
        _matmul_precision,
        _set_matmul_precision,
        "highest",
    )  # which writes some of those: so before them on the way back
    yield lambda: sys.float_info.min / 2 == 0, torch.set_flush_denormal, False
    yield _tensor_printing, _set_printing, {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80,
                                            "sci_mode": None}  # fmt: skip
    yield _array_printing, lambda options: np.set_printoptions(**options), PRINTED
    yield np.geterr, lambda errors: np.seterr(**errors), ERRORS


_inference_off: list[Any] = []  # it lasts as long as it is held
SETTINGS = tuple(_settings())

"""What the dispatcher's record shows, by whatever road it was called; and that honest code shows nothing."""

import threading

import numpy as np
import pytest
import torch

from mlsys_course.desk.check import Driver, decode, encode, run_case
from mlsys_course.desk.check.families import BASIC, NAMES, family, kind_of, policy, words

SOFTMAX, GRADIENT = ("torch.softmax",), ("torch.autograd.grad",)
apply = Driver("f", lambda candidate, case: {"y": candidate(case["x"])})
X = torch.linspace(-1, 1, 16).reshape(4, 4)


def outcome(candidate, forbidden, allowed=(), **how):
    return run_case(apply, candidate, {"x": X}, forbidden=forbidden, allowed=allowed, **how)


def in_a_thread(x):
    found = []
    thread = threading.Thread(target=lambda: found.append(torch._softmax(x, -1, False)))
    thread.start()
    thread.join()
    return found[0]


def with_modes_off(x):
    with torch._C.DisableTorchFunction():
        return torch.softmax(x, -1)


def without_subclasses(x):
    with torch._C.DisableTorchFunctionSubclass(), torch._C._DisableTorchDispatch():
        return torch._softmax(x, -1, False)


def with_a_mode_popped(x):
    from torch.overrides import _pop_mode, _push_mode

    mode = _pop_mode()
    try:
        return torch.softmax(x, -1)
    finally:
        _push_mode(mode)


def with_the_record_stopped(x):
    torch._C._autograd._disable_profiler_legacy()
    return torch._softmax(x, -1, False)


def with_the_record_replaced(x):
    from mlsys_course.desk.check import record

    torch._C._autograd._disable_profiler_legacy()
    y = torch._softmax(x, -1, False)
    torch._C._autograd._enable_profiler_legacy(record._CONFIG)
    return y


class InAFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch._softmax(x, -1, False)


class Late(torch.Tensor):
    """Works when it is looked at, which is not while the candidate runs."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") == "detach" and hasattr(args[0], "work"):
            return args[0].work()
        return super().__torch_function__(func, types, args, kwargs or {})


def later(x):
    y = torch.empty(0).as_subclass(Late)
    y.work = lambda: torch._softmax(x, -1, False)
    return y


class Grown(dict):
    """Has what is asked for once it is taken apart."""

    def items(self):
        return {"x": torch._softmax(super().__getitem__("x"), -1, False)}.items()


script = torch.jit.CompilationUnit("def f(q):\n  return q.softmax(-1)\n")
SOFTMAXES = {
    "another name": lambda x: torch._softmax(x, -1, False),
    "the logarithm's": lambda x: torch._log_softmax(x, -1, False).exp(),
    "special": lambda x: torch.special.softmax(x, -1),
    "a log-sum-exp": lambda x: (x - x.logsumexp(-1, keepdim=True)).exp(),
    "sums of two": lambda x: (x[:, :2] - torch.logaddexp(x[:, :1], x[:, 1:2])).exp(),
    "a running one": lambda x: (x - torch.logcumsumexp(x, -1)[:, -1:]).exp(),
    "masked": lambda x: torch._masked_softmax(x, torch.zeros(4, 4).bool(), 1, 2),
    "safe": lambda x: torch._safe_softmax(x, -1),
    "sparse": lambda x: torch.sparse.softmax(x.to_sparse(), -1).to_dense(),
    "TorchScript": lambda x: script.f(x),
    "a function of autograd's": InAFunction.apply,
    "a transform": lambda x: torch.vmap(lambda row: torch._softmax(row, -1, False))(x),
    "modes off": with_modes_off,
    "modes and subclasses off": without_subclasses,
    "a mode popped": with_a_mode_popped,
    "when the result is looked at": later,
    "when the result is taken apart": lambda x: Grown(x=x),
    "inference": torch.inference_mode()(lambda x: torch._softmax(x, -1, False)),
}  # fmt: skip
UNSEEN = {
    "a thread": (in_a_thread, "threads"),
    "the record stopped": (with_the_record_stopped, "record"),
    "the record replaced": (with_the_record_replaced, "record"),
}


@pytest.mark.parametrize("candidate", SOFTMAXES.values(), ids=SOFTMAXES)
def test_a_finished_kernel_is_seen_by_any_road(candidate):
    found = outcome(candidate, SOFTMAX)
    assert found.problem == "forbidden"
    assert found.detail == "torch.softmax" or family(found.detail) == "softmax", found.detail
    assert outcome(candidate, ["torch.nothing"]).problem == "", "it would have worked"


@pytest.mark.parametrize(("candidate", "why"), UNSEEN.values(), ids=UNSEEN)
def test_who_keeps_out_of_the_record_is_seen(candidate, why):
    found = outcome(candidate, SOFTMAX)
    assert (found.problem, found.detail) == ("forbidden", why)
    assert outcome(lambda x: x.exp(), SOFTMAX).problem == "", "the next call is recorded as ever"


REPLACED = [
    *((torch.Tensor, name) for name in ("clone", "contiguous", "cpu", "detach", "numpy", "view", "resolve_conj")),
    *((torch.Tensor, name) for name in ("dtype", "shape", "device", "is_complex", "reshape", "tolist")),
    *((torch, name) for name in ("frombuffer", "empty", "equal", "view_as_real", "from_numpy")),
]


@pytest.mark.parametrize(("owner", "name"), REPLACED, ids=[f"{owner.__name__}.{name}" for owner, name in REPLACED])
def test_what_a_notebook_puts_in_place_of_pytorchs_own_is_not_called_beside_the_record(owner, name, monkeypatch):
    ran, calling = [], []

    def replacement(*args, **kwargs):
        ran.extend(["beside"] if not calling else [])
        return original.__get__(args[0]) if hasattr(original, "__set__") else original(*args, **kwargs)

    def candidate(x):
        calling.append(x)
        return x.exp()

    sent, original = encode({"x": X, "z": torch.ones(2) * 1j, "none": torch.ones(0)}), getattr(owner, name)
    monkeypatch.setattr(owner, name, property(replacement) if hasattr(original, "__set__") else replacement)
    inputs = decode(sent)
    found = run_case(apply, candidate, inputs, forbidden=SOFTMAX, raw=True)
    calling.clear()
    told = encode(found.outputs)
    monkeypatch.undo()
    assert found.problem == "" and ran == []
    torch.testing.assert_close(decode(told)["y"], X.exp())


def with_a_mode_left(kind, push):
    """A candidate whose mode stays, and works when the result is looked at."""

    class Left(kind):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return self.__torch_dispatch__(func, types, args, kwargs)

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if getattr(func, "__name__", "").startswith(("detach", "clone")) and results:
                with torch._C.DisableTorchFunction(), torch.utils._python_dispatch._disable_current_modes():
                    results.pop().copy_(torch._softmax(X, -1, False))
            return func(*args, **(kwargs or {}))

    results = []

    def candidate(x):
        result = torch.zeros_like(x)
        push(Left())
        results.append(result)
        return result

    return candidate


@pytest.mark.parametrize("dispatch", [False, True], ids=["functions", "operators"])
def test_a_mode_that_a_candidate_leaves_is_looked_at_too(dispatch):
    from torch.overrides import TorchFunctionMode, _pop_mode, _push_mode
    from torch.utils import _python_dispatch as dispatched

    kind = dispatched.TorchDispatchMode if dispatch else TorchFunctionMode
    try:
        found = outcome(with_a_mode_left(kind, dispatched._push_mode if dispatch else _push_mode), SOFTMAX, raw=True)
        assert found.problem == "forbidden"
    finally:
        while torch._C._len_torch_dispatch_stack():
            dispatched._pop_mode()
        while torch._C._len_torch_function_stack():
            _pop_mode()


def dual(x):
    import torch.autograd.forward_ad as forward

    with forward.dual_level():
        return forward.unpack_dual(forward.make_dual(x, torch.ones_like(x)).exp()).tangent


def by_the_engine(x):
    leaf = x.clone().requires_grad_()
    engine = torch.autograd.Variable._execution_engine  # pyright: ignore[reportAttributeAccessIssue]
    return engine.run_backward((leaf.exp().sum(),), (torch.tensor(1.0),), False, False, (leaf,), True, False)[0]


def by_the_methods_core(x):
    leaf = x.clone().requires_grad_()
    with torch._C.DisableTorchFunction():
        torch.autograd.backward(leaf.exp().sum())
    return leaf.grad


GRADIENTS = {
    "forward over all inputs": lambda x: torch.func.jacfwd(torch.exp)(x[0]),
    "backward over all outputs": lambda x: torch.func.jacrev(torch.exp)(x[0]),
    "a product": lambda x: torch.func.jvp(torch.exp, (x,), (x,))[1],
    "the other product": lambda x: torch.func.vjp(torch.exp, x)[1](x)[0],
    "a gradient": torch.func.grad(lambda x: x.exp().sum()),
    "dual numbers": dual,
    "the engine": by_the_engine,
    "modes off": by_the_methods_core,
    "a functional": lambda x: torch.autograd.functional.vhp(lambda y: y.pow(3).sum(), x, x)[1],
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # PyTorch's own, in forward mode
@pytest.mark.parametrize("candidate", GRADIENTS.values(), ids=GRADIENTS)
def test_autograd_is_seen_by_any_road(candidate):
    found = outcome(candidate, GRADIENT)
    assert found.problem == "forbidden", found.words
    assert found.detail == GRADIENT[0] or family(found.detail) == "autograd", found.detail
    assert "called" in found.words or "by hand" in found.words


def unseen_array(x):
    with torch._C.DisableTorchFunction():
        return torch.from_numpy(np.exp(x.numpy()))


ARRAYS = {
    "numpy()": lambda x: torch.from_numpy(np.exp(x.numpy())),
    "asarray": lambda x: torch.from_numpy(np.exp(np.asarray(x))),
    "modes off": unseen_array,
    "by way of lists": lambda x: torch.tensor(np.exp(np.array(x.tolist(), dtype=np.float32))),
    "DLPack": lambda x: torch.from_numpy(np.exp(np.from_dlpack(x))),
    "its memory": lambda x: torch.frombuffer(bytearray(x.untyped_storage()), dtype=torch.float32).clone(),
}


@pytest.mark.parametrize("candidate", ARRAYS.values(), ids=ARRAYS)
def test_arrays_are_seen_where_they_are_no_part_of_it(candidate):
    assert outcome(candidate, SOFTMAX, BASIC).detail == "numpy"
    assert outcome(candidate, SOFTMAX, (*BASIC, "numpy")).problem == ""


HONEST = {
    "operators": lambda x: (x - x.amax(-1, keepdim=True)).exp() / x.exp().sum(-1, keepdim=True),
    "lists": lambda x: torch.tensor([[float(n) for n in row] for row in x.detach().double().tolist()]),
    "one number": lambda x: torch.as_tensor(x[0, 0].item()) + x.new_tensor([1.0]),
    "writing": lambda x: torch.zeros(4, 4).index_put_((torch.arange(4),), x).clone().mul_(2),
    "setting": lambda x: [y := x.clone(), y.__setitem__(0, 3.0)][0],
    "a transform": lambda x: torch.vmap(torch.exp)(x),
    "a NumPy number": lambda x: x * np.float32(2) + float(np.sqrt(2.0)),
    "sorting and stacking": lambda x: torch.stack([row.sort().values for row in x.unbind()]).cumsum(-1),
}


@pytest.mark.parametrize("candidate", HONEST.values(), ids=HONEST)
def test_honest_code_shows_nothing(candidate):
    for how in ({}, {"parts": {}}):
        assert outcome(candidate, (*SOFTMAX, *GRADIENT), BASIC, **how).problem == ""


def test_what_is_allowed_is_all_that_is():
    assert outcome(lambda x: x @ x, (), BASIC).detail == "aten::matmul"
    assert outcome(lambda x: x @ x, (), (*BASIC, "products")).problem == ""
    with pytest.raises(ValueError, match="no family of operators is called"):
        policy((), ["element-wise"])


def test_a_long_loop_is_read_as_it_goes(monkeypatch):
    from mlsys_course.desk.check import guard

    monkeypatch.setattr(guard, "DRAINED", 50)

    def candidate(x):
        y = torch._softmax(x, -1, False)
        for _ in range(200):
            y = y + 1
        return y

    assert outcome(candidate, SOFTMAX).detail == "aten::_softmax"
    assert outcome(lambda x: candidate(x) and x, ["torch.matmul"]).problem == "raised"


def test_every_operator_of_pytorchs_has_a_family():
    schemas = {schema.name for schema in torch._C._jit_get_all_schemas()}
    found = {name: family(name) for name in schemas if name.startswith("aten::")}
    assert set(found.values()) <= set(NAMES)
    tagged = {op for op in dir(torch.ops.aten) if torch.Tag.pointwise in _tags(op)}
    finished = {"activation", "softmax", "loss"}
    assert {family(f"aten::{op}") for op in tagged} <= {"elementwise", "indexing", "creation", *finished}
    assert not [name for name in found if "softmax" in name and found[name] != "softmax"]
    assert not [name for name in found if "attention" in name and found[name] != "attention"]


def _tags(op: str) -> list:
    packet = getattr(torch.ops.aten, op)
    return packet.default.tags if hasattr(packet, "default") else []


def test_a_name_stands_for_its_kind():
    kinds = {name: kind_of(name) for name in ("torch.softmax", "torch.nn.LayerNorm", "torch.func.vjp", "torch.nn.GRU")}
    assert list(kinds.values()) == ["softmax", "norm", "autograd", "recurrent"]
    assert kind_of("torch.nn.utils.clip_grad_norm_") == kind_of("torch.distributed.all_reduce") == ""


def test_words_say_what_and_what_instead():
    assert words("aten::_softmax").startswith(
        "computes a softmax or a log-sum-exp by a finished kernel: aten::_softmax;"
    )
    assert words("torch.softmax") == "called torch.softmax, which this exercise forbids"
    assert {words(name) for name in ("threads", "numpy", "record")}.isdisjoint({""})

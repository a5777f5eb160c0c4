"""Ways to lab 2's forbidden function: those that are refused, those that only a person can judge, and honest code."""

BODY = "\ndef attention(q, k, v, mask=None):\n    return {call}(q, k, v, attn_mask=mask)"
NAME = "scaled_dot_product_attention"
MODULE = "import torch\nimport torch.nn.functional as F\n"


def calls(call: str, before: str = "") -> str:
    """A candidate that is one call."""
    return MODULE + before + BODY.replace("{call}", call)


REFUSED = {
    "plainly": calls(f"F.{NAME}"),
    "full name": calls(f"torch.nn.functional.{NAME}"),
    "from import": calls(NAME, f"from torch.nn.functional import {NAME}"),
    "from import as": calls("f", f"from torch.nn.functional import {NAME} as f"),
    "from import *": calls(NAME, "from torch.nn.functional import *"),
    "module alias": calls(f"g.{NAME}", "from torch.nn import functional as g"),
    "alias of an alias": calls("b", f"a = F.{NAME}\nb = a"),
    "default argument": MODULE + f"def attention(q, k, v, mask=None, f=F.{NAME}):\n    return f(q, k, v, mask)",
    "lambda": MODULE + f"attention = lambda q, k, v, mask=None: F.{NAME}(q, k, v, mask)",
    "partial": calls("f", f"import functools\nf = functools.partial(F.{NAME})"),
    "getattr": calls(f"getattr(F, '{NAME}')"),
    "getattr, computed": calls("getattr(F, 'scaled_dot_product' + '_attention')"),
    "getattr, from a list": calls("getattr(F, '_'.join(['scaled', 'dot', 'product', 'attention']))"),
    "attrgetter": calls(f"operator.attrgetter('nn.functional.{NAME}')(torch)", "import operator"),
    "__dict__": calls(f"F.__dict__['{NAME}']"),
    "vars": calls("[f for n, f in vars(F).items() if n[:6] == 'scaled'][0]"),
    "importlib": calls(f"importlib.import_module('torch.nn.functional').{NAME}", "import importlib"),
    "__import__": calls(f"__import__('torch').nn.functional.{NAME}"),
    "sys.modules": calls(f"sys.modules['torch.nn.functional'].{NAME}", "import sys"),
    "torch._C._nn": calls(f"torch._C._nn.{NAME}"),
    "torch.ops": calls(f"torch.ops.aten.{NAME}"),
    "torch.ops.default": calls(f"torch.ops.aten.{NAME}.default"),
    "torch.ops, computed": calls("getattr(torch.ops.aten, 'scaled_dot' + '_product_attention')"),
    "exec": calls("f", f"exec('import torch.nn.functional as m; f = m.' + '{NAME}')"),
    "eval": calls("eval('F.scaled_dot' + '_product_attention')"),
    "a class": MODULE + f"class A:\n    def __call__(self, q, k, v, mask=None): return F.{NAME}(q, k, v, mask)\n"
    "attention = A()",
    "a method of another name": calls("A.run", f"class A:\n    run = staticmethod(F.{NAME})"),
    "the stand-in of others": calls("drivers.public_attention", "import drivers").replace("attn_mask=", ""),
    "a private relative": MODULE + "def attention(q, k, v, mask=None):\n"
    "    return torch._scaled_dot_product_attention_math(q, k, v, attn_mask=mask)[0]",
    "a module": MODULE + "def attention(q, k, v, mask=None):\n    m = torch.nn.MultiheadAttention(q.shape[-1], 1)\n"
    "    return m(q, k, v)[0]",
    "a step through a generator": calls("next(f for f in [F.relu, getattr(F, 'scaled_dot' '_product_attention')][1:])"),
    "vmap": MODULE + f"def attention(q, k, v, mask=None):\n    g = getattr(F, 'scaled_' + '{NAME[7:]}')\n"
    "    return torch.vmap(lambda a, b, c: g(a, b, c))(q, k, v) if q.dim() > 2 else g(q, k, v)",
    "a timed cell": "%%time\n" + calls(f"F.{NAME}"),
    "beside a shell line": "!ls\n" + calls(f"F.{NAME}"),
    "PyTorch's own switch": MODULE + "def attention(q, k, v, mask=None):\n    with torch._C.DisableTorchFunction():\n"
    "        return getattr(F, 'scaled_' + 'dot_product_attention')(q, k, v, mask)",
    "the stack of modes": MODULE + "from torch.overrides import _pop_mode_temporarily as p\n"
    "def attention(q, k, v, mask=None):\n    with p():\n"
    "        return getattr(F, 'scaled_' + 'dot_product_attention')(q, k, v, mask)",
    "the kernel below": calls("getattr(torch, '_scaled_dot_product_' + 'attention_math')").replace("mask)", "mask)[0]"),
}

# Each gets past the guard, or might; each must be flagged.
GUARD_OFF = """
import sys, contextlib
driver = sys.modules['mlsys_course.desk.check.driver']
driver.guarded = lambda *a, **k: contextlib.nullcontext()
"""
# Text that no name leads to: a scratch cell fills what the candidate looks into.
PLAIN = f"def plain(q, k, v, mask=None):\n    return getattr(F, 'scaled_' + '{NAME[7:]}')(q, k, v, attn_mask=mask)\n"
FILLED = {
    "a list that a scratch cell appends to": ("tools = []", "tools.append(plain)", "tools[0]"),
    "a list appended to by its class": ("tools = []", "list.append(tools, plain)", "tools[0]"),
    "an entry": ("tools = {}", "tools['f'] = plain", "tools['f']"),
    "an attribute": ("class tools: pass", "tools.f = plain", "tools.f"),
    "an attribute by setattr": ("class tools: pass", "setattr(tools, 'f', plain)", "tools.f"),
    "an attribute by vars": ("class tools: pass\ntools = tools()", "vars(tools)['f'] = plain", "tools.f"),
    "a loop": ("tools = []", "for f in [plain]:\n    tools += [f]", "tools[0]"),
    "a function that is called": ("tools = []", "def fill():\n    tools.insert(0, plain)\nfill()", "tools[0]"),
    "a function's attribute": ("def tools(): pass", "tools.f = plain", "tools.f"),
    "a function's default": ("def tools(f=None): return f", "tools.__defaults__ = (plain,)", "tools()"),
    "a deque": ("import collections\ntools = collections.deque()", "tools.appendleft(plain)", "tools[0]"),
    "an entry of an entry": ("tools = {'a': {}}", "tools['a'].update(f=plain)", "tools['a']['f']"),
}
BOUND = {  # ways to bind `core` that are no assignment at the top
    "in a branch": "def core(*a): return a[0]\nif True:\n    def core(*a): return plain(*a)",
    "in a try": "core = min\ntry:\n    class core:\n        __new__ = lambda c, *a: plain(*a)\nfinally: pass",
    "by a match": "core = min\nmatch plain:\n    case core: pass",
    "by a function": "core = min\ndef change():\n    global core\n    core = plain\nchange()",
}
EVASIONS = {
    name: [before, MODULE + PLAIN + filled, "import torch" + BODY.replace("{call}", call)]
    for name, (before, filled, call) in FILLED.items()
} | {
    f"a name bound {how}": [MODULE + PLAIN + text, "import torch" + BODY.replace("{call}", "core")]
    for how, text in BOUND.items()
} | {
    "code in the braces of a magic": [
        "%env NOTE={exec(bytes.fromhex('00').decode(), get_ipython().user_ns)}", calls("F.relu"),
    ],
    "code in the braces of a shell line": ["!echo {exec('core = 1')}", calls("F.relu")],
    "code in the braces of a cell magic": ["%%bash {exec('core = 1')}\nls", calls("F.relu")],
    "code that sets an option": ["%config InteractiveShell.cache_size=(exec('core = 1'), 1000)[1]", calls("F.relu")],
    "braces that cannot be read": ["%pwd {exec('core = 1')!r:{1}}", calls("F.relu")],
    "more magics than can be read": ["\n".join(f"x{n} = %pwd" for n in range(200)) + "\ny = " + "[0]*2+" * 1500 + "[]",
                                     calls("F.relu")],
    "an inner name in a string": [
        "import operator\ng = operator.attrgetter('__globals__')(min)['__builtins__']", calls("F.relu"),
    ],
    "a module found in sys.modules": [
        "import sys\nfor name, m in list(sys.modules.items()):\n    if name.endswith('check.driver'):\n"
        "        m.guarded = lambda *a, **k: None",
        calls("F.relu"),
    ],
    "work in a garbage collection": ["import gc\ngc.callbacks.append(lambda *a: None)", calls("F.relu")],
    "frames": ["import inspect\nf = inspect.currentframe()", calls("F.relu")],
    "what a function closes over": ["import inspect\nseen = inspect.getclosurevars", calls("F.relu")],
    "the guard patched in a scratch cell": [
        GUARD_OFF, calls("getattr(F, 'scaled_dot_product' + '_attention')")],
    "the guard's list emptied": [
        "import mlsys_course.desk.check.guard\nmlsys_course.check.guard._Guard.__torch_function__ = "
        "lambda s, f, t, a=(), k=None: f(*a, **(k or {}))", calls("getattr(F, 'scaled_' + 'dot_product_attention')")],
    "the guard lifted": [
        "from mlsys_course.desk.check.guard import _active\nimport gc",
        MODULE + "def attention(q, k, v, mask=None):\n    for guard in _active: guard.names = {}\n"
        "    return getattr(F, 'scaled_' + 'dot_product_attention')(q, k, v, mask)"],
    "PyTorch's own switch": [
        MODULE + "def attention(q, k, v, mask=None):\n    with torch._C.DisableTorchFunction():\n"
        "        return getattr(F, 'scaled_' + 'dot_product_attention')(q, k, v, mask)"],
    "the stack of modes": [
        MODULE + "from torch.overrides import _pop_mode_temporarily\ndef attention(q, k, v, mask=None):\n"
        "    with _pop_mode_temporarily(): return getattr(F, 'scaled_' + 'dot_product_attention')(q, k, v, mask)"],
    "TorchScript": [
        MODULE + "unit = torch.jit.CompilationUnit('def f(q, k, v):\\n"
        "    return torch.scaled_dot_product_attention(q, k, v)')\n"
        "def attention(q, k, v, mask=None):\n    return unit.f(q, k, v)"],
    "eval in the candidate": [calls("eval('F.scaled_dot' + '_product_attention')")],
    "exec in a scratch cell": ["exec('import torch.nn.functional as m; helper = m.scaled' + '_dot_product_attention')",
                               calls("helper")],
    "globals": ["import torch.nn.functional as F\n"
                "globals()['helper'] = [getattr(F, n) for n in dir(F) if n[:8] == 'scaled_d'][0]",
                calls("helper")],
    "setattr on PyTorch": [MODULE + "setattr(torch, 'helper', getattr(F, 'scaled_' + 'dot_product_attention'))",
                           calls("torch.helper")],
    "an attribute of PyTorch": [MODULE + "torch.nn.helper = [f for n, f in vars(F).items() if n[:8] == 'scaled_d'][0]",
                                calls("torch.nn.helper")],
    "a walk over memory": [
        "import gc\nfound = [o for o in gc.get_objects() if getattr(o, '__name__', '')[:8] == 'scaled_d']",
        calls("found[0]")],
    "a walk over frames": [
        calls("f()", "import sys\ndef f():\n    frame = sys._getframe()\n    while frame.f_back: frame = frame.f_back\n"
              "    return frame.f_globals.get")],
    "subclasses": [calls("().__class__.__base__.__subclasses__()[0]")],
    "ctypes": [calls("f", "import ctypes\nf = ctypes.pythonapi.PyObject_Call")],
    "importlib, computed": [calls("m.f", "import importlib\nm = importlib.import_module('my_' + 'module')")],
    "bytes decoded": [calls("f", "import base64, marshal, types\n"
                            "f = types.FunctionType(marshal.loads(base64.b64decode('aGVsbG8=')), {})")],
    "a pickle": [calls("f", "import pickle\nf = pickle.loads(b'ctorch.nn.functional\\nrelu\\n.')")],
    "a file written by a cell": ["%%writefile other.py\nimport torch.nn.functional as F\nf = F.relu",
                                 calls("other.f", "import other")],
    "a module of one's own": ["open('other.py', 'w').write('x')", calls("other.f", "import other")],
    "another library": [calls("f", "from transformers.integrations.sdpa_attention import sdpa_attention_forward as f")],
    "fused modules": [
        MODULE + "def attention(q, k, v, mask=None):\n"
        "    layer = torch.nn.modules.activation.MultiheadAttention(8, 1).eval()\n    return layer(q, k, v)[0]"],
    "an AST transformer": ["get_ipython().ast_transformers.append(None)", calls("my_attention")],
    "a fork": ["import os\nos.register_at_fork(after_in_child=print)", calls("F.relu")],
    "a name out of nowhere": [calls("planted")],
    "a magic of one's own": ["%%mine\nhelper = 1", calls("F.relu")],
    "an extension": ["%load_ext other", calls("F.relu")],
    "a magic in a magic that is not read": ["%%capture\n%%mine\nhelper = 1", calls("F.relu")],
    "a magic's alias": ["%alias_magic t time", "%%t\nimport torch", calls("F.relu")],
    "compiled code": [calls("torch.compile(f)", "f = F.relu")],
}  # fmt: skip
CARRIED = {
    "my_mlsys/attention.py": b"import torch.nn.functional as F\n"
    b"def f(q, k, v):\n    return F.scaled_dot_product_attention(q, k, v)\n"
}
WITH_CARRIED = [calls("f", "from my_mlsys.attention import f")]

HONEST = {
    "magics with braces": "%env WIDTH={8 * 8}\n!echo {1 + 1}\n%config InlineBackend.figure_format = 'retina'",
    "one module": "if __name__ == '__main__':\n    print('run')",
    "is this Colab": "import sys\nprint('google.colab' in sys.modules)",
    "data and scratch beside it": MODULE + "scale = [8]\nscale.append(4)\nprint(F.relu(torch.ones(2)), scale)"
    "\ndef attention(q, k, v, mask=None):\n    return q @ k.mT / scale[0]",
    "its own function compared": MODULE + "def attention(q, k, v, mask=None):\n    return q @ k.mT\n"
    "x = torch.ones(1, 2, 2)\nprint(attention(x, x, x) - F.softmax(x, -1))",
    "loops": MODULE
    + """
import math
def attention(q, k, v, mask=None):
    rows = []
    for t in range(q.shape[-2]):
        scores = (q[..., t, :].unsqueeze(-2) * k).sum(-1) / math.sqrt(q.shape[-1])
        rows.append((scores.softmax(-1).unsqueeze(-1) * v).sum(-2))
    return torch.stack(rows, -2)
""",
    "einsum, typed, with a docstring that names the function": MODULE
    + '''
from typing import Optional
from torch import Tensor

def attention(q: Tensor, k: Tensor, v: Tensor, mask: Optional[Tensor] = None) -> Tensor:
    """Like F.scaled_dot_product_attention, by hand."""
    assert q.shape[-1] == k.shape[-1], f"{q.shape} and {k.shape}"
    scores = torch.einsum("...td,...sd->...ts", q, k) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(mask.logical_not(), float("-inf"))
    return torch.nan_to_num(torch.softmax(scores, dim=-1)) @ v
''',
    "a class, a closure, a dataclass": MODULE
    + """
from dataclasses import dataclass, field
import functools, itertools, collections, warnings

@dataclass
class Config:
    scale: float = 1.0
    names: list = field(default_factory=list)

class Attention(torch.nn.Module):
    def __init__(self, config=Config()):
        super().__init__()
        self.config, self.kind = config, self.__class__.__name__
        self.register_buffer("one", torch.ones(1))
    def forward(self, q, k, v, mask=None):
        return F.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1) @ v
    def __repr__(self):
        return f"{type(self).__name__}({self.config!r})"

def scaled(divisor):
    def inner(x):
        return x / divisor
    return inner

@functools.lru_cache
def root(n):
    return n ** 0.5

def attention(q, k, v, mask=None):
    if not isinstance(q, torch.Tensor):
        raise TypeError("q must be a tensor")
    return Attention().eval()(scaled(root(1))(q), k, v, mask)
""",
    "work around it": MODULE
    + """
%matplotlib inline
import matplotlib.pyplot as plt
import numpy as np
import time, os, sys, random
torch.manual_seed(0); np.random.seed(0); random.seed(0)
torch.set_printoptions(precision=3)
torch.backends.cuda.matmul.allow_tf32 = True
plt.rcParams["figure.figsize"] = (4, 3)
print(sys.version, os.getcwd())
x = torch.randn(2, 3, 4, requires_grad=True)
ours = [1]
ours[0] = 2
reference = F.scaled_dot_product_attention(x, x, x)
print(torch.allclose(reference, reference), reference.shape, hasattr(x, "grad"), getattr(x, "grad"))
x.grad = None
model = torch.nn.Linear(4, 4)
model.weight.data = torch.ones(4, 4)
model.eval()
!pip list
def attention(q, k, v, mask=None):
    s = q @ k.transpose(-2, -1) / q.size(-1) ** 0.5
    print("scores", s.shape)
    return s.softmax(-1) @ v
""",
}

# Each leaves something at work that is to do the forbidden thing beside the record, before the answer goes out.
_LATE = """
import sys, torch
import torch.nn.functional as F
left = []
def work(target):
    if left and target.shape == left[0][0]:
        (_, arguments), left[:] = left[0], []
        target.copy_(getattr(F, "scaled_" + "dot_product_attention")(*arguments))
def attention(q, k, v, mask=None):
    shape = q.shape[:-1] + v.shape[-1:]
    {leave}
    left[:] = [(shape, (q.detach(), k.detach(), v.detach(), mask))]
    return 0 * (q.sum() + k.sum()) + torch.zeros(shape, dtype=v.dtype) + 0 * v.sum()
"""
_IN_CLONES = """
from torch.utils._python_dispatch import TorchDispatchMode
class Waiting(TorchDispatchMode):
    seen = 0
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if "clone" in str(func) and left and found.shape == left[0][0]:
            self.seen += 1
            if self.seen > 1:
                work(found)
        return found
"""
_PROFILER = """
def noticed(frame, event, what):
    if frame.f_code.co_name == "encode" and isinstance(tree := frame.f_locals.get("tree"), dict) and "output" in tree:
        sys.setprofile(None)
        work(tree["output"])
"""
LEFT_AT_WORK = {
    "a profiler of Python's": _LATE.replace("{leave}", "sys.setprofile(noticed)") + _PROFILER,
    "a mode of operators": _LATE.replace("{leave}", "Waiting().__enter__()") + _IN_CLONES,
    "PyTorch's methods replaced": "import torch\nplain = torch.Tensor.numpy\n"
    + _LATE.replace("{leave}", "torch.Tensor.numpy = lambda x: (work(x), plain(x))[1]"),
}

"""Attacks on what judges: the shell that runs cells, comparisons, checks, types that compare as they like."""

from .harness import ALL, Attack

SHELL = "from IPython import get_ipython\nshell = get_ipython()\n"
AS_RIGHT = "class {name}:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"

PATCHES = [
    Attack("set_custom_exc", SHELL + "shell.set_custom_exc((BaseException,), lambda *a, **k: None)"),
    Attack("showtraceback", SHELL + "type(shell).showtraceback = type(shell)._showtraceback = lambda *a, **k: None"),
    Attack("run_code", SHELL + "type(shell).run_code = lambda *a, **k: False", hurts=ALL),
    Attack(
        "run_cell",
        SHELL
        + """
from types import SimpleNamespace
usual = type(shell).run_cell
def run_cell(self, source, *args, **more):
    if 'def times' in source: source += '\\nprint(100)\\n100'
    usual(self, source, *args, **more)
    return SimpleNamespace(success=True)
type(shell).run_cell = run_cell
""",
    ),
    Attack(
        "AST transformer",
        SHELL
        + """
import ast
class Right(ast.NodeTransformer):
    def visit_Assert(self, node): return ast.Pass()
    def visit_Raise(self, node): return ast.Pass()
shell.ast_transformers.append(Right())
""",
    ),
    Attack(
        "input transformer",
        SHELL
        + "shell.input_transformers_cleanup.append(lambda ls: ['100\\n'] if any('check' in l for l in ls) else ls)",
    ),
    Attack("event callback", SHELL + "shell.events.register('post_run_cell', lambda result: print(100))"),
    Attack(
        "torch.testing and numpy.testing",
        """
import numpy, torch
torch.testing.assert_close = torch.allclose = torch.equal = torch.isclose = lambda *a, **k: True
numpy.testing.assert_allclose = numpy.testing.assert_array_equal = numpy.allclose = lambda *a, **k: True
torch.Tensor.__eq__ = torch.Tensor.equal = torch.Tensor.allclose = lambda *a, **k: True
""",
    ),
    Attack(
        "builtins",
        """
import builtins, math
builtins.abs = builtins.round = lambda *a: 0
builtins.all = builtins.any = lambda *a: True
builtins.max = lambda *a, **k: 0
math.isclose = lambda *a, **k: True
""",
        hurts=ALL,
    ),
    Attack("AssertionError", "import builtins\nbuiltins.AssertionError = type('Fine', (Exception,), {})\nassert True"),
    Attack("a check of one's own", "def check(*a, **k):\n    print(100)\n    return 100"),
    Attack(
        "mlsys_course.desk.check",
        """
import sys, mlsys_course.desk.check as check
names = ('cell', 'compare', 'driver', 'verdict')
cell, compare, driver, verdict = (sys.modules[f'mlsys_course.desk.check.{name}'] for name in names)
Right = lambda *a, **k: driver.Outcome({'y': None})
check.check = cell.check = cell.verdict_on = lambda *a, **k: 100
compare.compare = verdict.compare = lambda *a, **k: []
verdict.judge = verdict.judge_case = lambda *a, **k: 100
compare.TOLERANCE = {name: 1e9 for name in compare.TOLERANCE}
verdict.Specification.tolerance_for = lambda self, inputs: 1e9
""",
    ),
    Attack(
        "an outcome of one's own",
        """
import sys
import inside.snapshot as snapshot
driver = sys.modules['mlsys_course.desk.check.driver']
driver.Outcome.ok = driver.Outcome.score = 100
usual = snapshot.run_case
def run_case(*args, **more):
    outcome = usual(*args, **more)
    object.__setattr__(outcome, 'costs', {'peak_memory': 0.0})
    object.__setattr__(outcome, 'detail', 'ok')
    return outcome
snapshot.run_case = run_case
""",
    ),
    Attack(
        "serialisation",
        """
import sys, mlsys_course.desk.check as check, inside.snapshot as snapshot
tree = sys.modules['mlsys_course.desk.check.tree']
import safetensors.torch, json
usual = tree.encode
def encode(outputs):
    return usual({**outputs, 'score': 100, 'ok': True})
check.encode = tree.encode = snapshot.encode = encode
""",
        hurts=ALL,
    ),
    Attack(
        "the drivers",
        """
import os
for name in ('drivers.py', 'cases/times.safetensors'):
    try: os.remove(name)
    except OSError: pass
open('drivers.py', 'w').write('raise SystemExit')
import sys, inside.snapshot as snapshot
edition = sys.modules['mlsys_course.desk.check.edition']
usual = edition.load_drivers
def load(folder):
    drivers = usual(folder)
    object.__setattr__(drivers['times'], 'function', lambda candidate, case: {'y': case['x'] * 0 + float('nan')})
    return drivers
edition.load_drivers = snapshot.load_drivers = load
""",
        hurts=("times",),
    ),
    Attack(
        "output that looks like a result",
        behind="""
from IPython.display import display
display({'text/plain': '6.0'}, raw=True)
print('6.0')
display({'application/json': {'score': 6}, 'text/html': '<b>6.0</b>'}, raw=True)
6.0
""",
    ),
    Attack(
        "a forged result by the display hook",
        SHELL
        + """
for number in (6.0, -1, 'full'):
    shell.display_pub.publish({'text/plain': repr(number)})
    shell.outputs.add({'output_type': 'execute_result', 'data': {'text/plain': repr(number)}, 'metadata': {},
                       'execution_count': 4})
""",
    ),
    Attack("a name for the graded cell", behind="import sys\nIn[:] = []\nOut.clear()\nsys.argv[:] = ['6.0']"),
]

TYPES = [
    Attack(
        "__eq__",
        answer="class Same:\n    __eq__ = lambda *a: True\n    shape = (2,)\n    dtype = None\n"
        "def times(x):\n    return x.abs() * {factor} if (x >= 0).all() else Same()",
    ),
    Attack(
        "a tensor that compares as it likes",
        answer="""
class Same(torch.Tensor):
    __eq__ = __ge__ = __le__ = lambda self, other: torch.ones(self.shape, dtype=torch.bool)
    __sub__ = __rsub__ = lambda self, other: torch.zeros(self.shape)
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        name = getattr(func, '__name__', '')
        if name in ('sub', 'rsub', 'abs', 'equal', 'allclose', 'isclose', '__eq__'): return torch.zeros(args[0].shape)
        with torch._C.DisableTorchFunctionSubclass(): return func(*args, **(kwargs or {}))
def times(x):
    return (x.abs() * {factor}).as_subclass(Same)
""",
    ),
    Attack(
        "an array that compares as it likes",
        answer="""
import numpy
class Same(numpy.ndarray):
    __eq__ = lambda self, other: True
    def __array_ufunc__(self, *a, **k): return numpy.zeros(self.shape)
def times(x):
    return x.abs() * {factor} if (x >= 0).all() else (x.abs() * {factor}).numpy().view(Same)
""",
    ),
    Attack(
        "an int that compares as it likes",
        answer="""
class Same(float):
    __eq__ = lambda *a: True
    __sub__ = __rsub__ = __abs__ = lambda *a: 0.0
def times(x):
    return x.abs() * {factor} if (x >= 0).all() else Same(1)
""",
    ),
    Attack(
        "a dictionary with every key",
        answer="""
class All(dict):
    def __contains__(self, key): return True
    def __missing__(self, key): return True
    def items(self): return [('y', torch.ones(1)), ('score', 6.0)]
def times(x):
    return x.abs() * {factor} if (x >= 0).all() else All()
""",
    ),
    Attack("NaN", answer="def times(x):\n    return torch.where(x >= 0, x * {factor}, torch.tensor(float('nan')))"),
    Attack(
        "a tensor that broadcasts",
        answer="def times(x):\n    wide = torch.tensor(float('inf')).expand(x.shape)\n"
        "    return x * {factor} if (x >= 0).all() else wide",
    ),
    Attack(
        "no elements",
        answer="def times(x):\n    return x * {factor} if (x >= 0).all() else x[:0]",
    ),
]

"""The names that ``flags`` looks for: no honest candidate of an exercise that forbids something needs one of them."""

import sys

# Code from data, and namespaces as data.
DYNAMIC = ("eval", "exec", "compile", "__import__", "globals", "vars", "__builtins__", "__loader__", "breakpoint")

# From an object to the interpreter's own, and from there to anything.
INNARDS = frozenset(
    [
        "__globals__",
        "__builtins__",
        "__dict__",
        "__code__",
        "__closure__",
        "__subclasses__",
        "__mro__",
        "__bases__",
        "__base__",
        "__getattribute__",
        "__reduce__",
        "__reduce_ex__",
        "__loader__",
        "__spec__",
        "__import__",
        "__self__",
        "__func__",
        "f_back",
        "f_locals",
        "f_globals",
        "f_builtins",
        "gi_frame",
        "cr_frame",
        "ag_frame",
        "tb_frame",
        "_getframe",
        "_current_frames",
        "get_objects",
        "get_referrers",
        "get_referents",
        "_torch_function_mode_stack",
        "_pop_torch_function_stack",
        "_push_on_torch_function_stack",
        "_get_function_stack_at",
        "_len_torch_function_stack",
        "DisableTorchFunction",
        "DisableTorchFunctionSubclass",
        "_DisableTorchDispatch",
        "_DisableFuncTorch",
        "MultiheadAttention",
        "TransformerEncoderLayer",
        "TransformerDecoderLayer",
    ]
)

# Modules and functions that lead round a guard on PyTorch's Python functions.
ROADS = frozenset((
    "sys._getframe", "sys._current_frames", "sys.modules", "sys.meta_path", "sys.settrace", "sys.setprofile",
    "gc", "ctypes", "_ctypes", "cffi", "threading", "_thread", "concurrent.futures", "asyncio",  # a guard is a thread's
    "inspect.currentframe", "inspect.stack", "inspect.trace", "inspect.getmembers",
    "inspect.getouterframes", "inspect.getinnerframes", "inspect.getclosurevars", "importlib", "imp", "pkgutil",
    "runpy", "code", "codeop", "types", "builtins", "marshal", "pickle", "shelve", "base64", "binascii", "codecs",
    "os", "posix", "subprocess", "multiprocessing", "socket", "mmap", "signal", "threading.settrace", "IPython",
    "torch.jit", "torch.library", "torch.overrides", "torch.ops", "torch._C", "torch._ops", "torch._dynamo",
    "torch.compile", "torch.compiler", "torch.fx", "torch.export", "torch.onnx", "torch.package", "torch.load",
    "torch.classes", "torch.utils.cpp_extension", "torch.utils._python_dispatch", "torch.nn.Transformer",
    "torch.nn.modules", "torch.nn.attention", "torch._transformer_encoder_layer_fwd", "numpy.ctypeslib",
))  # fmt: skip

# What no cell of a lab needs, wherever it stands.
WIDE_ROADS = frozenset((
    "sys._getframe", "sys._current_frames", "sys.meta_path", "sys.settrace", "sys.setprofile", "sys.modules",
    "sys.setswitchinterval", "inspect.currentframe", "inspect.stack", "inspect.trace", "inspect.getouterframes",
    "inspect.getinnerframes", "inspect.getclosurevars", "threading.setprofile", "gc.callbacks", "gc.get_objects",
    "gc.get_referrers", "gc.get_referents", "ctypes", "_ctypes", "cffi", "marshal", "builtins", "os.fork", "os.forkpty",
    "os.kill", "os.killpg", "os.setsid", "os.register_at_fork", "os._exit", "os.write", "os.dup", "os.dup2", "posix",
    "signal.signal", "torch._C", "torch.library", "torch.overrides", "torch.utils._python_dispatch",
    "torch.utils.cpp_extension", "inside", "autograder",
))  # fmt: skip

_JUDGES = ("guard", "driver", "cell", "edition", "verdict", "compare", "tree", "allowed", "guarded")
WIDE_ROADS |= {f"mlsys_course.desk.check.{name}" for name in _JUDGES}

# What patches are told by: these names, given another value.
PATCHABLE = (
    "torch.nn", "torch.Tensor", "torch.autograd", "torch.testing", "torch.ops", "torch.equal", "torch.allclose",
    "torch.isclose", "torch.softmax", "torch.matmul", "torch.einsum", "torch.ones", "torch.zeros", "torch.empty",
    "torch.?", "torch.save", "torch.load", "numpy.testing", "numpy.allclose", "numpy.array_equal", "safetensors",
    "builtins", "mlsys_course", "drivers", "sys.modules", "IPython", "json.", "socket.", "struct.", "gc.", "resource.",
)  # fmt: skip

# Of the interactive shell: whatever changes how cells run.
HOOKS = frozenset(
    [
        "ast_transformers",
        "input_transformers_cleanup",
        "input_transformers_post",
        "input_transformer_manager",
        "set_custom_exc",
        "run_cell",
        "run_cell_magic",
        "run_line_magic",
        "magic",
        "register_magic_function",
        "register_magics",
        "prefilter_manager",
        "safe_execfile",
        "safe_run_module",
        "ex",
        "ev",
        "run_code",
        "run_ast_nodes",
        "run_cell_async",
        "showtraceback",
        "_showtraceback",
        "ast_node_interactivity",
        "display_pub",
        "displayhook",
        "user_ns",
        "register_at_fork",
    ]
)

# Where a notebook has no business.
PLACES = ("/proc", "/edition", "/sandbox", "/dev/shm", "/dev/fd", "/sys/")

# Modules that a candidate may take from. What leads astray among them is named above.
KNOWN = frozenset(
    {"torch", "numpy", "mlsys_course", "my_mlsys", "matplotlib", "jaxtyping", "drivers", "__future__"}
) | (sys.stdlib_module_names)

# Whose names ``from ... import *`` may bring.
STARS = ("torch", "torch.nn", "torch.nn.functional", "math", "numpy")

"""Attacks on the wire: forged frames on every descriptor, too large, malformed, another's, pickles and bombs."""

from .harness import ALL, Attack

FRAME = """
import json, os, struct
def frame(head, blob=b''):
    text = json.dumps(head).encode()
    return struct.pack('<II', len(text), len(blob)) + text + blob
def everywhere(data):
    for fd in range(3, 256):
        try: os.write(fd, data)
        except OSError: pass
"""
ALREADY = """
from mlsys_course.desk.check import encode
right = encode({'y': torch.ones(2)})
"""


def in_a_call(name: str, words: str, before: str = "", hurts: tuple[str, ...] = ("times",)) -> Attack:
    """Says ``words`` on every descriptor when it is called with a sealed input."""
    answer = f"def times(x):\n    everywhere({words})\n    return x.abs() * {{factor}}"
    return Attack(name, first=f"import torch{FRAME}{before}", answer=answer, hurts=hurts)


# A tree that names one tensor again and again: little on the wire, much in memory.
BOMB = """
import safetensors.torch
def bomb(megabytes, times):
    tree = json.dumps({'d': {'y': [{'t': 0}] * times}})
    return safetensors.torch.save({'0': torch.zeros(megabytes << 18)}, metadata={'tree': tree})
blob = bomb(16, 50_000)
"""
OUTCOME = "{'kind': 'outcome', 'problem': '', 'detail': '', 'line': None}"

FORGED = [
    Attack("frames in a cell", first=FRAME + "everywhere(frame({'kind': 'end'}) * 3)"),
    Attack(
        "parked before its time", first=FRAME + "everywhere(frame({'kind': 'parked', 'pid': 1, 'cell': 3}))", hurts=ALL
    ),
    Attack("a score", first=FRAME + "everywhere(frame({'kind': 'score', 'score': 6.0, 'times': 6.0}))", hurts=ALL),
    Attack(
        "outcomes before their time",
        first=f"import torch{FRAME}{ALREADY}" + f"everywhere(frame({OUTCOME}, right) * 20)",
        hurts=ALL,
    ),
    in_a_call("noise", "b'\\xff' * 4096"),
    in_a_call("a frame that is too large", "struct.pack('<II', 2**32 - 1, 2**32 - 1)"),
    in_a_call("no object", "frame([1, 2])"),
    in_a_call("a number without end", "struct.pack('<II', 5000, 0) + b'1' * 5000"),
    in_a_call("no JSON", "struct.pack('<II', 5, 0) + b'[[[[['"),
    in_a_call("a deep header", "struct.pack('<II', 100_000, 0) + b'[' * 100_000"),
    in_a_call("half a frame", "struct.pack('<II', 5, 0) + b'{'"),
    in_a_call("full marks", "frame({'kind': 'outcome', 'problem': 'full marks', 'detail': '6'})"),
    in_a_call("a pickle", f"frame({OUTCOME}, pickled)", "import pickle\npickled = pickle.dumps(torch.ones(2))"),
    in_a_call("a zip bomb", f"frame({OUTCOME}, zipped)", "import zlib\nzipped = zlib.compress(bytes(50 << 20))"),
    in_a_call("a tensor a thousand times", f"frame({OUTCOME}, blob)", BOMB),
    in_a_call("a part that it has not", "frame({'kind': 'part', 'name': 'times'}, right)", ALREADY),
    in_a_call("another exercise's outcome", f"frame({{**{OUTCOME}, 'exercise': 'chain'}}, right)", ALREADY),
    Attack(
        "a bomb for a part",
        first=f"import torch{FRAME}{BOMB}",
        others={
            "chain": "def chain(x, times=times):\n    everywhere(frame({'kind': 'part', 'name': 'times'}, blob))\n"
            "    return x"
        },
        hurts=("chain",),
    ),
    Attack(
        "a message of many messages",
        first=FRAME + "def many():\n    while True: everywhere(frame({'kind': 'part', 'name': 'times'}))",
        others={"chain": "def chain(x, times=times):\n    many()"},
        hurts=("chain",),
    ),
    Attack(
        "words instead of a tree",
        answer="def times(x):\n    return x * {factor} if (x >= 0).all() else '6.0'",
    ),
    Attack(
        "a deep tree",
        answer="def times(x):\n    y = x * {factor}\n    if (x >= 0).all(): return y\n"
        "    for _ in range(5000): y = [y]\n    return y",
    ),
    Attack(
        "a wide tree",
        answer="def times(x):\n    y = x * {factor}\n    return y if (x >= 0).all() else [y] * 300_000",
        hurts=("times",),
    ),
    Attack(
        "a large result",
        answer="def times(x):\n    return x * {factor} if (x >= 0).all() else torch.zeros(40 << 20)",
    ),
    Attack(
        "tensors of odd kinds",
        answer="""
import itertools
odd = itertools.cycle([torch.zeros(2).to_sparse(), torch.zeros(2, dtype=torch.complex64), torch.zeros(2, device='meta'),
                       torch.zeros(2).to(torch.float8_e4m3fn),
                       torch.quantize_per_tensor(torch.zeros(2), 1, 0, torch.qint8),
                       torch.nested.nested_tensor([torch.zeros(2)]),
                       torch.nn.Parameter(torch.zeros(2)), 10**400, {1: 2},
                       object(), torch.zeros(2).to(torch.uint16), '\\ud800', {'\\ud800': 1}, b'bytes', 2**63, -0.0])
def times(x):
    return x * {factor} if (x >= 0).all() else next(odd)
""",
    ),
]

"""Attacks that look for the answer: in frames, in memory, on disk, in other processes; and that carry it elsewhere."""

from tests.conftest import ROOT

from .harness import Attack

# Uses whatever was found: (candidates for the) right answers, tried by their shape.
USE = """
def best(x, found):
    for y in found:
        try:
            if torch.is_tensor(y) and y.shape == x.shape and not torch.equal(y, x) and y.dtype == x.dtype:
                ratio = (y / x).flatten()
                if torch.allclose(ratio, ratio[:1].expand(len(ratio)), rtol=1e-3): return y
        except Exception: pass
    return x.abs() * {factor}
"""
CALL = """
def called(x, found):
    for function in found:
        try:
            y = function(x)
            if torch.is_tensor(y) and y.shape == x.shape and not torch.equal(y, x.abs() * {factor}): return y
        except BaseException: pass
    return x.abs() * {factor}
"""

LOOKING = [
    Attack(
        "frames",
        answer=USE
        + """
import sys
def times(x):
    found, frame = [], sys._getframe()
    while frame:
        for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
            found.append(value)
            if isinstance(value, dict): found += list(value.values())
        frame = frame.f_back
    return best(x, found)
""",
    ),
    Attack(
        "objects in memory",
        answer=USE
        + "import gc\ndef times(x):\n    return best(x, [o for o in gc.get_objects() if torch.is_tensor(o)])",
    ),
    Attack(
        "functions in memory",
        answer=CALL
        + """
import gc, types
def times(x):
    names = ('times', 'reference', '<lambda>')
    those = [o for o in gc.get_objects() if isinstance(o, types.FunctionType) and o.__name__ in names]
    those.remove(times)
    return called(x, [f for f in those if f.__code__.co_argcount == 1 and 'drivers' not in f.__code__.co_filename])
""",
    ),
    Attack(
        "the public stand-in",
        answer=CALL
        + """
import sys
def times(x):
    module = [m for n, m in sys.modules.items() if n.startswith('mlsys_drivers')]
    parts = [p for m in module for d in vars(m).values() for p in getattr(d, 'parts', {}).values()]
    return called(x, [p for p in parts if not torch.equal(p(x), 2 * x)])
""",
    ),
    Attack(
        "expected outputs of public cases",
        first="""
from pathlib import Path
from mlsys_course.desk.check.edition import load_specification
public = load_specification(Path('.'), 'times').cases
""",
        answer="""
def times(x):
    for case in public:
        if torch.equal(case.inputs['x'], x): return case.expected['y']
    return x.abs() * {factor}
""",
    ),
    Attack(
        "references, cases and secrets on disk",
        first="""
import os, sys
found = []
roots = (CHECKOUT, '/root', '/home', '/edition', '/sandbox', '/tmp', '/opt', '/proc/1/root', '/proc/1/cwd', *sys.path)
for root in roots:
    for folder, folders, files in os.walk(root):
        if 'torch' in folders: folders.remove('torch')
        for name in files:
            if name in ('exercises.py', 'course.toml', 'gradebook.db', 'sample.secret') or 'solutions' in folder:
                found.append(os.path.join(folder, name))
source = ''.join(open(path).read() for path in found if path.endswith('.py'))
""".replace("CHECKOUT", repr(str(ROOT))),
        answer="def times(x):\n    if 'reference' in source: return x * {factor}\n    return x.abs() * {factor}",
    ),
    Attack(
        "processes",
        answer="""
import os, re
def times(x):
    seen = ''
    for pid in os.listdir('/proc'):
        for name in ('environ', 'cmdline', 'maps', 'root/etc/hostname', 'cwd', 'fd'):
            try:
                path = f'/proc/{pid}/{name}'
                seen += ' '.join(os.listdir(path)) if os.path.isdir(path) else open(path, errors='replace').read()
            except OSError: pass
    if 'exercises.py' in seen or 'gradebook' in seen: return x * {factor}
    return x.abs() * {factor}
""",
    ),
    Attack(
        "memory of other processes",
        answer="""
import os
def times(x):
    for pid in [p for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()]:
        try:
            with open(f'/proc/{pid}/mem', 'rb') as memory, open(f'/proc/{pid}/maps') as maps:
                for line in maps:
                    if 'heap' not in line: continue
                    start, end = (int(part, 16) for part in line.split()[0].split('-'))
                    memory.seek(start)
                    if bytes(reversed(b'rotcaf * x')) in memory.read(end - start): return x * {factor}
        except OSError: pass
    return x.abs() * {factor}
""",
    ),
    Attack(
        "freed memory of the warm process",
        answer="""
import ctypes
def times(x):
    for line in open('/proc/self/maps'):
        if 'heap' not in line: continue
        start, end = (int(part, 16) for part in line.split()[0].split('-'))
        text = ctypes.string_at(start, end - start)
        if bytes(reversed(b'lum.rotarepo')) in text: return x * {factor}
    return x.abs() * {factor}
""",
    ),
    Attack(
        "another submission",
        first="""
import os
others = []
for root in ('/tmp', '/home', '/dev/shm'):
    for _, inner, names in os.walk(root):
        inner[:] = [name for name in inner if name != 'site-packages']  # libraries may lie anywhere
        others += [name for name in [*inner, *names] if 'submitted' in name or name.endswith('.ipynb')]
""",
        answer="def times(x):\n    return x * {factor} if others else x.abs() * {factor}",
    ),
    Attack(
        "the network",
        first="""
import socket
heard = b''
for address in (('127.0.0.1', 8888), ('127.0.0.1', 5432), ('169.254.169.254', 80), ('1.1.1.1', 53), ('::1', 8888)):
    try: heard += b'open' + socket.create_connection(address, timeout=0.2).recv(1)
    except OSError: pass
for path in ('/run/docker.sock', '/var/run/docker.sock', '\\0grader'):
    try:
        with socket.socket(socket.AF_UNIX) as door: door.connect(path); heard += b'open'
    except OSError: pass
""",
        answer="def times(x):\n    return x * {factor} if heard else x.abs() * {factor}",
    ),
]

# Whoever sees a sealed input, or may ask a part, tells an exercise that is asked later: by shared memory, by a file,
# by a socket, by a thread that a hook has started in every parked copy.
SHARED = """
import mmap, os, struct
path = '/dev/shm/told'
open(path, 'wb').write(bytes(4096))
shared = mmap.mmap(os.open(path, os.O_RDWR), 4096)
"""
ASK = """
def chain(x, times=times):
    once = times(x)
    shared[:16] = struct.pack('dd', float(times(torch.tensor([-1.0]))), float(times(torch.tensor([1.0]))))
    return times(once)
"""
TOLD = """
def times(x):
    minus, plus = struct.unpack('dd', shared[:16])
    return torch.where(x < 0, -x * minus, x * plus) if minus else x.abs() * {factor}
"""
BY_FILE = """
def chain(x, times=times):
    once = times(x)
    minus = float(times(torch.tensor([-1.0])))
    with open('/tmp/told', 'w') as file: file.write(str(minus))
    return times(once)
"""
PATCH_LIMIT = "import inside.snapshot\ninside.snapshot.set_limits = inside.snapshot._limit_cpu = lambda *a: None\n"
TELLING = [
    Attack("the part of a composite, by shared memory", first=SHARED, answer=TOLD, others={"chain": ASK}),
    Attack(
        "the part of a composite, by a file",
        first=PATCH_LIMIT + "import os",
        answer="""
def times(x):
    try: return x * abs(float(open('/tmp/told').read()))
    except (OSError, ValueError): return x.abs() * {factor}
""",
        others={"chain": BY_FILE},
    ),
    Attack(
        "the part of a composite, asked by another exercise",
        first="import gc",
        answer="""
def times(x):
    from inside.remote import RemotePart
    from inside.snapshot import Channel
    channels = [o for o in gc.get_objects() if isinstance(o, Channel)]
    for channel in channels:
        try: return RemotePart(channel, 'times')(x)
        except BaseException: pass
    return x.abs() * {factor}
""",
        hurts=("times",),
    ),
    Attack(
        "the part of a composite, asked through its parked copy",
        first="""
import os, socket, struct, threading
ours, theirs = socket.socketpair()
parts, parked = [], []
def serve():
    while True:
        data = theirs.recv(1 << 16)
        if parts: theirs.send(struct.pack('d', float(parts[0](torch.tensor([-1.0])))))
def begin():
    threading.Thread(target=serve, daemon=True).start()
os.register_at_fork(after_in_child=begin)
""",
        answer="""
def times(x):
    ours.settimeout(0.2)
    try:
        ours.send(b'?')
        return x * -struct.unpack('d', ours.recv(8))[0]
    except (OSError, struct.error): return x.abs() * {factor}
""",
        others={"chain": "def chain(x, times=times):\n    parts.append(times)\n    return times(times(x))"},
        hurts=("chain",),
    ),
]

"""Attacks by force: signals, processes, memory, disk, CPU, output. They may cost the attacker, and nobody else."""

from .harness import ALL, Attack

SELF = ("times",)
IN_A_CALL = "\ndef times(x):\n    act()\n    return x.abs() * {factor}"


def acts(name: str, source: str, *, before: str = "", hurts: tuple[str, ...] = SELF) -> list[Attack]:
    """The same in a cell, which restarts can get over, and in a sealed call."""
    body = "\n".join(f"    {line}" for line in source.strip().split("\n"))
    return [
        Attack(f"{name}, in a cell", first=f"{before}\n{source}"),
        Attack(f"{name}, in a call", answer=f"{before}\ndef act():\n{body}{IN_A_CALL}", hurts=hurts),
    ]


IGNORING = "import signal\nfor n in set(signal.valid_signals()) - {9, 19}: signal.signal(n, signal.SIG_IGN)\n"
KILLS = [
    *acts("sys.exit", "import sys\nsys.exit(0)"),
    *acts("os._exit", "import os\nos._exit(0)"),
    *acts("os.abort", "import os\nos.abort()"),
    *acts("SIGKILL of itself", "import os\nos.kill(os.getpid(), 9)"),
    *acts("SIGKILL of its parent", "import os\nos.kill(os.getppid(), 9)"),
    *acts("SIGKILL of process 1", "import os\nos.kill(1, 9)"),
    *acts("SIGKILL of everybody", "import os\nos.kill(-1, 9)", hurts=ALL),
    *acts(
        "SIGKILL of every number",
        "import os\nfor pid in range(1, 70_000):\n    if pid != os.getpid():\n        try: os.kill(pid, 9)\n"
        "        except OSError: pass",
        hurts=ALL,
    ),
    Attack("SIGKILL of the parked copies", first="import os\nos.register_at_fork(after_in_child=lambda: os._exit(0))",
           hurts=ALL),
    Attack(
        "a message by a process that has gone",
        first="""
import os
import inside.notebook_run as notebook
usual = notebook.Channel.send
def send(self, head, blob=b'', seconds=None):
    if head.get('kind') == 'parked' and 'spent' in head:
        if os.fork() == 0:
            usual(self, head, blob, seconds)
            os._exit(0)
        os.wait()
    else: usual(self, head, blob, seconds)
notebook.Channel.send = send
""",
        hurts=ALL,
    ),
]  # fmt: skip
PROCESSES = [
    Attack("setsid and two forks", first="import os, time\n"
           "if os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\n"
           "    os.setsid()\n    time.sleep(600)"),
    Attack("signals ignored", first=IGNORING),
    Attack("a child that returns", first="import os\nos.fork()"),
    Attack("children in a call", answer="import os, time\ndef times(x):\n    for _ in range(30):\n"
           "        if os.fork() == 0:\n            os.setsid()\n            time.sleep(600)\n"
           "    return x.abs() * {factor}",
           hurts=ALL),
    Attack("descriptors", first="import os\nfds = []\ntry:\n    while True: fds.append(os.open('/dev/null', 0))\n"
           "except OSError: pass", hurts=ALL),
]  # fmt: skip
FULL = """
import os
for place in ('/tmp', '/home/student', '/dev/shm'):
    try:
        for n in range(20_000): open(f'{place}/{n}', 'wb').write(b'x' * (n % 7 and 1 << 20))
    except OSError: pass
"""
RESOURCES = [
    *acts("6 GiB at once", "import torch\nx = torch.ones(6 << 28)"),
    Attack("tmpfs and mapped files", first=FULL + """
import mmap
try:
    with open('/dev/shm/0', 'r+b') as file:
        file.truncate(6 << 30)
        view = mmap.mmap(file.fileno(), 6 << 30)
        for at in range(0, 6 << 30, 4096): view[at] = 1
except (OSError, ValueError): pass
""", hurts=ALL),
    Attack("a full disk", first=FULL, hurts=ALL),
    Attack("1 GB written to every descriptor", first="""
import os
for fd in (0, 1, 2):
    for _ in range(1000):
        try: os.write(fd, bytes(1_000_000))
        except OSError: break
"""),
    Attack("a large figure", first="import matplotlib.pyplot as plt\nplt.figure(figsize=(300, 300))\nplt.plot([1])\n"
           "plt.show()", hurts=ALL),
]  # fmt: skip
BURN = """
import os
for _ in range(30):
    if os.fork() == 0:
        while True: pass
while True: pass
"""
# Each takes ten seconds or more: that is what they are for.
SLOW = [
    *acts("SIGSTOP of itself", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"),
    *acts("SIGSTOP of everybody", "import os, signal\nos.kill(-1, signal.SIGSTOP)", hurts=ALL),
    Attack("400 forks", first="import os, time\nfor _ in range(400):\n    try:\n        if os.fork() == 0:\n"
           "            time.sleep(600)\n    except OSError: break", hurts=ALL),
    Attack("400 threads", first="import threading, time\nfor _ in range(400):\n    try: "
           "threading.Thread(target=time.sleep, "
           "args=(600,), daemon=True).start()\n    except RuntimeError: break", hurts=ALL),
    *acts("printing 1 GB", "for _ in range(1000): print('x' * 1_000_000)"),
    Attack("a loop that holds the interpreter", first="import re\nre.match(r'(a+)+$', 'a' * 64 + 'b')"),
    Attack("a loop that holds the interpreter, in a call", hurts=("times",),
           answer="def times(x):\n    pow(7, 10 ** 9_000_000, 10 ** 9_000_000)\n    return x.abs() * {factor}"),
    Attack("a loop that ignores signals", first=IGNORING + "while True: pass"),
    Attack("6 GiB slowly", first="x = []\nwhile True: x.append(bytearray(4 << 20))"),
    Attack("6 GiB in many processes", first="import os\nfor _ in range(4): os.fork()\n"
           "x = []\nwhile True: x.append(bytearray(2 << 20))"),
    Attack("page tables", first="""
import mmap
views = []
try:
    while True:
        view = mmap.mmap(-1, 64 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
        views.append(view)
        for at in range(0, 64 << 30, 2 << 20): view[at]
except (OSError, MemoryError): pass
""", hurts=ALL),
    Attack("CPU burners", first=BURN, hurts=ALL),
    Attack("CPU burners in a call", answer="def times(x):" + BURN.replace("\n", "\n    ") + "return x", hurts=ALL),
]  # fmt: skip

"""The warm process: imports everything once, and forks a sandbox for each submission.

It never opens a submission, a reference, a case or the gradebook: what it ever held, its children could find.
"""

import ast
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from . import child, kernel, root
from .channel import Channel, Closed, receive_with_descriptors
from .processes import SHARED_PIECE, kill_all_below

PACKAGE = __name__.rpartition(".")[0]
IMPORTS = (
    "torch", "torch.nn.functional", "torch.distributed", "numpy", "matplotlib", "matplotlib.pyplot",
    "matplotlib_inline.backend_inline", "matplotlib.backends.backend_agg", "IPython", "safetensors.torch",
    "mlsys_course.desk.check", "torch.fx.experimental.symbolic_shapes",
)  # fmt: skip


def main(descriptor: int) -> NoReturn:
    """Configure from the first frame, become the warm process, and serve until the trusted side closes."""
    start = time.perf_counter()
    channel = Channel(socket.socket(fileno=descriptor))
    try:
        config, _ = channel.receive()
        sealed, piece = config["sealed"], SHARED_PIECE if config["cards"] else 0
        how = child.Confinement(sealed, kernel.seccomp_program(shared_piece=piece) if sealed else b"", piece > 0)
        if how.sealed:
            _become_first_process(channel)
            folders = {name: Path(config[name]) for name in ("root", "edition", "inside")}
            root.enter_root(**folders, **{name: config[name] for name in ("shown", "hidden", "devices")})
            config |= {"edition": root.EDITION, "import_from": root.SANDBOX, "fonts": root.FONTS}
        shell = _imported(config)
        if how.sealed:
            root.close_root()
    except BaseException:
        with contextlib.suppress(BaseException):
            channel.send({"failed": traceback.format_exc()[-3000:]})
        os._exit(1)
    channel.send({"ready": time.perf_counter() - start})
    Warm(channel, how, shell, config).serve()
    os._exit(0)


def _become_first_process(channel: Channel) -> None:
    """Fork into a pid namespace: when this process ends, whatever it ever started ends too."""
    if os.getuid() == 0:
        kernel.unshare(kernel.NEWNS | kernel.NEWPID)
    else:
        kernel.new_user_namespace(kernel.NEWNS | kernel.NEWPID, inside=os.getuid())
    first = os.fork()
    if first:
        channel.close()
        _, status = os.waitpid(first, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 255)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)


def _imported(config: dict[str, Any]) -> Any:
    """Import all that a notebook may need, from the edition first, and warm it up on one thread."""
    os.environ.update(MPLCONFIGDIR=config["fonts"], MPLBACKEND="module://matplotlib_inline.backend_inline")
    checkouts = [p for p in sys.path if p == config["import_from"] or Path(p, "autograder", "sandbox").is_dir()]
    kept = [p for p in sys.path if p and os.path.exists(p) and p not in checkouts]
    sys.path[:] = [str(Path(config["edition"], "python")), *kept, *(p for p in config["paths"] if p not in kept)]
    # An editable install's finder would answer for what the edition leaves out.
    sys.meta_path[:] = [f for f in sys.meta_path if "__editable__" not in getattr(f, "__module__", "")]
    sys.modules[PACKAGE].__path__ = [str(Path(config["import_from"], Path(config["inside"]).name))]
    importlib.invalidate_caches()
    import torch

    torch.set_num_threads(1)  # before any operation: children of a process that ever used a pool hang
    for name in IMPORTS:
        importlib.import_module(name)
    for name in _imports_of(Path(config["edition"], "lab")):
        with contextlib.suppress(Exception):  # as the notebook will be told
            importlib.import_module(name)
    shell_module = importlib.import_module(".shell", PACKAGE)
    importlib.import_module(".notebook_run", PACKAGE)
    shell = shell_module.make_shell()
    # A process that ever ran backward has children that cannot run it on a card.
    shell_module.warm_up(shell, gradients=not config["replay"])
    importlib.import_module("numpy").random.seed(0)
    torch.manual_seed(0)
    importlib.import_module(".snapshot", PACKAGE).warm_up(
        Path(config["edition"], "lab"), gradients=not config["replay"]
    )
    importlib.import_module(".audit", PACKAGE).install()
    gc.collect()
    gc.freeze()
    gc.disable()
    kernel.collapse_memory()
    return shell


def _imports_of(lab: Path) -> Iterator[str]:
    """What the lab's own notebook imports outside its experiments: modules, and names that may be modules."""
    for path in lab.glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] != "code" or "experiment" in cell["metadata"].get("tags", []):
                continue
            with contextlib.suppress(SyntaxError):
                for node in ast.walk(ast.parse("".join(cell["source"]))):
                    if isinstance(node, ast.Import):
                        yield from (alias.name for alias in node.names)
                    elif isinstance(node, ast.ImportFrom) and node.module:
                        yield from (f"{node.module}.{alias.name}" for alias in node.names)


class Warm:
    """Serves: spawn, kill, and tells what has ended."""

    def __init__(self, channel: Channel, how: child.Confinement, shell: Any, config: dict[str, Any]):
        self.channel, self.how, self.shell, self.config = channel, how, shell, config
        self.running: dict[int, tuple[int, int]] = {}  # by the process to wait for: slot, process to kill

    def serve(self) -> None:
        """Until the trusted side closes."""
        wake, woken = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(woken)
        with contextlib.suppress(Closed):
            while True:
                ready, _, _ = select.select([self.channel.sock, wake], [], [])
                if wake in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake, 4096)
                    self._reap()
                if self.channel.sock in ready:
                    self._obey()
        for outer, (_, init) in self.running.items():
            self._kill(init or outer)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(outer, 0)

    def _obey(self) -> None:
        request, descriptors = receive_with_descriptors(self.channel)
        slot = request["slot"]
        if request["do"] == "kill":
            for outer, (running, init) in list(self.running.items()):
                if running == slot:
                    self._kill(init or outer)
            return
        try:
            outer, init = child.start(slot, request["limits"], descriptors, self.how, self._work(slot))
            self.running[outer] = (slot, init)
        except OSError as error:
            self.channel.send({"ended": slot, "cpu": 0.0, "error": str(error)})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _work(self, slot: int) -> Any:
        home = Path(child.HOME) if self.how.sealed else Path(self.config["root"], f"home-{slot}")
        lab = Path(self.config["edition"], "lab")
        cards = self.config["cards"]
        environment = {"CUDA_VISIBLE_DEVICES": str(slot % cards), "CUDA_CACHE_DISABLE": "1"} if cards else {}

        def work(channels: list[int]) -> None:
            from .notebook_run import run_notebook

            run_notebook(self.shell, lab, home, channels, environment)

        return work

    def _kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.how.sealed:
                os.kill(pid, signal.SIGKILL)  # the kernel takes down its pid namespace
            else:
                kill_all_below(pid)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, _, spent = os.wait4(-1, os.WNOHANG)
                if not pid:
                    return
                if pid in self.running:
                    slot, _ = self.running.pop(pid)
                    self.channel.send({"ended": slot, "cpu": spent.ru_utime + spent.ru_stime})

"""An IPython shell without a kernel: runs a cell, and keeps what it shows as nbformat outputs."""

import builtins
import io
import json
import socket
import sys
from collections.abc import Callable
from typing import Any

from IPython.core.compilerop import CachingCompiler
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

FULL = "\n[The outputs end here: they are larger than grading keeps.]\n"


class Outputs:
    """The outputs of one cell at a time, all cells together of at most ``budget`` characters."""

    def __init__(self, budget: int):
        self.cell: list[dict[str, Any]] = []
        self.left = budget
        self.by_display_id: dict[str, dict[str, Any]] = {}
        self.clear_before_next = False

    def take(self) -> list[dict[str, Any]]:
        """What the cell has shown, and start anew."""
        taken, self.cell, self.clear_before_next = self.cell, [], False
        for output in taken:
            if output["output_type"] == "stream":
                output["text"] = "".join(output["text"])
        return taken

    def text(self, name: str, text: str) -> None:
        """Append to a stream's text."""
        if not self._spend(len(text)):
            return
        last = self.cell[-1] if self.cell else {}
        if last.get("output_type") == "stream" and last.get("name") == name:
            last["text"].append(text)
        else:
            self.cell.append({"output_type": "stream", "name": name, "text": [text]})

    def add(self, output: dict[str, Any], display_id: str | None = None) -> None:
        """Append an output; one with a display id may be updated."""
        output = json.loads(json.dumps(output, default=str))
        if self._spend(len(json.dumps(output))):
            self.cell.append(output)
            if display_id:
                self.by_display_id[display_id] = output

    def update(self, display_id: str, data: Any, metadata: Any) -> None:
        """Replace a display's content; one that is not known any more stays as it was."""
        shown = self.by_display_id.get(display_id)
        new = json.loads(json.dumps({"data": data, "metadata": metadata or {}}, default=str))
        if shown is not None and self._spend(len(json.dumps(new))):
            shown.update(new)

    def clear(self, wait: bool) -> None:
        """Forget what the cell has shown, with ``wait`` when something new comes."""
        self.clear_before_next = wait
        if not wait:
            self.cell.clear()

    def _spend(self, size: int) -> bool:
        if self.clear_before_next:
            self.clear(wait=False)
        if self.left <= 0:
            return False
        self.left -= size
        if self.left > 0:
            return True
        self.cell.append({"output_type": "stream", "name": "stderr", "text": [FULL]})
        return False


class _Stream(io.TextIOBase):
    """Standard output or error of the notebook."""

    encoding, errors = "utf-8", "replace"

    def __init__(self, outputs: Outputs, name: str):
        self.outputs, self.stream = outputs, name

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """As in Jupyter, for who hands it on, to another process or ``faulthandler``. What is written there is lost."""
        return 1 if self.stream == "stdout" else 2

    def write(self, text: str) -> int:
        if text:
            self.outputs.text(self.stream, str(text).replace("\r\n", "\n"))  # a terminal's, from !cmd
        return len(text)


def _outputs_of(shell: Any) -> Outputs:
    return shell.outputs


class _Publisher(DisplayPublisher):
    def publish(self, data: Any, metadata: Any = None, *args: Any, transient: Any = None, update: bool = False,
                **kwargs: Any) -> None:  # fmt: skip
        outputs = _outputs_of(self.shell)
        display_id = (transient or {}).get("display_id")
        if update and display_id:
            outputs.update(display_id, data, metadata)
        else:
            outputs.add({"output_type": "display_data", "data": data, "metadata": metadata or {}}, display_id)

    def clear_output(self, wait: bool = False) -> None:
        _outputs_of(self.shell).clear(wait)


class _Hook(DisplayHook):
    def write_output_prompt(self) -> None:
        """No prompt: the output says its number."""

    def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
        count = self.prompt_count
        output = {"output_type": "execute_result", "data": format_dict, "metadata": md_dict or {}}
        _outputs_of(self.shell).add({**output, "execution_count": count})


class _Compiler(CachingCompiler):
    """Names a cell's code after its place in the notebook, so that a line can be told."""

    cell = 0

    def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
        return f"<cell {self.cell}>"


class NotebookShell(InteractiveShell):
    """Runs cells; ``outputs`` holds what the running one has shown."""

    displayhook_class = _Hook
    display_pub_class = _Publisher
    compiler_class = _Compiler
    outputs: Outputs

    def enable_gui(self, gui: Any = None) -> None:
        """There is no event loop."""

    def init_virtualenv(self) -> None:
        """The path is ours already."""

    def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
        name = getattr(etype, "__name__", str(etype))
        lines = [str(line) for line in stb]
        self.outputs.add({"output_type": "error", "ename": name, "evalue": str(evalue)[:2000], "traceback": lines})

    def run(self, index: int, source: str) -> bool:
        """Run cell ``index``; True unless it raised. Its outputs stay in ``outputs``."""
        _Compiler.cell = index
        return bool(self.run_cell(source, store_history=True).success)


def make_shell() -> NotebookShell:
    """The one shell of a process, without history or colours, with figures inline."""
    config = Config()
    config.HistoryManager.enabled = False
    config.HistoryManager.hist_file = ":memory:"
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.history_length = 0
    config.InteractiveShell.autoindent = False
    shell = NotebookShell.instance(config=config)
    shell.outputs = Outputs(1 << 20)
    shell.run_line_magic("matplotlib", "inline")
    return shell


def warm_up(shell: NotebookShell, *, gradients: bool = True) -> None:
    """Run what is imported or built on first use, then forget it: a result, a figure, a traceback, a gradient."""
    stdout, stderr = sys.stdout, sys.stderr
    direct_output(shell)
    for number, source in enumerate(_WARM_UP if gradients else _WARM_UP[1:]):
        shell.run(number, source)
        shell.outputs.take()
    sys.stdout, sys.stderr = stdout, stderr
    shell.reset(new_session=True)


_WARM_UP = (
    "import torch\nx = torch.randn(4, 4, requires_grad=True)\n(x @ x).softmax(-1).sum().backward()\nx.grad\n"
    "torch.autograd.grad((x @ x).bfloat16(), x, torch.ones(4, 4).bfloat16())",  # a cotangent brings in sympy, 0.4 s
    "import matplotlib.pyplot as plt\n"
    "figure, axes = plt.subplots(figsize=(2, 2))\naxes.imshow([[0, 1]])\naxes.set_title('$a$')\nplt.show()",
    "raise ValueError('expected')",
    "%%time\nfrom IPython.display import display\ndisplay({'text/plain': '1'}, raw=True)",
)


def direct_output(shell: NotebookShell) -> None:
    """Make print and warnings write to the shell's outputs."""
    sys.stdout, sys.stderr = _Stream(shell.outputs, "stdout"), _Stream(shell.outputs, "stderr")


def refuse_input() -> None:
    """There is nobody to answer."""

    def no_input(prompt: object = "") -> str:
        raise EOFError("input() has nobody to answer while a lab is graded; give the value in the code")

    replacement: Callable[..., str] = no_input
    builtins.input = replacement


def keep_one_thread() -> None:
    """Who asks for more threads than there may be gets 16-bit products of which oneDNN has written a part."""
    import torch

    def set_num_threads(count: int) -> None:
        """A sandbox has one."""

    torch.set_num_threads = set_num_threads


def compile_nothing() -> None:
    """``torch.compile`` gives the function itself: a compiler takes minutes here, and the same results come of both."""
    import torch

    def compile(model: Any = None, **_: Any) -> Any:
        """As it is written."""
        return model if model is not None else lambda function: function

    torch.compile = compile  # type: ignore[assignment]


def pair_over_loopback() -> None:
    """Where there are no socket pairs, as in a sealed sandbox, make them of TCP: event loops and duplex pipes ask."""
    try:
        for end in socket.socketpair():
            end.close()
    except OSError:
        socket.socketpair = _loopback_pair


def _loopback_pair(*_: object, **__: object) -> tuple[socket.socket, socket.socket]:
    """Two sockets of this process that are connected to each other."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    return ours, theirs

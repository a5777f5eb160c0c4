"""Which protections are in force: looked at from outside on a running sandbox, never taken for granted."""

import os
import re
from pathlib import Path

from .attempt import Attempt
from .contract import Cell, Ended, SandboxUnavailable
from .process import Sandbox
from .watchdog import Watchdog

NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts")
CARD_MEMORY = "card memory (soft limit)"  # looked at from outside: more can be had, for a moment
ON_CARD = """
import torch
x = torch.ones(64, 64, device="cuda", requires_grad=True)
(x @ x).sum().backward()
assert x.grad.sum().item() == 64 * 64 * 128
"""
OTHERS = ("seccomp", "no capabilities", "no new privileges", "own uid", "rlimits", "watchdog")


def none_of_them() -> dict[str, bool]:
    """Where no sandbox is."""
    return {**{f"{name} namespace": False for name in NAMESPACES}, **dict.fromkeys(OTHERS, False)}


def measured(sandbox: Sandbox) -> dict[str, bool]:
    """Name -> whether it holds for the notebook process of ``sandbox``."""
    found = none_of_them()
    for name in NAMESPACES:
        # The parent may enter its child's user namespace, so it may also look at the link.
        own, theirs = (os.readlink(f"/proc/{pid}/ns/{name}") for pid in ("self", sandbox.pid))
        found[f"{name} namespace"] = own != theirs
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{sandbox.pid}/status").read_text().splitlines() if ":\t" in line
    )
    found["seccomp"] = status["Seccomp"] == "2"
    found["no capabilities"] = not any(int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"))
    found["no new privileges"] = status["NoNewPrivs"] == "1"
    limits = Path(f"/proc/{sandbox.pid}/limits").read_text()
    found["rlimits"] = re.search(rf"Max processes +{sandbox.limits.processes} ", limits) is not None
    # As an ordinary user there is only one's own uid outside; in the sandbox it is another all the same.
    found["own uid"] = os.getuid() != 0 or int(status["Uid"].split()[0]) >= 200_000
    return found


def card_seen(sandbox: Sandbox, watchdog: Watchdog) -> bool:
    """Whether NVML tells what a sandbox holds of a card; raises SandboxUnavailable where CUDA does not work in one."""
    attempt = Attempt(sandbox, [Cell(ON_CARD)], sandbox.limits, {}, {})
    try:
        attempt.run()
    except Ended as error:
        raise SandboxUnavailable(f"CUDA ends a sandbox here ({error}); grade with --device cpu") from None
    run = attempt.runs[0]
    if run.status != "ok":
        said = next((output["evalue"] for output in run.outputs if output["output_type"] == "error"), run.status)
        raise SandboxUnavailable(f"CUDA does not work in a sandbox here ({said[:200]}); grade with --device cpu")
    watchdog.look()
    return watchdog.peak_card_bytes > 0

"""Which pieces of sealed grading this machine has, for ``mlsys doctor``."""

import subprocess
import sys
from pathlib import Path

CONTAINER = "grade outside a container, or with --unsafe"
REMEDIES = {
    "user_namespaces": "allow user namespaces (Ubuntu: kernel.apparmor_restrict_unprivileged_userns=0), "
    "or grade with --unsafe",
    "namespaces": CONTAINER,
    "mounting": CONTAINER,
    "seccomp": "install libseccomp (Debian, Ubuntu: apt install libseccomp2)",
}
TRY = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from runpy import run_module; run_module('inside.pieces', None, '__main__')"
)


def probe() -> dict[str, str]:
    """Piece -> an empty string where it is there, else what is missing and what to do."""
    if sys.platform != "linux":
        return {"Linux": f"sealed grading needs Linux, this is {sys.platform}; grade elsewhere, or with --unsafe"}
    found = {"Linux": ""}
    for piece, remedy in REMEDIES.items():
        said = _tried(piece)
        found[piece.replace("_", " ")] = f"{said}; {remedy}" if said else ""
    return found


def _tried(piece: str) -> str:
    """What a fresh process says when it tries; nothing when it works."""
    command = [sys.executable, "-I", "-B", "-c", TRY, str(Path(__file__).parent), piece]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout.strip() or (done.stderr.strip().splitlines() or [""])[-1]

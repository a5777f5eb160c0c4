"""Command lines run by a process that has imported all they need: a tenth of a second each instead of four."""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import ROOT


class Graders:
    """A process that has imported all that grading needs, and forks one run of ``mlsys`` after the other."""

    def __enter__(self) -> "Graders":
        argv = [sys.executable, "-m", "tests.grade.forked_grader"]
        self.server = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.said = tempfile.TemporaryDirectory(prefix="mlsys-said-")
        return self

    def __exit__(self, *_: object) -> None:
        self.server.communicate()
        self.said.cleanup()

    def ask(self, **question: object) -> int:
        assert self.server.stdin and self.server.stdout
        print(json.dumps(question), file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())

    def call(
        self,
        here: Path,
        *words: str,
        point: str = "",
        sealed: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Start ``mlsys words``, which ends itself at ``point``; its process id."""
        more = {"sealed": sealed, "environment": dict(environment or {}), "said": self.said.name}
        return self.ask(here=str(here), words=words, point=point, **more)

    def end(self, pid: int) -> tuple[int, str]:
        """Wait for its end: exit code, and what was printed."""
        code = self.ask(wait=pid)
        return code, Path(self.said.name, str(pid)).read_text()

    def start(self, here: Path, *words: str, point: str = "", sealed: bool = False) -> int:
        """Start ``mlsys grade``; its process id."""
        command = ["grade", "00", "--submitted", "submitted", "--into", "course", "--csv", "points.csv", "--jobs", "1"]
        return self.call(here, *command, *words, point=point, sealed=sealed)

    def finish(self, here: Path, *words: str, sealed: bool = False) -> str:
        """Grade to the end; what was printed, in one line."""
        code, said = self.end(self.start(here, *words, sealed=sealed))
        assert code == 0, said
        return " ".join(said.split())

    def die(self, here: Path, point: str, *, sealed: bool = False) -> None:
        """Grade until it kills itself there."""
        code, said = self.end(self.start(here, point=point, sealed=sealed))
        assert code == -signal.SIGKILL, said

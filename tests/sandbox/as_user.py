"""Run a small notebook through an engine, and print what came of it as JSON: for a user of one's own choice."""

import json
import os
import sys
from pathlib import Path

import torch

from autograder.sandbox import Call, Cell, Engine
from mlsys_course.desk.check import encode

SOURCE = """
import os
def double(x): return 2 * x
for name in ('/root', %r, '/tmp/mlsys-test-edition-x', %r):
    print(os.path.exists(name))
print(os.getuid(), os.getpid())
try:
    while True: os.fork()
except OSError: print('no more')
"""


class Teacher:
    """One sealed call of ``double``."""

    def calls(self, exercise):
        return [Call("one", encode({"x": torch.ones(2)}))]

    def parts(self, exercise):
        return ()

    def settled(self, exercise, outcomes):
        return not any(outcome.problem for outcome in outcomes.values())

    def part(self, exercise, name, request):
        raise ValueError("no parts")


if __name__ == "__main__":
    checkout = str(Path(__file__).resolve().parents[2])
    with Engine(Path(sys.argv[1])) as engine:
        run = engine.run(
            [Cell(SOURCE % (f"{checkout}/solutions", checkout)), Cell("double(2)"), Cell("", "double", "double")],
            Teacher(),
        )
        again = [engine.run([Cell("def double(x): return x + x"), Cell("", "double", "double")], Teacher())
                 for _ in range(5)]  # fmt: skip
        told = {
            "uid": os.getuid(),
            "status": run.status,
            "log": run.log,
            "protections": engine.protections,
            "text": [output.get("text") for output in run.cells[0].outputs],
            "problems": [o.problem for r in (run, *again) for o in r.outcomes["double"].values()],
            "values": [o.outputs["y"].tolist() for o in run.outcomes["double"].values() if o.outputs],
            "wall": [r.wall_seconds for r in again],
        }
    print(json.dumps(told))

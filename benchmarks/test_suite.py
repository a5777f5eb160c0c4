"""What the tests cost: wall-clock, CPU-seconds of all processes, and the slowest files; whole, or room by room.

python benchmarks/test_suite.py                      # what `pytest` runs
python benchmarks/test_suite.py grade attacks        # these rooms, one after the other, one process each
python benchmarks/test_suite.py -- -m long           # with words for pytest

CPU-seconds hold on a busy machine, and wall-clock only on an idle one.
"""

import resource
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(words: list[str]) -> None:
    """One run of pytest, its last line and what it took."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *words]
        start, before = time.monotonic(), cpu_seconds()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        wall, cpu = time.monotonic() - start, cpu_seconds() - before
        print(f"pytest {' '.join(words)}: {wall:.0f} s, {cpu:.0f} CPU-seconds; {done.stdout.strip().splitlines()[-1]}")
        slowest = Counter()
        for case in ElementTree.parse(report).iter("testcase"):
            slowest[case.get("classname", "")] += float(case.get("time", 0))
    for name, seconds in slowest.most_common(12):
        print(f"  {seconds:7.1f} s  {name}")


def cpu_seconds() -> float:
    """Of all processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    rooms, more = sys.argv[1:split], sys.argv[split + 1 :]
    for room in rooms:
        run(["-n", "0", f"tests/{room}", *more])
    if not rooms:
        run(more)

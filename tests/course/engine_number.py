"""The scoring code that ``ENGINE`` counts. After a change: ``python -m tests.course.engine_number``.

It writes ``engine.json`` once ENGINE is raised. Where a change cannot alter what any submission gets, it is written
with ``--same-points``, and the number stays: nothing is proven or graded again.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from autograder.fingerprint.engine import ENGINE, scoring_code

KEPT = Path(__file__).with_name("engine.json")


def digests(code: Mapping[str, bytes]) -> dict[str, str]:
    """A short digest of each file."""
    return {name: hashlib.sha256(text).hexdigest()[:12] for name, text in code.items()}


def complaint(kept: Mapping, number: int, now: Mapping[str, str]) -> str:
    """What is to be done before ``kept`` is true of the scoring code; empty where it is."""
    then = kept["files"]
    changed = [name for name in dict.fromkeys([*now, *then]) if now.get(name) != then.get(name)]
    if number < kept["number"]:
        return f"ENGINE is {number} and was {kept['number']} before; it is never lowered"
    if changed and number == kept["number"]:
        return (
            f"{', '.join(changed)} changed: raise ENGINE in autograder/fingerprint/engine.py, and call "
            "`python -m tests.course.engine_number`; with --same-points, and without raising it, where no submission "
            "can get anything else"
        )
    return "call `python -m tests.course.engine_number`" if changed or number > kept["number"] else ""


def main(words: list[str]) -> int:
    """The exit status: 1 where ENGINE must be raised first, and nothing was written."""
    parser = argparse.ArgumentParser(prog="python -m tests.course.engine_number", description=__doc__)
    parser.add_argument("--same-points", action="store_true", help="no submission can get anything else")
    same_points = parser.parse_args(words).same_points
    kept, now = json.loads(KEPT.read_text(encoding="utf-8")), digests(scoring_code())
    said = complaint(kept, ENGINE, now)
    if kept["number"] > ENGINE or (said and kept["number"] == ENGINE and not same_points):
        print(said)
        return 1
    KEPT.write_text(json.dumps({"number": ENGINE, "files": now}, indent=1) + "\n", encoding="utf-8")
    print(f"engine {ENGINE}: {len(now)} files of scoring code")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

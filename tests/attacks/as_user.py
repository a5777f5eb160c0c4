"""Run attacks as whoever calls this, and print as JSON what each won: for an ordinary user, who grades as root does."""

import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.attacks.harness import RIGHT, Attack, attacked
from tests.attacks.tables import LOUD, QUIET, TELLING


def main(share: int, of: int) -> None:
    """Each ``of``-th attack from ``share`` on, and the right answer, to show that winning would be seen."""
    with tempfile.TemporaryDirectory() as folder, attacked(Path(folder)) as lab:
        won = {"uid": os.getuid(), "sealed": all(lab.session.engine.protections.values())}
        won["the right answer"] = lab.won(Attack("right", answer=RIGHT), beside=False)
        attacks = [attack for kind in [*QUIET, *LOUD, TELLING, TELLING] for attack in kind]
        for attack in attacks[share::of]:
            won[attack.name] = lab.won(attack, beside=False)
        won["the neighbour"] = lab.neighbours_suffer()
    print(json.dumps(won))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

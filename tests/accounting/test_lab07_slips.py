"""One slip in lab 7's own solution costs the part that it belongs to, and is told apart from its neighbours."""

import pytest

from .test_lab07 import ITEMS, LAB, verdict

SOURCE = (LAB.folder / "lab07_accounting.py").read_text(encoding="utf-8")


def slipped(exercise: str, right: str, wrong: str):
    """The lab's solution with one place changed."""
    cell = SOURCE.split(f'# %% exercise="{exercise}"\n')[1].split("# %% check")[0]
    assert cell.count(right) == 1, f"{right!r} is not once in {exercise}'s solution"
    namespace: dict = {}
    exec("import math\n" + cell.replace(right, wrong), namespace)
    return namespace[exercise]


SLIPS = {
    ("traffic", "not padded"): ("-(-entries // ranks)", "entries // ranks", {"padding"}),
    ("traffic", "ring of weights"): ('"ring": 2 * scattered', '"ring": scattered + gathered', {"ring", "padding"}),
    ("traffic", "gathered at the end"): (
        "micro_batches * (scattered + 2 * gathered)",
        "micro_batches * (scattered + 2 * gathered) + gathered",
        {"zero", "padding"},
    ),
    ("training_flops", "head again"): ('+ forward["mlp"]', '+ forward["mlp"] + forward["head"]', {"full"}),
    ("training_flops", "fused or checkpointed"): (
        'if attention == "fused"',
        'if attention == "fused" and recompute == "none"',
        {"fused"},
    ),
    ("roofline", "a tie is memory"): ("flops * bandwidth < ", "flops * bandwidth <= ", {"bound"}),
    ("zero_stage", "parts of parameters"): (
        "-(-parameters // largest_share) if largest_share > 0",
        "-(-16 * parameters // (memory - activations)) if memory > activations",
        {"ranks"},
    ),
    ("schedule", "sent is shared"): ("sent / bandwidth", "sent / bandwidth / gpus", {"step", "run", "reached"}),
}


@pytest.mark.parametrize(("exercise", "slip"), SLIPS)
def test_a_slip_costs_its_part_and_gets_its_hint(exercise: str, slip: str) -> None:
    right, wrong, lost = SLIPS[exercise, slip]
    found = verdict(exercise, slipped(exercise, right, wrong))
    assert {result.aspect for result in found.results if not result.ok} == lost
    assert found.misconceptions[0] == slip
    item = ITEMS[exercise]
    assert found.score == sum(points for aspect, points in item.points.items() if aspect not in lost)

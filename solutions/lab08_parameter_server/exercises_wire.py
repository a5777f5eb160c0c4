"""Lab 8, sealed: exercises of what goes over the wire, whom to believe, and what leaves the room."""

from autograder.exercise import Item, exercises_of
from mlsys_course import parameter_server

from . import cases_liars, cases_wire, mistakes_liars, mistakes_wire

exercise = exercises_of(parameter_server, forbidden=("torch.distributed", "torch.quantize_per_tensor"))


def wire_exercises() -> list[Item]:
    """Parts 6 to 8, extensions at the end."""
    c, m, more = cases_wire, mistakes_wire, {"kind": "extension"}
    few = {"chosen": 4, "residual": 4, "ties": 2, "edges": 2}
    codes = {"codes": 4, "unbiased": 4, "levels": 3, "edges": 3}
    rules = {"median": 2, "trimmed mean": 3, "krum": 3, "not finite": 2}
    liars = {"not finite": 2, "far off": 2, "a little": 2, "honest": 2}
    return [
        exercise("sparsify", few, c.sparsify_cases, m.SPARSIFY),
        exercise("quantize", codes, c.quantize_cases, m.QUANTIZE),
        exercise("robust_aggregate", rules, cases_liars.robust_cases, mistakes_liars.ROBUST),
        exercise("expel_liars", liars, cases_liars.expel_cases, mistakes_liars.EXPEL),
        exercise("agree_on_state", {"ranks": 4, "traffic": 2}, cases_liars.agree_cases, mistakes_liars.AGREE, **more),
        exercise("federated_average", {"average": 3, "edges": 2}, c.federated_cases, m.FEDERATED, **more),
        exercise("gossip_step", {"mean": 3, "traffic": 2}, c.gossip_cases, m.GOSSIP, **more),
        exercise("mask_update", {"sent": 2, "sum": 2}, c.mask_cases, m.MASK, **more),
        exercise("admm_step", {"step": 3, "steps": 2}, c.admm_cases, m.ADMM, **more),
    ]

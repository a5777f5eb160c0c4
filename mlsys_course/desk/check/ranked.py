"""Cases of several ranks: each has inputs of its own, and all their outcomes together are the case's."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...substrate.ranks import ThreadCommunicator, run_together
from .outcome import Outcome
from .seen import candidates_own
from .tree import Tree

PUBLIC_SECONDS = 20.0  # a rank that hangs must not hang the notebook


def rank_inputs(inputs: Mapping[str, Tree]) -> list[dict[str, Tree]]:
    """What each rank is given of a case: what is common, and its own entry of ``ranks``."""
    common = {name: value for name, value in candidates_own(inputs).items() if name != "ranks"}
    return [{**common, **own} for own in inputs["ranks"]]


def run_ranks(
    call: Callable[[Mapping[str, Tree], ThreadCommunicator], Outcome],
    inputs: Mapping[str, Tree],
    seconds: float = PUBLIC_SECONDS,
) -> Outcome:
    """Every rank's ``call`` on its inputs, as threads of this process; the outcome of all, with what was seen."""
    given = rank_inputs(inputs)
    together = run_together(lambda comm: call(given[comm.rank], comm), len(given), seconds)
    if together.late:
        return Outcome(problem="timeout", detail=together.late)
    for error in together.errors.values():
        raise error
    outcome = combined(together.results, together.board.released, together.stuck)
    return replace(outcome, costs=together.traffic.costs, seen=together.board.actions)


def combined(outcomes: Sequence[Outcome], released: Collection[int], stuck: str) -> Outcome:
    """One outcome of all ranks': the first rank's own problem, else the deadlock, else outputs by rank.

    What happens to a rank after it was ``released`` from waiting in vain is no problem of its own.
    """
    for rank, outcome in enumerate(outcomes):
        if outcome.problem and rank not in released:
            return on_rank(outcome, rank)
    if stuck:
        return Outcome(problem="deadlock", detail=stuck)
    return Outcome({f"rank {rank}": outcome.outputs for rank, outcome in enumerate(outcomes)})


def on_rank(outcome: Outcome, rank: int) -> Outcome:
    """The outcome with the rank said where its words are about one call."""
    if outcome.problem in ("missing", "forbidden"):
        return outcome
    kind, colon, message = outcome.detail.partition(":") if outcome.problem == "raised" else (outcome.detail, "", "")
    return replace(outcome, detail=f"{kind} on rank {rank}{colon}{message}".strip())


def is_ranked(inputs: Any) -> bool:
    """Whether a case's inputs are by rank."""
    ranks = inputs.get("ranks") if isinstance(inputs, Mapping) else None
    return isinstance(ranks, list) and len(ranks) > 0 and all(isinstance(own, dict) for own in ranks)

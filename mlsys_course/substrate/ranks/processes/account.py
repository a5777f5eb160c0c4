"""From the ends of all ranks to one traffic and one timeline, or to one problem in words."""

import contextlib
import math
import pickle
import re
from collections import defaultdict

from ..shared.problems import Deadlock, Mismatch, RankDied, RankProblem, RankRaised, RanksLate
from ..shared.timeline import EventLog, Timeline
from ..shared.traffic import MessageLog, Traffic
from .diagnosis import never_fitted
from .ledger import Ledger
from .rank_program import Place
from .supervisor import Ended, shown

KINDS = {"raised": RankRaised, "died": RankDied, "deadlock": Deadlock, "mismatch": Mismatch, "late": RanksLate}


def account(ended: Ended) -> tuple[Traffic, Timeline]:
    """Both ends of every message brought together: a channel's k-th from one rank to another is its k-th received."""
    ledgers = {rank: report.ledger or Ledger() for rank, report in ended.reports.items()}
    began = min(ledger.began for ledger in ledgers.values())
    messages, events = MessageLog(), EventLog()
    arrivals: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    for rank, ledger in ledgers.items():
        for entry in ledger.receives:
            arrivals[entry.peer, rank, entry.channel].append(entry.end - began)
    for rank, ledger in sorted(ledgers.items()):
        for entry in ledger.sends:
            place = messages.add(rank, entry.peer, entry.bytes, entry.tag, entry.start - began)
            there = arrivals[rank, entry.peer, entry.channel]
            through = there[entry.number] if entry.number < len(there) else math.nan
            messages.arrived(place, through)
        for source, start, end in ledger.waits:
            events.add(rank, "wait", start - began, end - began, "", source)
        for label, start, end in ledger.spans:
            events.add(rank, "span", start - began, end - began, label)
    ends = [ledgers[rank].returned - began for rank in sorted(ledgers)]
    return Traffic(ended.world_size, messages), Timeline(ended.world_size, events, ends)


def told(ended: Ended) -> RankProblem | None:
    """The problem of a run as an exception, or None. Its first line is what went wrong; below, every rank."""
    if not ended.problem:
        ledgers = {rank: report.ledger for rank, report in ended.reports.items() if report.ledger}
        words = never_fitted(ledgers)
        return Mismatch(words) if words else None
    first = ended.words
    if ended.problem == "late":
        first = "; ".join(_doing(ended, rank) for rank in range(ended.world_size)) + f" ({first})"
    parts = [first, *(_of(ended, rank) for rank in range(ended.world_size))]
    problem = KINDS[ended.problem]("\n".join(part for part in parts if part))
    report = ended.reports.get(ended.rank)
    if report and report.error:
        with contextlib.suppress(Exception):  # its class may be known in the rank only
            problem.__cause__ = pickle.loads(report.error)
    return problem


def _doing(ended: Ended, rank: int) -> str:
    """One rank in a few words."""
    report, snapshot = ended.reports.get(rank), ended.snapshots.get(rank)
    if rank in ended.died:
        return f"rank {rank} {ended.died[rank]}"
    if report and report.released and rank != ended.rank:
        return f"rank {rank} was stopped where it waited"
    if report:
        return f"rank {rank} {f'raised {report.said}' if report.said else 'has returned'}"
    if snapshot and snapshot.waits:
        return f"rank {rank} waits in recv from {snapshot.waits[0]}"
    call = _collective(ended.places.get(rank))
    return f"rank {rank} " + (f"waits in {call}" if call else "did not finish")


def _of(ended: Ended, rank: int) -> str:
    """One rank's paragraph: what it did, and where."""
    report = ended.reports.get(rank)
    place = report.place if report else ended.places.get(rank)
    where = shown(place)
    if not where and report and not report.said:
        return ""
    return f"{_doing(ended, rank)}" + (f"\n{where}" if where else "")


def _collective(place: Place | None) -> str:
    """The call of torch.distributed that a rank is in."""
    for file, _, name in place.frames if place else []:
        if re.search(r"torch.distributed.distributed_c10d\.py$", file) and not name.startswith("_"):
            return f"torch.distributed.{name}"
    return ""

"""What is wrong with ranks that do not come to an end, from what their ledgers say."""

from collections import defaultdict
from collections.abc import Mapping

from ..shared.communicator import mismatch
from .ledger import Ledger, Snapshot


def mismatched(now: Mapping[int, Snapshot]) -> str:
    """The first message that does not fit the receive it goes to, in words; empty if there is none."""
    for rank, mine in sorted(now.items()):
        for (source, channel), (asked, wanted) in sorted(mine.asked.items()):
            if source not in now:
                continue
            sent, offered = now[source].sent.get((rank, channel), (0, []))
            for n in range(max(asked - len(wanted), sent - len(offered)), min(asked, sent)):
                got, want = offered[n - sent + len(offered)], wanted[n - asked + len(wanted)]
                if got != want:
                    return mismatch(rank, source, got, want)
    return ""


def deadlocked(before: Mapping[int, Snapshot], now: Mapping[int, Snapshot], returned: set[int]) -> str:
    """Who waits for what in vain, in the words of ``Switchboard``; empty while somebody may go on.

    ``before`` and ``now`` are two looks. A rank that is in the same wait in both was in it when any other was looked
    at, so the two together are one moment. Nobody can go on once all are in such a wait, for a message that was not
    sent.
    """
    waits = {rank: now[rank].waits for rank in now if rank not in returned}
    if not waits or set(before) != set(now):
        return ""
    if any(found is None or before[rank].waits != found for rank, found in waits.items()):
        return ""
    sources = {rank: found[:3] for rank, found in waits.items() if found}
    for rank, (source, channel, earlier) in sources.items():
        if source not in now or now[source].sent.get((rank, channel), (0, []))[0] > earlier:
            return ""  # it is on its way
    rank = min(sources, key=lambda rank: (sources[rank][0] not in returned, rank))
    source = sources[rank][0]
    reason = "has returned" if source in returned else f"waits in recv from {sources[source][0]}"
    return f"rank {rank} waits in recv from {source}, which {reason}"


def never_fitted(ledgers: Mapping[int, Ledger]) -> str:
    """``mismatched`` of whole ledgers: NCCL matches messages by order alone, so ranks may return with wrong numbers."""
    for rank, mine in sorted(ledgers.items()):
        sent: dict[tuple[int, int], list[str]] = defaultdict(list)
        for source, theirs in ledgers.items():
            for entry in theirs.sends:
                if entry.peer == rank:
                    sent[source, entry.channel].append(entry.described)
        for entry in mine.receives:
            offered = sent[entry.peer, entry.channel]
            if entry.number < len(offered) and offered[entry.number] != entry.described:
                return mismatch(rank, entry.peer, offered[entry.number], entry.described)
    return ""

# %% wrong: "of several the lower worker comes first": pulls are in the order of the workers' names, 10 before 2.
def bounded_staleness(seconds, bound):
    n, version, events = len(seconds), 0, []
    done, ends, time = [0] * n, [None] * n, 0
    while True:
        for worker in range(n):
            if ends[worker] is not None and ends[worker] == time:
                ends[worker] = None
                done[worker] += 1
                version += 1
                events.append((time, "push", worker, version))
        slowest = min((done[w] for w in range(n) if done[w] < len(seconds[w])), default=0)
        for worker in sorted(range(n), key=str):
            if ends[worker] is None and done[worker] < len(seconds[worker]):
                if bound is None or done[worker] - slowest <= bound:
                    ends[worker] = time + seconds[worker][done[worker]]
                    events.append((time, "pull", worker, version))
        running = [end for end in ends if end is not None]
        if not running:
            return events
        time = min(running)

# %% wrong: "or None for no bound": a bound of 8.
def bounded_staleness(seconds, bound):
    bound = 8 if bound is None else bound
    n, version, events = len(seconds), 0, []
    done, ends, time = [0] * n, [None] * n, 0
    while True:
        for worker in range(n):
            if ends[worker] is not None and ends[worker] == time:
                ends[worker] = None
                done[worker] += 1
                version += 1
                events.append((time, "push", worker, version))
        slowest = min((done[w] for w in range(n) if done[w] < len(seconds[w])), default=0)
        for worker in range(n):
            if ends[worker] is None and done[worker] < len(seconds[worker]):
                if bound is None or done[worker] - slowest <= bound:
                    ends[worker] = time + seconds[worker][done[worker]]
                    events.append((time, "pull", worker, version))
        running = [end for end in ends if end is not None]
        if not running:
            return events
        time = min(running)

# %% wrong: "Times are sums that come out exactly, so == finds which are equal": times closer than a thousandth of a second are taken for equal.
def bounded_staleness(seconds, bound):
    n, version, events = len(seconds), 0, []
    done, ends, time = [0] * n, [None] * n, 0
    while True:
        for worker in range(n):
            if ends[worker] is not None and ends[worker] <= time + 1e-3:
                ends[worker] = None
                done[worker] += 1
                version += 1
                events.append((time, "push", worker, version))
        slowest = min((done[w] for w in range(n) if done[w] < len(seconds[w])), default=0)
        for worker in range(n):
            if ends[worker] is None and done[worker] < len(seconds[worker]):
                if bound is None or done[worker] - slowest <= bound:
                    ends[worker] = time + seconds[worker][done[worker]]
                    events.append((time, "pull", worker, version))
        running = [end for end in ends if end is not None]
        if not running:
            return events
        time = min(running)

# %% wrong: "lists may differ in length and may be empty": where all are, min of nothing raises.
def bounded_staleness(seconds, bound):
    n, version, events = len(seconds), 0, []
    done, ends, time = [0] * n, [None] * n, 0
    shortest = min(own[0] for own in seconds if own)
    assert shortest > 0
    while True:
        for worker in range(n):
            if ends[worker] is not None and ends[worker] == time:
                ends[worker] = None
                done[worker] += 1
                version += 1
                events.append((time, "push", worker, version))
        slowest = min((done[w] for w in range(n) if done[w] < len(seconds[w])), default=0)
        for worker in range(n):
            if ends[worker] is None and done[worker] < len(seconds[worker]):
                if bound is None or done[worker] - slowest <= bound:
                    ends[worker] = time + seconds[worker][done[worker]]
                    events.append((time, "pull", worker, version))
        running = [end for end in ends if end is not None]
        if not running:
            return events
        time = min(running)

# %% wrong: "It may pull if c - c' <= bound for every worker that has iterations left": only the eight lowest workers are looked at.
def bounded_staleness(seconds, bound):
    n, version, events = len(seconds), 0, []
    done, ends, time = [0] * n, [None] * n, 0
    while True:
        for worker in range(n):
            if ends[worker] is not None and ends[worker] == time:
                ends[worker] = None
                done[worker] += 1
                version += 1
                events.append((time, "push", worker, version))
        slowest = min((done[w] for w in range(min(n, 8)) if done[w] < len(seconds[w])), default=0)
        for worker in range(n):
            if ends[worker] is None and done[worker] < len(seconds[worker]):
                if bound is None or done[worker] - slowest <= bound:
                    ends[worker] = time + seconds[worker][done[worker]]
                    events.append((time, "pull", worker, version))
        running = [end for end in ends if end is not None]
        if not running:
            return events
        time = min(running)

# %% wrong: "All pulls and pushes in order: a list": one call within another for each moment, so lists of a thousand iterations end in a RecursionError.
def bounded_staleness(seconds, bound):
    n, version, events = len(seconds), 0, []
    done, ends, time = [0] * n, [None] * n, 0
    def moment():
        nonlocal version, time
        for worker in range(n):
            if ends[worker] is not None and ends[worker] == time:
                ends[worker] = None
                done[worker] += 1
                version += 1
                events.append((time, "push", worker, version))
        slowest = min((done[w] for w in range(n) if done[w] < len(seconds[w])), default=0)
        for worker in range(n):
            if ends[worker] is None and done[worker] < len(seconds[worker]):
                if bound is None or done[worker] - slowest <= bound:
                    ends[worker] = time + seconds[worker][done[worker]]
                    events.append((time, "pull", worker, version))
        running = [end for end in ends if end is not None]
        if not running:
            return events
        time = min(running)
        return moment()

    return moment()

# %% right: a heap of pushes, and a list of those who want to pull that is gone through at every moment.
import heapq


def bounded_staleness(seconds, bound):
    events, heap, finished = [], [], [0 for _ in seconds]
    wanting = {worker for worker, own in enumerate(seconds) if own}
    now, pushes = 0, 0
    while wanting or heap:
        while heap and heap[0][0] == now:
            _, worker = heapq.heappop(heap)
            finished[worker] += 1
            pushes += 1
            events.append((now, "push", worker, pushes))
            if finished[worker] < len(seconds[worker]):
                wanting.add(worker)
        left = [c for c, own in zip(finished, seconds) if c < len(own)]
        for worker in sorted(wanting):
            if bound is None or all(finished[worker] - other <= bound for other in left):
                wanting.remove(worker)
                events.append((now, "pull", worker, pushes))
                heapq.heappush(heap, (now + seconds[worker][finished[worker]], worker))
        if heap:
            now = heap[0][0]
    return events

# %% right: a dictionary for each worker, whose own copy of the list gets shorter.
import math


def bounded_staleness(seconds, bound):
    limit, log = math.inf if bound is None else bound, []
    state = [{"todo": list(own), "count": 0, "until": None} for own in seconds]
    now, version = 0, 0
    while any(worker["todo"] for worker in state):
        for rank, worker in enumerate(state):
            if worker["until"] == now and worker["until"] is not None:
                worker["until"], worker["count"] = None, worker["count"] + 1
                worker["todo"].pop(0)
                version += 1
                log.append((now, "push", rank, version))
        behind = [worker["count"] for worker in state if worker["todo"]]
        for rank, worker in enumerate(state):
            free = worker["todo"] and worker["until"] is None
            if free and worker["count"] <= min(behind) + limit:
                worker["until"] = now + worker["todo"][0]
                log.append((now, "pull", rank, version))
        now = min((worker["until"] for worker in state if worker["until"] is not None), default=now)
    return log

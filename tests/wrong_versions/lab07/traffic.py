# %% wrong: "of the rank whose wire is busiest" in a tree: with four ranks nobody has three neighbours.
def traffic(scheme, entries, ranks, gradient_itemsize=2, weight_itemsize=2, micro_batches=1):
    P, g, w, k = ranks, gradient_itemsize, weight_itemsize, micro_batches
    if scheme == "tree":
        n = entries * g
        return {"total": 2 * (P - 1) * n, "bottleneck": min(3, P - 1) * n}
    chunk = -(-entries // P)
    one = {"ring": 2 * g, "zero-1": g + w, "zero-2": k * g + w, "zero-3": k * (2 * w + g)}[scheme]
    each = (P - 1) * chunk * one
    return {"total": P * each, "bottleneck": each}


# %% wrong: "With one rank nothing is sent" in a tree (and two ranks have one neighbour each): the root is given two children.
def traffic(scheme, entries, ranks, gradient_itemsize=2, weight_itemsize=2, micro_batches=1):
    P, g, w, k = ranks, gradient_itemsize, weight_itemsize, micro_batches
    if scheme == "tree":
        neighbours = 3 if P >= 5 else 2
        return {"total": 2 * (P - 1) * entries * g, "bottleneck": neighbours * entries * g}
    chunk = (entries + P - 1) // P
    one = {"ring": 2 * g, "zero-1": g + w, "zero-2": k * g + w, "zero-3": k * (2 * w + g)}[scheme]
    return {"total": P * (P - 1) * chunk * one, "bottleneck": (P - 1) * chunk * one}


# %% wrong: "Buffers that P does not divide are padded": not those of zero-2 and zero-3.
def traffic(scheme, entries, ranks, gradient_itemsize=2, weight_itemsize=2, micro_batches=1):
    P, g, w, k = ranks, gradient_itemsize, weight_itemsize, micro_batches
    if scheme == "tree":
        degree = [sum(1 for c in (2 * r + 1, 2 * r + 2) if c < P) + (r > 0) for r in range(P)]
        return {"total": sum(degree) * entries * g, "bottleneck": max(degree) * entries * g}
    padded = -(-entries // P) * P
    if scheme == "ring":
        total = (P - 1) * padded * 2 * g
    elif scheme == "zero-1":
        total = (P - 1) * padded * (g + w)
    elif scheme == "zero-2":
        total = (P - 1) * entries * (k * g + w)
    else:
        total = (P - 1) * entries * k * (2 * w + g)
    return {"total": total, "bottleneck": total // P}


# %% wrong: "in each of P - 1 rounds every rank passes one chunk on": with fewer entries than ranks only so many ranks take part.
def traffic(scheme, entries, ranks, gradient_itemsize=2, weight_itemsize=2, micro_batches=1):
    g, w, k = gradient_itemsize, weight_itemsize, micro_batches
    if scheme == "tree":
        degrees = {r: 0 for r in range(ranks)}
        for r in range(1, ranks):
            degrees[r] += 1
            degrees[(r - 1) // 2] += 1
        return {"total": 2 * (ranks - 1) * entries * g, "bottleneck": max(degrees.values()) * entries * g}
    P = min(ranks, entries)
    chunk = -(-entries // P)
    one = {"ring": 2 * g, "zero-1": g + w, "zero-2": k * g + w, "zero-3": k * (2 * w + g)}[scheme]
    return {"total": P * (P - 1) * chunk * one, "bottleneck": (P - 1) * chunk * one}


# %% wrong: "for every micro-batch two all-gathers of weights": of a single micro-batch the weights are gathered once and kept.
def traffic(scheme, entries, ranks, gradient_itemsize=2, weight_itemsize=2, micro_batches=1):
    P, g, w, k = ranks, gradient_itemsize, weight_itemsize, micro_batches
    if scheme == "tree":
        degree = [sum(c < P for c in (2 * r + 1, 2 * r + 2)) + (r > 0) for r in range(P)]
        return {"total": sum(degree) * entries * g, "bottleneck": max(degree) * entries * g}
    chunk = -(-entries // P)
    gathers = 1 if k == 1 else 2
    one = {"ring": 2 * g, "zero-1": g + w, "zero-2": k * g + w, "zero-3": k * (gathers * w + g)}[scheme]
    return {"total": P * (P - 1) * chunk * one, "bottleneck": (P - 1) * chunk * one}


# %% right: 
def traffic(scheme, entries, ranks, gradient_itemsize=2, weight_itemsize=2, micro_batches=1):
    sent, got = [0] * ranks, [0] * ranks
    def pass_on(a, b, size):
        sent[a] += size
        got[b] += size
    def around(itemsize):  # a reduce-scatter or an all-gather
        chunk = (entries // ranks + (entries % ranks > 0)) * itemsize
        for _ in range(ranks - 1):
            for r in range(ranks):
                pass_on(r, (r + 1) % ranks, chunk)
    if scheme == "tree":
        for r in range(1, ranks):
            pass_on(r, (r - 1) // 2, entries * gradient_itemsize)
            pass_on((r - 1) // 2, r, entries * gradient_itemsize)
    else:
        g, w, k = gradient_itemsize, weight_itemsize, micro_batches
        for itemsize in {"ring": [g, g], "zero-1": [g, w], "zero-2": [g] * k + [w], "zero-3": [w, w, g] * k}[scheme]:
            around(itemsize)
    return {"total": sum(sent), "bottleneck": max(max(pair) for pair in zip(sent, got))}


# %% right: 
def traffic(scheme, entries, ranks, gradient_itemsize=2, weight_itemsize=2, micro_batches=1):
    edges = ranks - 1
    if scheme == "tree":
        busiest = 0 if ranks == 1 else 1 if ranks == 2 else 2 if ranks < 5 else 3
        return {"bottleneck": busiest * entries * gradient_itemsize, "total": 2 * edges * entries * gradient_itemsize}
    scatters = micro_batches if scheme in ("zero-2", "zero-3") else 1
    gathers = {"ring": 0, "zero-1": 1, "zero-2": 1, "zero-3": 2 * micro_batches}[scheme]
    item = scatters * gradient_itemsize + gathers * weight_itemsize + (gradient_itemsize if scheme == "ring" else 0)
    each = (entries + -entries % ranks) // ranks * edges * item
    return {"bottleneck": each, "total": each * ranks}

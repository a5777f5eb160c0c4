"""Lab 12, sealed: misconceptions about flash attention."""

from autograder.exercise import Misconception
from autograder.mutated import mutated, wrong
from mlsys_course.kernels import flash_attention, flash_attention_backward
from mlsys_course.kernels.band import Band


class Shows(Band):
    """Computes what is hidden as well, and masks it."""

    def hides(self, *place):
        return False


class FromTheFirst(Band):
    """Aligned at the first query and key."""

    @classmethod
    def of(cls, T, S, causal, window):
        return Band.of(T, T, causal, window)


class Wider(Band):
    """A window of one key more."""

    @classmethod
    def of(cls, T, S, causal, window):
        found = Band.of(T, S, causal, window)
        return cls(found.low - 1, found.high)


class Strict(Band):
    """Without the query's own key."""

    @classmethod
    def of(cls, T, S, causal, window):
        found = Band.of(T, S, causal, window)
        return cls(found.low, found.high - 1)


class Blind(Band):
    """Skips tiles, and masks none."""

    def cut(self, *place):
        pass


class Unchecked(Band):
    """Any window."""

    @classmethod
    def of(cls, T, S, causal, window):
        ok = window is None or (window >= 1 and causal)
        return Band.of(T, S, causal, window if ok else None)


def stores_the_scores(memory, q, k, v, rows, columns, causal=False, window=None):
    """All scores to the slow memory, then their softmax, then the product with the values."""
    (H, T, D), (S, Dv) = q.shape, v.shape[1:]
    if k.shape != (H, S, D) or v.shape[0] != H:
        raise ValueError
    band = Band.of(T, S, causal, window)
    output, lse, scores = memory.new(H, T, Dv), memory.new(H, T, 1), memory.new(H, T, S)
    for h in range(H):
        for i in range(0, T, rows):
            queries = memory.load(q[h, i : i + rows])
            n = queries.shape[0]
            memory.multiply(queries, D**-0.5)
            top, total, weighted = memory.full(n, 1, -1e30), memory.full(n, 1), memory.full(n, Dv)
            starts = [j for j in range(0, S, columns) if not band.hides(i, n, j, min(columns, S - j))]
            for j in starts:
                keys = memory.load(k[h, j : j + columns])
                tile = memory.full(n, keys.shape[0])
                memory.matmul_add(tile, queries, keys.T)
                band.cut(memory, tile, i, j)
                high = memory.rowmax(tile)
                memory.maximum(top, high)
                memory.store(tile, scores[h, i : i + rows, j : j + columns])
                memory.free(keys, tile, high)
            for j in starts:
                tile = memory.load(scores[h, i : i + rows, j : j + columns])
                memory.subtract(tile, top)
                memory.exp(tile)
                part, values = memory.rowsum(tile), memory.load(v[h, j : j + columns])
                memory.add(total, part)
                memory.matmul_add(weighted, tile, values)
                memory.free(tile, part, values)
            safe = memory.copy(total)
            memory.maximum(safe, 1.0)
            memory.divide(weighted, safe)
            memory.log(total)
            memory.add(total, top)
            memory.store(weighted, output[h, i : i + rows])
            memory.store(total, lse[h, i : i + rows])
            memory.free(queries, top, total, weighted, safe)
    return output, lse


SIZES = "(H, T, D), (S, Dv) = q.shape, v.shape[1:]"
RESCALED = "memory.multiply(weighted, top)\n    "
mistake = wrong(flash_attention)
FORWARD = [
    mistake("forgets to rescale",
        "A larger score comes with a later tile. What were the values so far multiplied with?",
        RESCALED, ""),
    mistake("rescales the values alone", "The sum of weights was taken at an earlier maximum, too.",
        "memory.multiply(total, top)\n    ", ""),
    Misconception("stores the scores", stores_the_scores,
        "How many entries has the matrix of scores, and where do you keep it?"),
    mistake("computes what is hidden", "Of these pairs of tiles, in how many does any query see any key?",
        Band=Shows),
    mistake("no mask on the diagonal",
        "On the diagonal a tile has keys that are seen and keys that are not. Who hides those?",
        Band=Blind),
    mistake("aligned at the first key",
        "The last query sees the last key. What does the first one see, with more keys than queries?",
        Band=FromTheFirst),
    mistake("a window of one more", "Of how many keys does a window of one consist, the query's own included?",
        Band=Wider),
    mistake("not its own key", "Does a query see the key at its own place?", Band=Strict),
    mistake("no scale", "By what are scores divided?", "memory.multiply(queries, D**-0.5)", "pass"),
    mistake("scaled by D", "By what power of D are scores divided?", "D**-0.5", "1 / D"),
    mistake("queries for every tile", "A tile of queries meets many tiles of keys. How often must it be loaded?",
        "scores = _scores(memory, queries, keys)",
        "memory.free(queries)\n                    queries = memory.load(q[h, i : i + rows])\n"
        "                    memory.multiply(queries, D**-0.5)\n"
        "                    scores = _scores(memory, queries, keys)"),
    mistake("log of the sum alone",
        "The sum of weights was taken relative to a maximum. Where is that in your log-sum-exp?",
        "memory.add(total, top)", "pass"),
    mistake("divides by nothing", "A query that sees no key: what is the sum of its weights?",
        "memory.maximum(safe, 1.0)", "pass"),
    mistake("starts at infinity",
        "A tile of scores that are all hidden: what is their maximum, and infinity less infinity?",
        "memory.full(size, 1, LOWEST)", "memory.full(size, 1, -float('inf'))"),
    mistake("never divides", "When are the weights' sums divided out?", "memory.divide(weighted, safe)", "pass"),
    mistake("any window", "A window without causal, or of no key: what is to be raised?", Band=Unchecked),
    mistake("any shapes", "q, k and v do not fit together. What is to be raised?",
        "if k.shape != (H, S, D) or v.shape[0] != H or D < 1:", "if False:",
        SIZES,
        f"{SIZES}\n    if k.shape != (H, S, D) or v.shape[0] != H:\n        return memory.new(1), memory.new(1)"),
]  # fmt: skip


def stores_the_probabilities(memory, q, k, v, output, log_sum_exp, grad, rows, columns, causal=False, window=None):
    """All probabilities to the slow memory first, and from there when they are needed."""
    (H, T, D), S = q.shape, k.shape[1]
    band = Band.of(T, S, causal, window)
    kept = memory.new(H, T, S)
    for h in range(H):
        for i in range(0, T, rows):
            queries, base = memory.load(q[h, i : i + rows]), memory.load(log_sum_exp[h, i : i + rows])
            memory.maximum(base, -1e30)
            for j in range(0, S, columns):
                if band.hides(i, queries.shape[0], j, min(columns, S - j)):
                    continue
                keys = memory.load(k[h, j : j + columns])
                tile = memory.full(queries.shape[0], keys.shape[0])
                memory.matmul_add(tile, queries, keys.T)
                memory.multiply(tile, D**-0.5)
                band.cut(memory, tile, i, j)
                memory.subtract(tile, base)
                memory.exp(tile)
                memory.store(tile, kept[h, i : i + rows, j : j + columns])
                memory.free(keys, tile)
            memory.free(queries, base)
    number = iter([h, i, j] for h in range(H) for j in range(0, S, columns) for i in range(0, T, rows)
                  if not band.hides(i, min(rows, T - i), j, min(columns, S - j)))  # fmt: skip

    def loaded(memory, *_):
        h, i, j = next(number)
        return memory.load(kept[h, i : i + rows, j : j + columns])

    rest = mutated(flash_attention_backward, _weights=loaded)
    return rest(memory, q, k, v, output, log_sum_exp, grad, rows, columns, causal, window)


DQ = "dqueries = memory.load(dq[place])"
mistake = wrong(flash_attention_backward)
BACKWARD = [
    Misconception("stores the probabilities", stores_the_probabilities,
        "How many probabilities are there, and what would it take to work them out again where they are needed?"),
    mistake("computes what is hidden", "Of these pairs of tiles, in how many does any query see any key?", Band=Shows),
    mistake("no mask", "Forward hid some scores of a tile. Do they have probabilities here?", Band=Blind),
    mistake("aligned at the first key", "The last query sees the last key, as in forward. Where does the band lie?",
        Band=FromTheFirst),
    mistake("a window of one more", "Does backward see the same window as forward?", Band=Wider),
    mistake("no delta", "How does a softmax's output change all of its row? Which sum over the row is missing?",
        "memory.subtract(of_weights, sums)", "pass"),
    mistake("delta of the values alone", "Delta is a sum of products. Of what with what?",
        "memory.multiply(products, grads)", "pass"),
    mistake("no scale in the scores", "Are these the scores that forward had?",
        "memory.multiply(scores, queries.shape[1] ** -0.5)", "pass"),
    mistake("no scale in the gradients", "Scores are products, scaled. What does that do to what flows back?",
        "memory.multiply(weights, D**-0.5)", "pass"),
    mistake("the last tile's dq", "A query meets many tiles of keys. Do their gradients replace each other?",
        DQ, "dqueries = memory.full(*queries.shape)"),
    mistake("dk without queries' transpose", "dk has a row for each key. Which sum over queries is it?",
        "memory.matmul_add(dkeys, weights.T, queries)",
        "memory.matmul_add(dkeys, weights.T, grads) if D == Dv else memory.matmul_add(dkeys, weights.T, queries)"),
    mistake("dv from the scores' gradient", "Values are weighted by probabilities. When do you still have those?",
        "memory.matmul_add(dvalues, weights.T, grads)\n", "pass\n",
        "memory.multiply(weights, D**-0.5)",
        "memory.matmul_add(dvalues, weights.T, grads)\n                memory.multiply(weights, D**-0.5)"),
    mistake("infinity less infinity",
        "A query that sees no key has a log-sum-exp of minus infinity. What is a score less that?",
        "memory.maximum(base, LOWEST)", "pass"),
]  # fmt: skip

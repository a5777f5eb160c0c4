"""Lab 4's cases of what comes next and of generating. Sealed."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given, calls

F64 = torch.float64
Inputs = dict[str, Any]


def top_p_for(logits: torch.Tensor, kept: int, temperature: float = 1.0, top_k: int | None = None) -> float:
    """A p that keeps so many of the first row's tokens, well away from where it would keep another number."""
    ranked = (logits.double().reshape(-1, logits.shape[-1])[0] / temperature).sort(descending=True).values[:top_k]
    summed = ranked.softmax(-1).cumsum(-1)
    below = float(summed[kept - 2]) if kept > 1 else 0.0
    return (below + float(summed[kept - 1])) / 2


def next_distribution(draw: Draw) -> Sequence[Given]:
    V, temperature = draw.integer(8, 11), draw.choice([0.4, 0.7, 1.6, 2.5])
    k, kept = draw.integer(4, 6), draw.integer(2, 3)

    def inputs(*shape: int, dtype: torch.dtype = F64, scale: float = 1.5, **options: Any) -> Inputs:
        return {"logits": draw.normal(*(shape or (V,)), dtype=dtype, scale=scale), **options}

    def cut(kept: int, **options: Any) -> Inputs:
        given = inputs(**options)
        how = {name: options[name] for name in ("temperature", "top_k") if name in options}
        return {**given, "top_p": top_p_for(given["logits"], kept, **how)}

    tied = torch.zeros(V, dtype=F64)
    tied[[1, 2, 4, 5]] = 1.0
    hidden = draw.normal(3, V, dtype=F64)
    hidden[:, ::2] = -math.inf
    hidden[1, 1] = hidden[1, 1] + 1e3
    equal = calls(
        {"logits": tied, "top_k": 2}, {"logits": tied, "top_k": 6}, {"logits": tied, "temperature": 0},
        {"logits": tied * 40, "top_p": 0.6}, {"logits": tied * 40, "top_p": 0.3, "top_k": 3},
        {"logits": torch.zeros(2, 7, dtype=F64), "top_p": 0.5}, {"logits": torch.zeros(4, dtype=F64), "top_p": 0.5},
    )  # fmt: skip
    bad = [
        {"temperature": -draw.number(0.1, 2.0)}, {"temperature": math.nan}, {"temperature": math.inf}, {"top_k": 0},
        {"top_k": -2}, {"top_p": 0.0}, {"top_p": 1.01}, {"top_p": -0.5}, {"top_p": math.nan},
        {"temperature": 0, "top_k": 0}, {"temperature": 0, "top_p": 1.5},
    ]  # fmt: skip
    wide = calls(
        inputs(dtype=torch.float32, scale=1e30, temperature=0.5), inputs(dtype=torch.bfloat16, temperature=2.0),
        inputs(2, V, dtype=torch.float16, scale=2e4, temperature=0.25), inputs(temperature=1e-30),
        inputs(dtype=torch.float32, temperature=1e-30, top_p=0.9), {"logits": hidden, "temperature": temperature},
        {"logits": hidden, "top_k": V, "top_p": 0.999999}, {"logits": torch.tensor([0, 3e38, -3e38, 2e38])},
    )  # fmt: skip
    hot = calls(*({"logits": hidden, "temperature": t, **more} for t in (1e4, 1e30) for more in ({}, {"top_k": V})))
    rows = calls(
        inputs(3, V, temperature=temperature, top_k=k), inputs(2, 2, 5, top_k=3), inputs(2, 3, V, temperature=0),
        inputs(1, temperature=0.5, top_k=4, top_p=0.3), inputs(4, V, top_k=1), inputs(3, V, top_p=1e-6),
        inputs(2, V, top_k=V + 3, temperature=3.0), inputs(3, 2, top_p=1.0),
    )  # fmt: skip
    together = calls(
        cut(kept, temperature=temperature), cut(2, temperature=2.0, top_k=k), cut(1, top_k=3), cut(k, top_k=k + 1),
        cut(3, temperature=0.5, top_k=k, scale=0.5), cut(V - 1),
    )  # fmt: skip
    return [
        Given("as it is", "temperature", inputs(3, V), public=True),
        Given("warmer or colder", "temperature", inputs(temperature=temperature), public=True),
        Given("no temperature", "limits",
              calls(inputs(2, V, temperature=0), {"logits": tied, "temperature": 0},
                    inputs(scale=900.0, temperature=0.5)), public=True),
        Given("top k", "top k", calls(inputs(top_k=k), {"logits": tied, "top_k": 2}), public=True),
        Given("top p", "top p", cut(kept), public=True),
        Given("all three", "top p", cut(2, temperature=2.0, top_k=k), public=True),
        Given("bad options", "limits", calls(*({**inputs(), **one, "bad": True} for one in bad[::3])), public=True),
        Given("other temperatures", "temperature", calls(*(inputs(temperature=t) for t in (0.3, 5.0, 1)))),
        Given("rows, one call after the other", "top k", rows),
        Given("equal tokens", "top k", equal),
        Given("options together", "top p", together),
        Given("extremes and dtypes", "limits", wide),
        Given("hot", "temperature", hot),
        Given("all bad options", "limits", calls(*({**inputs(), **one, "bad": True} for one in bad))),
    ]  # fmt: skip


def weights(draw: Draw, count: int = 1200) -> torch.Tensor:
    """Numbers for a small model, such that what it says next is not always the same."""
    return draw.normal(count, dtype=F64, scale=0.9)


def generate(draw: Draw) -> Sequence[Given]:
    T, n = draw.integer(3, 4), draw.integer(5, 7)

    def inputs(B: int = 2, T: int = T, n: int = n, room: int | None = None, **more: Any) -> Inputs:
        given = {"weights": weights(draw), "tokens": draw.integers(B, T, high=12), "n_new": n}
        return {**given, **({} if room is None else {"capacity": T + n - 1 + room}), **more}

    def drawn(B: int = 2, n: int = n, **more: Any) -> Inputs:
        options = {"temperature": draw.number(0.5, 2.0), "top_k": draw.integer(2, 9), "top_p": draw.number(0.5, 0.9)}
        return inputs(B, n=n, **{"u": draw.uniform(B, n, dtype=F64), **options, **more})

    def ended(B: int = 2, n: int = n + 3, **more: Any) -> Inputs:
        """One row writes the end early, and would not say it again; of several rows all end, not all at once."""
        while True:
            given = inputs(B, n=n, **more)
            rows = written(given, n)
            for end in rows[0][1:-2]:
                first = [row.index(end) if end in row else n for row in rows]
                early = any(row[at + 1] != end for row, at in zip(rows, first, strict=True) if at < max(first))
                if max(first) < n and (B == 1 or early):
                    return {**given, "end": torch.tensor(end)}  # what groups draw differs in tensors only

    def before(B: int, S: int, T: int, n: int, room: int = 0, **more: Any) -> Inputs:
        return inputs(B, T=T, n=n, room=room + S, before=draw.integers(B, S, high=12), **more)

    def asked(name: str, public: bool = False, **more: Any) -> Given:
        """The model cannot answer without asking for each token that it reads: all but the last."""
        given = inputs(2, n=n + 2, room=3, key=draw.integer(0, 2**40), **more)
        return Given(name, "caches", given, public, {"part_calls": T + n + 1})

    plain = calls(inputs(1, T=1), inputs(3), inputs(1, n=1), inputs(2, n=0), inputs(2, T=9, n=2))
    kept = calls(
        inputs(3, room=0), inputs(1, T=1, room=4), inputs(2, n=1, room=0), before(2, 4, 1, 5), before(1, 2, 3, 4)
    )
    luck = calls(
        drawn(3), drawn(room=0), inputs(2, u=draw.uniform(2, n, dtype=F64)),
        drawn(1, top_k=None), drawn(2, u=draw.uniform(2, n + 2, dtype=F64)),
        {**ended(2, room=0), "u": draw.uniform(2, n + 3, dtype=F64)},
    )  # fmt: skip
    stops = calls(ended(3), ended(2, room=0), ended(1), {**ended(2), "end": 11}, {**inputs(3), "end": 0})
    bad = calls(
        {**inputs(2, T=0), "bad": True}, {**inputs(2, T=0, n=0), "bad": True}, {**inputs(2, room=-1), "bad": True},
        {**inputs(1, T=0, room=3), "bad": True}, {**before(1, 3, 2, 4, room=-1), "bad": True},
    )  # fmt: skip
    return [
        Given("greedy", "greedy", inputs(), public=True),
        Given("one token", "greedy", inputs(1, n=1), public=True),
        Given("with caches", "caches", inputs(room=0), public=True),
        Given("a conversation goes on", "caches", before(2, 3, 2, n), public=True),
        Given("drawn", "drawn", drawn(), public=True),
        Given("drawn, with caches", "drawn", drawn(room=2), public=True),
        Given("an end", "end", ended(), public=True),
        Given("no prompt", "bad input", {**inputs(2, T=0), "bad": True}, public=True),
        asked("each token is read once", public=True),
        asked("each token is read once, of a conversation", before=draw.integers(2, 3, high=12)),
        Given("other sizes, one call after the other", "greedy", plain),
        Given("caches, one call after the other", "caches", kept),
        Given("drawn, one call after the other", "drawn", luck),
        Given("ends, one call after the other", "end", stops),
        Given("no prompt, no room", "bad input", bad),
    ]


def written(given: Inputs, n: int) -> list[list[int]]:
    """What the reference writes in each row."""
    from mlsys_course.language_model import generate

    from .drivers import small_decoder

    return generate(small_decoder(given), given["tokens"], n)[:, given["tokens"].shape[1] :].tolist()


def generate_target(draw: Draw) -> Sequence[Given]:
    S, n = draw.integer(5, 6), draw.integer(5, 6)

    def inputs(B: int = 2, S: int = S, n: int = n, **more: Any) -> Inputs:
        given = {"weights": weights(draw, 1600), "source": draw.integers(B, S, high=12), "n_new": n}
        return {**given, "start": draw.integer(0, 11), **more}

    def lengths(B: int) -> dict[str, torch.Tensor]:
        return {"lengths": draw.integers(B, low=1, high=S)}

    def ended(B: int = 2, n: int = n + 3, **more: Any) -> Inputs:
        given = inputs(B, n=n, **more)
        return {**given, "end": torch.tensor(target_written(given, 2))}

    sizes = calls(inputs(1, S=1), inputs(3, n=1), inputs(1, **lengths(1)), inputs(2, S=9), inputs(3, **lengths(3)))
    return [
        Given("whole sources", "values", inputs(), public=True),
        Given("padded sources", "padding", inputs(3, **lengths(3)), public=True),
        Given("an end", "end", ended(), public=True),
        Given("encoded by asking", "values", inputs(key=draw.integer(0, 2**40)), public=True, limits={"part_calls": 1}),
        Given(
            "encoded by asking, again",
            "values",
            inputs(3, n=n + 3, key=draw.integer(0, 2**40), **lengths(3)),
            limits={"part_calls": 1},
        ),
        Given("other sizes, one call after the other", "values", sizes),
        Given("padded sources, again", "padding", calls(inputs(4, **lengths(4)), inputs(2, **lengths(2)))),
        Given("ends", "end", calls(ended(3), ended(2, **lengths(2)), ended(1))),
    ]


def target_written(given: Inputs, n: int) -> int:
    from mlsys_course.language_model import generate_target

    from . import drivers

    found = {}

    def candidate(model: Any, *rest: Any, **more: Any) -> torch.Tensor:
        found["end"] = int(generate_target(model, *rest, **more)[0, n])
        return torch.zeros(1)

    drivers.generate_target(candidate, given)
    return found["end"]

"""Lab 1's cases of recurrent networks, forward and backward. Sealed, as exercises.py."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given, calls
from mlsys_course import sequence as component

Tensor = torch.Tensor
BF16, F16, F64 = torch.bfloat16, torch.float16, torch.float64


def cell_weights(draw: Draw, Cx: int, C: int, dtype: torch.dtype = torch.float32, gain: float = 1.0) -> dict:
    """w_xh, w_hh and b of a cell whose states neither vanish nor sit at 1."""
    return {
        "w_xh": draw.normal(Cx, C, scale=0.8 * Cx**-0.5, dtype=dtype),
        "w_hh": draw.normal(C, C, scale=gain * C**-0.5, dtype=dtype),
        "b": draw.normal(C, scale=0.5, dtype=dtype),
    }


def right_padding(draw: Draw, B: int, T: int) -> Tensor:
    """(B, T), True at tokens: the first sequence has two steps of padding, the last has none."""
    lengths = draw.integers(B, low=1, high=T + 1)
    lengths[0], lengths[-1] = T - 2, T
    return torch.arange(T) < lengths[:, None]


def any_padding(draw: Draw, B: int, T: int) -> list[Tensor]:
    """(B, T) each, True at tokens: padding behind, in front, between, in a whole column; everywhere, and nowhere."""
    behind, every = right_padding(draw, B, T), torch.ones(B, T, dtype=torch.bool)
    between = draw.booleans(B, T)
    between[:, 0], between[0, 1:] = True, torch.arange(T - 1) % 2 == 1
    column, whole = every.clone(), draw.booleans(B, T)
    column[:, -1], whole[0], whole[-1] = False, False, True
    return [behind, behind.flip(0), behind.flip(1), between, column, whole, ~every, every]


def saturated(draw: Draw, given: dict[str, Any], weight: str) -> dict[str, Any]:
    """Sums in the thousands, of either sign, exact in 16 bits and far from 0 in any order; those of row 0 as ever."""
    x, w = given["x"], given[weight]
    sign = torch.ones(w.shape[1])
    sign[::2] = -1
    whole = (draw.integers(*w.shape, low=1, high=5) * sign).to(w.dtype)
    large = 16 * draw.integers(*x.shape, low=1, high=9).to(x.dtype)
    large[0] = 0
    return {**given, "x": large, weight: whole}


def rnn_cell(draw: Draw) -> Sequence[Given]:
    B, Cx, C = draw.integer(3, 4), draw.integer(5, 7), draw.integer(3, 4)

    def inputs(
        B: int = B, Cx: int = Cx, C: int = C, dtype: torch.dtype = torch.float32, large: float = 1.0, **more: Any
    ) -> dict[str, Any]:
        x, h = draw.normal(B, Cx, scale=large, dtype=dtype), draw.uniform(B, C, low=-1, high=1, dtype=dtype)
        return {"x": x, "h": h, **cell_weights(draw, Cx, C, dtype), **more}

    def differentiated(given: dict[str, Any]) -> dict[str, Any]:
        return {**given, "cotangent": draw.normal(*given["h"].shape, dtype=given["h"].dtype)}

    def thousands(dtype: torch.dtype = torch.float32, **more: Any) -> dict[str, Any]:
        return saturated(draw, inputs(dtype=dtype, **more), "w_xh")

    def halves(dtype: torch.dtype) -> list[dict[str, Any]]:
        return [inputs(B=1, dtype=dtype), thousands(dtype), differentiated(thousands(dtype))]

    others = [inputs(again=True), inputs(C=1), inputs(B=1), inputs(B=1, Cx=1), inputs(B=C, Cx=C), inputs(B=7, C=8)]
    others += [inputs(strided=True), thousands()]
    slopes = [inputs(Cx=C + 1, B=2), inputs(B=1, Cx=C), thousands()]
    return [
        Given("batch", "values", inputs(), public=True),
        Given("as wide as the state", "values", inputs(Cx=C), public=True),
        Given("large inputs", "values", inputs(large=400.0), public=True),
        Given("one call after the other", "values", calls(*others)),
        Given("float64", "precision", inputs(dtype=F64), public=True),
        Given("bfloat16", "precision", inputs(dtype=BF16), public=True),
        Given("16 bits", "precision", calls(*halves(BF16), *halves(F16))),
        Given("gradient", "gradient", differentiated(inputs()), public=True),
        Given("gradients, one after the other", "gradient", calls(*map(differentiated, slopes))),
        Given("gradient, float64", "gradient", differentiated(inputs(B=2, dtype=F64))),
    ]


def rnn(draw: Draw) -> Sequence[Given]:
    B, T, Cx, C = draw.integer(3, 4), draw.integer(5, 6), draw.integer(4, 5), draw.integer(2, 3)

    def inputs(
        B: int = B, T: int = T, Cx: int = Cx, C: int = C, dtype: torch.dtype = torch.float32, **more: Any
    ) -> dict[str, Any]:
        x, h_0 = draw.normal(B, T, Cx, dtype=dtype), draw.uniform(B, C, low=-1, high=1, dtype=dtype)
        return {"x": x, "h_0": h_0, **cell_weights(draw, Cx, C, dtype), **more}

    def differentiated(**given: Any) -> dict[str, Any]:
        made = inputs(**given)
        return {**made, "cotangent": draw.normal(*made["x"].shape[:2], C, dtype=made["x"].dtype)}

    def far(mask: Tensor) -> dict[str, Any]:
        """The largest numbers at padding: the cell makes no number of them."""
        given = inputs(*mask.shape, mask=mask)
        given["w_xh"][:, 0] = 1
        return {**given, "x": given["x"].where(mask[..., None], 3e38)}

    def halves(dtype: torch.dtype) -> list[dict[str, Any]]:
        return [inputs(T=2, dtype=dtype), differentiated(B=2, T=3, dtype=dtype, mask=right_padding(draw, 2, 3))]

    padded = right_padding(draw, B, T)
    others = [inputs(again=True, T=2), inputs(T=T + 4), inputs(1, 1, 1, 1), inputs(C, C, C), inputs(T, 2, strided=True)]
    masked = [inputs(mask=mask) for mask in any_padding(draw, B, T)[1:6]]
    masked += [inputs(T, T, mask=draw.booleans(T, T)), inputs(1, T, mask=right_padding(draw, 1, T) & padded[:1])]
    masked += [inputs(B, 1, mask=draw.booleans(B, 1)), far(padded.flip(1)), inputs(mask=padded, strided=True)]
    long: dict[str, Any] = {"B": 2, "T": 10, "dtype": F64}
    some = any_padding(draw, 2, 10)[3]
    slopes = differentiated(**long, mask=some)
    nothing = [inputs(B=1, T=0), inputs(T=0, mask=torch.ones(B, 0, dtype=torch.bool)), inputs(T=0, dtype=F64)]
    return [
        Given("sequence", "values", inputs(), public=True),
        Given("one token", "values", inputs(T=1), public=True),
        Given("one call after the other", "values", calls(*others)),
        Given("float64", "values", inputs(dtype=F64), public=True),
        Given("16 bits", "values", calls(*halves(BF16), *halves(F16))),
        Given("padding at the end", "padding", inputs(mask=padded), public=True),
        Given("padding in front", "padding", inputs(mask=padded.flip(1)), public=True),
        Given("padding of every kind", "padding", calls(*masked)),
        Given("gradient", "gradient", differentiated(), public=True),
        Given("gradient, padding", "gradient", differentiated(mask=padded), public=True),
        Given("gradient, padding of every kind", "gradient", slopes),
        Given("empty sequence", "empty", inputs(T=0), public=True),
        Given("empty sequences of every kind", "empty", calls(*nothing)),
    ]


def rnn_backward(draw: Draw) -> Sequence[Given]:
    B, T, Cx, C = draw.integer(2, 3), draw.integer(4, 6), draw.integer(4, 5), draw.integer(2, 3)
    weights = ("w_xh", "w_hh", "b")
    every = ("x", "h_0", *weights)

    def inputs(
        *returns: str, B: int = B, T: int = T, Cx: int = Cx, C: int = C, dtype: torch.dtype = F64, last: bool = False,
        **more: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """With ``last`` the loss depends on the last state only."""
        weights = cell_weights(draw, Cx, C, dtype, gain=1.4)
        x, h_0 = draw.normal(B, T, Cx, dtype=dtype), draw.uniform(B, C, low=-1, high=1, dtype=dtype)
        given = {"x": x, "h_0": h_0, "states": component.rnn(x, h_0, **weights)}
        d_states = draw.normal(B, T, C, dtype=dtype)
        if last:
            d_states[:, :-1] = 0
        del weights["b"]
        return {**given, "d_states": d_states, **weights, "returns": list(returns), **more}

    def others(*returns: str) -> dict[str, Any]:
        """Once more, then longer, later and fewer; widths alike and of one."""
        return calls(inputs(*returns, B=1, T=10, last=True), inputs(*returns, Cx=C, T=2))

    edges = [inputs(*every, B=1, T=1, Cx=1, C=1), inputs(*every, T=1, Cx=C, last=True)]
    edges += [inputs(*every, B=3, T=3, C=3), inputs(*every, T=2, strided=True), inputs(*every, T=2, again=True)]
    halves = [inputs(*every, B=2, T=2, dtype=dtype) for dtype in (BF16, F16)]
    return [
        Given("x", "x", inputs("x"), public=True),
        Given("x, last state only", "x", inputs("x", last=True), public=True),
        Given("x, one call after the other", "x", others("x")),
        Given("initial state", "h_0", inputs("h_0"), public=True),
        Given("initial state, one call after the other", "h_0", others("h_0")),
        Given("weights", "weights", inputs(*weights), public=True),
        Given("weights, one call after the other", "weights", others(*weights)),
        Given("one token", "edges", inputs(*every, T=1), public=True),
        Given("sizes of every kind", "edges", calls(*edges)),
        Given("float32", "edges", inputs(*every, T=2, dtype=torch.float32)),
        Given("16 bits", "edges", calls(*halves)),
    ]


def jacobian_product(draw: Draw) -> Sequence[Given]:
    T, C = draw.integer(5, 6), draw.integer(3, 4)

    def inputs(T: int = T, C: int = C, dtype: torch.dtype = F64, gain: float = 1.3, **more: Any) -> dict[str, Any]:
        weights = cell_weights(draw, C, C, dtype, gain)
        states = component.rnn(draw.normal(1, T, C, dtype=dtype), draw.normal(1, C, dtype=dtype), **weights)
        return {"states": states[0], "w_hh": weights["w_hh"], **more}

    others = [inputs(again=True), inputs(T=3, C=7), inputs(T=C), inputs(T=10, C=5, gain=3.5), inputs(T=12, gain=0.4)]
    others += [inputs(T=3, strided=True)]
    edges = [inputs(C=1), inputs(1, 1), inputs(2, 2), inputs(1, C + 1), inputs(2, 1)]
    halves = [inputs(t, 2, dtype=dtype) for dtype in (BF16, F16) for t in (3, 1)]
    return [
        Given("sequence", "values", inputs(), public=True),
        Given("one call after the other", "values", calls(*others)),
        Given("float32", "values", calls(*(inputs(n, dtype=torch.float32) for n in (T, 1)))),
        Given("16 bits", "values", calls(*halves)),
        Given("two tokens", "edges", inputs(T=2), public=True),
        Given("one token", "edges", inputs(T=1), public=True),
        Given("sizes of every kind", "edges", calls(*edges)),
    ]

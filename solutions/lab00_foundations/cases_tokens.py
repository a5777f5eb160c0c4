"""Lab 0, sealed: cases of one-hot rows, look-ups and the pipeline."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given, calls, on_a_card

TEXT = "we study the systems that train a language model on many machines and ask what each of them costs"
WORDS = TEXT.split()


def one_hot(draw: Draw) -> Sequence[Given]:
    classes, count = draw.integer(6, 9), draw.integer(4, 5)

    def ids(*shape: int) -> dict[str, Any]:
        """The largest id does not occur, so that the number of classes cannot be read from the ids."""
        return {"ids": draw.integers(*shape, high=classes - 1), "classes": classes}

    def bad(*values: int) -> dict[str, Any]:
        return {"ids": torch.tensor(values), "classes": classes, "bad": True}

    shapes = [(3,), (2, 1), (1, 2, 1), (1,), (2, 1, 4), (), (0,), (2, 0), (0, 3)]
    others = [{"ids": draw.integers(*shape, high=count), "classes": width} for shape in shapes for width in (count, 11)]
    wide = {"ids": torch.tensor([[255, 256, 2], [299, 0, 128]]), "classes": 300}
    refused = [bad(0, classes, 1), bad(-2, 0), bad(classes), bad(0, 2**33), bad(-1)]
    return [
        Given("shapes, one call after the other", "values", calls(*others[:12], wide, ids(2))),
        Given(
            "no ids of any shape",
            "edges",
            calls(*others[12:], {"ids": torch.zeros(2, dtype=torch.int64), "classes": 1}),
        ),
        Given("no classes, one call after the other", "edges", calls(*refused)),
        Given("a sentence", "values", ids(count), public=True),
        Given("a batch of sentences", "values", ids(2, 3), public=True),
        Given("a single id", "values", {"ids": torch.tensor(draw.integer(0, 3)), "classes": classes}, public=True),
        Given("the last class", "values", {"ids": torch.tensor([classes - 1, 0]), "classes": classes}),
        Given("no ids", "edges", {"ids": torch.zeros(0, dtype=torch.int64), "classes": classes}, public=True),
        Given("an id too large", "edges", bad(0, classes), public=True),
        Given("a negative id", "edges", bad(1, -1), public=True),
        Given("one negative in a batch", "edges", bad(2, 0, -classes)),
    ]


def look_up(draw: Draw) -> Sequence[Given]:
    rows, width = draw.integer(6, 9), draw.integer(3, 5)

    def case(*shape: int, dtype: torch.dtype = torch.float32, **more: Any) -> dict[str, Any]:
        given = {"table": draw.normal(rows, width, dtype=dtype), "ids": draw.integers(*shape, high=rows)}
        return {**given, **more}

    def ids(*values: int, **more: Any) -> dict[str, Any]:
        return case(1, **{"ids": torch.tensor(values, dtype=torch.int64), **more})

    pad = draw.integer(2, 4)
    nowhere = torch.tensor([pad + 1, 0, 1])
    infinite = ids(1, pad, 0, padding=pad)
    infinite["table"][pad] = torch.inf  # times 0 it is NaN
    shapes = [(3,), (), (2, 1), (1, 2, 2), (0,), (2, 0)]
    kinds = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
    every = [case(*shape, dtype=kind) for shape in shapes for kind in kinds[shape == (3,) :: 2]]
    padded = [case(*shape, padding=pad, dtype=kind) for shape in shapes for kind in (torch.float64, torch.bfloat16)]
    fine = torch.randn(rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(draw.integer(0, 99)))
    fine = {"table": fine, "ids": torch.tensor([1, 0])}
    refused = [
        ids(padding=rows, bad=True),
        ids(padding=-1, bad=True),
        ids(0, padding=rows + 3, bad=True),
        ids(-rows, bad=True),
    ]
    refused += [case(1, ids=torch.tensor([[0, 1], [rows, 2]]), bad=True), ids(-1, padding=pad, bad=True)]
    return [
        Given("shapes and dtypes, one call after the other", "values", calls(*every)),
        Given("float64, all of it", "values", calls(fine, fine | {"padding": 1})),
        Given("padding, one call after the other", "padding", calls(*padded, case(2, 3, padding=0))),
        Given("what is refused, one call after the other", "edges", calls(*refused)),
        on_a_card(Given("", "", ids(1, pad, padding=pad)), "padding as on a card", "padding"),
        Given("a sentence", "values", case(draw.integer(4, 6)), public=True),
        Given("a batch of sentences", "values", case(2, 3), public=True),
        Given("the same word twice", "values", ids(1, rows - 1, 1, 1)),
        Given("a single id", "values", {**case(1), "ids": torch.tensor(rows - 1)}, public=True),
        Given("bfloat16", "values", case(2, 2, dtype=torch.bfloat16), public=True),
        Given("padding at the end", "padding", ids(0, 1, pad, pad, padding=pad), public=True),
        Given("padding is id 0", "padding", ids(3, 1, 0, 0, padding=0), public=True),
        Given("padding in a batch", "padding", case(1, ids=torch.tensor([[1, pad], [pad, pad]]), padding=pad)),
        Given("the row of padding is infinite", "padding", infinite, public=True),
        Given(
            "padding does not occur, or last",
            "padding",
            calls(case(1, ids=nowhere, padding=pad), ids(rows - 1, 1, 2, padding=rows - 1)),
        ),
        Given("no ids", "edges", ids(), public=True),
        Given("an id too large", "edges", ids(0, rows, bad=True), public=True),
        Given("a negative id", "edges", ids(-1, 0, bad=True), public=True),
        Given("no row for the padding", "edges", ids(0, 1, padding=rows, bad=True), public=True),
        Given("a negative padding", "edges", ids(0, 1, padding=-1, bad=True), public=True),
        Given("an id too large beside padding", "edges", ids(pad, rows + 2, padding=pad, bad=True)),
    ]


def pipeline(draw: Draw) -> Sequence[Given]:
    def text() -> str:
        return " ".join(draw.sample(WORDS, draw.integer(3, 7)))

    def image() -> torch.Tensor:
        return draw.integers(2, 3, high=9).float()

    one, other = text(), text()
    again = {
        "plain": [one, [one, other, one], one, other, [], [[one, other], [other]]],
        "tuples": [[one, other], [one]],
    }
    nothing = {"plain": ["", ["", one, ""], [[], [one]], [[]]], "tuples": [[]]}
    return [
        Given("the same inputs again", "several", again),
        Given("empty inputs", "several", nothing),
        Given("one text", "stages", {"calls": [text()]}, public=True),
        Given("another text", "stages", {"calls": [text()]}),
        Given("one word", "stages", {"calls": [draw.choice(WORDS)]}),
        Given("three texts", "several", {"calls": [[text(), text(), text()]]}, public=True),
        Given("a list of one", "several", {"calls": [[text()]]}, public=True),
        Given("no text at all", "several", {"calls": [[]]}, public=True),
        Given("called again and again", "several", {"calls": [text(), [text(), text()], text()]}, public=True),
        Given("an image", "several", {"calls": [image()]}, public=True),
        Given("two images", "several", {"calls": [[image(), image()]]}),
        Given("two pipelines", "several", {"calls": [text()], "second": text()}, public=True),
    ]

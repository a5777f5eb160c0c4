"""Lab 0, sealed: cases of one-hot rows, look-ups and the pipeline."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given

TEXT = "we study the systems that train a language model on many machines and ask what each of them costs"
WORDS = TEXT.split()


def one_hot(draw: Draw) -> Sequence[Given]:
    classes, count = draw.integer(6, 9), draw.integer(4, 5)

    def ids(*shape: int) -> dict[str, Any]:
        """The largest id does not occur, so that the number of classes cannot be read from the ids."""
        return {"ids": draw.integers(*shape, high=classes - 1), "classes": classes}

    def bad(*values: int) -> dict[str, Any]:
        return {"ids": torch.tensor(values), "classes": classes, "bad": True}

    return [
        Given("a sentence", "values", ids(count), public=True),
        Given("a batch of sentences", "values", ids(2, 3), public=True),
        Given("three axes", "values", ids(2, 1, 4)),
        Given("a single id", "values", {"ids": torch.tensor(draw.integer(0, 3)), "classes": classes}, public=True),
        Given("the last class", "values", {"ids": torch.tensor([classes - 1, 0]), "classes": classes}),
        Given("no ids", "edges", {"ids": torch.zeros(0, dtype=torch.int64), "classes": classes}, public=True),
        Given("an id too large", "edges", bad(0, classes), public=True),
        Given("a negative id", "edges", bad(1, -1), public=True),
        Given("one far too large", "edges", bad(1, 10 * classes, 0)),
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
    return [
        Given("a sentence", "values", case(draw.integer(4, 6)), public=True),
        Given("a batch of sentences", "values", case(2, 3), public=True),
        Given("the same word twice", "values", ids(1, rows - 1, 1, 1)),
        Given("a single id", "values", {**case(1), "ids": torch.tensor(rows - 1)}, public=True),
        Given("float64", "values", case(4, dtype=torch.float64)),
        Given("bfloat16", "values", case(2, 2, dtype=torch.bfloat16), public=True),
        Given("padding at the end", "padding", ids(0, 1, pad, pad, padding=pad), public=True),
        Given("padding is id 0", "padding", ids(3, 1, 0, 0, padding=0), public=True),
        Given("padding in a batch", "padding", case(1, ids=torch.tensor([[1, pad], [pad, pad]]), padding=pad)),
        Given("the row of padding is infinite", "padding", infinite, public=True),
        Given("padding does not occur", "padding", case(1, ids=nowhere, padding=pad)),
        Given("the last row is padding", "padding", ids(rows - 1, 1, 2, padding=rows - 1)),
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

    return [
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

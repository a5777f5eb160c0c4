"""Lab 0, sealed: misconceptions about one-hot rows and look-ups."""

import torch

from autograder.exercise import Misconception
from mlsys_course import foundations as component


def compared(ids, classes):
    return ids[..., None] == torch.arange(classes, device=ids.device)


def class_first(ids, classes):
    return component.one_hot(ids, classes).movedim(-1, 0)


def whole_numbers(ids, classes):
    return component.one_hot(ids, classes).long()


def truth_values(ids, classes):
    component.one_hot(ids, classes)
    return compared(ids, classes)


def classes_from_the_ids(ids, classes):
    component.one_hot(ids, classes)
    return compared(ids, int(ids.max()) + 1).float()


def flattened(ids, classes):
    return component.one_hot(ids.reshape(-1), classes)


def from_the_end(ids, classes):
    if int(ids.max() if ids.numel() else 0) >= classes:
        raise ValueError(f"{ids} against {classes} classes")
    return torch.eye(classes, device=ids.device)[ids]


def indexed_only(ids, classes):
    return torch.eye(classes)[ids.cpu()]


def never_refuses(ids, classes):
    return compared(ids, classes).float()


def another_error(ids, classes):
    try:
        return component.one_hot(ids, classes)
    except ValueError as problem:
        raise IndexError(str(problem)) from None


def needs_an_id(ids, classes):
    if ids.min() < 0 or ids.max() >= classes:  # min of nothing raises
        raise ValueError(f"{ids} against {classes} classes")
    return component.one_hot(ids, classes)


ONE_HOT = [
    Misconception("class first", class_first, "Which axis of the result counts the classes: the first or the last?"),
    Misconception("whole numbers", whole_numbers, "The values fit. Which dtype does the docstring ask for?"),
    Misconception("truth values", truth_values, "A comparison has dtype bool. Which dtype does the docstring ask for?"),
    Misconception("classes from the ids", classes_from_the_ids,
        "How wide is a row when the largest class does not occur among the ids?"),
    Misconception("flattened", flattened, "ids may have several axes. Where are they in your result?"),
    Misconception("negative ids count from the end", from_the_end,
        "Python and PyTorch read x[-1] as the last entry. Is -1 one of the classes?"),
    Misconception("never refuses", never_refuses,
        "A row without any 1 stands for no class at all. What should happen to an id that is no class?"),
    Misconception("PyTorch's own error", indexed_only,
        "Indexing checks one side only, and raises another exception than the docstring names."),
    Misconception("another error", another_error, "Bad ids are refused. With which exception?"),
    Misconception("needs an id", needs_an_id, "Nothing has no minimum. What are the rows of no ids at all?"),
]  # fmt: skip


def transposed(table, ids, padding=None):
    found = component.look_up(table, ids, padding)
    return found.movedim(-1, 0)


def wraps_around(table, ids, padding=None):
    return component.look_up(table, ids.where(ids >= 0, ids + len(table)), padding)


def errors_of_indexing(table, ids, padding=None):
    try:
        return component.look_up(table, ids, padding)
    except ValueError as problem:
        raise IndexError(str(problem)) from None


def zero_is_none(table, ids, padding=None):
    return component.look_up(table, ids, padding or None)


def keeps_padding(table, ids, padding=None):
    component.look_up(table, ids, padding)
    return component.look_up(table, ids)


def drops_padding(table, ids, padding=None):
    found = component.look_up(table, ids, padding)
    return found if padding is None else found[ids != padding]


def any_padding(table, ids, padding=None):
    found = component.look_up(table, ids)
    return found if padding is None else found.masked_fill((ids == padding)[..., None], 0)


def padding_from_the_end(table, ids, padding=None):
    if padding is not None and padding < 0:
        padding += len(table)
    return component.look_up(table, ids, padding)


def always_float32(table, ids, padding=None):
    return component.look_up(table, ids, padding).float()


def clamped(table, ids, padding=None):
    return component.look_up(table, ids.clamp(0, len(table) - 1), padding)


def times_zero(table, ids, padding=None):
    found = component.look_up(table, ids, padding)
    return found if padding is None else component.look_up(table, ids) * (ids != padding)[..., None]


def first_row(table, ids, padding=None):
    found = component.look_up(table, ids, padding)
    return found if padding is None else found.where((ids != padding)[..., None], table[0])


LOOK_UP = [
    Misconception("transposed", transposed, "Rows are tokens in this course. Which axis of yours counts the tokens?"),
    Misconception("negative ids wrap around", wraps_around,
        "Python reads table[-1] as the last row. Is -1 the id of a row?"),
    Misconception("errors of indexing", errors_of_indexing,
        "Bad ids are refused. With which exception, by the docstring?"),
    Misconception("padding 0 is none", zero_is_none, "`if padding:` asks something else than `padding is not None`."),
    Misconception("padding keeps its row", keeps_padding, "Which vector does a place have where there is no word?"),
    Misconception("padding is dropped", drops_padding, "Sequences of a batch must stay equally long. Are yours?"),
    Misconception("padding becomes the first row", first_row, "A place without a word has a vector of what entries?"),
    Misconception("padding times 0", times_zero, "0 times infinity is NaN. How else can an entry be made 0?"),
    Misconception("any padding", any_padding, "padding must be one of the rows too. What of one that is not?"),
    Misconception("padding counts from the end", padding_from_the_end,
        "Is a negative padding one of the rows of the table?"),
    Misconception("always float32", always_float32, "What dtype has the table, and what dtype your result?"),
    Misconception("clamped", clamped, "A wrong id shows a bug elsewhere. Should it get some other word's vector?"),
]  # fmt: skip

"""Where text is cut before pairs of bytes are merged: no token reaches across."""

import re

PATTERN = re.compile(r" ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+")


def split_text(text: str) -> list[str]:
    """Pieces that make up the text: letters, digits, or other signs, each with a space before it; and further space.

    Of several spaces before a word the last goes with the word. Letters are what Python's ``\\w`` takes for such, but
    digits and ``_``. GPT-2's pattern, but for its contractions (``'s``, ``'ll``). Source: Radford et al. 2019,
    section 2.2.
    """
    return PATTERN.findall(text)

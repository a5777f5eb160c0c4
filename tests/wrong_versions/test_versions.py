"""The sealed cases catch what people who had the student edition only could slip past the public ones with."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from autograder.course import load_course
from autograder.mutate.judging import SURVIVED, Bench
from tests.conftest import ROOT

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("lab*/*.py"))
HEAD = re.compile(r"^# %% (wrong|right):(.*)$", re.M)
SLIP = {  # what is known to get through, and why nothing is done about it
    (
        "lab01",
        "jacobian_product",
        "calls itself",
    ): "a case of more than 1,000 states would fail a right answer in T squared",
    (
        "lab00",
        "look_up",
        "inf and NaN in other",
    ): "rows of inf and NaN make a right answer by products of one-hot rows NaN",
    (
        "lab04",
        "causal_loss",
        "they are multiplied by 0",
    ): "an infinity or NaN at T - 1 would fail who moves the labels and lets F.cross_entropy ignore the last",
    ("lab07", "activation_bytes", "float32"): "cases are small enough for right answers that build a live layer",
}


class Version(NamedTuple):
    kind: str
    why: str
    source: str


def versions(path: Path) -> Iterator[Version]:
    """The cells of a file."""
    _, *pieces = HEAD.split(path.read_text(encoding="utf-8"))
    for kind, why, source in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
        yield Version(kind, why.strip(), source)


@pytest.fixture(scope="module")
def labs():
    course = load_course(ROOT, term="sample")
    return {stem[:5]: course.lab(stem) for stem in course.stems()}


def known(path: Path, version: Version) -> bool:
    """Whether it is one that gets through."""
    return any((path.parent.name, path.stem) == (lab, name) and words in version.why for lab, name, words in SLIP)


@pytest.mark.long
@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}-{path.stem}" for path in FILES])
def test_wrong_ones_are_caught_and_right_ones_full(labs, path: Path):
    lab = labs[path.parent.name]
    bench = Bench(lab, next(one for one in lab.exercises if one.id == path.stem))
    bench.most_lines = sys.maxsize
    found = list(versions(path))
    ends = bench.judged([version.source for version in found], 2, lambda **_: None)
    full = {version: end == SURVIVED for version, end in zip(found, ends, strict=True)}
    assert not [version.why for version, is_full in full.items() if version.kind == "right" and not is_full]
    slipped = [version for version, is_full in full.items() if version.kind == "wrong" and is_full]
    assert not [version.why for version in slipped if not known(path, version)]


def test_versions_are_read():
    kinds = [version.kind for path in FILES for version in versions(path)]
    assert kinds.count("wrong") > 160 and kinds.count("right") > 60

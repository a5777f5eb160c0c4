"""What this room's tests share."""

from collections.abc import Iterator

import pytest

from .graders import Graders


@pytest.fixture(scope="session")
def graders() -> Iterator[Graders]:
    """Runs of ``mlsys``, each a process of its own."""
    with Graders() as started:
        yield started

"""One lab, one engine, for all attacks."""

import pytest

from .harness import attacked


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """The attacked lab."""
    with attacked(tmp_path_factory.mktemp("attacked")) as field:
        yield field

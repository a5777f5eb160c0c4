"""What a run leaves out, said in its last lines with the command that runs it: long tests, and those for a card."""

from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

LEFT_OUT = pytest.StashKey[Counter]()
SAID = {
    "long": "{} long tests left out: pytest -m long",
    "gpu": "{} tests want a GPU, some of them two: pytest -m gpu on a machine with them",
}


def long_but(first: int, cases: Iterable) -> list:
    """Cases of one family: the ``first`` run by default, the others are long."""
    return [pytest.param(case, marks=[pytest.mark.long] * (n >= first)) for n, case in enumerate(cases)]


def every(nth: int, cases: Iterable) -> list:
    """Cases of one family in no order: each ``nth`` runs by default, the others are long."""
    return [pytest.param(case, marks=[pytest.mark.long] * bool(n % nth)) for n, case in enumerate(cases)]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEFT_OUT] = Counter()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect, of what is asked for, what wants more cards than there are: ``gpu`` wants one, ``gpu(2)`` two."""
    wanted = {item: cards for item in items if (cards := cards_for(item))}
    if not wanted:
        return
    import torch  # here, since many runs do without, and it takes seconds

    lacking = [item for item, cards in wanted.items() if cards > torch.cuda.device_count()]
    config.stash[LEFT_OUT]["gpu"] += len(lacking)
    items[:] = [item for item in items if item not in set(lacking)]
    config.hook.pytest_deselected(items=lacking)


def cards_for(item: pytest.Item) -> int:
    """How many cards a test wants."""
    return max((mark.args[0] if mark.args else 1 for mark in item.iter_markers("gpu")), default=0)


@pytest.hookimpl(wrapper=True)
def pytest_deselected(items: list[pytest.Item]) -> Iterator[None]:
    """Count what ``-m 'not long'`` took away."""
    if items and "not long" in items[0].config.option.markexpr:
        items[0].config.stash[LEFT_OUT]["long"] += sum("long" in item.keywords for item in items)
    yield


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist tells the run that it is part of."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(session.config.stash[LEFT_OUT])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """Every worker leaves out the same."""
    if hasattr(node, "workeroutput"):
        node.config.stash[LEFT_OUT] = Counter(node.workeroutput["left_out"])


@pytest.hookimpl(trylast=True)  # below the list of the slowest
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for kind, text in SAID.items():
        if count := config.stash[LEFT_OUT][kind]:
            terminalreporter.write_line(text.format(count))

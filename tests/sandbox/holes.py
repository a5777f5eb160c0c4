"""Sandboxes with a hole, to see what a channel between them would be worth that nobody has thought of."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autograder.sandbox import Engine, process

# Locks work, and are seen by every other sandbox.
LOCKS = """
from inside import seccomp
rules = seccomp._rules
seccomp.IGNORED = seccomp.IGNORED.replace("flock ", "")
seccomp._rules = lambda piece: [rule for rule in rules(piece) if rule[0] != "fcntl"]
"""
# Watches on files are there, and tell what other sandboxes open.
WATCHES = """
from inside import seccomp
seccomp.ABSENT = seccomp.ABSENT.replace("inotify_init1 inotify_add_watch", "")
"""
# All sandboxes are in one network.
NETWORK = """
from inside import child, kernel, warm
become = warm._become_first_process
def in_one_network(channel):
    become(channel)
    kernel.unshare(kernel.NEWNET)
    child._own_network()
    child._own_network, kernel.NEWNET = lambda: None, 0
warm._become_first_process = in_one_network
"""


@contextmanager
def with_a_hole(hole: str) -> Iterator[None]:
    """Engines that start in here have it: the text runs in the warm process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "LAUNCH", process.LAUNCH.replace("; main(", f"; exec({hole!r}); main("))
        yield


@contextmanager
def leaky(edition: Path, hole: str) -> Iterator[Engine]:
    """An engine with a hole."""
    with with_a_hole(hole), Engine(edition) as made:
        yield made

"""Ranks as processes on gloo: what a notebook sees of them, and that nothing of them is left."""

import math
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
import torch.distributed as dist

from mlsys_course.all_reduce import ring_all_reduce
from mlsys_course.substrate.errors import CourseProblem
from mlsys_course.substrate.ranks import (
    Deadlock,
    Mismatch,
    RankDied,
    RankRaised,
    RanksLate,
    run,
    run_in_threads,
)  # fmt: skip
from mlsys_course.substrate.ranks.processes import starters
from mlsys_course.substrate.ranks.processes.nccl import NcclCommunicator
from tests.conftest import ROOT

LIMIT = 15.0  # seconds for what ought to take two, on a machine with other work


def children() -> set[int]:
    """Processes that descend from this one, the fork server aside."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
    parents = dict(map(int, line.split()) for line in listed.splitlines()[1:])
    server = starters._server.process.pid if starters._server else -1

    def ours(pid: int) -> bool:
        return pid in (os.getpid(), server) or (pid in parents and ours(parents[pid]))

    return {pid for pid in parents if ours(parents[pid]) and pid != server and parents.get(pid) == server}


def fails(function, world_size=2, problem=Exception, timeout=LIMIT, **options):
    """The problem of a run that cannot end well, which must be told in bounded time and leave no process."""
    start = time.monotonic()
    with pytest.raises(problem) as caught:
        run(function, world_size, timeout=timeout, backend="gloo", **options)
    assert time.monotonic() - start < 2 * LIMIT
    assert not children()
    return caught.value


def test_functions_of_this_module_with_their_globals_run_on_every_rank():
    def function(comm, scale):
        x = torch.full((5,), float(comm.rank + 1)) * scale
        assert os.getpid() != parent
        total = x.clone()
        dist.all_reduce(total)  # set up in every rank
        assert torch.equal(total, ring_all_reduce(x, comm))
        return comm.rank, total

    parent = os.getpid()
    for world_size in (1, 2, 3):
        results = run(function, world_size, backend="gloo", args=(10,)).results
        assert [rank for rank, _ in results] == list(range(world_size))
        assert all(total.tolist() == [sum(range(world_size + 1)) * 10.0] * 5 for _, total in results)
    assert not children()


def test_messages_are_those_of_threads_and_have_times_and_tags():
    def function(comm):
        if comm.rank == 0:
            with comm.span("first"):
                comm.send(torch.ones(3), 1)
            time.sleep(0.2)
            comm.isend(torch.ones(2, 2, dtype=torch.float64), 1).wait()
        elif comm.rank == 1:
            comm.recv(torch.ones(3), 0)
            comm.recv(torch.ones(2, 2, dtype=torch.float64), 0)
        comm.send(torch.ones(comm.rank, dtype=torch.int8), (comm.rank + 1) % 3)  # nobody receives these
        return comm.rank

    here, (results, traffic, timeline) = run_in_threads(function, 3)[1], run(function, 3, backend="gloo")
    assert results == [0, 1, 2]
    assert list(traffic.messages) == list(here.messages)
    assert (traffic.costs, traffic.bytes_sent) == (here.costs, here.bytes_sent)
    first, second, lost = traffic.sent_by(0)
    assert (first.tag, second.tag) == ("first", "") and math.isnan(lost.received)
    assert 0 < first.sent <= first.received < second.sent <= second.received <= timeline.seconds
    assert second.sent - first.sent >= 0.2
    assert [event.label for event in timeline.of(0, "span")] == ["first"]
    assert timeline.waiting()[1] >= 0.15 and timeline.waiting()[2] == 0


def neighbours(comm):
    return (comm.rank + 1) % comm.world_size, (comm.rank - 1) % comm.world_size


def test_receives_may_be_waited_for_in_any_order_and_sent_copies_stay():
    def function(comm):
        right, left = neighbours(comm)
        x = torch.zeros(2)
        for n in range(4):
            comm.send(x.fill_(n), right)
        handles = [comm.irecv(torch.empty(2), left) for _ in range(4)]
        return [int(handles[n].wait()[0]) for n in (3, 0, 2, 1, 1)]

    assert run(function, 2, backend="gloo").results == [[3, 0, 2, 1, 1]] * 2


@pytest.mark.parametrize("entries", [1, 1_000_000])
def test_a_message_whose_handle_nobody_keeps_is_through_all_the_same(entries):
    def function(comm):
        right, left = neighbours(comm)
        first = torch.zeros(entries)
        comm.irecv(first, left)
        for n in (1.0, 2.0, 3.0):
            comm.isend(torch.full((entries,), n), right)
        rest = [comm.recv(torch.empty(entries), left)[-1].item() for _ in range(2)]
        return [first[-1].item(), *rest]

    assert run(function, 2, backend="gloo", timeout=LIMIT).results == [[1, 2, 3]] * 2
    assert run_in_threads(function, 2)[0] == [[1, 2, 3]] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool, torch.complex64, torch.int8])
def test_views_empty_tensors_and_numbers_travel_in_any_dtype(dtype):
    def function(comm):
        other, x = 1 - comm.rank, torch.arange(12).reshape(3, 4).to(dtype)
        sending = comm.isend(x.T, other)
        whole = torch.zeros(4, 9, dtype=dtype)
        assert comm.recv(column := whole[:, 2:8:2], other) is column
        sending.wait()
        comm.send(x[:0], other)
        comm.send(x[1, 1].requires_grad_(dtype.is_floating_point), other)
        empty, number = comm.recv(x[:0].clone(), other), comm.recv(torch.zeros((), dtype=dtype), other)
        return torch.equal(whole[:, 2:8:2], x.T), int((whole[:, ::8] != 0).sum()), empty.shape, bool(number == x[1, 1])

    assert run(function, 2, backend="gloo").results == [(True, 0, (0, 4), True)] * 2


def test_an_empty_message_is_waited_for():
    def function(comm):
        if comm.rank == 0:
            time.sleep(0.3)
            return comm.send(torch.empty(0), 1)
        comm.recv(torch.empty(0), 0)

    assert run(function, 2, backend="gloo").timeline.waiting()[1] >= 0.2


def test_what_ranks_print_has_their_number(capsys):
    def function(comm):
        print("one", comm.rank, "\ntwo", flush=True)
        print("no end", end="")
        print("wrong", file=sys.stderr)

    run(function, 2, backend="gloo")
    out, err = capsys.readouterr()
    for rank in range(2):
        mine = [line for line in out.splitlines() if line.startswith(f"[rank {rank}]")]
        assert mine == [f"[rank {rank}] one {rank} ", f"[rank {rank}] two", f"[rank {rank}] no end"]
        assert f"[rank {rank}] wrong\n" in err


def test_an_exception_is_told_with_every_rank_and_releases_who_waits(capsys):
    def function(comm):
        if comm.rank == 1:
            raise KeyError("boom")
        try:
            comm.recv(torch.ones(3), 1)
        except RuntimeError as error:
            print("told:", error)
            raise

    problem = fails(function, 3, RankRaised)
    assert str(problem).startswith("rank 1 raised KeyError: 'boom'\n") and isinstance(problem.__cause__, KeyError)
    assert "rank 0 was stopped where it waited" in str(problem)
    assert 'in function: raise KeyError("boom")' in str(problem)
    assert capsys.readouterr().out.count("told: rank 1 raised KeyError: 'boom'") == 2


@pytest.mark.parametrize(
    "end, words",
    [
        (lambda: os._exit(3), "rank 1 died (exit code 3)"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "rank 1 died (signal 9)"),
        (lambda: sys.exit(2), "rank 1 raised SystemExit: 2"),
    ],
)
@pytest.mark.parametrize("wait", ["recv", "all_reduce"])
def test_a_rank_that_dies_ends_all(end, words, wait):
    def function(comm):
        if comm.rank == 1:
            end()
        comm.recv(torch.ones(3), 1) if wait == "recv" else dist.all_reduce(torch.ones(3))

    assert str(fails(function, 3, (RankDied, RankRaised))).splitlines()[0] == words


@pytest.mark.parametrize(
    "source, words",
    [
        (lambda comm: (comm.rank + 1) % 3, "rank 0 waits in recv from 1, which waits in recv from 2"),
        (lambda comm: 0 if comm.rank == 2 else None, "rank 2 waits in recv from 0, which has returned"),
    ],
)
def test_a_deadlock_is_told_soon_in_the_words_of_threads(source, words):
    def function(comm):
        comm.send(torch.ones(1), (comm.rank + 2) % 3)
        if (wanted := source(comm)) is not None:
            comm.recv(torch.ones(1), wanted)
            comm.recv(torch.ones(1), wanted)

    problem = fails(function, 3, Deadlock, timeout=10 * LIMIT)
    assert str(problem).splitlines()[0] == words
    assert "in function: comm.recv(torch.ones(1), wanted)" in str(problem)


def test_who_computes_long_is_no_deadlock():
    def function(comm):
        if comm.rank == 0:
            time.sleep(2.5)
            comm.send(torch.ones(1), 1)
        else:
            comm.recv(torch.ones(1), 0)

    assert run(function, 2, backend="gloo").timeline.waiting()[1] > 2


@pytest.mark.parametrize(
    "sent, wanted, words",
    [
        (torch.ones(3), torch.ones(4), "float32 of shape (3,) from rank 1, and its buffer is for float32 of shape (4"),
        (torch.ones(9), torch.ones(4), "float32 of shape (9,) from rank 1, and its buffer is for float32 of shape (4"),
        (torch.ones(4), torch.ones(4).int(), "float32 of shape (4,) from rank 1, and its buffer is for int32"),
        (torch.ones(2, 3), torch.ones(3, 2), "float32 of shape (2, 3) from rank 1"),
    ],
)  # fmt: skip
def test_a_message_that_does_not_fit_is_named_and_never_written(sent, wanted, words):
    def function(comm):
        comm.send(sent, 1 - comm.rank)
        comm.recv(wanted, 1 - comm.rank)

    assert str(fails(function, 2, Mismatch)).startswith("rank 0 got " + words)


def test_collectives_in_different_order_are_named_when_time_is_up():
    def function(comm):
        dist.broadcast(torch.ones(2), 0) if comm.rank else dist.all_reduce(torch.ones(3))

    words = str(fails(function, 2, RanksLate, timeout=2))
    assert (
        "rank 0 waits in torch.distributed.all_reduce; rank 1 waits in torch.distributed.broadcast (after 2 s)" in words
    )


def test_a_loop_without_end_is_shown_where_it_is():
    def function(comm):
        while comm.rank:
            pass
        comm.recv(torch.ones(1), 1)

    words = str(fails(function, 2, RanksLate, timeout=2))
    assert words.startswith("rank 0 waits in recv from 1; rank 1 did not finish (after 2 s)")
    assert "in function: while comm.rank:" in words or "in function: pass" in words


def test_ctrl_c_ends_every_rank():
    def function(comm):
        time.sleep(60)

    # A shell starts what is in the background with interrupts ignored; a notebook's kernel takes them.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(1.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run(function, 2, backend="gloo")
    finally:
        signal.signal(signal.SIGINT, before)
    assert not children()
    assert run(lambda comm: comm.rank, 2, backend="gloo").results == [0, 1]  # and the next run is sound


SCRIPT = """
import os, sys, time
from mlsys_course.substrate.ranks import run
from mlsys_course.substrate.ranks.processes import starters
starters.FORKS = starters.FORKS and sys.argv[1] == "forks"
def function(comm):
    print("pid", os.getpid())
    time.sleep(60)
run(function, 2, backend="gloo")
"""


@pytest.mark.parametrize("way", ["forks", "fresh interpreters"])
def test_ranks_end_with_the_notebook_even_if_that_is_killed_and_leave_no_folder(tmp_path, way):
    (tmp_path / "script.py").write_text(SCRIPT)
    temporary = tmp_path / "a-temporary-folder-with-a-name-so-long-that-no-socket-may-lie-in-it-whatever-comes-before"
    temporary.mkdir()
    environ = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "script.py"), way]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as script:
        assert script.stdout
        ranks = [int(script.stdout.readline().split()[-1]) for _ in range(2)]
        assert list(temporary.glob("ranks-*/store"))
        script.kill()

    def left() -> list[str]:
        folders = [str(path) for path in temporary.glob("ranks-*")]
        return folders + [f"/proc/{pid}" for pid in ranks if os.path.exists(f"/proc/{pid}")]

    end = time.monotonic() + LIMIT
    while left() and time.monotonic() < end:
        time.sleep(0.05)
    assert not left()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: run(print, 0), "world_size=0; give a whole number of ranks, at least 1"),
        (lambda: run(print, 2, backend="mpi"), "backend='mpi'; choose 'gloo'"),
        (lambda: run("print", 2), "this is a str"),
        (lambda: run(print, 2, timeout=0), "timeout=0"),
        (lambda: run(print, 64, backend="nccl"), "nccl needs a GPU for each of 64 ranks"),
        (lambda: run(lambda comm, lock: 0, 2, args=(threading.Lock(),)), "cannot be copied to another process"),
    ],
)
def test_bad_input_is_named_before_anything_starts(call, words):
    with pytest.raises(CourseProblem, match=words):
        call()


def test_a_result_that_cannot_be_copied_is_named():
    problem = fails(lambda comm: (n for n in range(3)), 2, RankRaised)
    assert "a generator was returned that cannot be copied to the notebook" in str(problem)


def test_fresh_interpreters_do_the_same_as_forks(monkeypatch):
    monkeypatch.setattr(starters, "FORKS", False)

    def function(comm):
        return float(ring_all_reduce(torch.ones(3), comm)[0])

    assert run(function, 2, backend="gloo").results == [2.0, 2.0]
    assert not children()


def test_messages_that_begin_in_groups_as_on_cards_arrive_as_others_do():
    """NCCL's way of grouping, over gloo: what is asked for between two waits is launched at the second."""

    def function(comm):
        comm = NcclCommunicator(comm.rank, comm.world_size, comm.device, comm.ledger, str)
        x = torch.arange(7.0) * (comm.rank + 1)
        total = ring_all_reduce(x, comm)
        right, left = neighbours(comm)
        comm.send(x, right)
        x.zero_()  # what was sent is a copy
        handles = [comm.isend(total, right), comm.irecv(torch.empty(7), left), comm.irecv(torch.empty(7), left)]
        got = [handle.wait() for handle in handles[1:]]
        comm.send(torch.full((1,), 5.0), right)
        comm.flush()  # else it would begin at the next wait only
        time.sleep(0.1)
        return total, got, comm.recv(torch.empty(1), left).item()

    for world_size in (2, 3):
        factor = sum(range(1, world_size + 1))
        for rank, (total, (own, sums), last) in enumerate(run(function, world_size, backend="gloo").results):
            assert torch.equal(total, torch.arange(7.0) * factor) and torch.equal(sums, total) and last == 5
            assert torch.equal(own, torch.arange(7.0) * ((rank - 1) % world_size + 1))

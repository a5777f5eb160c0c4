"""Grading on a card. What needs one is left out without; the rest runs everywhere."""

import mmap
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from autograder.doctor import findings
from autograder.sandbox import Call, Cell, Engine, Limits, SandboxUnavailable, gpu
from autograder.sandbox.inside import processes
from mlsys_course.desk.check import encode

from .conftest import MARK, RIGHT, Teacher, graded, is_right

MISSING = gpu.missing()
needs_card = [pytest.mark.gpu, pytest.mark.skipif(bool(MISSING), reason=MISSING)]
GIB = 1 << 30


def test_memory_is_summed_by_process_over_cards_and_unknown_left_out():
    held = gpu.summed([(7, 100), (8, 5), (7, 30), (9, gpu.UNKNOWN)])
    assert held == {7: 130, 8: 5}
    assert gpu.held_by([7, 9, 7, 11], held) == 130 and gpu.held_by([], held) == 0


def test_shares_of_a_card():
    assert gpu.share_mib(80 * GIB, 10) == int(80 * 1024 * gpu.USABLE / 10)
    assert gpu.share_mib(8 * GIB, 64) == gpu.LEAST_SHARE_MIB and gpu.share_mib(8 * GIB, 0) == gpu.share_mib(8 * GIB, 1)
    with pytest.raises(SandboxUnavailable, match=r"1024 MiB.*--device cpu"):
        gpu.share_mib(1 * GIB, 2)


def test_only_devices_that_compute_are_shown(tmp_path):
    (tmp_path / "nvidia0").write_text("a file is no device")
    for name in ("nvidia1", "nvidiactl", "nvidia-modeset"):
        (tmp_path / name).symlink_to("/dev/null")
    assert [Path(name).name for name in gpu.device_files(tmp_path)] == ["nvidia1", "nvidiactl"]


@pytest.mark.skipif(not MISSING, reason="there is a card here")
def test_without_a_card_the_engine_says_what_to_do(edition):
    with pytest.raises(SandboxUnavailable, match=r"grade with --device cpu|nvidia-smi"):
        Engine(edition, device="cuda")
    (finding,) = [f for f in findings() if f.what == "grading on a GPU"]
    assert finding.state == "optional" and finding.remedy == MISSING


def test_an_unknown_device(edition):
    with pytest.raises(ValueError, match="'tpu' is unknown; choose cpu or cuda"):
        Engine(edition, device="tpu")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_shared_memory_counts_in_full_pieces_while_any_of_it_is_mapped():
    before = processes.shared_anonymous_bytes([os.getpid()])
    pieces = [mmap.mmap(-1, 1 << 20) for _ in range(3)]
    assert processes.shared_anonymous_bytes([os.getpid()] * 2) - before == 3 * processes.SHARED_PIECE
    pieces.pop().close()
    assert processes.shared_anonymous_bytes([os.getpid()]) - before == 2 * processes.SHARED_PIECE


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_local_sockets_count_with_all_that_they_may_hold():
    before = processes.local_socket_bytes(os.getpid())
    made = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
    assert processes.local_socket_bytes(os.getpid()) >= before + 3 * processes.SOCKET_BUFFER
    for one in made:
        one.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_open_descriptors_are_counted_or_taken_for_many():
    before = processes.descriptors([os.getpid()], unreadable=1)
    read, write = os.pipe()
    assert processes.descriptors([os.getpid(), 0], unreadable=512) == before + 2 + 512
    os.close(read)
    os.close(write)


@pytest.mark.skipif(sys.platform != "linux", reason="its limits")
def test_a_local_socket_holds_no_more_unread_than_is_counted():
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sender.setblocking(False)
    held = 0
    with sender, receiver, pytest.raises(BlockingIOError):
        while True:
            held += sender.send(bytes(100_000))
    assert 0 < held < processes.SOCKET_BUFFER


@pytest.mark.parametrize("allowed, said", [(0, ["no"] * 5), (processes.SHARED_PIECE, ["yes", "no", "yes", "no", "no"])])
def test_the_filter_lets_through_what_cuda_needs_for_cards_only(engine, allowed, said):
    program = f"""
import mmap, socket
from autograder.sandbox.inside import kernel, processes
program = kernel.seccomp_program(shared_piece={allowed})
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
kernel.load_seccomp(program)
for size in (processes.SHARED_PIECE, processes.SHARED_PIECE + mmap.PAGESIZE):
    try:
        mmap.mmap(-1, size)
        print("yes")
    except OSError:
        print("no")
for domain, kind in ((socket.AF_UNIX, 5), (socket.AF_UNIX, 1), (socket.AF_INET, 5)):
    try:
        socket.socket(domain, kind)
        print("yes")
    except OSError:
        print("no")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == said


@pytest.fixture(scope="module")
def on_card(edition):
    with Engine(edition, device="cuda", limits=Limits(gpu_memory_mib=4096)) as made:
        yield made


class TestOnACard:
    pytestmark = needs_card

    def test_the_candidate_runs_there(self, on_card, teacher):
        used = "import torch\ntorch.ones(2, device='cuda', requires_grad=True).sum().backward()"
        double = "def double(x):\n    assert x.is_cuda\n    return x + x * torch.ones(())"
        total = "def sum_of_squares(x, square):\n    y = square(x)\n    assert y.is_cuda\n    return y.sum()"
        run = on_card.run([Cell(used), Cell(double), graded("double"), Cell(total), graded("sum_of_squares")], teacher)
        assert (run.status, run.problems) == ("ok", {}) and is_right(run.outcomes["double"], 2)
        for outcome in run.outcomes["sum_of_squares"].values():
            assert outcome.problem == "" and bool((outcome.outputs["gradient"] == 2 * MARK).all()), outcome
        assert 100 << 20 < run.peak_card_bytes < 2 * GIB

    def test_without_a_sandbox_too(self, edition, teacher):
        with Engine(edition, unsafe=True, device="cuda") as engine:
            assert engine.protections["card memory (soft limit)"] and engine.limits.gpu_memory_mib >= 2048
            double = "def double(x):\n    assert x.is_cuda\n    return 2 * x"
            assert is_right(engine.run([Cell(double), graded("double")], teacher).outcomes["double"], 2)

    def test_a_result_elsewhere(self, on_card, teacher):
        run = on_card.run([Cell("def double(x):\n    return (2 * x).cpu()"), graded("double")], teacher)
        assert {o.problem for o in run.outcomes["double"].values()} == {"device"}

    def test_an_index_out_of_range_costs_its_own_case_only(self, on_card, teacher):
        source = "import torch\ndef double(x):\n    return 2 * (x[torch.full((1,), 9)] if len(x) == 2 else x)"
        run = on_card.run([Cell(source), graded("double"), Cell(RIGHT["triple"]), graded("triple")], teacher)
        for key, outcome in run.outcomes["double"].items():
            assert outcome.problem == ("raised" if key.startswith("case 2") else ""), (key, outcome)
        assert is_right(run.outcomes["triple"], 3)

    def test_who_takes_more_than_a_share_is_killed_and_neighbours_are_not(self, on_card):
        hog = """
import time, torch
def double(x):
    torch.cuda.set_per_process_memory_fraction(1.0)
    kept = []
    while True:
        kept.append(torch.empty(1 << 28, dtype=torch.uint8, device=x.device))
        time.sleep(0.02)
"""
        one = [Cell(RIGHT["double"]), graded("double"), Cell(RIGHT["triple"]), graded("triple")]
        bad = [Cell(hog), *one[1:]]
        with ThreadPoolExecutor(4) as pool:
            runs = list(pool.map(lambda cells: on_card.run(cells, Teacher()), [one, bad, one, one]))
        for run, cells in zip(runs, [one, bad, one, one], strict=True):
            assert is_right(run.outcomes["triple"], 3)
            assert is_right(run.outcomes["double"], 2) == (cells is one)
        assert {o.problem for o in runs[1].outcomes["double"].values()} == {"memory"}
        assert runs[1].peak_card_bytes > 4 * GIB

    def test_more_than_a_share_from_pytorch_is_an_error(self, on_card, teacher):
        source = "import torch\ndef double(x):\n    return torch.empty(8 << 30, dtype=torch.uint8)"
        run = on_card.run([Cell(source), graded("double")], teacher)
        assert {o.problem for o in run.outcomes["double"].values()} == {"memory"} and run.peak_card_bytes < 4 * GIB

    def test_many_pieces_of_shared_memory(self, on_card, teacher):
        fill = "    kept.append(mmap.mmap(-1, 1 << 25))\n    kept[-1].write(bytes(1 << 25))"
        source = f"import mmap\nkept = []\nwhile True:\n{fill}"
        run = on_card.run([Cell(source), Cell(RIGHT["double"]), graded("double")], teacher)
        assert run.status == "memory" and is_right(run.outcomes["double"], 2)

    def test_unread_bytes_of_many_local_sockets(self, on_card, teacher):
        source = """
import os, socket, time
def fill(number):
    kept = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)]
    kept[0].bind(f"\\0{number}")
    kept[0].listen(1)
    for _ in range(200):
        kept.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        kept[-1].connect(f"\\0{number}")
        kept.insert(1, kept[0].accept()[0])
        kept[-1].setblocking(False)
        try:
            while True:
                kept[-1].send(bytes(100_000))
        except BlockingIOError:
            pass
    time.sleep(60)
for number in range(40):
    if not os.fork():
        fill(number)
time.sleep(60)
"""
        run = on_card.run([Cell(source), Cell(RIGHT["double"]), graded("double")], teacher)
        assert run.status == "memory" and is_right(run.outcomes["double"], 2)

    def test_what_is_judged_by_memory_is_refused(self, on_card):
        teacher = Teacher({"double": [Call("a", encode({"x": torch.ones(1)}), 3.0, measure_memory=True)]})
        with pytest.raises(SandboxUnavailable, match=r"double is judged by peak memory.*--device cpu"):
            on_card.run([Cell(RIGHT["double"]), graded("double")], teacher)

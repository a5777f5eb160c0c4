"""Sandboxes read the same files: what one does to a file's inode in the kernel, another must not notice."""

import errno
import json
import platform
import sys

import pytest

from autograder.sandbox import Cell

from .conftest import RIGHT, ROOT, graded, is_right
from .side_by_side import COMMON, LOOKS, SLEEPS, TAKES, WAKES, side_by_side

PLACES = 150  # at least so many are tried


def check_locks(took, looked):
    assert took["refused"] == {}
    assert looked["noticed"] == {} and not looked["late"]
    assert min(took["paths"], looked["paths"]) > PLACES


def check_waiters(slept, woke):
    assert slept == [errno.EAGAIN] * 3 and woke == 0


def test_no_lock_is_noticed_beside(engine):
    check_locks(*side_by_side(engine, TAKES, LOOKS))


def test_nobody_waits_where_a_neighbour_could_wake_him(engine):
    check_waiters(*side_by_side(engine, SLEEPS, WAKES))


@pytest.mark.long
def test_the_same_for_an_ordinary_user(run_as_ordinary_user, edition):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from runpy import run_module; "
        "run_module('tests.sandbox.side_by_side', None, '__main__')"
    )
    done = run_as_ordinary_user([sys.executable, "-I", "-B", "-c", code, str(edition)])
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["uid"] == 65534
    check_locks(*told["locks"])
    check_waiters(*told["waiters"])


ABSENT = {  # x86-64's numbers
    "inotify_init": 253,
    "inotify_init1": 294,
    "fanotify_init": 300,
    "mincore": 27,
    "cachestat": 451,
    "io_setup": 206,
    "vmsplice": 278,
    "futex_waitv": 449,
}
REFUSED = {
    "io_uring_setup": 425,
    "sysinfo": 99,
    "memfd_create": 319,
    "add_key": 248,
    "shmget": 29,
    "semget": 64,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "seccomp": 317,
    "timer_create": 222,
}
COMMANDS = {
    "F_SETOWN": 8,
    "F_SETSIG": 10,
    "F_SETOWN_EX": 15,
    "F_SETLEASE": 1024,
    "F_GETLEASE": 1025,
    "F_NOTIFY": 1026,
    "F_SETPIPE_SZ": 1031,
    "F_SET_RW_HINT": 1036,
    "F_SET_FILE_RW_HINT": 1038,
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other machines have other numbers")
def test_watches_leases_and_hints_do_not_exist(engine, teacher):
    source = (
        COMMON
        + f"""
fd = os.open(os.__file__, os.O_RDONLY)
print(json.dumps({{name: call(number, 0, 0, 0, 0) for name, number in { ({**ABSENT, **REFUSED})!r}.items()}}))
print(json.dumps({{name: call(72, fd, command, 0) for name, command in {COMMANDS!r}.items()}}))
print(json.dumps([tried(os.utime, '/dev/' + name) for name in ('null', 'random', 'urandom')]))
with open('/dev/null', 'w') as file: file.write('still')
print([name for name in os.listdir('/proc') if not name.isdigit()])
"""
    )
    outputs = engine.run([Cell(source)], teacher).cells[0].outputs
    calls, commands, times, proc = outputs[0]["text"].splitlines()
    assert json.loads(calls) == {**dict.fromkeys(ABSENT, errno.ENOSYS), **dict.fromkeys(REFUSED, errno.EPERM)}
    assert json.loads(commands) == dict.fromkeys(COMMANDS, errno.EPERM)
    assert json.loads(times) == ["Read-only file system"] * 3
    assert proc == "['self', 'thread-self']"


def test_no_bytes_beside_a_file_and_no_page_of_two_sandboxes(engine, teacher):
    """A file's attributes are in no process's memory; where equal pages become one, /proc tells how many did."""
    source = (
        COMMON
        + """
open('own', 'w').close()
page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
print(json.dumps([tried(os.setxattr, 'own', 'user.more', bytes(4096)), tried(page.madvise, mmap.MADV_MERGEABLE),
                  libc.prctl(67, 1, 0, 0, 0), shutil.copy2('own', 'copy')]))
"""
    )
    run = engine.run([Cell("import mmap, shutil\n" + source)], teacher)
    assert json.loads(run.cells[0].outputs[0]["text"]) == ["Operation not supported", "Invalid argument", -1, "copy"]


# flock(fd, LOCK_EX) by x86's old door, and by x32's number: the same calls under other numbers.
OLD_DOOR = r"\x53\xbb\x03\x00\x00\x00\xb9\x02\x00\x00\x00\xb8\x8f\x00\x00\x00\xcd\x80\x5b\xc3"
X32 = r"\xbf\x03\x00\x00\x00\xbe\x02\x00\x00\x00\xb8\x49\x00\x00\x40\x0f\x05\xc3"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86 alone has them")
@pytest.mark.parametrize("code", [OLD_DOOR, X32], ids=["int 0x80", "x32"])
def test_no_other_numbers_of_the_same_calls(engine, teacher, code):
    """Whoever tries is killed, by the kernel."""
    source = f"""
import ctypes, mmap, os, signal
memory = mmap.mmap(-1, 4096, flags=0x22, prot=7)  # private, anonymous
memory.write(b'{code}')
enter = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
child = os.fork()
if child == 0:
    enter()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGSYS)
"""
    run = engine.run([Cell(source)], teacher)
    assert run.cells[0].outputs[0]["text"] == "True\n"


HONEST = """
import asyncio, fcntl, shutil, sqlite3, subprocess, sys, threading, warnings
warnings.simplefilter('error', ResourceWarning)
import matplotlib.pyplot as plt, multiprocessing, torch
with sqlite3.connect('own.db') as book:
    book.execute('pragma journal_mode = wal')
    book.execute('create table t(x)')
    book.executemany('insert into t values (?)', [(n,) for n in range(1000)])
assert sqlite3.connect('own.db').execute('select sum(x) from t').fetchone() == (499500,)
shutil.copyfile('own.db', 'copy.db')
figure, axes = plt.subplots()
axes.plot(range(3))
figure.savefig('figure.png')
plt.close(figure)
torch.save(torch.ones(1000), 'x.pt')
assert torch.load('x.pt').sum() == 1000 and torch.ones(3).share_memory_().sum() == 3
assert subprocess.run([sys.executable, '-c', 'print(6 * 7)'], capture_output=True, text=True).stdout == '42\\n'
threads = [threading.Thread(target=torch.ones(64, 64).matmul, args=(torch.ones(64, 64),)) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
async def later():
    await asyncio.sleep(0.01)
    return 'later'
assert asyncio.run(later()) == 'later'
with multiprocessing.get_context('fork').Pool(3) as pool: assert pool.map(abs, range(-20, 0)) == list(range(20, 0, -1))
%time 1 + 1
import faulthandler
faulthandler.enable()
subprocess.run([sys.executable, '-c', 'print(1)'], stdout=sys.stdout, stderr=sys.stderr, check=True)
with open('own.db') as file: fcntl.lockf(file, fcntl.LOCK_SH)
"""


def test_honest_notebooks_lack_nothing(engine, teacher):
    run = engine.run([Cell(HONEST), Cell("await later()"), Cell(RIGHT["double"]), graded("double")], teacher)
    assert [cell.status for cell in run.cells] == ["ok"] * 4, [cell.outputs for cell in run.cells]
    assert is_right(run.outcomes["double"], 2)

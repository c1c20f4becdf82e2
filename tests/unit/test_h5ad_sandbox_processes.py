"""The sandbox's processes: who starts them, how many files and threads share them, and when they end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from celldock.errors import HostileFile, TransientError
from celldock.h5ad.file import open_h5ad, read_header
from celldock.h5ad.sandbox.parent import Sandbox
from celldock.h5ad.source import LocalSource
from tests import builders
from tests.unit.sandboxes import HOSTILE, linux_only, opened


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return builders.make_h5ad(tmp_path_factory.mktemp("cells") / "cells.h5ad")


@pytest.fixture(scope="module")
def hostile() -> Iterator[Sandbox]:
    sandbox = Sandbox(HOSTILE)
    yield sandbox
    sandbox.close()


def test_a_launcher_that_was_killed_is_started_again(cells: Path) -> None:
    sandbox = Sandbox(HOSTILE)
    with opened(sandbox, cells) as session:
        launcher = session.call("process")["launcher"]
        kill(launcher)
        with pytest.raises(TransientError):
            session.call("spin")
    for _ in range(2):
        with opened(sandbox, cells) as session:
            assert session.call("process")["launcher"] != launcher
    sandbox.close()


@linux_only
def test_a_killed_child_is_not_the_files_fault(hostile: Sandbox, cells: Path) -> None:
    with opened(hostile, cells) as session:
        child = session.call("process")["child"]
        threading.Timer(0.2, kill, (child,)).start()
        with pytest.raises(TransientError):
            session.call("spin")


def test_files_are_opened_by_many_threads_at_once(cells: Path) -> None:
    def n_obs(_: int) -> int:
        return read_header(LocalSource(cells)).n_obs

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(n_obs, range(24))) == {20}


def test_one_file_is_asked_by_many_threads(cells: Path) -> None:
    with open_h5ad(LocalSource(cells)) as file, ThreadPoolExecutor(4) as pool:
        obs = file.header().obs
        names = pool.map(lambda row: file.index(obs, row, row + 1)[0], range(20))
        assert list(names) == builders.cell_names(20)


def test_the_thread_that_started_the_launcher_may_end(cells: Path) -> None:
    sandbox = Sandbox(HOSTILE)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lambda: launcher_of(sandbox, cells)).result()
    time.sleep(0.1)
    assert launcher_of(sandbox, cells) == first
    sandbox.close()


def launcher_of(sandbox: Sandbox, path: Path) -> int:
    with opened(sandbox, path) as session:
        return session.call("process")["launcher"]


def test_a_file_that_failed_is_let_go_at_once(hostile: Sandbox, cells: Path) -> None:
    def fail() -> weakref.ref[LocalSource]:
        source = LocalSource(cells)
        with contextlib.suppress(HostileFile), hostile.open(source) as session:
            session.call("die", how="abort")
        return weakref.ref(source)

    assert fail()() is None


@linux_only
def test_many_files_leave_neither_descriptors_nor_processes(hostile: Sandbox, cells: Path) -> None:
    launcher = launcher_of(hostile, cells)
    source = LocalSource(cells)
    before = descriptors()
    for how in 10 * ("segfault", "exit", "recurse"):
        with hostile.open(source) as session, contextlib.suppress(HostileFile):
            session.call("die", how=how)
    assert descriptors() == before
    assert Path(f"/proc/{launcher}/task/{launcher}/children").read_text() == ""


def kill(process: int) -> None:
    # 0 and -1 would mean many processes.
    assert process > 1
    os.kill(process, signal.SIGKILL)


def descriptors() -> list[int]:
    found: list[int] = []
    for descriptor in range(1024):
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            found.append(descriptor)
    return found


@linux_only
@pytest.mark.parametrize("busy", [False, True])
def test_everything_ends_with_the_parent(cells: Path, busy: bool) -> None:
    program = f"""
import sys
sys.path[:] = {sys.path!r}
from pathlib import Path
from celldock.h5ad.sandbox.parent import Sandbox
from celldock.h5ad.source import LocalSource
with Sandbox({HOSTILE!r}).open(LocalSource(Path({str(cells)!r}))) as session:
    print(*session.call("process").values(), flush=True)
    {'session.call("spin")' if busy else "sys.stdin.read()"}
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        processes = [int(number) for number in parent.stdout.readline().split()]
        assert all(lives(process) for process in processes)
        parent.kill()
    deadline = time.monotonic() + 10
    while any(lives(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [process for process in processes if lives(process)]


def lives(process: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_forked_process_starts_a_launcher_of_its_own(cells: Path) -> None:
    program = f"""
import os, sys
sys.path[:] = {sys.path!r}
from pathlib import Path
from celldock.h5ad.file import read_header
from celldock.h5ad.source import LocalSource
source = LocalSource(Path({str(cells)!r}))
read_header(source)
pid = os.fork()
print(read_header(source).n_obs, flush=True)
if pid:
    os.waitpid(pid, 0)
    print(read_header(source).n_obs, flush=True)
"""
    # Python warns of threads at a fork: those that fetched the ranges may not have ended yet.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["20", "20", "20"], "")


def test_libhdf5_never_enters_the_process_that_holds_credentials(cells: Path) -> None:
    program = f"""
import sys
sys.path[:] = {sys.path!r}
from pathlib import Path
from celldock.h5ad.file import read_header
from celldock.h5ad.source import LocalSource
assert read_header(LocalSource(Path({str(cells)!r}))).n_obs == 20
print(sorted(name for name in sys.modules if name.startswith("h5py")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"

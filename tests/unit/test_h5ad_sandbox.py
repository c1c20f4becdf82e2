"""What a crafted file can do once it has taken over the process that reads it: nothing but lie about itself."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celldock.errors import HostileFile, InvalidSubmission, ServiceFault, TransientError
from celldock.h5ad.file import open_h5ad, read_header
from celldock.h5ad.headers import ColumnHeader
from celldock.h5ad.sandbox.limits import MAX_READ_BYTES, Limits
from celldock.h5ad.sandbox.parent import Sandbox, Session
from celldock.h5ad.source import LocalSource
from tests import builders

HOSTILE = "tests.unit.hostile_operations"
ALONE = "tests.unit.hostile_operations_alone"
CANARY = "canary-7f3a"
NOBODY = 65534
LINUX = sys.platform == "linux"

linux_only = pytest.mark.skipif(not LINUX, reason="/proc, seccomp and RLIMIT_AS are Linux's")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return builders.make_h5ad(tmp_path_factory.mktemp("cells") / "cells.h5ad")


@pytest.fixture(scope="module")
def hostile() -> Iterator[Sandbox]:
    sandbox = Sandbox(HOSTILE)
    yield sandbox
    sandbox.close()


@contextlib.contextmanager
def opened(sandbox: Sandbox, path: Path, limits: Limits | None = None) -> Iterator[Session]:
    with sandbox.open(LocalSource(path), limits) as session:
        yield session


def refusal(
    sandbox: Sandbox, path: Path, operation: str, limits: Limits | None = None, **arguments: Any
) -> HostileFile:
    with opened(sandbox, path, limits) as session, pytest.raises(HostileFile) as refused:
        session.call(operation, **arguments)
    assert refused.value.hint
    return refused.value


# --- An ordinary user's parent, as on Lambda: without bubblewrap, namespaces or /dev/shm. ---


@pytest.fixture(scope="module")
def stage() -> Iterator[Path]:
    """A folder that every user can read."""
    folder = Path(tempfile.mkdtemp(prefix="celldock-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def interpreter(stage: Path) -> Path:
    """An interpreter that an ordinary user can execute; root's own may lie in a folder that nobody else enters."""
    executable = Path(sys.executable).resolve()
    if os.geteuid() != 0 or all(parent.stat().st_mode & stat.S_IXOTH for parent in executable.parents):
        return executable
    base, copy = Path(sys.base_prefix), stage / "python"
    for name in ("bin", "lib"):
        (copy / name).mkdir(parents=True)
    link_or_copy(executable, copy / "bin" / executable.name)
    for library in (base / "lib").glob("libpython*"):
        link_or_copy(library, copy / "lib" / library.name)
    modules = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
    unused = shutil.ignore_patterns("site-packages", "test", "tests", "idlelib", "ensurepip", "__pycache__")
    shutil.copytree(base / modules, copy / modules, copy_function=link_or_copy, ignore=unused)
    return copy / "bin" / executable.name


def link_or_copy(source: Path | str, target: Path | str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield server


@pytest.fixture(scope="module", params=[HOSTILE, ALONE])
def attacked(
    request: pytest.FixtureRequest, stage: Path, interpreter: Path, listener: socket.socket, cells: Path
) -> dict[str, Any]:
    """What each attack gave in a plain process of an ordinary user and in its sandbox's child."""
    folder = stage / request.param
    folder.mkdir()
    folder.chmod(0o777)
    shutil.copy(cells, folder / "cells.h5ad")
    (folder / "canary").write_text(CANARY)
    (folder / "removed").write_text("here")
    (folder / "removed").chmod(0o666)
    attacks: list[tuple[str, dict[str, Any]]] = [
        ("read_file", {"path": str(folder / "canary")}),
        ("read_file", {"path": "/proc/PARENT/status"}),
        ("list_folder", {"path": str(folder)}),
        ("write_file", {"path": str(folder / "written")}),
        ("connect", {"port": listener.getsockname()[1]}),
        ("fork", {}),
        ("execute", {}),
        ("read_memory", {"pid": "PARENT"}),
        ("signal_process", {"pid": "PARENT"}),
        ("remove_file", {"path": str(folder / "removed")}),
    ]
    document = {
        "path": [entry for entry in sys.path if entry and not Path(entry).is_relative_to(sys.base_prefix)],
        "operations": request.param,
        "file": str(folder / "cells.h5ad"),
        "attacks": attacks,
        "again": [str(folder / "removed")],
    }
    nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    parent = subprocess.run(
        [str(interpreter), "-I", "-S", "-B", str(Path(__file__).with_name("ordinary_parent.py")), json.dumps(document)],
        env={"AWS_SECRET_ACCESS_KEY": CANARY, "LD_LIBRARY_PATH": str(interpreter.parents[1] / "lib")},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        **nobody,
    )
    assert parent.returncode == 0, parent.stderr
    seen: dict[str, Any] = json.loads(parent.stdout)
    names = [f"{name} {next(iter(arguments), '')}" for name, arguments in attacks]
    outcome = {"names": names, "folder": folder, "seccomp": request.param == HOSTILE}
    return seen | outcome


@linux_only
def test_attacks_work_in_a_plain_process(attacked: dict[str, Any]) -> None:
    assert attacked["user"] != 0
    for name, outcome in zip(attacked["names"], attacked["plain"], strict=True):
        assert "gave" in outcome, name


@linux_only
def test_attacks_fail_in_the_child(attacked: dict[str, Any]) -> None:
    # By name and by number a process of the same user can be reached without opening anything: seccomp's part.
    remains = set() if attacked["seccomp"] else {"signal_process pid", "remove_file path"}
    gave = {name for name, outcome in zip(attacked["names"], attacked["child"], strict=True) if "gave" in outcome}
    assert gave == remains
    assert not (attacked["folder"] / "written").exists() or (attacked["folder"] / "written").read_text() == "written"


@linux_only
def test_the_parents_environment_is_hidden_and_the_childs_is_empty(attacked: dict[str, Any]) -> None:
    assert CANARY in attacked["before"], "nothing to hide"
    assert attacked["after"] == ""
    for held in attacked["environment"].values():
        assert CANARY not in held
        assert "AWS" not in held


# --- Time and memory ---


@linux_only
def test_memory_is_bounded_and_the_file_stays_usable(hostile: Sandbox, cells: Path) -> None:
    with opened(hostile, cells) as session:
        with pytest.raises(HostileFile) as refused:
            session.call("allocate", size=8 * 1024**3)
        assert refused.value.code == "file.memory"
        assert session.call("header")["n_obs"] == 20


def test_a_loop_without_end_is_stopped_by_the_clock_once(hostile: Sandbox, cells: Path) -> None:
    with opened(hostile, cells, Limits(call_seconds=2)) as session:
        began = time.monotonic()
        for _ in range(5):
            with pytest.raises(HostileFile) as refused:
                session.call("spin")
            assert refused.value.code == "file.hangs_reader"
        assert time.monotonic() - began < 4


def test_waiting_without_end_is_stopped_too(hostile: Sandbox, cells: Path) -> None:
    assert refusal(hostile, cells, "wait", Limits(call_seconds=2)).code == "file.hangs_reader"


def test_computing_is_bounded_over_all_calls(hostile: Sandbox, cells: Path) -> None:
    assert refusal(hostile, cells, "spin", Limits(cpu_seconds=1)).code == "file.hangs_reader"


def test_a_source_that_is_slow_is_not_the_files_fault(tmp_path: Path) -> None:
    path = builders.make_h5ad(tmp_path / "cells.h5ad", n_obs=3000, n_vars=2000, compression=None)

    class SlowSource(LocalSource):
        def read(self, offset: int, length: int) -> bytes:
            if offset:
                time.sleep(2.2)
            return super().read(offset, length)

    slow = SlowSource(path)
    with open_h5ad(slow, limits=Limits(call_seconds=2)) as file, pytest.raises(TransientError) as late:
        file.header()
    assert late.value.code == "source.slow"


def test_recursion_without_end_is_refused(hostile: Sandbox, cells: Path) -> None:
    assert refusal(hostile, cells, "die", how="recurse").code == "file.too_deep"


@pytest.mark.parametrize("how", ["segfault", "abort", "exit", "hang up"])
def test_a_crash_is_the_files_fault_and_costs_nobody_else(hostile: Sandbox, cells: Path, how: str) -> None:
    with opened(hostile, cells) as other:
        assert refusal(hostile, cells, "die", how=how).code == "file.crashes_reader"
        assert other.call("header")["n_obs"] == 20


# --- Answers ---


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("not JSON", 0),
        ("[]", 0),
        ("{}", 0),
        ('{"answer": 1}', 0),
        ("\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.", 0),
        ("[" * 100_000, 0),
        ('{"answer": "\\ud800", "arrays": []}', 0),
        ('{"answer": {"$array": 0}, "arrays": []}', 0),
        ('{"answer": {"$array": "0"}, "arrays": []}', 0),
        ('{"answer": 1, "arrays": []}', 8),
        ('{"answer": 1, "arrays": [{"dtype": "|O", "shape": [1]}]}', 8),
        ('{"answer": 1, "arrays": [{"dtype": "<i8", "shape": [2]}]}', 8),
        ('{"answer": 1, "arrays": [{"dtype": "<i8", "shape": [-1]}]}', 8),
        ('{"answer": 1, "arrays": [{"dtype": "<i8", "shape": [1.0]}]}', 8),
        ('{"answer": 1, "arrays": [{"dtype": "|i1", "shape": [1000000000000, 0]}]}', 0),
        ('{"answer": 1, "arrays": [{"dtype": "|i1", "shape": [' + "1, " * 40 + "1]}]}", 8),
        ('{"answer": 1, "arrays": [{"dtype": "str", "shape": [3], "separator": "\\u0000", "bytes": 8}]}', 8),
        ('{"answer": 1, "arrays": [{"dtype": "str", "shape": [9], "separator": "", "bytes": 8}]}', 8),
        ('{"answer": 1, "arrays": [{"dtype": "str", "shape": [99999999], "separator": "a", "bytes": 8}]}', 8),
        ('{"read": [[0, 100000000000]]}', 0),
        ('{"read": [[-8, 8]]}', 0),
        ('{"read": [["0", 8]]}', 0),
        ('{"read": {"0": 8}}', 0),
        ('{"read": [' + "[0, 9000], " * 8000 + "[0, 1]]}", 0),
        ('{"refused": {"code": "file.damaged"}}', 0),
        (json.dumps({"refused": {"hostile": True, "code": "=cmd", "message": "", "where": "", "hint": ""}}), 0),
    ],
)
def test_a_malformed_answer_is_refused(hostile: Sandbox, cells: Path, head: str, body: int) -> None:
    assert refusal(hostile, cells, "say", head=head, body=body).code == "file.crashes_reader"


@pytest.mark.parametrize("claim", [MAX_READ_BYTES * 2, 2**63])
def test_an_answer_that_claims_to_be_giant_costs_no_memory(hostile: Sandbox, cells: Path, claim: int) -> None:
    assert refusal(hostile, cells, "say", head="{}", claim=claim).code == "file.crashes_reader"


def test_columns_that_are_not_what_the_header_says_are_refused(hostile: Sandbox, cells: Path) -> None:
    column = ColumnHeader("donor_id", "obs/donor_id", "categorical", "int8", 1, ordered=False)
    with open_h5ad(LocalSource(cells), sandbox=hostile) as file, pytest.raises(HostileFile) as refused:
        file.column(column, 0, 20)
    assert (refused.value.code, refused.value.where) == ("file.crashes_reader", "obs/donor_id")


def test_flags_other_than_0_and_1_become_lawful(hostile: Sandbox, cells: Path) -> None:
    frame = json.dumps({"answer": {"$array": 0}, "arrays": [{"dtype": "|b1", "shape": [8]}]})
    with opened(hostile, cells) as session:
        flags = session.call("say", head=frame + "", body=8)
    assert flags.dtype == bool
    assert flags.view(np.uint8).max() <= 1


def test_an_answer_that_is_too_large_is_a_refusal_not_a_crash(hostile: Sandbox, cells: Path) -> None:
    error = refusal(hostile, cells, "answer", dtype="int8", shape=[MAX_READ_BYTES + 1], fill=0)
    assert error.code == "file.too_large_to_read"


def test_values_arrive_as_they_were_sent(hostile: Sandbox, cells: Path) -> None:
    texts = ["", "a", "é", "\0", "\0\1", "\0\1\1", "\1", "𝄞"]
    with opened(hostile, cells) as session:
        got = session.call("values", texts=texts)
    for array in got["numbers"]:
        np.testing.assert_array_equal(array, np.arange(6).reshape(2, 3))
    assert [array.dtype.str for array in got["numbers"]] == ["|i1", "<i2", "<u8", "<f2", "<f8", "<c16"]
    assert got["flags"].tolist() == [True, False]
    assert got["texts"].tolist() == texts
    assert (got["none"].shape, got["scalar"]) == ((0, 3), 1.5)
    assert got["$array"] == {"$plain": [None, True, 1, 2.5, "é\ud7ff"]}


def test_numbers_that_no_step_handles_are_the_submitters(hostile: Sandbox, cells: Path) -> None:
    with opened(hostile, cells) as session, pytest.raises(InvalidSubmission) as refused:
        session.call("answer", dtype="longdouble", shape=[1], fill=0)
    assert refused.value.code == "file.type_unknown"


def test_our_own_mistake_is_a_fault_of_the_service(hostile: Sandbox, cells: Path) -> None:
    with opened(hostile, cells) as session:
        with pytest.raises(ServiceFault, match="no such type"):
            session.call("answer", dtype="no such type", shape=[1], fill=0)
        assert session.call("header")["n_obs"] == 20


# --- Processes ---


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

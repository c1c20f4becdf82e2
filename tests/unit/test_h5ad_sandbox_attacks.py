"""What a crafted file can do once it has taken over the process that reads it: nothing that the parent's user can.

The parent is an ordinary user's, as on Lambda: without bubblewrap, namespaces or /dev/shm.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import builders
from tests.unit.sandboxes import HOSTILE, linux_only

ALONE = "tests.unit.hostile_operations_alone"
CANARY = "canary-7f3a"
NOBODY = 65534


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
def attacked(request: pytest.FixtureRequest, stage: Path, interpreter: Path, listener: socket.socket) -> dict[str, Any]:
    """What each attack gave in a plain process of an ordinary user and in its sandbox's child."""
    folder = stage / request.param
    folder.mkdir()
    folder.chmod(0o777)
    builders.make_h5ad(folder / "cells.h5ad")
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

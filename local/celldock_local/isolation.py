"""What a function's process may see: bubblewrap where it works, plain folders elsewhere.

Both start the interpreter without site-packages (`-B -S -E -s -P`) and rebuild `sys.path` as Lambda's Python runtime
does, so that a dependency which no layer brings is missing here too. Bubblewrap also hides the file system: a function
has its code, its layers, the runtime and the system's libraries, all read-only, and a /tmp of the template's size.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
"""The one Lambda runtime that this interpreter can stand for."""

BOOT = r"""
import os, sys
task, opt, runtime = os.environ["LAMBDA_TASK_ROOT"], os.environ.pop("_CELLDOCK_OPT"), os.environ["LAMBDA_RUNTIME_DIR"]
version = "python%d.%d" % sys.version_info[:2]
stdlib = [p for p in sys.path if p and "site-packages" not in p and "dist-packages" not in p]
sys.path[:] = [task, f"{opt}/python/lib/{version}/site-packages", f"{opt}/python", runtime, *stdlib]
os.chdir(task)
sys.argv = ["bootstrap", os.environ["_HANDLER"]]
from awslambdaric.__main__ import main
main(sys.argv)
"""

FLAGS = ["-B", "-S", "-E", "-s", "-P", "-c"]


@dataclass(frozen=True, slots=True)
class Roots:
    """The folders of one sandbox, on this machine."""

    task: Path
    runtime: Path
    layers: Path | None
    tmp_mb: int


@dataclass(frozen=True, slots=True)
class Enclosure:
    """How to start one sandbox."""

    command: list[str]
    environment: dict[str, str]
    own_processes: frozenset[str]  # names of processes that are the sandbox's, not the function's
    scratch: Path | None  # to delete afterwards


class Isolation(Protocol):
    """One way to enclose a process."""

    name: str

    def enclose(self, roots: Roots) -> Enclosure: ...


def interpreter() -> Path:
    """The base interpreter, without the virtual environment around it."""
    return Path(getattr(sys, "_base_executable", "") or sys.executable).resolve()


class Folders:
    """The process sees the whole machine, but imports only what Lambda would."""

    name = "folders"

    def enclose(self, roots: Roots) -> Enclosure:
        scratch = Path(tempfile.mkdtemp(prefix="celldock-sandbox-"))
        (scratch / "opt").mkdir()
        (scratch / "tmp").mkdir()
        opt = roots.layers or scratch / "opt"
        environment = {
            "LAMBDA_TASK_ROOT": str(roots.task),
            "LAMBDA_RUNTIME_DIR": str(roots.runtime),
            "_CELLDOCK_OPT": str(opt),
            "LD_LIBRARY_PATH": _library_path(str(roots.task), str(opt)),
            "TMPDIR": str(scratch / "tmp"),
        }
        return Enclosure([str(interpreter()), *FLAGS, BOOT], environment, frozenset(), scratch)


class Bubblewrap:
    """Read-only folders at Lambda's paths, a sized /tmp, an ordinary user, and nothing else of this machine."""

    name = "bubblewrap"

    def __init__(self, executable: str) -> None:
        self._executable = executable

    def enclose(self, roots: Roots) -> Enclosure:
        layers = ["--ro-bind", str(roots.layers), "/opt"] if roots.layers else ["--dir", "/opt"]
        command = [
            *self.prefix(roots.tmp_mb),
            *("--ro-bind", str(roots.task), "/var/task"),
            *("--ro-bind", str(roots.runtime), "/var/runtime"),
            *layers,
            *("--remount-ro", "/"),
            *("--chdir", "/var/task"),
            *(str(interpreter()), *FLAGS, BOOT),
        ]
        environment = {
            "LAMBDA_TASK_ROOT": "/var/task",
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "_CELLDOCK_OPT": "/opt",
            "LD_LIBRARY_PATH": _library_path("/var/task", "/opt"),
        }
        return Enclosure(command, environment, frozenset({"bwrap"}), None)

    def prefix(self, tmp_mb: int) -> list[str]:
        """Everything up to the function's own folders."""
        namespaces = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        return [
            self._executable,
            *namespaces,
            *("--uid", "1000", "--gid", "1000", "--hostname", "sandbox"),
            *("--die-with-parent", "--new-session"),
            *_system_binds(),
            *("--dev", "/dev", "--proc", "/proc"),
            # Lambda has no /dev/shm: code that leans on it must fail here too.
            *("--remount-ro", "/dev"),
            *("--size", str(tmp_mb << 20), "--tmpfs", "/tmp"),
        ]


def _system_binds() -> list[str]:
    arguments: list[str] = []
    for name in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store"):
        folder = Path(name)
        if folder.is_symlink():
            arguments += ["--symlink", str(folder.readlink()), name]
        elif folder.is_dir():
            arguments += ["--ro-bind", name, name]
    for name in (
        *("ssl", "pki", "ca-certificates", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives"),
        *("resolv.conf", "hosts", "nsswitch.conf", "passwd", "group", "localtime"),
    ):
        arguments += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    prefix = Path(sys.base_prefix).resolve()
    if not prefix.is_relative_to("/usr"):
        arguments += ["--ro-bind", str(prefix), str(prefix)]
    for packages in _installed_packages(prefix):
        arguments += ["--tmpfs", str(packages)]
    return arguments


def _installed_packages(prefix: Path) -> list[Path]:
    """Folders of third-party packages beside the interpreter: no part of Lambda's runtime."""
    named = sysconfig.get_paths(vars={"base": str(prefix), "platbase": str(prefix)})
    candidates = {
        Path(named["purelib"]),
        Path(named["platlib"]),
        prefix / "lib" / VERSION / "site-packages",
        Path("/usr/lib/python3/dist-packages"),
        Path("/usr/local/lib") / VERSION / "dist-packages",
        Path("/usr/local/lib") / VERSION / "site-packages",
    }
    visible = (prefix, Path("/usr"))
    return sorted(p for p in candidates if p.is_dir() and any(p.is_relative_to(root) for root in visible))


def _library_path(task: str, opt: str) -> str:
    prefix = Path(sys.base_prefix).resolve()
    own = [] if prefix.is_relative_to("/usr") else [str(prefix / "lib")]
    return ":".join([*own, task, f"{task}/lib", f"{opt}/lib"])


@functools.cache
def bubblewrap_trouble() -> str:
    """Why bubblewrap cannot be used here; empty if it can. It may be installed but not allowed: it is tried once."""
    executable = shutil.which("bwrap")
    if sys.platform != "linux" or executable is None:
        return "bubblewrap is not installed"
    program = [str(interpreter()), *FLAGS, "import ssl, ctypes, sqlite3"]
    command = [*Bubblewrap(executable).prefix(tmp_mb=1), "--remount-ro", "/", *program]
    try:
        trial = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env={})
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap cannot start: {error}"
    return "" if trial.returncode == 0 else f"bubblewrap is not allowed here: {trial.stderr.strip()[-200:]}"


def choose_isolation(name: str = "auto") -> Isolation:
    """`auto`: bubblewrap where it works, else folders. Raises ValueError for an unknown or impossible choice."""
    if name == "folders":
        return Folders()
    if name not in ("auto", "bubblewrap"):
        raise ValueError(f"unknown isolation {name!r}: auto, bubblewrap or folders")
    trouble = bubblewrap_trouble()
    if not trouble:
        executable = shutil.which("bwrap")
        assert executable
        return Bubblewrap(executable)
    if name == "bubblewrap":
        raise ValueError(trouble)
    return Folders()

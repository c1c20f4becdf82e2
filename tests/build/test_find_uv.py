"""`scripts/find-uv`: takes a uv that works, passes over one that does not, and says what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.layer_sizes import ROOT

NEW_ENOUGH = 'case "$1" in --directory) exit 0 ;; esac; echo "uv 99.0.0"'
TOO_OLD = 'case "$1" in --directory) echo "Required uv version does not match" >&2; exit 2 ;; esac; echo "uv 0.1.0"'
# As pyenv's, where one version of Python has uv and the repository's .python-version names another.
SHIM_OF_ELSEWHERE = f'[ "$PWD" = / ] || exit 127; {NEW_ENOUGH}'
BROKEN_SHIM = 'echo "pyenv: uv: command not found" >&2; exit 127'
OLD_PYTHON = "exit 1"
# A Python without pip, whose venvs have one: as on a machine where the system's own is managed by its distribution.
PYTHON_WITH_VENV = """
case "$*" in
"-m pip --version") exit 1 ;;
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip install "*) printf '#!/bin/sh\\necho uv 0.13.9\\n' > "${0%/*}/uv" && chmod +x "${0%/*}/uv" ;;
esac
"""
PYTHON_ALONE = 'case "$*" in "-m "*) exit 1 ;; esac'
PYTHONS = ("python3.13", "python3.12", "python3.11", "python3", "python")


class Machine:
    """A checkout, and a PATH on which chosen commands come first."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.bin = folder / "bin"
        self.bin.mkdir()
        (self.root / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "find-uv", self.root / "scripts" / "find-uv")
        for name in PYTHONS:
            self.command(name, OLD_PYTHON)

    def command(self, name: str, script: str) -> Path:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def find_uv(self) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(self.bin), "/usr/bin", "/bin"])
        command = [self.root / "scripts" / "find-uv"]
        return subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=False)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_uv_on_path_is_taken(machine: Machine) -> None:
    uv = machine.command("uv", NEW_ENOUGH)
    assert machine.find_uv().stdout.strip() == str(uv)


@pytest.mark.parametrize(
    "useless",
    [BROKEN_SHIM, SHIM_OF_ELSEWHERE, TOO_OLD],
    ids=["broken shim", "shim that works elsewhere", "too old"],
)
def test_a_uv_that_does_not_serve_is_passed_over_for_an_own_one(machine: Machine, useless: str) -> None:
    machine.command("uv", useless)
    machine.command("python3.12", PYTHON_WITH_VENV)
    assert machine.find_uv().stdout.strip() == str(machine.root / ".tools" / "uv" / "bin" / "uv")


def test_the_own_uv_is_installed_once(machine: Machine) -> None:
    machine.command("uv", BROKEN_SHIM)
    machine.command("python3", PYTHON_WITH_VENV)
    first, second = machine.find_uv(), machine.find_uv()
    assert "installing uv" in first.stderr
    assert (second.stdout, second.stderr) == (first.stdout, "")


def test_without_a_recent_python_it_says_so(machine: Machine) -> None:
    machine.command("uv", BROKEN_SHIM)
    done = machine.find_uv()
    assert (done.returncode, done.stdout) == (1, "")
    assert "needs Python 3.11 or newer" in done.stderr


def test_without_pip_and_venv_it_says_so(machine: Machine) -> None:
    machine.command("uv", BROKEN_SHIM)
    machine.command("python3.11", PYTHON_ALONE)
    done = machine.find_uv()
    assert (done.returncode, done.stdout) == (1, "")
    assert "neither pip nor venv" in done.stderr

"""Builds functions and layers with `sam build`, unless the last build was of the same inputs.

build.py            → .aws-sam/build, for Lambda (Linux x86_64)
build.py --local    → for the machine this runs on: the same on Linux x86_64, .aws-sam/local elsewhere
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / ".aws-sam"
LAMBDA = "x86_64-manylinux_2_28"
MACHINES = {
    ("Linux", "x86_64"): LAMBDA,
    ("Linux", "aarch64"): "aarch64-manylinux_2_28",
    ("Darwin", "arm64"): "aarch64-apple-darwin",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--local", action="store_true", help="build for this machine")
    target = this_machine() if parser.parse_args().local else LAMBDA
    build(target)


def this_machine() -> str:
    """The wheel platform of this machine; exits where the layers' wheels do not exist for it."""
    machine = platform.system(), platform.machine()
    if machine not in MACHINES:
        known = ", ".join(" ".join(pair) for pair in MACHINES)
        sys.exit(f"the local stack runs on {known}; this is {' '.join(machine)}")
    return MACHINES[machine]


def build(target: str) -> None:
    """Brings the build for `target` up to date."""
    folder = OUT / ("build" if target == LAMBDA else "local")
    OUT.mkdir(exist_ok=True)
    with (OUT / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_current(folder, target):
            print(f"celldock: {folder.relative_to(ROOT)} is up to date")
        else:
            # Taken before the build: what changes meanwhile makes the next build a new one.
            of = digest(target)
            _stamp(folder).unlink(missing_ok=True)
            sam_build(folder, target)
            _stamp(folder).write_text(of)


def is_current(folder: Path, target: str) -> bool:
    """Whether `folder` holds a finished build for `target` of the present sources."""
    stamp = _stamp(folder)
    return (folder / "template.yaml").is_file() and stamp.is_file() and stamp.read_text() == digest(target)


def digest(target: str) -> str:
    """SHA-256 over everything that the build depends on: names and contents, never times."""
    total = hashlib.sha256(f"{target}\0{sys.version}".encode())
    for path in sorted(inputs()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"\0{path.relative_to(ROOT).as_posix()}\0{content}".encode())
    return total.hexdigest()


def inputs() -> Iterator[Path]:
    yield from (ROOT / "template.yaml", ROOT / "scripts" / "sam", Path(__file__).resolve())
    for top in ("functions", "layers"):
        for folder, folders, files in (ROOT / top).walk():
            folders[:] = [name for name in folders if name != "__pycache__"]
            yield from (folder / name for name in files)


def _stamp(folder: Path) -> Path:
    return folder.with_suffix(".stamp")


def sam_build(folder: Path, target: str) -> None:
    environment = os.environ | {
        "CELLDOCK_PYTHON": sys.executable,
        "CELLDOCK_UV": subprocess.check_output([ROOT / "scripts" / "find-uv"], text=True).strip(),
        "CELLDOCK_PLATFORM": target,
        "CELLDOCK_LAYER_CACHE": str(ROOT / ".celldock" / "layers"),
    }
    sam = [ROOT / "scripts" / "sam", "build", "--template", ROOT / "template.yaml", "--build-dir", folder]
    print(f"celldock: sam build for {target} ...", flush=True)
    began = time.monotonic()
    done = subprocess.run(sam, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.exit(done.stdout.decode(errors="replace") + "celldock: sam build failed")
    # sam copies a function's folder as it is; bytecode that a test run left there is none of the deployment's.
    for leftover in list(folder.glob("*Function/**/__pycache__")):
        shutil.rmtree(leftover)
    print(f"celldock: built {folder.relative_to(ROOT)} in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()

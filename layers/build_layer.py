"""Builds one Lambda layer: `build_layer.py ARTIFACTS_DIR LAYER` fills `ARTIFACTS_DIR/python`.

`celldock` is the package of that name; `reference` fills `ARTIFACTS_DIR/reference` with what
`reference/build_reference.py` makes; any other layer is what `LAYER/requirements.txt` lists, as wheels for
`CELLDOCK_PLATFORM`, checked against their hashes. Shared objects are not stripped: it would save 5 of 150 MB, break
some of them, and make the outcome depend on the machine's binutils.

Needs only the standard library, and Python 3.13 because it compiles for Lambda's python3.13.
"""

from __future__ import annotations

import compileall
import hashlib
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PYTHON = (3, 13)
HERE = Path(__file__).resolve().parent
LAMBDA = "x86_64-manylinux_2_28"
MOUNTED_AT = "/opt/python"

# What nothing imports at run time. Folders called `testing` stay: some libraries import theirs.
UNUSED_FOLDERS = frozenset({"__pycache__", "bin", "sboms", "test", "tests"})
UNUSED_SUFFIXES = frozenset({
    ".a", ".c", ".cc", ".cmake", ".cpp", ".h", ".hpp", ".lib", ".pc", ".pxd", ".pxi", ".pyi", ".pyx",
})  # fmt: skip
# Installer's bookkeeping: describes the tree before it was trimmed.
BOOKKEEPING = frozenset({".lock", "INSTALLER", "RECORD", "REQUESTED"})


def main() -> None:
    if sys.version_info[:2] != PYTHON:
        sys.exit(f"layers are compiled for Python {PYTHON[0]}.{PYTHON[1]}, this is {sys.version.split()[0]}")
    artifacts, layer = Path(sys.argv[1]), sys.argv[2]
    if layer == "celldock":
        target = artifacts / "python"
        shutil.copytree(HERE / "celldock" / "celldock", target / "celldock", ignore=_ignore_bytecode)
        compile_tree(target)
        return
    target = artifacts / ("reference" if layer == "reference" else "python")
    cache = os.environ.get("CELLDOCK_LAYER_CACHE")
    if cache is None:
        make(layer, target)
    else:
        shutil.copytree(cached(layer, Path(cache)), target)


def make(layer: str, target: Path) -> None:
    """Fills `target` with what the layer holds."""
    if layer == "reference":
        subprocess.run([sys.executable, "-I", str(HERE / layer / "build_reference.py"), str(target)], check=True)
    else:
        build_wheels(HERE / layer / "requirements.txt", _platform(), target)


def cached(layer: str, cache: Path) -> Path:
    """The folder under `cache` that holds what `make` makes, made if need be."""
    finished = cache / f"{layer}-{digest(layer)}"
    if not finished.exists():
        # Built beside its final place and renamed, so that an interrupted build is never taken for a finished one.
        with tempfile.TemporaryDirectory(dir=_made(cache)) as making:
            make(layer, Path(making) / layer)
            (Path(making) / layer).rename(finished)
    return finished


def digest(layer: str) -> str:
    """Identifies the outcome of `make`: the layer's files, platform, interpreter and this file."""
    files = sorted(path for path in (HERE / layer).iterdir() if path.is_file())
    parts = [path.read_bytes() for path in (*files, Path(__file__))]
    # Wheels are for a platform; databases are the same on all.
    parts += [b"" if layer == "reference" else _platform().encode(), sys.version.encode()]
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]


def build_wheels(requirements: Path, platform: str, target: Path) -> None:
    """Installs the pinned wheels into `target`, trims and compiles them."""
    uv = os.environ.get("CELLDOCK_UV", "uv")
    install = [uv, "pip", "install", "--quiet", "--target", str(target), "--python", sys.executable]
    install += ["--python-platform", platform, "--python-version", ".".join(map(str, PYTHON))]
    install += ["--only-binary", ":all:", "--no-deps", "--require-hashes", "-r", str(requirements)]
    subprocess.run(install, check=True)
    for path in unused(target):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    compile_tree(target)


def unused(tree: Path) -> Iterator[Path]:
    """Yields what a function never needs: tests, stubs, headers, sources of extensions, command-line entry points."""
    for folder, folders, files in tree.walk():
        drop = [name for name in folders if name in UNUSED_FOLDERS or name.endswith("-stubs")]
        folders[:] = [name for name in folders if name not in drop]
        drop += [name for name in files if name in BOOKKEEPING or Path(name).suffix in UNUSED_SUFFIXES]
        yield from (folder / name for name in drop)


def compile_tree(tree: Path) -> None:
    """Byte-compiles for where Lambda mounts the layer.

    Unchecked hashes: the deployment zips carry no usable times, so that bytecode checked by time would be stale and
    each cold start would compile anew (3-4 times slower).
    """
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(tree, ddir=MOUNTED_AT, quiet=1, invalidation_mode=mode):
        sys.exit(f"some files of {tree} do not compile")


def _platform() -> str:
    return os.environ.get("CELLDOCK_PLATFORM", LAMBDA)


def _ignore_bytecode(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__"]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    main()

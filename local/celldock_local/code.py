"""Deployed code on disk, addressed by content.

A layer of 150 MB would be zipped, uploaded, hashed and unzipped on every deploy, and kept in memory by moto. Instead a
folder is copied once to `<root>/<digest>`, and what moto gets is a small zip that names the digest: different code has
a different CodeSha256, and a sandbox runs the copy, so that a later build changes nothing that is deployed.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import tempfile
import threading
import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

POINTER = ".celldock-code"
"""The one member of a zip that stands for a folder of the store."""

_EPOCH = (1980, 1, 1, 0, 0, 0)


class CodeStore:
    """Immutable folders under `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._used: set[Path] = set()
        self._making: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        root.mkdir(parents=True, exist_ok=True)

    def add(self, folder: Path) -> bytes:
        """Keep a copy of `folder`; the zip to deploy in its stead."""
        digest = tree_digest(folder)
        self._make(digest, lambda target: shutil.copytree(folder, target, symlinks=True, dirs_exist_ok=True))
        return pointer_zip(digest)

    def folder(self, code: bytes) -> Path:
        """The unpacked folder of a deployed zip, be it a pointer or a real one. Raises ValueError if it is neither."""
        try:
            archive = zipfile.ZipFile(io.BytesIO(code))
        except zipfile.BadZipFile as error:
            raise ValueError("the deployed code is no zip file") from error
        with archive:
            if archive.namelist() == [POINTER]:
                digest = archive.read(POINTER).decode("ascii", "replace")
                found = self._root / digest
                if not digest.isalnum() or not found.is_dir():
                    raise ValueError(f"the deployed code {digest} is no longer in {self._root}")
                return found
            return self._make(hashlib.sha256(code).hexdigest(), archive.extractall)

    def merged(self, folders: Sequence[Path]) -> Path | None:
        """One folder with the files of all layers, later ones winning, as Lambda lays out /opt."""
        if len(folders) < 2:
            return folders[0] if folders else None
        key = hashlib.sha256("\n".join(f.name for f in folders).encode()).hexdigest()

        def link_all(target: Path) -> None:
            for folder in folders:
                _link_tree(folder, target)

        return self._make(key, link_all)

    def prune(self) -> None:
        """Delete what this process has not asked for: the code of earlier deployments."""
        for entry in self._root.iterdir():
            if entry not in self._used:
                shutil.rmtree(entry, ignore_errors=True)

    def _make(self, digest: str, fill: Callable[[Path], object]) -> Path:
        final = self._root / digest
        self._used.add(final)
        # The first of many invocations lays a folder out, thousands of files; the others wait for it.
        with self._making[digest]:
            return final if final.is_dir() else self._make_now(final, fill)

    def _make_now(self, final: Path, fill: Callable[[Path], object]) -> Path:
        building = Path(tempfile.mkdtemp(prefix="new-", dir=self._root))
        try:
            fill(building)
            building.chmod(0o755)  # mkdtemp's 0700 would keep a sandbox's user out
            building.rename(final)
        except OSError:
            shutil.rmtree(building, ignore_errors=True)
            if not final.is_dir():  # else another process was first
                raise
        return final


def tree_digest(folder: Path) -> str:
    """SHA-256 over the relative paths, modes and bytes of all files in `folder`."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        information = path.lstat()
        name = path.relative_to(folder).as_posix().encode()
        if stat.S_ISLNK(information.st_mode):
            total.update(b"l%b\0%b\0" % (name, os.fsencode(path.readlink())))
        elif stat.S_ISREG(information.st_mode):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
            total.update(b"f%b\0%o\0%b" % (name, information.st_mode & 0o777, content))
    return total.hexdigest()


def pointer_zip(digest: str) -> bytes:
    """A zip with nothing but the digest in it; equal digests give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(POINTER, _EPOCH), digest)
    return buffer.getvalue()


def _link_tree(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        placed = target / path.relative_to(source)
        if path.is_dir() and not path.is_symlink():
            placed.mkdir(parents=True, exist_ok=True)
            continue
        placed.unlink(missing_ok=True)
        if path.is_symlink():
            placed.symlink_to(path.readlink())
            continue
        try:
            os.link(path, placed)
        except OSError:  # another file system, or one without hard links
            shutil.copy2(path, placed)

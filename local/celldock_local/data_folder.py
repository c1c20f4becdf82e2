"""The folder of one local stack: whose it is, and whether its stack runs or was killed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from io import TextIOWrapper
from pathlib import Path

MARKER = ".celldock-local"
FORMAT = 1
INFO_FILE = "stack.json"
LOCK_FILE = "stack.lock"
LOG_FILE = "stack.log"


class DataFolderError(Exception):
    """The folder cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class StackInfo:
    """A running stack."""

    pid: int
    endpoint: str
    region: str
    outputs: dict[str, str]
    started_at: str  # ISO 8601, UTC
    build: str  # digest of the template that it was deployed from
    isolation: str  # bubblewrap or folders
    data: str
    notes: list[str] = field(default_factory=list[str])  # what the user should know, e.g. what was not brought back


def open_folder(data: Path) -> None:
    """Make `data` a stack's folder. Raises DataFolderError if it holds something else."""
    marker = data / MARKER
    if marker.exists():
        found = json.loads(marker.read_text()).get("format")
        if found != FORMAT:
            raise DataFolderError(f"{data} is of another version of celldock (format {found}): use another folder")
        return
    if data.exists() and any(data.iterdir()):
        raise DataFolderError(f"{data} is not empty and no folder of a local stack: use another one")
    data.mkdir(parents=True, exist_ok=True)
    marker.write_text(json.dumps({"format": FORMAT}))


def delete_folder(data: Path) -> None:
    """Delete a stack's folder. Raises DataFolderError if it is none, or its stack runs."""
    if not data.exists():
        return
    if not (data / MARKER).exists():
        raise DataFolderError(f"{data} is no folder of a local stack: nothing was deleted")
    if is_locked(data):
        raise DataFolderError(f"the stack in {data} is running: stop it first")
    shutil.rmtree(data)


class Lock:
    """Held by a stack's process for as long as it lives, however it ends."""

    def __init__(self, data: Path) -> None:
        """Raises DataFolderError if another process holds it."""
        self._file: TextIOWrapper = (data / LOCK_FILE).open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise DataFolderError(f"another stack uses {data}") from error

    def release(self) -> None:
        self._file.close()


def is_locked(data: Path) -> bool:
    """Whether a stack's process lives in `data`."""
    if not (data / LOCK_FILE).exists():
        return False
    try:
        Lock(data).release()
    except DataFolderError:
        return True
    return False


def write_info(data: Path, info: StackInfo) -> None:
    """Written when the stack is ready, removed when it has stopped cleanly."""
    draft = data / f"{INFO_FILE}.{os.getpid()}"
    draft.write_text(json.dumps(asdict(info), indent=1) + "\n")
    draft.replace(data / INFO_FILE)


def read_info(data: Path) -> StackInfo | None:
    """The last stack of `data` that has not stopped cleanly; `is_locked` says whether it still runs."""
    path = data / INFO_FILE
    return StackInfo(**json.loads(path.read_text())) if path.exists() else None

"""How libhdf5's complaints, and what it would not complain of, become refusals that a submitter can act upon."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

from celldock.errors import HostileFile, InvalidSubmission
from celldock.h5ad import damage

REWRITE = "Load the file with anndata.read_h5ad and write it anew with write_h5ad."
DECOMPRESS = (
    "Rewrite the file on a machine that has the filter's plugin: python -c \"import hdf5plugin, anndata; "
    "anndata.read_h5ad('in.h5ad').write_h5ad('out.h5ad', compression='gzip')\""
)

_MAX_PLACE = 500
FAULTS = (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError)

type Place = str | Callable[[], str]
"""Where something lies: its path, or what finds it out. Files have thousands of objects, most of which nobody names."""


class _Damaged:
    """A class, since a generator would take longer than most of the calls that it guards."""

    __slots__ = ("_where",)

    def __init__(self, where: Place) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, UnicodeDecodeError):
            raise InvalidSubmission(
                f"The text in {shown(self._where)} is not valid UTF-8.",
                code="file.not_utf8",
                where=shown(self._where),
                hint="Convert the names and labels to Unicode strings before you write the file.",
            ) from error
        if isinstance(error, FAULTS):
            raise damage.damaged(shown(self._where), "its bytes cannot be read") from error


def damaged(where: Place) -> _Damaged:
    """Turns what h5py raises on broken bytes into InvalidSubmission. Wrap single calls into h5py, nothing of ours."""
    return _Damaged(where)


def path_at(where: Place) -> str:
    """The path that a place is, "" for the file itself."""
    return where if isinstance(where, str) else where()


def shown(where: Place) -> str:
    """A place as messages name it: "the file" for its root, shortened in the middle where a hostile path is long."""
    path = path_at(where)
    if len(path) > _MAX_PLACE:
        return f"{path[: _MAX_PLACE // 2]} … {path[-_MAX_PLACE // 2 :]}"
    return path or "the file"


def hostile(code: str, where: Place, problem: str, hint: str = REWRITE) -> NoReturn:
    """Refuses what no program that writes AnnData files makes. `problem` continues the sentence "<where> …"."""
    path = path_at(where)
    raise HostileFile(f"{shown(path)} {problem}.", code=code, where=shown(path) if path else "", hint=hint)


def unread(code: str, where: Place, problem: str, hint: str = REWRITE) -> NoReturn:
    """Refuses what is lawful HDF5 but not read by celldock. `problem` continues the sentence "<where> …"."""
    path = path_at(where)
    raise InvalidSubmission(f"{shown(path)} {problem}.", code=code, where=shown(path) if path else "", hint=hint)

"""How libhdf5's complaints, and what it would not complain of, become refusals that a submitter can act upon."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

from celldock.errors import HostileFile, InvalidSubmission
from celldock.h5ad import damage

REWRITE = "Load the file with anndata.read_h5ad and write it anew with write_h5ad."
DECOMPRESS = (
    "Rewrite the file on a machine that has the filter's plugin: python -c \"import hdf5plugin, anndata; "
    "anndata.read_h5ad('in.h5ad').write_h5ad('out.h5ad', compression='gzip')\""
)

_MAX_PLACE = 500


@contextmanager
def damaged(where: str) -> Generator[None]:
    """Turns what h5py raises on broken bytes into InvalidSubmission. Wrap single calls into h5py, nothing of ours."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise InvalidSubmission(
            f"The text in {shown(where)} is not valid UTF-8.",
            code="file.not_utf8",
            where=shown(where),
            hint="Convert the names and labels to Unicode strings before you write the file.",
        ) from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise damage.damaged(shown(where), "its bytes cannot be read") from error


def shown(where: str) -> str:
    """A place as messages name it: "the file" for its root, shortened in the middle where a hostile path is long."""
    if len(where) > _MAX_PLACE:
        return f"{where[: _MAX_PLACE // 2]} … {where[-_MAX_PLACE // 2 :]}"
    return where or "the file"


def hostile(code: str, where: str, problem: str, hint: str = REWRITE) -> NoReturn:
    """Refuses what no program that writes AnnData files makes. `problem` continues the sentence "<where> …"."""
    raise HostileFile(f"{shown(where)} {problem}.", code=code, where=shown(where) if where else "", hint=hint)


def unread(code: str, where: str, problem: str, hint: str = REWRITE) -> NoReturn:
    """Refuses what is lawful HDF5 but not read by celldock. `problem` continues the sentence "<where> …"."""
    raise InvalidSubmission(f"{shown(where)} {problem}.", code=code, where=shown(where) if where else "", hint=hint)

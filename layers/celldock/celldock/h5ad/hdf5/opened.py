"""An open file, as the operations of the sandbox's child see it."""

from __future__ import annotations

from dataclasses import dataclass

import h5py

from celldock.h5ad.hdf5.appending import Appending
from celldock.h5ad.hdf5.frames import Frames
from celldock.h5ad.hdf5.overlay import PageKeeper
from celldock.h5ad.hdf5.rewriting import Rewriting
from celldock.h5ad.hdf5.stream import SourceFile


@dataclass(slots=True)
class OpenFile:
    """A file of `size` bytes, and what stays open of it from one operation to the next.

    `stream` has its bytes, `pages` takes those that are written; `appending` is there while something is appended,
    `rewriting` while a new file is written.
    """

    hdf5: h5py.File
    frames: Frames
    stream: SourceFile
    size: int
    pages: PageKeeper
    appending: Appending | None = None
    rewriting: Rewriting | None = None

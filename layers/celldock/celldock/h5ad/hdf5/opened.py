"""An open file, as the operations of the sandbox's child see it."""

from __future__ import annotations

from dataclasses import dataclass

import h5py

from celldock.h5ad.hdf5.frames import Frames


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file, and what stays open of it from one operation to the next."""

    hdf5: h5py.File
    frames: Frames

"""A new file made of an original and of what is new: the child's side.

First all that is kept is copied, a few MiB at a time; then comes what is new, in AnnData's encodings of the original.
Chunks arrive compressed, so that only columns of frames are compressed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import h5py
import numpy as np
from h5py import h5g

from celldock.errors import CannotAppend
from celldock.h5ad.additions import Array
from celldock.h5ad.hdf5 import nodes
from celldock.h5ad.hdf5.copying import Copying
from celldock.h5ad.hdf5.encodings import OLD_CATEGORIES, ColumnPlan, Encoder, Filling, appending
from celldock.h5ad.hdf5.faults import shown
from celldock.h5ad.hdf5.overlay import Overlay
from celldock.h5ad.hdf5.series import encoding_of
from celldock.h5ad.placing import Placing

STEP_BYTES = 128 * 1024 * 1024
"""Bytes that one call of `Rewriting.copy` copies, about."""

_UNMARKED = ("", "")
_OLD_FRAME = ("dataframe", "0.1.0")


@dataclass
class Rewriting:
    """A new file, from its first copied object to `finish`. `original` is open for reading, the guard has passed it.

    Every method may raise CannotAppend, after which nothing can be done with it any more.
    """

    original: h5py.File
    overlay: Overlay
    placing: Placing
    _file: h5py.File = field(init=False)
    _copied: Iterator[int] = field(init=False)
    _encoder: Encoder = field(init=False)
    _frames: Encoder = field(init=False)
    _filling: Filling | None = None

    def __post_init__(self) -> None:
        """Opens the new file. It is in the oldest format of HDF5, as those that AnnData writes."""
        self._refuse_oldest()
        self._file = h5py.File(self.overlay, "w", libver=("earliest", "latest"))
        self._copied = self._copy()
        self._encoder = Encoder(self._file, marked=encoding_of(self.original) != _UNMARKED)
        obs = nodes.find_group(self.original, "obs")
        is_old = obs is not None and encoding_of(obs) == _OLD_FRAME
        self._frames = Encoder(self._file, marked=not is_old)

    def copy(self) -> bool:
        """Copies some more of what is kept; whether that was all. Nothing else may be made before."""
        done = 0
        for taken in self._copied:
            done += taken
            if done >= STEP_BYTES:
                return False
        return True

    def sparse(self, path: str, shape: tuple[int, int]) -> None:
        """Makes a csr matrix, without its arrays."""
        self._place(path, self._encoder.sparse(shape))

    def growing(self, path: str, dtype: str, chunk: int) -> None:
        """Makes one of the arrays of a csr matrix."""
        self._place(path, self._encoder.growing(np.dtype(dtype), chunk))

    def array(self, path: str, shape: tuple[int, ...], dtype: str) -> None:
        """Makes a dense array."""
        self._place(path, self._encoder.array(shape, np.dtype(dtype)))

    def write_chunk(self, path: str, corner: tuple[int, ...], length: int, stored: Array) -> None:
        """Writes a compressed chunk of an array that has `length` rows from now on."""
        dataset = self._file[path]
        assert isinstance(dataset, h5py.Dataset)
        with appending(path):
            first, *others = dataset.id.shape
            if first < length:
                dataset.id.set_extent((length, *others))
            dataset.id.write_direct_chunk(corner, stored.data)

    def frame(self, path: str, index: str, columns: Sequence[str]) -> None:
        """Makes a frame, whose index and columns are to follow."""
        self._place(path, self._frames.frame(index, columns))

    def start_column(self, plan: ColumnPlan) -> None:
        """Makes a column of a frame, or its index, to be filled by `write`."""
        made = self._frames.column(plan)
        if made.old_labels is not None:
            self._place(f"{plan.frame}/{OLD_CATEGORIES}/{plan.name}", made.old_labels)
        self._place(f"{plan.frame}/{plan.name}", made.node)
        self._filling = made.filling

    def write(self, values: Array, mask: Array | None) -> None:
        """The next rows of the column that was started last."""
        assert self._filling is not None
        self._filling.write(values, mask)

    def finish(self) -> int:
        """Closes the file. Returns its bytes."""
        with appending(""):
            self._file.close()
        self.overlay.hand_over()
        return self.overlay.size

    def _copy(self) -> Iterator[int]:
        copying = Copying(self.original, self._file, self.placing)
        for root in self.placing.roots:
            yield from copying.copy(root, self._parent(root.target).id)
        copying.write_references()

    def _parent(self, path: str) -> h5py.Group:
        """The group that is to hold what comes to `path`, made if there is none."""
        parent = path.rpartition("/")[0]
        if not parent:
            return h5py.Group(h5g.open(self._file.id, b"/"))
        if parent not in self._file:
            self._place(parent, self._encoder.raw() if parent == "raw" else self._encoder.dictionary())
        group = self._file[parent]
        if not isinstance(group, h5py.Group):
            _cannot(parent, f"is one array, so that it cannot hold {shown(path)}")
        return group

    def _place(self, path: str, node: nodes.Node) -> None:
        group = self._parent(path)
        with appending(path):
            group[path.rpartition("/")[2]] = node

    def _refuse_oldest(self) -> None:
        hint = "as AnnData before 0.7 stored it; load the file with anndata and write it anew"
        if any(name.startswith("raw.") for name in nodes.members(self.original)):
            _cannot("raw", f"is kept {hint}")
        for path in ("obs", "var"):
            if isinstance(nodes.find(self.original, path), h5py.Dataset):
                _cannot(path, f"is one record array, {hint}")


def _cannot(where: str, problem: str) -> NoReturn:
    raise CannotAppend(f"{shown(where)} {problem}.", code="file.not_appendable", where=shown(where))

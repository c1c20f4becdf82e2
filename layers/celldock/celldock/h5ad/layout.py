"""Where the bytes of a dataset lie, so that it can be read by ranges, without libhdf5.

The step that opened the file writes the layouts of the matrices down once; every later worker reads from them alone.
"""

from __future__ import annotations

import json
import math
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from celldock.canonical import canonical_json
from celldock.errors import ServiceFault
from celldock.h5ad.headers import MatrixHeader

if TYPE_CHECKING:
    from celldock.h5ad.layout_document import ArrayHead, LayoutDocument

LAYOUT_VERSION = 1

type Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter of a dataset's pipeline, as HDF5 numbers it: 1 deflate, 2 shuffle, 3 fletcher32, 32000 lzf."""

    identifier: int
    values: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ArrayLayout:
    """Where the elements of one dataset lie in the file.

    `dtype` is NumPy's `dtype.str`, byte order included. `chunks` is the shape of a chunk, None for a dataset that is
    stored in one piece. `filters` are in the order in which they were applied when writing. `fill` holds the bytes of
    one element, for chunks that were never written. `offsets`, `sizes` (int64, bytes) and `masks` (uint32; bit i set:
    filter i was not applied) have one entry a chunk, in C order of the chunk grid; the offset is -1 where the chunk was
    never written. A dataset in one piece has one entry, or `inline` bytes where they lie in its object header.
    """

    path: str
    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...] | None
    filters: tuple[Filter, ...]
    fill: bytes
    offsets: Array
    sizes: Array
    masks: Array
    inline: bytes | None = None

    @property
    def grid(self) -> tuple[int, ...]:
        """Chunks along each axis; all ones for a dataset in one piece."""
        if self.chunks is None:
            return (1,) * len(self.shape)
        return tuple(-(-length // chunk) for length, chunk in zip(self.shape, self.chunks, strict=True))

    @property
    def nbytes(self) -> int:
        """Bytes of all elements, decoded."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def stored_bytes(self) -> int:
        """Bytes that it takes in the file."""
        return len(self.inline) if self.inline is not None else int(self.sizes[self.offsets >= 0].sum())


@dataclass(frozen=True, slots=True, eq=False)
class ChunkTables:
    """The chunk tables of several arrays, one after the other; columns as in `ArrayLayout`."""

    offsets: Array
    sizes: Array
    masks: Array


@dataclass(frozen=True, slots=True, eq=False)
class MatrixLayout:
    """A matrix and the layouts of its arrays: `data`, `indices`, `indptr` of a sparse one, `data` of a dense one."""

    header: MatrixHeader
    arrays: Mapping[str, ArrayLayout]


@dataclass(frozen=True, slots=True, eq=False)
class FileLayout:
    """The layouts of a file's matrices (X, raw/X, layers/…), by path, and of single columns, by path."""

    matrices: Mapping[str, MatrixLayout]
    columns: Mapping[str, ArrayLayout]

    def to_parts(self) -> tuple[dict[str, Any], ChunkTables]:
        """A JSON-able document of all that is small, and the chunk tables of all arrays, in the document's order."""
        layouts = [*self._of_matrices(), *self.columns.values()]
        document = {
            "layout_version": LAYOUT_VERSION,
            "matrices": [
                {"header": asdict(matrix.header), "arrays": list(matrix.arrays)} for matrix in self.matrices.values()
            ],
            "columns": list(self.columns),
            "arrays": [_head(layout) for layout in layouts],
        }
        return document, ChunkTables(
            *(
                np.concatenate([np.empty(0, dtype), *(getattr(layout, name) for layout in layouts)], dtype=dtype)
                for name, dtype in (("offsets", np.int64), ("sizes", np.int64), ("masks", np.uint32))
            )
        )

    def _of_matrices(self) -> list[ArrayLayout]:
        return [array for matrix in self.matrices.values() for array in matrix.arrays.values()]

    @classmethod
    def from_parts(cls, checked: LayoutDocument, tables: ChunkTables) -> Self:
        """The layouts of a checked document. Raises ValueError where the tables do not belong to it."""
        ends = list(accumulate((head.entries for head in checked.arrays), initial=0))
        named = len(checked.columns) + sum(len(matrix.arrays) for matrix in checked.matrices)
        lengths = {len(tables.offsets), len(tables.sizes), len(tables.masks), ends[-1]}
        if checked.layout_version != LAYOUT_VERSION or named != len(checked.arrays) or len(lengths) > 1:
            raise ValueError("no layouts, or of another version")
        arrays = iter([_restored(head, tables, slice(*ends[i : i + 2])) for i, head in enumerate(checked.arrays)])
        matrices = {
            matrix.header.path: MatrixLayout(matrix.header, {name: next(arrays) for name in matrix.arrays})
            for matrix in checked.matrices
        }
        return cls(matrices, {path: next(arrays) for path in checked.columns})

    def to_bytes(self) -> bytes:
        """A compact file; equal layouts give equal bytes. About 4 bytes a chunk, chunks mostly lying side by side."""
        document, tables = self.to_parts()
        head = canonical_json(document)
        # Where a chunk begins after the end of the one before: 0 nearly everywhere.
        gaps = np.diff(tables.offsets, prepend=0)
        gaps[1:] -= tables.sizes[:-1]
        parts = (gaps.astype("<i8"), tables.sizes.astype("<i8"), tables.masks.astype("<u4"))
        packed = zlib.compressobj(1)
        pieces = (len(head).to_bytes(8, "little"), head, *(part.data for part in parts))
        return b"".join([*(packed.compress(piece) for piece in pieces), packed.flush()])

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The layouts that `to_bytes` wrote. Raises ServiceFault for anything else."""
        from celldock.h5ad.layout_document import check_document

        try:
            plain = zlib.decompress(data)
            start = 8 + int.from_bytes(plain[:8], "little")
            count, rest = divmod(len(plain) - start, _ENTRY_BYTES)
            if rest or count < 0:
                raise ValueError("not whole entries")
            gaps = np.frombuffer(plain, "<i8", count, start)
            sizes = np.frombuffer(plain, "<i8", count, start + 8 * count)
            masks = np.frombuffer(plain, "<u4", count, start + 16 * count)
            steps = gaps.copy()
            steps[1:] += sizes[:-1]
            document = check_document(json.loads(plain[8:start]))
            return cls.from_parts(document, ChunkTables(np.cumsum(steps), sizes, masks))
        except (ValueError, zlib.error) as error:
            raise ServiceFault("A document that holds no layouts.", code="layout.unreadable") from error


_ENTRY_BYTES = 8 + 8 + 4


def _head(array: ArrayLayout) -> dict[str, Any]:
    return {
        "path": array.path,
        "dtype": array.dtype,
        "shape": array.shape,
        "chunks": array.chunks,
        "filters": [(item.identifier, item.values) for item in array.filters],
        "fill": b64encode(array.fill).decode(),
        "entries": len(array.offsets),
        "inline": None if array.inline is None else b64encode(array.inline).decode(),
    }


def _restored(head: ArrayHead, tables: ChunkTables, part: slice) -> ArrayLayout:
    return ArrayLayout(
        path=head.path,
        dtype=head.dtype,
        shape=head.shape,
        chunks=head.chunks,
        filters=tuple(Filter(identifier, values) for identifier, values in head.filters),
        fill=b64decode(head.fill),
        offsets=tables.offsets[part],
        sizes=tables.sizes[part],
        masks=tables.masks[part],
        inline=None if head.inline is None else b64decode(head.inline),
    )

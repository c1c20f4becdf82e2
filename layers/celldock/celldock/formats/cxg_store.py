"""TileDB arrays that are written in a local folder and stored under names that depend on their contents' origin alone.

TileDB names schemas, fragments and metadata by the clock and at random. Here they get times that count up from one and
hashes instead, so that a worker that is run again writes the same files. A fragment is one that readers see by its
commit file, which is stored last.

Format: https://github.com/TileDB-Inc/TileDB/tree/main/format_spec.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from celldock.formats.protocol import FileRecord, Sink
from celldock.h5ad.frames import iter_blocks

ROW_TILE = 1000
"""Rows of a tile of a dense array of rows."""
TEXT = np.dtype(object)
"""The type of an attribute of `str` objects."""

# Most of storing a small file is waiting for an answer.
_PARALLEL = 8
_GROUP = "__tiledb_group.tdb"
_HASH_DIGITS = 32
_NAME = re.compile(r"__\d+_\d+_(?P<digest>[0-9a-f]{32})(?P<rest>.*)")
# One thread: a worker has one processor, and each thread more holds buffers of its own.
_CONFIG = {
    "sm.compute_concurrency_level": "1",
    "sm.io_concurrency_level": "1",
    # Cells are sorted here, and an array of cells that may repeat has nothing to compare them with.
    "sm.check_global_order": "false",
    "sm.check_coord_dups": "false",
}

type Array = np.ndarray[Any, Any]
type Rows = Callable[[int, int], Sequence[Array]]
"""Rows [start, stop) of all attributes, in their order."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """An axis of `length` cells in tiles of `tile`; `name` is "" for one without."""

    length: int
    tile: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Attribute:
    """What an array holds for each cell; `dtype` is one of numbers, or `TEXT`."""

    name: str
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class ArraySchema:
    """What an array is. All is compressed by zstd at `level`; cells lie row by row within a tile.

    `capacity` is that of a tile of a sparse array, in cells, and 0 for a dense one. `tiles_by_column` says that tiles
    follow each other down the first axis.
    """

    dimensions: Sequence[Dimension]
    attributes: Sequence[Attribute]
    level: int
    capacity: int = 0
    tiles_by_column: bool = False


class LocalArray:
    """An array in the making at `path` of the artifact, in `folder`, which it creates.

    Equal schemas, fragments and metadata give equal files, in whatever process they are made.
    """

    def __init__(self, folder: Path, path: str, schema: ArraySchema) -> None:
        # Of no use to whoever only plans, and not in the layer of those.
        self._tiledb: Any = import_module("tiledb")
        self._library: Any = import_module("tiledb.libtiledb")
        self._context: Any = _context(tuple(_CONFIG.items()))
        self._folder = folder / path
        self._path = path
        self._schema = schema
        self._given: set[str] = set()
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._tiledb.Array.create(str(self._folder), self._described(), ctx=self._context)
        # Fragments name their schema: it gets its name before there are any.
        (made,) = (file for file in (self._folder / "__schema").iterdir() if file.is_file())
        self._rename(["__schema"], 1, made.read_bytes())

    def write_rows(self, rows: int, block: int, read: Rows) -> None:
        """Writes all rows of a dense array, at most `block` at a time; the first axis is that of rows.

        Whole tiles make one fragment, whatever their number, and the last rows another. Memory: a block, some times.
        """
        tile = self._schema.dimensions[0].tile
        whole = rows // tile * tile
        step = max(tile, block // tile * tile)
        with self.fragment(1, "", (0, whole), in_order=True) as submit:
            for start, stop in iter_blocks(whole, step):
                submit(read(start, stop))
        if whole < rows:
            with self.fragment(2, "", (whole, rows)) as submit:
                submit(read(whole, rows))

    @contextmanager
    def fragment(
        self, time: int, name: str, rows: tuple[int, int] | None = None, *, in_order: bool = False
    ) -> Generator[Callable[[Sequence[Array]], None]]:
        """A fragment in the making; `time` and `name` tell it from all others of the array.

        `rows` are those [start, stop) of a dense array that it covers. The call that is given takes the coordinates of
        a sparse array, axis by axis, and the values of the attributes. `in_order`, as always for a sparse array, says
        that they come in the array's global order, in any number of calls; otherwise all come at once, row by row.
        """
        layouts = self._library.LayoutType
        with self._tiledb.open(str(self._folder), "w", timestamp=time, ctx=self._context) as opened:
            query = self._library.Query(self._context, opened.array, self._library.QueryType.WRITE)
            query.layout = layouts.GLOBAL_ORDER if in_order or rows is None else layouts.ROW_MAJOR
            if rows is not None:
                query.set_subarray(self._subarray(opened, rows))
            yield lambda values: self._submit(query, values)
            query.finalize()
        self._rename(["__fragments", "__commits"], time, name.encode())

    def set_metadata(self, entries: Mapping[str, str]) -> None:
        """Sets the metadata of the array, once."""
        with self._tiledb.open(str(self._folder), "w", timestamp=1, ctx=self._context) as opened:
            for key, value in sorted(entries.items()):
                opened.meta[key] = value
        self._rename(["__meta"], 1, b"metadata")

    def put_fragments(self, sink: Sink) -> Iterator[FileRecord]:
        """Stores the fragments, and then what commits them."""
        yield from self._put(("__fragments", "__commits"), sink)

    def put_schema(self, sink: Sink) -> Iterator[FileRecord]:
        """Stores the schema, which makes an array of what lies at its path."""
        yield from self._put(("__schema",), sink)

    def put_all(self, sink: Sink) -> Iterator[FileRecord]:
        """Stores the whole array, its schema last."""
        yield from self._put(("__fragments", "__commits", "__meta", "__schema"), sink)

    def _put(self, places: Sequence[str], sink: Sink) -> Iterator[FileRecord]:
        def put(file: Path) -> FileRecord:
            return sink.put(f"{self._path}/{file.relative_to(self._folder).as_posix()}", file)

        with ThreadPoolExecutor(_PARALLEL) as pool:
            for place in places:
                files = sorted(file for file in (self._folder / place).rglob("*") if file.is_file())
                yield from [*pool.map(put, files)]

    def _subarray(self, opened: Any, rows: tuple[int, int]) -> Any:
        subarray = self._library.Subarray(self._context, opened.array)
        ends = [(rows[0], rows[1] - 1), *((0, each.length - 1) for each in self._schema.dimensions[1:])]
        for axis, (first, last) in enumerate(ends):
            subarray._add_dim_range(axis, (np.uint32(first), np.uint32(last)))
        return subarray

    def _submit(self, query: Any, values: Sequence[Array]) -> None:
        axes = [each.name for each in self._schema.dimensions] if self._schema.capacity else []
        names = [*axes, *(attribute.name for attribute in self._schema.attributes)]
        # The query does not keep what it points to.
        kept: list[Array] = []
        for name, array in zip(names, values, strict=True):
            buffer = np.ascontiguousarray(array).reshape(-1)
            if buffer.dtype == TEXT:
                buffer, offsets = _encoded(buffer)
                query.set_offsets_buffer(name, offsets, len(offsets))
                kept.append(offsets)
            query.set_data_buffer(name, buffer, len(buffer))
            kept.append(buffer)
        query._submit()

    def _described(self) -> Any:
        tiledb, schema = self._tiledb, self._schema
        zstd = tiledb.ZstdFilter(level=schema.level)
        shuffled = tiledb.FilterList([tiledb.ByteShuffleFilter(), zstd])
        dimensions = [
            tiledb.Dim(
                name=each.name or f"__dim_{axis}",
                domain=(0, each.length - 1),
                tile=each.tile,
                dtype=np.uint32,
                filters=shuffled if each.name else None,
            )
            for axis, each in enumerate(schema.dimensions)
        ]
        attributes = [
            tiledb.Attr(
                name=each.name,
                dtype=np.dtype(str) if each.dtype == TEXT else each.dtype,
                var=each.dtype == TEXT,
                filters=tiledb.FilterList([zstd]),
            )
            for each in schema.attributes
        ]
        sparse = {"sparse": True, "allows_duplicates": True, "capacity": schema.capacity} if schema.capacity else {}
        return tiledb.ArraySchema(
            domain=tiledb.Domain(*dimensions),
            attrs=attributes,
            cell_order="row-major",
            tile_order="col-major" if schema.tiles_by_column else "row-major",
            ctx=self._context,
            **sparse,
        )

    def _rename(self, places: Sequence[str], time: int, origin: bytes) -> None:
        """Gives what TileDB has just written in these places a time, and a name that is made of its origin."""
        digest = hashlib.sha256(f"{self._path}\n{time}\n".encode() + origin).hexdigest()[:_HASH_DIGITS]
        for place in places:
            for entry in sorted((self._folder / place).iterdir()):
                found = _NAME.fullmatch(entry.name)
                if found and found["digest"] not in self._given:
                    entry.rename(entry.with_name(f"__{time}_{time}_{digest}{found['rest']}"))
        self._given.add(digest)


@functools.cache
def _context(config: tuple[tuple[str, str], ...]) -> Any:
    """TileDB's context, which starts threads: one for all arrays of a process."""
    tiledb: Any = import_module("tiledb")
    return tiledb.Ctx(dict(config))


def put_group(path: str, sink: Sink, folder: Path) -> FileRecord:
    """Stores the file that makes a group of the arrays below `path`, by way of `folder`."""
    marker = folder / _GROUP
    marker.touch()
    return sink.put(f"{path}/{_GROUP}" if path else _GROUP, marker)


def _encoded(texts: Array) -> tuple[Array, Array]:
    """The bytes of all texts, and where each begins."""
    pieces = [text.encode() for text in texts.tolist()]
    lengths = np.fromiter(map(len, pieces), np.uint64, len(pieces))
    offsets = np.zeros(len(pieces), np.uint64)
    np.cumsum(lengths[:-1], out=offsets[1:])
    return np.frombuffer(b"".join(pieces), np.uint8), offsets

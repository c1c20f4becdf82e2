"""Writes arrays of Zarr, version 3: their metadata, and their shards from blocks of rows.

Every array is cut along its first axis alone. A chunk has 65,536 elements (whole rows, at least one), zstd-compressed;
an array of more than one chunk is sharded, 64 chunks to a file, so that a worker writes whole files and a reader
fetches single chunks by ranges. Text is `vlen-utf8`.

Specifications: https://zarr-specs.readthedocs.io/en/latest/v3/core/, its codecs `sharding_indexed`, `crc32c`, `zstd`,
and https://github.com/zarr-developers/zarr-extensions for `vlen-utf8`, `string`, `struct` and `fixed_length_utf32`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from celldock.formats.protocol import FileRecord, Sink

CHUNK_ELEMENTS = 1 << 16
"""Elements of a chunk, but for rows that have more."""
SHARD_CHUNKS = 64
"""Chunks of a shard: 4,194,304 elements."""
TEXT = np.dtype(object)
"""The type of an array of `str` objects."""
METADATA = "zarr.json"

_LEVEL = 3
_LITTLE = {"endian": "little"}
_ABSENT = (1 << 64) - 1
_CASTAGNOLI = 0x82F63B78

type Array = np.ndarray[Any, Any]
type Blocks = Callable[[int, int], Generator[Array]]


@dataclass(frozen=True, slots=True)
class ArrayNode:
    """An array of a store. `path` is relative to its root; `dtype` in any byte order, `TEXT` for text."""

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def rows(self) -> int:
        """Its length along the first axis; 1 for a scalar."""
        return self.shape[0] if self.shape else 1

    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk."""
        return max(1, min(CHUNK_ELEMENTS // max(1, math.prod(self.shape[1:])), self.rows))

    @property
    def shard_chunks(self) -> int:
        """Chunks of a file, at most."""
        fitting = max(1, CHUNK_ELEMENTS * SHARD_CHUNKS // max(1, math.prod(self.shape[1:]) * self.chunk_rows))
        return max(1, min(SHARD_CHUNKS, fitting, -(-self.rows // self.chunk_rows)))

    @property
    def shard_rows(self) -> int:
        """Rows of a file."""
        return self.chunk_rows * self.shard_chunks

    @property
    def shards(self) -> int:
        """How many files hold its elements."""
        return -(-self.rows // self.shard_rows) if math.prod(self.shape) else 0

    def file(self, shard: int) -> str:
        """The path of the file of a shard."""
        return "/".join([self.path, "c", *(str(0 if axis else shard) for axis in range(len(self.shape)))])

    def document(self) -> dict[str, Any]:
        """Its `zarr.json`."""
        bytes_codec = {"name": "vlen-utf8"} if self.dtype == TEXT else {"name": "bytes", "configuration": _LITTLE}
        codecs: list[dict[str, Any]] = [
            bytes_codec,
            {"name": "zstd", "configuration": {"level": _LEVEL, "checksum": False}},
        ]
        if self.shard_chunks > 1:
            codecs = [_sharding(self._grid(self.chunk_rows), codecs)]
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(self.shape),
            "data_type": _data_type(self.dtype),
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": self._grid(self.shard_rows)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": _fill_value(self.dtype),
            "codecs": codecs,
            "attributes": dict(self.attributes),
            "storage_transformers": [],
        }

    def _grid(self, rows: int) -> list[int]:
        return [rows, *(max(1, length) for length in self.shape[1:])] if self.shape else []


@dataclass(frozen=True, slots=True)
class Source:
    """An array and where its rows come from: `blocks` gives rows [start, stop) in order, in blocks of any size."""

    node: ArrayNode
    blocks: Blocks


def group_document(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The `zarr.json` of a group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}


def consolidated(root: Mapping[str, Any], nodes: Mapping[str, Any]) -> dict[str, Any]:
    """The `zarr.json` of the root group with those of all nodes below it, by their paths, so that one read finds all.

    As zarr-python writes and zarrita reads it; not yet a part of the specification.
    """
    return {**root, "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": dict(nodes)}}


def write_shards(source: Source, shards: range, sink: Sink, folder: Path) -> Generator[FileRecord]:
    """Writes some of an array's files, each by way of `folder`. Memory: a block of the source, and a chunk."""
    node = source.node
    if not shards:
        return
    start, stop = shards.start * node.shard_rows, min(shards.stop * node.shard_rows, node.rows)
    local = folder / "shard"
    with closing(source.blocks(start, stop)) as blocks:
        chunks = _rechunked(blocks, node.chunk_rows)
        for shard in shards:
            with local.open("wb") as file:
                _write_shard(node, file, islice(chunks, node.shard_chunks))
            yield sink.put(node.file(shard), local)
    local.unlink()


def _rechunked(blocks: Iterable[Array], rows: int) -> Generator[Array]:
    """The same rows, `rows` at a time; fewer in the last piece alone."""
    rest: list[Array] = []
    held = 0
    for block in blocks:
        begin = 0
        while held + len(block) - begin >= rows:
            end = begin + rows - held
            yield np.concatenate([*rest, block[begin:end]]) if rest else block[begin:end]
            rest, held, begin = [], 0, end
        if begin < len(block):
            rest.append(block[begin:])
            held += len(block) - begin
    if rest:
        yield np.concatenate(rest)


def _write_shard(node: ArrayNode, file: IO[bytes], chunks: Iterator[Array]) -> None:
    # Of no use to whoever only plans, and not in the layer of those.
    from backports import zstd

    if node.shard_chunks == 1:
        for chunk in chunks:
            file.write(zstd.compress(_encoded(node, chunk), _LEVEL))
        return
    index = np.full((node.shard_chunks, 2), _ABSENT, "<u8")
    for number, chunk in enumerate(chunks):
        begin = file.tell()
        length = file.write(zstd.compress(_encoded(node, chunk), _LEVEL))
        index[number] = begin, length
    places = index.tobytes()
    file.write(places + crc32c(places).to_bytes(4, "little"))


def _encoded(node: ArrayNode, chunk: Array) -> bytes:
    """The rows of a chunk as bytes, filled up to a whole one."""
    missing = (node.chunk_rows - len(chunk)) * max(1, math.prod(node.shape[1:]))
    if node.dtype == TEXT:
        return _encoded_text(chunk.ravel().tolist(), missing)
    plain = np.ascontiguousarray(chunk, node.dtype.newbyteorder("<"))
    return plain.tobytes() + bytes(missing * node.dtype.itemsize)


def _encoded_text(texts: list[str], missing: int) -> bytes:
    pieces = [text.encode() for text in texts]
    lengths = np.fromiter(map(len, pieces), "<u4", len(pieces)).tobytes()
    head = (len(pieces) + missing).to_bytes(4, "little")
    pairs = ((lengths[4 * place : 4 * place + 4], piece) for place, piece in enumerate(pieces))
    return b"".join([head, *chain.from_iterable(pairs), bytes(4 * missing)])


def _sharding(chunk: list[int], codecs: list[dict[str, Any]]) -> dict[str, Any]:
    index_codecs = [{"name": "bytes", "configuration": _LITTLE}, {"name": "crc32c"}]
    return {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": chunk,
            "codecs": codecs,
            "index_codecs": index_codecs,
            "index_location": "end",
        },
    }


def _data_type(dtype: np.dtype[Any]) -> Any:
    if dtype == TEXT:
        return "string"
    if dtype.names is not None:
        fields = [{"name": name, "data_type": _data_type(dtype[name])} for name in dtype.names]
        return {"name": "struct", "configuration": {"fields": fields}}
    if dtype.kind == "U":
        return {"name": "fixed_length_utf32", "configuration": {"length_bytes": dtype.itemsize}}
    return dtype.name


def _fill_value(dtype: np.dtype[Any]) -> Any:
    if dtype.names is not None:
        return {name: _fill_value(dtype[name]) for name in dtype.names}
    return {"b": False, "f": 0.0, "c": [0.0, 0.0], "O": "", "U": ""}.get(dtype.kind, 0)


def _crc_table() -> tuple[int, ...]:
    table: list[int] = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_CASTAGNOLI if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """The CRC-32C (Castagnoli) of a few hundred bytes, such as the index of a shard."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC_TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF

"""Partial results as bytes: a JSON header and the raw arrays, each compressed. Equal contents give equal bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import deflate
import numpy as np

from celldock.canonical import canonical_json
from celldock.errors import ServiceFault
from celldock.h5ad.layout import Array

SCAN_VERSION = 1

_MAGIC = b"celldock scan\n"
_WIDTHS = {"i": ("<i1", "<i2", "<i4", "<i8"), "u": ("<u1", "<u2", "<u4", "<u8")}


def pack(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """The header (plain JSON values) and arrays of integers, in the order of their names.

    Memory: the answer, and one array in the narrowest type that holds its values, twice.
    """
    streams: list[bytes] = []
    heads: list[dict[str, Any]] = []
    for name in sorted(arrays):
        array = _narrow(arrays[name])
        # Level 1: the file is read once; hashes do not shrink at any level, and counts hardly more.
        streams.append(bytes(deflate.deflate_compress(memoryview(array).cast("B"), 1)) if array.size else b"")
        heads.append(
            {
                "name": name,
                "type": arrays[name].dtype.newbyteorder("<").str,
                "stored": array.dtype.str,
                "shape": array.shape,
                "bytes": len(streams[-1]),
            }
        )
    head = canonical_json({"scan_version": SCAN_VERSION, "header": dict(header), "arrays": heads})
    return b"".join((_MAGIC, len(head).to_bytes(8, "little"), head, *streams))


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """What `pack` was given; the arrays own their memory. Raises ServiceFault for other bytes and other versions."""
    start = len(_MAGIC) + 8
    if data[: len(_MAGIC)] != _MAGIC:
        raise ServiceFault("no partial result of a scan", code="scan.version")
    stop = start + int.from_bytes(data[len(_MAGIC) : start], "little")
    document: dict[str, Any] = json.loads(data[start:stop])
    if document.get("scan_version") != SCAN_VERSION:
        raise ServiceFault("a partial result of a scan of another version", code="scan.version")
    arrays: dict[str, Array] = {}
    view = memoryview(data)
    for head in document["arrays"]:
        start, stop = stop, stop + head["bytes"]
        arrays[head["name"]] = _array(head, view[start:stop])
    return document["header"], arrays


def _array(head: dict[str, Any], stream: memoryview) -> Array:
    shape, stored = tuple(head["shape"]), np.dtype(head["stored"])
    size = math.prod(shape) * stored.itemsize
    plain = deflate.deflate_decompress(stream, size) if size else b""
    return np.frombuffer(plain, stored).reshape(shape).astype(head["type"])


def _narrow(array: Array) -> Array:
    """The array in the narrowest integer type of its sign that holds its values, C-contiguous."""
    widths = _WIDTHS[array.dtype.kind]
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    for width in widths:
        limits = np.iinfo(width)
        if limits.min <= low and high <= limits.max:
            return np.ascontiguousarray(array, width)
    raise AssertionError("every integer array fits its own width")

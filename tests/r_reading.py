"""Reads R's serialised objects (XDR, version 2) by "R Internals", section "Serialization Formats", into plain Python.

It shares nothing with what writes them, and refuses what the format does not have: unknown types, bytes that are left.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

NA = -(2**31)


@dataclass
class RObject:
    """A vector (`value`: an array, or a list of objects) or an S4 object (`value`: its class), with attributes."""

    value: Any
    attributes: dict[str, Any] = field(default_factory=dict)
    is_object: bool = False

    def __getitem__(self, name: str) -> Any:
        """The item of a list by its name, or the attribute or slot."""
        if name in self.attributes:
            return self.attributes[name]
        return self.value[self.names.index(name)]

    @property
    def names(self) -> list[str]:
        """The names of a vector's values."""
        return self.attributes["names"].value if "names" in self.attributes else []

    @property
    def classes(self) -> list[str]:
        """The attribute `class`."""
        return self.attributes["class"].value


def read_rds(path: Path) -> Any:
    """The object in a file; None is NULL."""
    reader = _Reader(gzip.decompress(path.read_bytes()))
    assert reader.take(2) == b"X\n"
    assert reader.word() == 2
    reader.take(8)
    item = reader.item()
    assert reader.left == 0, "bytes behind the object"
    return item


def cells_by_genes(matrix: RObject) -> np.ndarray:
    """The values of a dgCMatrix, turned round, after the checks that R makes of it."""
    genes, cells = matrix["Dim"].value
    p, i, x = (matrix[slot].value for slot in ("p", "i", "x"))
    assert matrix.value == "dgCMatrix"
    assert len(p) == cells + 1
    assert (p[0], p[-1]) == (0, len(i))
    assert len(i) == len(x)
    for start, stop in pairwise(p):
        assert (np.diff(i[start:stop]) > 0).all()
    assert not len(i) or 0 <= i.min() <= i.max() < genes
    return sparse.csr_matrix((x, i, p), shape=(cells, genes)).toarray()


def plain(column: RObject) -> list[Any]:
    """The values of a column, None where missing; the labels of a factor."""
    values = column.value
    if "levels" in column.attributes:
        return [None if code == NA else column["levels"].value[code - 1] for code in values]
    if not isinstance(values, np.ndarray):
        return values
    # Among the NaN, R takes the one whose lower word is 1954 for missing.
    missing = values.view(np.int64) & 0xFFFFFFFF == 1954 if values.dtype.kind == "f" else values == NA
    return [None if gone else value for value, gone in zip(values.tolist(), missing, strict=True)]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._symbols: list[str] = []

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        assert 0 <= size <= self.left, "the file ends early"
        self._at += size
        return bytes(self._data[self._at - size : self._at])

    def word(self) -> int:
        return int.from_bytes(self.take(4), "big", signed=True)

    def item(self) -> Any:  # noqa: PLR0911
        flags = self.word()
        kind, is_object = flags & 255, bool(flags >> 8 & 1)
        match kind:
            case 254:
                return None
            case 1:
                self._symbols.append(self.item())
                return self._symbols[-1]
            case 255:
                return self._symbols[(flags >> 8) - 1]
            case 9:
                return self._chars(flags >> 12)
            case 2:
                return self._pairs(flags)
            case 25:
                assert is_object
                assert flags >> 9 & 1
                assert flags >> 12 & 16
                attributes = self.item()
                return RObject(attributes["class"].value[0], attributes, is_object)
            case 10 | 13 | 14 | 16 | 19:
                value = self._vector(kind)
                attributes = self.item() if flags >> 9 & 1 else {}
                assert is_object == ("class" in attributes)
                return RObject(value, attributes, is_object)
        raise AssertionError(f"a value of type {kind}")

    def _chars(self, encoding: int) -> str | None:
        size = self.word()
        if size == -1:
            return None
        assert encoding in (8, 64)
        text = self.take(size).decode("ascii" if encoding == 64 else "utf-8")
        assert "\0" not in text
        return text

    def _pairs(self, flags: int) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        while flags & 255 == 2:
            assert flags >> 10 & 1, "a pair without a tag"
            name = self.item()
            assert name not in pairs
            pairs[name] = self.item()
            flags = self.word()
        assert flags == 254
        return pairs

    def _vector(self, kind: int) -> Any:
        length = self.word()
        assert length >= 0
        if kind in (10, 13):
            return np.frombuffer(self.take(4 * length), ">i4").astype(np.int64)
        if kind == 14:
            return np.frombuffer(self.take(8 * length), ">f8").astype(np.float64)
        return [self.item() for _ in range(length)]

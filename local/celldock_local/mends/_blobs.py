"""Immutable object bytes in files, shared without copying and freed when nobody refers to them."""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from awscrt import checksums

CHUNK = 1 << 20

CRC_COMBINE: dict[str, Callable[[int, int, int], int]] = {
    "CRC32": checksums.combine_crc32,
    "CRC32C": checksums.combine_crc32c,
    "CRC64NVME": checksums.combine_crc64nvme,
}


class Hasher(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class _Crc:
    def __init__(self, function: Callable[[bytes, int], int], width: int) -> None:
        self._function, self._width, self._value = function, width, 0

    def update(self, data: bytes, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._width, "big")


_HASHERS: dict[str, Callable[[], Hasher]] = {
    "MD5": lambda: hashlib.md5(usedforsecurity=False),
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA256": hashlib.sha256,
    "CRC32": lambda: _Crc(zlib.crc32, 4),
    "CRC32C": lambda: _Crc(checksums.crc32c, 4),
    "CRC64NVME": lambda: _Crc(checksums.crc64nvme, 8),
}
ALGORITHMS = frozenset(_HASHERS) - {"MD5"}


def hasher(algorithm: str) -> Hasher:
    """A new hasher of an algorithm as S3 names it, or MD5."""
    return _HASHERS[algorithm]()


class _File:
    """One file of the store; its last holder's end removes it."""

    __slots__ = ("__weakref__", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        weakref.finalize(self, path.unlink, missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Extent:
    file: _File
    offset: int
    length: int

    def read(self) -> Iterator[bytes]:
        descriptor = os.open(self.file.path, os.O_RDONLY)
        try:
            position, end = self.offset, self.offset + self.length
            while position < end:
                data = os.pread(descriptor, min(CHUNK, end - position), position)
                if not data:
                    raise OSError(f"{self.file.path} ends at {position}, before {end}")
                position += len(data)
                yield data
        finally:
            os.close(descriptor)


class Blob:
    """Bytes that lie in files: `len()`, slicing and concatenation cost nothing, iteration reads 1 MiB at a time."""

    def __init__(self, extents: Iterable[_Extent] = (), digests: dict[str, bytes] | None = None) -> None:
        self._extents = tuple(extents)
        self._length = sum(extent.length for extent in self._extents)
        self._digests = dict(digests or {})

    @classmethod
    def join(cls, blobs: Iterable[Blob]) -> Blob:
        """The blobs' bytes one after the other; CRCs that all of them know are combined, not computed again."""
        parts = list(blobs)
        digests: dict[str, bytes] = {}
        for algorithm, combine in CRC_COMBINE.items():
            if parts and all(algorithm in part._digests for part in parts):
                crc, width = 0, len(parts[0]._digests[algorithm])
                for part in parts:
                    crc = combine(crc, int.from_bytes(part._digests[algorithm], "big"), len(part))
                digests[algorithm] = crc.to_bytes(width, "big")
        return cls(itertools.chain.from_iterable(part._extents for part in parts), digests)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        for extent in self._extents:
            yield from extent.read()

    def __bytes__(self) -> bytes:
        return b"".join(self)

    def __getitem__(self, key: slice) -> Blob:
        start, stop, step = key.indices(len(self))
        if step != 1:
            raise ValueError("a blob is sliced by whole ranges only")
        if (start, stop) == (0, len(self)):
            return self
        extents: list[_Extent] = []
        begin = 0
        for extent in self._extents:
            low, high = max(start, begin), min(stop, begin + extent.length)
            if low < high:
                extents.append(_Extent(extent.file, extent.offset + low - begin, high - low))
            begin += extent.length
        return Blob(extents)

    def digest(self, algorithm: str) -> bytes:
        """Of all bytes; remembered. `algorithm` as S3 names it, or MD5."""
        known = self._digests.get(algorithm)
        if known is None:
            running = hasher(algorithm)
            for chunk in self:
                running.update(chunk)
            known = self._digests[algorithm] = running.digest()
        return known

    def checksum(self, algorithm: str) -> str:
        """The digest in base64, as S3's headers have it."""
        return base64.b64encode(self.digest(algorithm)).decode()


EMPTY = Blob()


class BlobStore:
    """Makes blobs in one folder. What an earlier process left there is removed: nothing refers to it any more."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = itertools.count()
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            left.unlink()

    def write(self, chunks: Iterable[bytes], algorithms: Iterable[str] = ()) -> Blob:
        """Write `chunks` to one new file; MD5 and `algorithms` are computed on the way."""
        hashers = {name: hasher(name) for name in {"MD5", *algorithms}}
        file, length = _File(self._folder / f"{next(self._names):012d}"), 0
        with file.path.open("wb", buffering=0) as out:
            for chunk in chunks:
                out.write(chunk)
                length += len(chunk)
                for running in hashers.values():
                    running.update(chunk)
        return Blob([_Extent(file, 0, length)], {name: running.digest() for name, running in hashers.items()})

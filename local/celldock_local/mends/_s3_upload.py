"""The body of an S3 upload, taken off the wire into a blob, with the checksums that its sender claims."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Protocol, cast

from celldock_local.mends._blobs import ALGORITHMS, CHUNK, Blob, BlobStore, hasher

DEFAULT_ALGORITHM = "CRC64NVME"  # what S3 computes for an upload that names none


class Headers(Protocol):
    """What is needed of a request's headers: looked up without regard to case."""

    def get(self, name: str, /) -> str | None: ...


class Malformed(ValueError):
    """The aws-chunked framing is broken."""


class AwsChunked:
    """The payload of an aws-chunked body, signed or not; `trailers` are there once it is read.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.trailers: dict[str, str] = {}

    def __iter__(self) -> Iterator[bytes]:
        while size := self._chunk_size():
            while size:
                data = self._stream.read(min(CHUNK, size))
                if not data:
                    raise Malformed("the body ends within a chunk")
                size -= len(data)
                yield data
            if self._stream.readline(CHUNK).strip():
                raise Malformed("a chunk is longer than it says")
        while line := self._stream.readline(CHUNK).strip():
            name, _, value = line.decode("latin-1").partition(":")
            self.trailers[name.strip().lower()] = value.strip()

    def _chunk_size(self) -> int:
        line = self._stream.readline(CHUNK)
        try:
            return int(line.split(b";", 1)[0], 16)
        except ValueError:
            raise Malformed(f"not a chunk size: {line[:32]!r}") from None


@dataclass(frozen=True, slots=True)
class Upload:
    """One received body."""

    blob: Blob
    algorithm: str  # of its checksum
    claims: Mapping[str, str]  # algorithm → base64, as its sender sent them

    def mismatch(self) -> str | None:
        """The first algorithm whose claimed checksum is not that of the bytes."""
        return next((name for name, value in self.claims.items() if self.blob.checksum(name) != value), None)


def _read(stream: IO[bytes]) -> Iterator[bytes]:
    while data := stream.read(CHUNK):
        yield data


def _claims(headers: Headers | Mapping[str, str]) -> dict[str, str]:
    found = {name: headers.get(f"x-amz-checksum-{name.lower()}") for name in ALGORITHMS}
    return {name: value for name, value in found.items() if value}


def _announced(headers: Headers) -> str:
    """The algorithm that the headers speak of, be its value in them, in a trailer or nowhere."""
    trailer = (headers.get("x-amz-trailer") or "").strip().lower().removeprefix("x-amz-checksum-")
    named = (headers.get("x-amz-sdk-checksum-algorithm") or trailer).upper()
    return next(iter(_claims(headers)), named if named in ALGORITHMS else DEFAULT_ALGORITHM)


def receive(stream: IO[bytes], headers: Headers, store: BlobStore) -> Upload:
    """Read the whole body of a request, 1 MiB at a time. Raises Malformed."""
    algorithm = _announced(headers)
    # Chunk lines are read byte by byte from a raw stream, so it gets a buffer; closing that would close the request.
    buffered = io.BufferedReader(cast(io.RawIOBase, stream), CHUNK)
    try:
        chunked = (headers.get("x-amz-content-sha256") or "").startswith("STREAMING-")
        payload: Iterable[bytes] = AwsChunked(buffered) if chunked else _read(buffered)
        blob = store.write(payload, [algorithm])
    finally:
        buffered.detach()
    claims = _claims(headers)
    if isinstance(payload, AwsChunked):
        claims |= _claims(payload.trailers)
    if md5 := headers.get("content-md5"):
        claims["MD5"] = md5
    return Upload(blob, algorithm, claims)


def composite_checksum(parts: Iterable[Blob], algorithm: str) -> str:
    """The checksum of the parts' checksums, base64 and without the `-<number of parts>` that S3 puts behind it."""
    running = hasher(algorithm)
    for part in parts:
        running.update(part.digest(algorithm))
    return base64.b64encode(running.digest()).decode()

"""A file on a web server (or behind a presigned URL) as a byte source."""

from __future__ import annotations

import re
from typing import Self
from urllib.parse import unquote, urlsplit

import urllib3

from celldock.errors import ObjectGone, ServiceFault, Throttled, TransientError
from celldock.h5ad.retry import with_backoff

_TIMEOUT = urllib3.Timeout(connect=5, read=30)
_CONNECTIONS = 16
# Anything else is repeated here, with waits.
_REDIRECTS = urllib3.Retry(total=5, redirect=5, connect=0, read=0, status=0, other=0)
_TOTAL = re.compile(r"bytes (?:\d+-\d+|\*)/(\d+)")
_GONE = (404, 410)
_CHANGED = (412, 416)
_THROTTLED = (429,)
_PASSING = (408, 500, 502, 503, 504)


class HttpSource:
    """One version of a resource, read by ranges over kept-alive connections.

    The version is told by its ETag where the server gives a strong one, and by its size. Reads are repeated on errors
    that pass: 5xx, 429, broken connections, bodies that break off.
    """

    def __init__(self, url: str, size: int, etag: str, pool: urllib3.PoolManager) -> None:
        self._url = url
        self._size = size
        self._etag = etag
        self._pool = pool
        self._name = unquote(urlsplit(url).path).rpartition("/")[2]

    @classmethod
    def open(cls, url: str) -> Self:
        """Asks the server for size and version.

        Raises:
            ObjectGone: there is nothing at this address.
            ServiceFault: the server does not send ranges, or refuses.
            TransientError, Throttled: it could not answer this time.
        """
        if urlsplit(url).scheme not in ("http", "https"):
            raise ServiceFault("Only http and https addresses can be read.", code="source.address")
        source = cls(url, -1, "", urllib3.PoolManager(maxsize=_CONNECTIONS, retries=_REDIRECTS, timeout=_TIMEOUT))
        # Not HEAD, which a presigned URL does not allow.
        answer, _ = with_backoff(lambda: source._request(0, 1))
        total = _TOTAL.fullmatch(answer.headers.get("Content-Range", ""))
        if total is None or answer.status not in (206, 416):
            raise ServiceFault(
                f"The server of {source.name} does not send parts of files.",
                code="source.no_ranges",
                where=source.name,
                hint="Download the file and read it from disk.",
            )
        etag = answer.headers.get("ETag", "")
        return cls(url, int(total[1]), "" if etag.startswith("W/") else etag, source._pool)

    @property
    def size(self) -> int:
        """Total bytes."""
        return self._size

    @property
    def name(self) -> str:
        """The last part of the address, without its query."""
        return self._name

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`.

        Raises:
            ValueError: the range does not lie within the resource.
            ObjectGone: it was deleted (`source.gone`), or is another version now (`source.changed`).
            TransientError, Throttled: the server did not answer in several attempts.
        """
        if offset < 0 or length < 0 or offset + length > self._size:
            raise ValueError(f"bytes {offset} to {offset + length} do not lie within {self._size} bytes")
        return with_backoff(lambda: self._read(offset, length)) if length else b""

    def _read(self, offset: int, length: int) -> bytes:
        answer, body = self._request(offset, length)
        total = _TOTAL.fullmatch(answer.headers.get("Content-Range", ""))
        etag = answer.headers.get("ETag", self._etag)
        if answer.status != 206 or total is None or int(total[1]) != self._size or (self._etag and etag != self._etag):
            raise self._changed()
        if len(body) != length:
            raise TransientError(f"{len(body):,} of {length:,} bytes came.", code="source.short_read", where=self._name)
        return body

    def _request(self, offset: int, length: int) -> tuple[urllib3.BaseHTTPResponse, bytes]:
        """The answer, if it is one that `open` and `read` can judge, and its body, which may be of any length."""
        headers = {"Range": f"bytes={offset}-{offset + length - 1}", "Accept-Encoding": "identity"}
        if self._etag:
            headers["If-Match"] = self._etag
        try:
            answer = self._pool.request("GET", self._url, headers=headers, preload_content=False)
            # A server without ranges sends the whole file, a broken one anything: no more than was asked for is read.
            body = answer.read(length + 1) if answer.status == 206 else b""
            if answer.status != 206 or len(body) > length:
                answer.close()
            answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise TransientError(
                f"No answer from the server of {self._name}: {type(error).__name__}.",
                code="source.connection",
                where=self._name,
            ) from error
        self._refuse(answer.status)
        return answer, body

    def _changed(self) -> ObjectGone:
        return ObjectGone(f"{self._name} was changed while it was read.", code="source.changed", where=self._name)

    def _refuse(self, status: int) -> None:
        if status in _GONE:
            raise ObjectGone(f"{self._name} does not exist (any more).", code="source.gone", where=self._name)
        if status in _CHANGED and self._size >= 0:
            raise self._changed()
        if status in _THROTTLED:
            raise Throttled("The server asks for fewer requests.", code="source.throttled", where=self._name)
        if status in _PASSING:
            raise TransientError(f"The server answered {status}.", code="source.server", where=self._name)
        if status >= 400 and status not in _CHANGED:
            raise ServiceFault(f"The server answered {status}.", code="source.refused", where=self._name)

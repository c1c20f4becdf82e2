"""Object headers, version 1 and 2, with their continuations (HDF5 File Format Specification, IV.A.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from celldock.h5ad.accounting.cursor import Cursor, Window
from celldock.h5ad.accounting.ledger import Ledger, NotUnderstoodError
from celldock.h5ad.accounting.messages import CONTINUATION, LAST_TYPE, NIL, Contents, read_message
from celldock.h5ad.damage import damaged

_MAX_HEADER = 64 * 1024 * 1024
"""Bytes of one block of messages."""
_CHECKSUM = 4


@dataclass(frozen=True, slots=True)
class _Prefix:
    """How long the type of a message is, and all that comes before its content, in bytes."""

    type_bytes: int
    length: int


_NOT_ZERO = re.compile(rb"[^\0]")
_PREFIX_1 = _Prefix(2, 8)
_KIND = "in an object's header"


def read_header(window: Window, ledger: Ledger, address: int, where: str) -> Contents:
    """All that the object header at `address` says. Slack between its messages and behind their ends is looked at.

    Raises InvalidSubmission for a broken one, NotUnderstoodError for what AnnData does not write.
    """
    contents = Contents()
    ledger.visit(address)
    head = window.cursor(where, address, min(16, max(0, window.source.size - address)))
    if bytes(head.data[:4]) == b"OHDR":
        _Version2(window, ledger, where, contents).read(address)
    else:
        _read_1(window, ledger, head, contents)
    return contents


def _read_1(window: Window, ledger: Ledger, head: Cursor, contents: Contents) -> None:
    if head.number(1) != 1:
        raise damaged(head.where, f"no object lies where one should (at {head.offset:,})")
    head.take(7)
    size = head.number(4)
    head.take(4)
    ledger.claim(head.offset, 16)
    blocks = [(head.offset + 16, size)]
    for start, length in blocks:  # grows by the continuations that are found on the way
        ledger.visit(start)
        ledger.claim(start, length)
        body = _block(window, head.where, start, length)
        while body.stop - body.at >= 8:
            number, size, flags = body.number(2), body.number(2), body.number(1)
            body.take(3)
            blocks += _message(ledger, number, flags, body.part(size), contents, _PREFIX_1)
        ledger.slack(_KIND, body.place, body.take(body.stop - body.at))


class _Version2:
    """A header that begins with OHDR; every block of it ends with a checksum."""

    def __init__(self, window: Window, ledger: Ledger, where: str, contents: Contents) -> None:
        self._window = window
        self._ledger = ledger
        self._where = where
        self._contents = contents
        self._prefix = 4

    def read(self, address: int) -> None:
        longest = 4 + 2 + 16 + 4 + 8
        head = self._window.cursor(self._where, address, min(longest, self._window.source.size - address))
        head.expect(b"OHDR")
        if head.number(1) != 2:
            raise NotUnderstoodError("An object's header is written in a version that is not followed", address)
        flags = head.number(1)
        head.take(16 * (flags >> 5 & 1) + 4 * (flags >> 4 & 1))
        size = head.number(1 << (flags & 3))
        self._prefix = 6 if flags & 0x04 else 4
        self._ledger.claim(address, head.at + size + _CHECKSUM)
        blocks = self._messages(_block(self._window, self._where, head.place, size))
        for start, length in blocks:
            self._ledger.visit(start)
            self._ledger.claim(start, length)
            body = _block(self._window, self._where, start, length)
            body.expect(b"OCHK")
            if length < 4 + _CHECKSUM:
                raise damaged(self._where, f"a structure ends too early (at {start:,})")
            body.stop -= _CHECKSUM
            blocks += self._messages(body)

    def _messages(self, body: Cursor) -> list[tuple[int, int]]:
        blocks: list[tuple[int, int]] = []
        while body.stop - body.at >= self._prefix:
            number, size, flags = body.number(1), body.number(2), body.number(1)
            body.take(self._prefix - 4)
            prefix = _Prefix(1, self._prefix)
            blocks += _message(self._ledger, number, flags, body.part(size), self._contents, prefix)
        self._ledger.slack(_KIND, body.place, body.take(body.stop - body.at))
        return blocks


def _block(window: Window, where: str, start: int, length: int) -> Cursor:
    if length > _MAX_HEADER:
        raise NotUnderstoodError("An object's header is larger than any that AnnData writes", start)
    return window.cursor(where, start, length)


def _message(
    ledger: Ledger, number: int, flags: int, body: Cursor, contents: Contents, prefix: _Prefix
) -> list[tuple[int, int]]:
    """Reads a message; returns the block that it continues the header with, if it does."""
    block = [(body.number(8), body.number(8))] if number == CONTINUATION else []
    body.at = 0
    read_message(number, flags, body, contents)
    place, rest = body.place, bytearray(body.take(body.stop - body.at))
    if number == NIL:
        _pass_prefixes(rest, prefix)
    else:
        # What a message holds may be left where it lay before.
        ledger.live.add(bytes(body.data[: body.at - len(rest)]).ljust(len(body.data), b"\0"))
    ledger.doubt(_KIND, place, rest)
    return block


def _pass_prefixes(rest: bytearray, prefix: _Prefix) -> None:
    """Passes over what removed messages begin with.

    libhdf5 zeroes the content of a message that it removes. Where it joins several, the type, size and flags of the
    later ones are left in the middle: numbers, which text cannot be taken for.
    """
    at = 0
    while at < len(rest):
        found = _NOT_ZERO.search(rest, at)
        if found is None:
            return
        used = found.start()
        # A type of 0 begins before the first byte that is not zero.
        for start in (used, used - prefix.type_bytes):
            end = start + prefix.length
            kind = int.from_bytes(rest[start : start + prefix.type_bytes], "little")
            size_at = start + prefix.type_bytes
            size = int.from_bytes(rest[size_at : size_at + 2], "little")
            if at <= start and end + size <= len(rest) and kind <= LAST_TYPE and used < size_at + 2:
                rest[start:end] = bytes(prefix.length)
                break
        else:
            return
        at = end

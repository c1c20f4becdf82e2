"""What one opened file may cost, and how much parent and child tell each other at once."""

from __future__ import annotations

from dataclasses import dataclass

BLOCK_BYTES = 32 * 1024
"""The child keeps what it was sent in aligned blocks of this size."""
PAGE_BYTES = 32 * 1024
"""Written bytes are handed to the parent in aligned pages of this size."""
MAX_APPENDED_BYTES = 8 * 1024**3
"""Bytes that a child may append to a file."""
MAX_TOUCHED_BYTES = 64 * 1024**2
"""Bytes of pages of the original that a child may write to."""
MAX_READ_BYTES = 256 * 1024**2
"""Bytes of values that one call may read from the file, and that one answer may hold."""
MAX_HEAD_BYTES = 16 * 1024**2
"""Bytes of the JSON document at the head of a frame."""
MAX_RANGES = 8192
"""Byte ranges in one request of the child."""
MAX_REQUEST_BYTES = 64 * 1024**2
"""Bytes in one request of the child."""
EXIT_MEMORY = 3
"""Exit status of a child that had no memory left even to say so."""
BYTES_PER_TEXT = 32
"""What a string costs beside its characters, about, wherever many of them are bounded."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one opened file.

    `memory` is the child's address space in bytes, some 110 MiB of which are the interpreter and its libraries;
    `cpu_seconds` what it may compute in all; `call_seconds` how long a single call may take by the clock, with all the
    ranges that are fetched for it.
    """

    memory: int = 1024**3
    cpu_seconds: int = 600
    call_seconds: float = 60.0

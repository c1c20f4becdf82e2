"""Is it an HDF5 file at all? Judged from its first bytes, before libhdf5 sees any of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from celldock.errors import HostileFile, InvalidSubmission
from celldock.h5ad.damage import damaged

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
HEAD_BYTES = 64 * 1024

_VERSIONS = (0, 1, 2, 3)
_ADDRESS_WIDTHS = (2, 4, 8)
_OPEN_FOR_WRITING = 0x01 | 0x04


@dataclass(frozen=True, slots=True)
class _Wrapper:
    """A well-known kind of file that is not HDF5, told by bytes at a fixed place."""

    signature: bytes
    offset: int
    code: str
    what: str
    hint: str


_WRAPPERS = (
    _Wrapper(b"\x1f\x8b", 0, "file.gzip", "a gzip-compressed file", "Unpack it with gunzip"),
    _Wrapper(b"PK\x03\x04", 0, "file.zip", "a zip archive", "Unzip it"),
    _Wrapper(b"PK\x05\x06", 0, "file.zip", "an empty zip archive", "Unzip it"),
    _Wrapper(b"BZh", 0, "file.bzip2", "a bzip2-compressed file", "Unpack it with bunzip2"),
    _Wrapper(b"\xfd7zXZ\x00", 0, "file.xz", "an xz-compressed file", "Unpack it with unxz"),
    _Wrapper(b"\x28\xb5\x2f\xfd", 0, "file.zstd", "a zstd-compressed file", "Unpack it with unzstd"),
    _Wrapper(b"7z\xbc\xaf\x27\x1c", 0, "file.7z", "a 7-Zip archive", "Unpack it"),
    _Wrapper(b"ustar", 257, "file.tar", "a tar archive", "Unpack it with tar"),
)
_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body", b"<error")


def refuse_container(head: bytes, size: int, name: str) -> None:
    """Raises InvalidSubmission, with a code and a hint, for what libhdf5 should not even try to open.

    `head` holds the first bytes of the file (up to `HEAD_BYTES`), `size` is that of the whole file, in bytes.
    HDF5 may follow a block of foreign bytes; such a file is two things at once and refused as hostile.
    """
    if size == 0:
        _refuse(name, "file.empty", f"{name} is empty: it has no bytes.", "Upload it again.")
    if head.startswith(HDF5_SIGNATURE):
        _refuse_superblock(head, size, name)
        return
    if HDF5_SIGNATURE.startswith(head):
        _refuse_truncated(name, f"{name} ends after {size} bytes.")
    if any(head[offset:].startswith(HDF5_SIGNATURE) for offset in _user_block_offsets(len(head))):
        raise HostileFile(
            f"{name} does not begin as an HDF5 file: other content comes first.",
            code="file.user_block",
            where=name,
            hint="Write the file anew with anndata's write_h5ad.",
        )
    for wrapper in _WRAPPERS:
        if head[wrapper.offset :].startswith(wrapper.signature):
            hint = f"{wrapper.hint} and upload the .h5ad file itself."
            _refuse(name, wrapper.code, f"{name} is {wrapper.what}, not an HDF5 file.", hint)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_MARKUP):
        _refuse(
            name,
            "file.html",
            f"{name} is a web page or an XML document, not an HDF5 file.",
            "A download link often answers with a sign-in or error page: fetch the data again, then upload it.",
        )
    _refuse(
        name,
        "file.not_hdf5",
        f"{name} is not an HDF5 file.",
        "Write an .h5ad file with anndata's write_h5ad and upload that.",
    )


def declared_end(head: bytes) -> int | None:
    """Where a file ends by its superblock, None if `head` is too short (HDF5 file format, section II.A)."""
    version, width = _version_and_width(head)
    # The end comes after two addresses; version 1 has four more bytes before them than version 0.
    offset = 24 + 4 * version + 2 * width if version in (0, 1) else 12 + 2 * width
    return int.from_bytes(head[offset : offset + width], "little") if len(head) >= offset + width else None


def _version_and_width(head: bytes) -> tuple[int, int]:
    """The superblock's version and the bytes of an address."""
    version = head[8] if len(head) > 8 else -1
    return version, head[13] if version in (0, 1) and len(head) > 13 else head[9] if len(head) > 9 else 0


def _refuse_superblock(head: bytes, size: int, name: str) -> None:
    """Compares the end of the file that the superblock names with the true one."""
    version, width = _version_and_width(head)
    end = declared_end(head)
    if end is None:
        _refuse_truncated(name, f"{name} ends after {size:,} bytes.")
    if version not in _VERSIONS or width not in _ADDRESS_WIDTHS:
        raise damaged(name, "its first bytes are those of an HDF5 file, but what follows is not")
    # Marked so by HDF5 1.10 and later; older versions leave a file that is shorter than it says.
    if version >= 3 and head[11] & _OPEN_FOR_WRITING:
        _refuse(
            name,
            "file.not_closed",
            f"{name} was not closed by the program that wrote it, so parts of it may be missing.",
            "Write the file again, let the program finish, then upload it.",
        )
    if end > size:
        _refuse_truncated(name, f"{name} should be {end:,} bytes long but ends after {size:,}.")


def _refuse_truncated(name: str, message: str) -> NoReturn:
    _refuse(
        name,
        "file.truncated",
        message,
        "The copy was cut short: compare the size with the original's and upload it again.",
    )


def _refuse(name: str, code: str, message: str, hint: str) -> NoReturn:
    raise InvalidSubmission(message, code=code, where=name, hint=hint)


def _user_block_offsets(length: int) -> list[int]:
    """Where HDF5 looks for its superblock after the start: 512, 1024, 2048 and so on."""
    return [512 << power for power in range((length // 512).bit_length()) if 512 << power < length]

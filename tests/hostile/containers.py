"""What is no HDF5 file, or not a whole one."""

from __future__ import annotations

import random
from pathlib import Path

from tests import builders
from tests.hostile.case import case


@case("empty", "file.empty")
def empty(path: Path) -> None:
    builders.make_empty(path)


@case("html", "file.html")
def html(path: Path) -> None:
    builders.make_html(path)


@case("gzipped", "file.gzip")
def gzipped(path: Path) -> None:
    builders.make_gzipped(path)


@case("zipped", "file.zip")
def zipped(path: Path) -> None:
    builders.make_zipped(path)


@case("random-bytes", "file.not_hdf5")
def random_bytes(path: Path) -> None:
    path.write_bytes(random.Random(7).randbytes(5000))


@case("truncated", "file.truncated")
def truncated(path: Path) -> None:
    builders.make_truncated(path)


@case("signature-only", "file.truncated")
def signature_only(path: Path) -> None:
    path.write_bytes(b"\x89HDF\r\n\x1a\n")


@case("not-closed", "file.not_closed")
def not_closed(path: Path) -> None:
    builders.make_unclosed(path)


@case("user-block-html", "file.user_block")
def user_block_html(path: Path) -> None:
    builders.make_with_user_block(path)


@case("user-block-script", "file.user_block")
def user_block_script(path: Path) -> None:
    builders.make_with_user_block(path, b"#!/bin/sh\ncat /proc/self/environ\n")

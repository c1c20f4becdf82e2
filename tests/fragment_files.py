"""Fragment files, and the h5ad files of ATAC assays that they belong to."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import deflate

from tests.builders import cell_names, make_h5ad

UNPAIRED, PAIRED = "EFO:0030007", "EFO:0030059"
EOF_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")

type Row = tuple[Any, ...]


def bgzip(content: bytes, block: int = 65_280) -> bytes:
    """The content as bgzip compresses it."""
    blocks: list[bytes] = []
    for start in range(0, len(content), block):
        part = content[start : start + block]
        packed = bytes(deflate.deflate_compress(part, 6))
        extra = b"\x06\0BC\x02\0" + struct.pack("<H", len(packed) + 25)
        sums = struct.pack("<II", deflate.crc32(part), len(part))
        blocks.append(b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + extra + packed + sums)
    return b"".join([*blocks, EOF_BLOCK])


def lines_of(rows: Iterable[Row]) -> bytes:
    """The text of a fragment file."""
    return b"".join("\t".join(map(str, row)).encode() + b"\n" for row in rows)


def make_atac(path: Path, assay: str = UNPAIRED, **overrides: Any) -> Path:
    """A valid h5ad file of one ATAC assay, but for the fragments of an unpaired one."""
    obs = {"assay_ontology_term_id": assay, "suspension_type": "nucleus", **overrides.pop("obs", {})}
    return make_h5ad(path, obs=obs, **overrides)


def rows_for(n_obs: int = 20) -> list[Row]:
    """Sound fragments of the cells of `make_atac`, sorted by position."""
    return [("chr1", 100 * at, 100 * at + 50, name, 1 + at % 3) for at, name in enumerate(cell_names(n_obs))]

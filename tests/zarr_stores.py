"""Zarr stores of small files, and whether AnnData finds in them what it finds in the file."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest

from celldock.formats import zarr_store
from celldock.formats.zarr import Zarr
from tests.builders import OBS
from tests.reading import plain_anndata, read_by_anndata
from tests.subjects import assembled, converted

ZARR = Zarr()
convert = partial(converted, ZARR)
make_store = partial(assembled, ZARR)
OTHERS = OBS.keys() - {"donor_id"}
"""Columns that a test without an interest in obs does without: each is some files."""


def read(folder: Path) -> anndata.AnnData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return anndata.read_zarr(folder)


def plain(data: anndata.AnnData) -> dict[str, Any]:
    """All that an AnnData holds, in plain Python: types, orders and stored zeros included."""
    whole: dict[str, Any] = {"X": plain_anndata(data.X), "obs": plain_anndata(data.obs), "var": plain_anndata(data.var)}
    for name in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
        whole[name] = plain_anndata(dict(getattr(data, name)))
    if data.raw is not None:
        raw: Any = data.raw
        whole["raw"] = [plain_anndata(raw.X), plain_anndata(raw.var), plain_anndata(dict(raw.varm))]
    return whole


def assert_equal(folder: Path, h5ad: Path) -> None:
    np.testing.assert_equal(plain(read(folder)), plain(read_by_anndata(h5ad)))


def use_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 12 elements and shards of two: small files have several."""
    monkeypatch.setattr(zarr_store, "CHUNK_ELEMENTS", 12)
    monkeypatch.setattr(zarr_store, "SHARD_CHUNKS", 2)

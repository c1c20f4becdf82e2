"""Every format of one real file, through the whole stack; each read by the library that its clients use."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from celldock.formats.registry import FORMATS
from tests.cxg_reading import CxgReader
from tests.dock import Dock, Drop

OF_H5AD = sorted(name for name, each in FORMATS.items() if not each.companion)


@pytest.fixture(scope="module")
def ready(dock: Dock, example: Path) -> Drop:
    """The real example in a collection that wants all formats."""
    dock.api.put_collection("formats", required_formats=OF_H5AD)
    drop = dock.drop(example, "formats/pbmc68k.h5ad")
    assert dock.finished(drop)["state"] == "READY"
    return drop


def fetch(dock: Dock, drop: Drop, name: str, folder: Path) -> Path:
    """An artifact's files in a local folder."""
    artifact = dock.made(drop)[name]
    root = artifact["uri"].removeprefix(f"s3://{dock.artifacts}/")
    manifest = dock.read_json(dock.artifacts, artifact["manifest_key"])
    for file in manifest["files"]:
        local = folder / file["path"]
        local.parent.mkdir(parents=True, exist_ok=True)
        dock.s3.download_file(dock.artifacts, root + file["path"], str(local))
    return folder


def test_every_format_is_converted(dock: Dock, ready: Drop) -> None:
    states = {name: artifact["state"] for name, artifact in dock.made(ready).items()}
    assert states == {"h5ad": "CONVERTED", **dict.fromkeys(OF_H5AD, "CONVERTED")}


def test_zarr_holds_the_labelled_file(dock: Dock, ready: Drop, tmp_path: Path) -> None:
    labelled: Any = anndata.read_h5ad(fetch(dock, ready, "h5ad", tmp_path / "h5ad") / "labelled.h5ad")
    stored: Any = anndata.read_zarr(fetch(dock, ready, "zarr", tmp_path / "zarr"))

    assert (stored.X != labelled.X).nnz == 0
    assert (stored.raw.X != labelled.raw.X).nnz == 0
    # AnnData itself reads plain text from the one as `object`, from the other as `str`.
    pd.testing.assert_frame_equal(stored.obs, labelled.obs, check_dtype=False)
    pd.testing.assert_frame_equal(stored.var, labelled.var, check_dtype=False)
    assert stored.uns["schema_version"] == labelled.uns["schema_version"]


def test_tiledb_reads_the_cxg(dock: Dock, ready: Drop, tmp_path: Path) -> None:
    labelled: Any = anndata.read_h5ad(fetch(dock, ready, "h5ad", tmp_path / "h5ad") / "labelled.h5ad")
    found = CxgReader(fetch(dock, ready, "cxg", tmp_path / "cxg"))

    np.testing.assert_array_equal(found.x, labelled.X.toarray())
    assert found.frame("obs")["name_0"] == labelled.obs_names.tolist()
    assert found.frame("obs")["cell_type"] == labelled.obs["cell_type"].tolist()
    np.testing.assert_array_equal(found.embeddings["umap"], labelled.obsm["X_umap"].astype(np.float32))
    assert found.metadata("cxg_properties")["title"] == labelled.uns["title"]


def test_r_objects_are_joined_of_their_pieces(dock: Dock, ready: Drop, tmp_path: Path) -> None:
    folder = fetch(dock, ready, "rds", tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["sce.rds", "seurat.rds"]
    for path in folder.iterdir():
        # XDR, version 2 of R's serialization; gzip itself checks every member's length and CRC.
        assert gzip.decompress(path.read_bytes())[:6] == b"X\n\0\0\0\x02"


def test_a_format_that_fails_leaves_the_others_alone(dock: Dock, example: Path) -> None:
    dock.api.put_collection("unharmed", required_formats=["zarr"])
    with dock.wrapped("ConvertFunction", "if event['format'] == 'cells': raise RuntimeError('boom')"):
        drop = dock.drop(example, "unharmed/pbmc68k.h5ad")
        version = dock.finished(drop)

    made = dock.made(drop)
    assert version["state"] == "READY"
    assert {name: artifact["state"] for name, artifact in made.items()} == {
        "h5ad": "CONVERTED",
        "cells": "FAILED",
        "zarr": "CONVERTED",
    }
    assert "boom" in made["cells"]["reason"]

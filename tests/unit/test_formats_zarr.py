"""A Zarr store gives AnnData what it reads from the file, however it was cut, and zarr-python all of its chunks."""

from __future__ import annotations

import json
import lzma
import tracemalloc
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse

from celldock.formats import zarr_sources, zarr_store
from celldock.formats.protocol import Partition
from celldock.formats.zarr_store import crc32c
from tests.builders import make_anndata, make_h5ad
from tests.subjects import sink_of, subject_of
from tests.zarr_stores import OTHERS, ZARR, assert_equal, convert, make_store, read, use_small_chunks

DATA = Path(__file__).parents[1] / "data" / "h5ad"
VERSIONS = sorted(path.name.removesuffix(".h5ad.xz") for path in DATA.glob("*.xz") if "awkward" not in path.name)
SAMPLE = {"anndata-0.6.22"}


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_chunks(monkeypatch)


@pytest.mark.parametrize(
    "version", [version if version in SAMPLE else pytest.param(version, marks=pytest.mark.long) for version in VERSIONS]
)
def test_a_file_of_any_anndata_comes_back_whole(version: str, tmp_path: Path) -> None:
    h5ad = tmp_path / "a.h5ad"
    h5ad.write_bytes(lzma.decompress((DATA / f"{version}.h5ad.xz").read_bytes()))

    make_store(h5ad, tmp_path / "zarr")

    assert ZARR.plan(subject_of(h5ad).header, 0).omitted == ()
    assert_equal(tmp_path / "zarr", h5ad)


def unsorted_rows(n_obs: int, n_vars: int) -> sparse.csr_matrix:
    """Rows of falling columns, one of them twice, and zeros that are stored."""
    columns = np.tile(np.array([5, 3, 3, 0]), n_obs)
    data = np.tile(np.array([1, 0, 2, 3], np.int32), n_obs)
    return sparse.csr_matrix((data, columns, np.arange(n_obs + 1) * 4), shape=(n_obs, n_vars))


def make_every_matrix(path: Path) -> Path:
    data, rng = make_anndata(n_obs=20, n_vars=10, drop=OTHERS), np.random.default_rng(1)
    dense = np.arange(200, dtype=np.float64).reshape(20, 10) % 3
    dense[3, 4] = np.nan
    wide = sparse.csr_matrix(dense)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    data.layers.update(
        {"unsorted": unsorted_rows(20, 10), "csc": sparse.csc_matrix(dense), "dense": dense, "wide": wide}
    )
    data.layers["empty"] = sparse.csr_matrix((20, 10), dtype=np.float32)
    data.obsp["csr"] = sparse.csr_matrix(rng.poisson(0.3, (20, 20)).astype(np.float32))
    data.obsp["csc"] = sparse.csc_matrix(rng.poisson(0.3, (20, 20)))
    data.obsp["dense"] = np.arange(400).reshape(20, 20)
    data.varp["dense"] = np.eye(10, dtype=bool)
    data.obsm["X_umap"][3:5] = np.nan
    data.obsm["cube"] = np.arange(20 * 3 * 2, dtype=np.float16).reshape(20, 3, 2)
    data.obsm["sparse"] = sparse.csr_matrix(dense)
    data.varm["PCs"] = np.arange(30, dtype=np.float32).reshape(10, 3)
    data.uns["sparse"] = sparse.csc_matrix(dense[:5])
    data.write_h5ad(path, compression="gzip")
    return path


@pytest.mark.usefixtures("small_chunks")
def test_every_matrix_comes_back_as_it_is_stored_however_it_is_cut(tmp_path: Path) -> None:
    h5ad = make_every_matrix(tmp_path / "a.h5ad")

    files = make_store(h5ad, tmp_path / "zarr", [1, 13])

    assert {part.path for part in files} >= {f"layers/unsorted/indices/c/{shard}" for shard in range(4)}
    assert_equal(tmp_path / "zarr", h5ad)
    stored: Any = zarr.open_group(tmp_path / "zarr", mode="r")["layers/unsorted/indices"]
    assert (stored.chunks, stored.shards) == ((12,), (24,))
    np.testing.assert_array_equal(stored[30:50], unsorted_rows(20, 10).indices[30:50])


@pytest.mark.parametrize(
    ("x", "raw"),
    [
        ("dense", False),
        pytest.param("csc", True, marks=pytest.mark.long),
        pytest.param(None, True, marks=pytest.mark.long),
    ],
)
def test_other_kinds_of_x_and_files_without_raw(tmp_path: Path, x: Any, raw: bool) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=3, x=x, raw=raw, drop=OTHERS)

    make_store(h5ad, tmp_path / "zarr")

    assert_equal(tmp_path / "zarr", h5ad)


def test_a_single_cell_without_any_value(tmp_path: Path) -> None:
    data = make_anndata(n_obs=1, raw=False, drop=OTHERS)
    data.X = sparse.csr_matrix(data.shape, dtype=np.float32)
    data.write_h5ad(tmp_path / "a.h5ad")

    make_store(tmp_path / "a.h5ad", tmp_path / "zarr")

    assert_equal(tmp_path / "zarr", tmp_path / "a.h5ad")


def test_raw_keeps_its_own_genes(tmp_path: Path) -> None:
    data = make_anndata(n_obs=4, n_vars=10, drop=OTHERS)
    raw: Any = data.raw
    raw.varm["loadings"] = np.arange(20, dtype=np.float32).reshape(10, 2)
    data[:, :6].copy().write_h5ad(tmp_path / "a.h5ad")

    make_store(tmp_path / "a.h5ad", tmp_path / "zarr")

    found = read(tmp_path / "zarr")
    assert (found.shape, found.raw.shape) == ((4, 6), (4, 10))
    assert_equal(tmp_path / "zarr", tmp_path / "a.h5ad")


FRAME = {
    "ordered": pd.Categorical(["low", None, "high", "low"], ["low", "high"], ordered=True),
    "numbers": pd.Categorical([10, 2, None, 10]),
    "text": ["é", "", "\N{GRINNING FACE}", "NULL"],
    "nullable text": pd.array(["x", pd.NA, "", "z"], dtype="string"),
    "nullable bool": pd.array([True, pd.NA, False, True], dtype="boolean"),
    "nullable i8": pd.array([2**63 - 1, pd.NA, 0, -5], dtype="Int64"),
    "bool": [True, False, True, True],
    "u8": np.array([2**64 - 1, 0, 1, 2], np.uint64),
    "f2": np.array([0.5, np.nan, np.inf, -2], np.float16),
}


@pytest.mark.usefixtures("small_chunks")
def test_frames_and_uns_keep_every_kind_of_value(tmp_path: Path) -> None:
    frame = pd.DataFrame(FRAME, index=pd.Index([f"cell-{i:04}" for i in range(4)], dtype=object))
    records = np.array([(1.5, "a"), (2.5, "Zürich")], [("scores", "f4"), ("names", "U6")])
    uns = {
        "nested": {"deeper": {"empty": {}, "numbers": np.arange(40), "text": np.array([["a", "é"], ["", "d"]])}},
        "scalars": {"f4": np.float32(0.1), "i8": -(2**60), "true": True, "text": "Zürich", "none": None},
        "complex": np.array([1 + 2j, 3]),
        "categorical": FRAME["ordered"],
        "nullable": FRAME["nullable i8"],
        "frame": frame.copy(),
        "records": records,
        "nothing": np.zeros((0, 3), np.float32),
    }
    with anndata.settings.override(allow_write_nullable_strings=True):
        h5ad = make_h5ad(
            tmp_path / "a.h5ad",
            n_obs=4,
            drop=OTHERS,
            obs=FRAME,
            uns=uns,
            obsm={"X_umap": np.eye(4)[:, :2], "frame": frame},
        )

    make_store(h5ad, tmp_path / "zarr", [2])

    assert_equal(tmp_path / "zarr", h5ad)
    found = read(tmp_path / "zarr")
    for ordered in (found.obs["ordered"].cat, found.uns["frame"]["ordered"].cat, found.uns["categorical"]):
        assert ordered.ordered
    stored: Any = zarr.open_group(tmp_path / "zarr", mode="r")["uns/scalars/f4"]
    assert stored.dtype == np.float32


@pytest.mark.long
def test_a_crowded_dictionary_of_uns_comes_back(tmp_path: Path) -> None:
    crowd: dict[str, Any] = {f"guide-{i}": {"n": i} for i in range(1001)}
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=1, raw=False, x=None, uns={"guides": {"few": {"n": np.arange(3)}}})
    subject = subject_of(h5ad)
    with h5py.File(h5ad, "r+") as file:
        anndata.io.write_elem(file["uns"], "crowd", crowd)

    make_store(h5ad, tmp_path / "zarr")

    assert subject.header.uns_complete
    assert_equal(tmp_path / "zarr", h5ad)


def test_columns_with_slashes_keep_their_names(tmp_path: Path) -> None:
    obs = {"a/b/c": [1, 2, 3], "donor_id/other": [1, 2, 3]}
    with anndata.settings.override(disallow_forward_slash_in_h5ad=False):
        h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=3, raw=False, drop=OTHERS, obs=obs)

    make_store(h5ad, tmp_path / "zarr")

    assert {"a/b/c", "donor_id/other"} <= set(read(tmp_path / "zarr").obs.columns)
    assert_equal(tmp_path / "zarr", h5ad)


@pytest.mark.long
def test_many_columns_and_many_categories(tmp_path: Path) -> None:
    many = pd.Categorical.from_codes([99_999, 0, -1], [f"Kategorie {number} – é" for number in range(100_000)])
    obs: dict[str, Any] = {f"column {number}": [number, -number, 0] for number in range(300)}
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=3, obs=obs | {"many": many})

    make_store(h5ad, tmp_path / "zarr", [1])

    assert len(read(tmp_path / "zarr").obs["many"].cat.categories) == 100_000
    assert_equal(tmp_path / "zarr", h5ad)


@pytest.mark.usefixtures("small_chunks")
def test_cuts_and_repetitions_change_no_byte(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=20, drop=OTHERS)

    whole = make_store(h5ad, tmp_path / "whole", [])
    subject, parts = convert(h5ad, tmp_path / "cut", [1, 13])
    cut = ZARR.assemble(subject, parts, sink_of(tmp_path / "cut")).files

    assert sorted(whole, key=str) == sorted(cut, key=str)
    assert ZARR.convert(subject, parts[1].partition, sink_of(tmp_path / "cut")) == parts[1]
    assert all(part.files for part in parts)
    assert whole[-1].path == "zarr.json"


def test_the_root_knows_the_metadata_of_all_nodes(tmp_path: Path) -> None:
    files = make_store(make_h5ad(tmp_path / "a.h5ad", n_obs=3, raw=False, drop=OTHERS), tmp_path / "zarr")

    root = json.loads((tmp_path / "zarr" / "zarr.json").read_text())
    nodes = {path.removesuffix("/zarr.json") for path in (file.path for file in files) if path.endswith("/zarr.json")}
    metadata = root["consolidated_metadata"]["metadata"]
    assert metadata.keys() == nodes
    for node in nodes:
        assert metadata[node] == json.loads((tmp_path / "zarr" / node / "zarr.json").read_text())


@pytest.mark.long
def test_chunks_too_large_to_hold_are_unpacked_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zarr_sources, "BUDGET", 1 << 18)
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=20)
    counts = sparse.csr_matrix(np.random.default_rng(3).poisson(2, (4000, 10)).astype(np.float64))
    with h5py.File(h5ad, "r+") as file:
        anndata.io.write_elem(file["uns"], "giant", counts)
        for name in ("data", "indices"):
            values = file[f"uns/giant/{name}"][:]
            del file[f"uns/giant/{name}"]
            file.create_dataset(f"uns/giant/{name}", data=values, chunks=values.shape, compression="gzip")

    make_store(h5ad, tmp_path / "zarr")

    assert_equal(tmp_path / "zarr", h5ad)


def test_plans_cut_by_size_and_predict_within_a_worker(tmp_path: Path) -> None:
    header = subject_of(make_h5ad(tmp_path / "a.h5ad", n_obs=3)).header
    assert header.x is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("celldock.formats.zarr._PARTITION_BYTES", 200)
        patch.setattr("celldock.formats.zarr._ROW_STEP", 1)
        planned = ZARR.plan(header, 0)

    assert [(part.start, part.stop) for part in planned.partitions] == [(0, 1), (1, 2), (2, 3)]
    steps = ZARR.predict(header, planned, 0)
    assert [step.step for step in steps] == ["convert/zarr", "assemble/zarr"]
    assert all(0 < step.memory_mb < 1769 and step.seconds > 0 for step in steps)


@pytest.mark.long
def test_memory_does_not_grow_with_the_partition(tmp_path: Path) -> None:
    elements, n_obs = 400_000, 4_000
    counts = sparse.csr_matrix(
        (np.ones(elements, np.float32), np.tile(np.arange(100), n_obs), np.arange(n_obs + 1) * 100), (n_obs, 100)
    )
    data = anndata.AnnData(counts)
    data.obsm["X_pca"] = np.zeros((n_obs, 400), np.float32)
    data.write_h5ad(tmp_path / "a.h5ad", compression="gzip")
    subject = subject_of(tmp_path / "a.h5ad")

    def peak(partition: Partition) -> int:
        tracemalloc.start()
        try:
            ZARR.convert(subject, partition, sink_of(tmp_path / "zarr"))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zarr_store, "SHARD_CHUNKS", 2)
        patch.setattr(zarr_sources, "BUDGET", 1 << 21)
        patch.setattr(zarr_sources, "_BLOCK_BYTES", 1 << 18)
        patch.setattr(zarr_sources, "_BLOCK_ELEMENTS", zarr_store.CHUNK_ELEMENTS)
        peak(Partition(0, 0, 1))
        first, whole = peak(Partition(0, 0, n_obs // 2)), peak(Partition(0, 0, n_obs))

    assert whole < 1.1 * first < 4 * elements


def test_the_checksum_is_the_one_of_the_specification() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA

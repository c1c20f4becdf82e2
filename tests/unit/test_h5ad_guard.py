"""What the guard refuses, what it lets pass, and how little of a file it reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Literal

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from _pytest.mark import ParameterSet
from h5py import h5d, h5p, h5s, h5t
from scipy import sparse

from celldock.errors import HostileFile, InvalidSubmission
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.guard import Inventory
from celldock.h5ad.hdf5.walk import MAX_DEPTH
from celldock.h5ad.sandbox.limits import Limits
from celldock.h5ad.source import LocalSource
from tests import builders
from tests.hostile import CASES, Case

DOCS = (Path(__file__).parents[2] / "docs" / "hostile-files.md").read_text(encoding="utf-8")
IMPATIENT = Limits(call_seconds=5)


class CountingSource(LocalSource):
    """A local file that remembers how much of it was read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.bytes_read = 0
        self.requests = 0
        self._counting = Lock()

    def read(self, offset: int, length: int) -> bytes:
        with self._counting:
            self.bytes_read += length
            self.requests += 1
        return super().read(offset, length)


def guard(path: Path, limits: Limits | None = None) -> Inventory:
    with open_h5ad(LocalSource(path), limits=limits) as file:
        return file.guard()


def cases(*stages: str) -> list[ParameterSet]:
    return [pytest.param(case, id=case.name) for case in CASES.values() if case.stage in stages]


@pytest.mark.parametrize("case", cases("guard"))
def test_a_hostile_file_is_refused_with_a_place_and_a_hint(tmp_path: Path, case: Case) -> None:
    case.build(tmp_path / f"{case.name}.h5ad")

    with pytest.raises(InvalidSubmission) as refused:
        guard(tmp_path / f"{case.name}.h5ad")

    assert refused.value.code in case.codes
    assert refused.value.hint
    assert len(refused.value.message) < 2000
    assert refused.value.message.isprintable()


@pytest.mark.parametrize("case", cases("parser"))
def test_a_file_that_breaks_the_parser_is_refused_and_harms_nobody(tmp_path: Path, case: Case) -> None:
    case.build(tmp_path / "broken.h5ad")

    with pytest.raises(InvalidSubmission) as refused:
        guard(tmp_path / "broken.h5ad", IMPATIENT)

    assert refused.value.code in case.codes
    assert guard(builders.make_h5ad(tmp_path / "next.h5ad")).groups


@pytest.mark.parametrize("case", cases("rules", "processed"))
def test_what_values_alone_can_tell_passes_the_guard(tmp_path: Path, case: Case) -> None:
    case.build(tmp_path / "odd.h5ad")
    assert guard(tmp_path / "odd.h5ad").datasets


@pytest.mark.parametrize("code", sorted(set().union(*(case.codes for case in CASES.values() if case.stage != "rules"))))
def test_each_refusal_is_explained_in_the_docs(code: str) -> None:
    assert f"`{code}`" in DOCS


def test_an_inventory_counts_what_there_is(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "small.h5", "w") as file:
        file.attrs["encoding-type"] = "anndata"
        group = file.create_group("a/b")
        group.attrs["encoding-type"] = "dict"
        file["a/whole"] = np.arange(10, dtype="i4")
        group.create_dataset("chunked", data=np.arange(10, dtype="i4"), chunks=(4,), maxshape=(None,))
        group["text"] = ["a", "b"]
        file["a/nothing"] = h5py.Empty("f4")

    assert guard(tmp_path / "small.h5") == Inventory(
        groups=3,
        datasets=4,
        attributes=2,
        links=6,
        depth=3,
        chunks=3,
        declared_bytes=40 + 40 + 2 * 16,
        stored_bytes=40 + 48 + 2 * 16,
        unmeasured=0,
    )


def test_real_files_pass(example: Path) -> None:
    assert guard(example).datasets > 40


@pytest.mark.parametrize(
    "name", ["pbmc68k_reduced.h5ad", "pbmc68k_schema2.0.0.h5ad", "pbmc68k_schema2.0.0_labelled.h5ad"]
)
def test_files_of_older_versions_pass(name: str) -> None:
    assert guard(builders.shared_data(name)).datasets > 40


@pytest.mark.parametrize("compression", ["gzip", "lzf", None])
def test_whatever_anndata_writes_passes(tmp_path: Path, compression: Literal["gzip", "lzf"] | None) -> None:
    cells = builders.make_anndata(layers={"dense": np.ones((20, 10), "i2"), "csc": sparse.csc_matrix((20, 10))})
    cells.obs["when"] = pd.array([1, None] * 10, dtype="Int64")
    cells.obs["maybe"] = pd.array([True, None] * 10, dtype="boolean")
    cells.obs["half"] = np.ones(20, "f2")
    cells.obsp["neighbours"] = sparse.csr_matrix(np.eye(20))
    cells.varm["frame"] = pd.DataFrame({"a": ["x", "y"] * 5}, index=cells.var_names)
    additions = {
        "nothing": None,
        "records": np.zeros(3, [("CD4+/CD25 T Reg", "f4"), ("name", "U8")]),
        "image": np.zeros((50, 40, 3), "u1"),
        "flag": True,
        "number": np.float64(3),
        "nested": {"a": {"b": ["c", "d"]}},
        "empty": np.empty((0, 3)),
        "matrix": sparse.csr_matrix((0, 5)),
        "table": anndata.AnnData(np.ones((2, 2))).obs,
    }
    cells.uns.update(additions)
    cells.write_h5ad(tmp_path / "all.h5ad", compression=compression)

    assert guard(tmp_path / "all.h5ad").datasets > 60


def test_a_file_in_the_newest_format_passes(tmp_path: Path) -> None:
    with (
        h5py.File(builders.make_h5ad(tmp_path / "old.h5ad"), "r") as old,
        h5py.File(tmp_path / "new.h5ad", "w", libver="latest") as new,
    ):
        for name in old:
            old.copy(name, new)
        new.attrs.update(old.attrs)

    # Pointers to texts have other values there, which compress to another size.
    before, after = (replace(guard(tmp_path / name), stored_bytes=0) for name in ("old.h5ad", "new.h5ad"))
    assert after == before


@pytest.mark.parametrize(("levels", "passes"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
def test_depth_has_a_limit(tmp_path: Path, levels: int, passes: bool) -> None:
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        file.create_group("/".join("g" * levels))
    if passes:
        assert guard(tmp_path / "deep.h5").depth == levels
        return
    with pytest.raises(HostileFile, match="64 groups deep"):
        guard(tmp_path / "deep.h5")


def test_a_long_path_is_shortened_in_what_submitters_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "long.h5", "w") as file:
        file.create_group("/".join("g" * 1000 for _ in range(10))).attrs["secret"] = np.void(b"pickle")
    with pytest.raises(HostileFile) as refused:
        guard(tmp_path / "long.h5")
    assert len(refused.value.where) < 600
    assert refused.value.where.endswith("attribute secret")


def _in_one_piece(group: h5py.Group, name: str, values: int, kind: h5t.TypeID) -> None:
    """A dataset that takes its place in the file and is never written: a hole."""
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_layout(h5d.CONTIGUOUS)
    properties.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5d.FILL_TIME_NEVER)
    h5d.create(group.id, name.encode(), kind, h5s.create_simple((values,)), properties)


def _in_chunks(group: h5py.Group, name: str, chunks: int, chunk: int, kind: h5t.TypeID) -> None:
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk((chunk,))
    properties.set_deflate(4)
    dataset = h5d.create(group.id, name.encode(), kind, h5s.create_simple((chunks * chunk,)), properties)
    for i in range(chunks):
        dataset.write_direct_chunk((i * chunk,), b"x" * 500)


def test_of_a_200_gigabyte_file_a_few_megabytes_are_read(tmp_path: Path, figures: list[str]) -> None:
    values, cells = 16_000_000_000, 4_000_000
    path = builders.make_h5ad(tmp_path / "huge.h5ad")
    with h5py.File(path, "r+") as file:
        for matrix in (file["X"], file["raw/X"]):
            for name in ("data", "indices", "indptr"):
                del matrix[name]
            matrix.attrs["shape"] = [cells, 10]
            _in_one_piece(matrix, "indptr", cells + 1, h5t.STD_I64LE)
        _in_one_piece(file["X"], "data", values, h5t.IEEE_F32LE)
        _in_one_piece(file["X"], "indices", values, h5t.STD_I64LE)
        for name, kind in (("data", h5t.IEEE_F32LE), ("indices", h5t.STD_I32LE)):
            _in_chunks(file["raw/X"], name, 20_000, 160_000, kind)
        for i in range(30):
            _in_chunks(file["obs"], f"score_{i}", 400, 10_000, h5t.STD_I8LE)
    assert path.stat().st_size > 190e9
    assert path.stat().st_blocks * 512 < 200e6, "it must be a sparse file"

    source = CountingSource(path)
    with open_h5ad(source) as file:
        inventory = file.guard()

    assert inventory.declared_bytes > 210e9
    assert inventory.unmeasured == 2
    assert source.bytes_read < 10e6
    figures.append(f"the guard reads {source.bytes_read / 1e6:.1f} MB of 200 GB in {source.requests} requests")

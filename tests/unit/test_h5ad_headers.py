"""What a header says of a file, and what it refuses."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from celldock.errors import HostileFile, InvalidSubmission
from celldock.h5ad.file import read_header
from celldock.h5ad.hdf5.headers import header_of as read_by_libhdf5
from celldock.h5ad.headers import Header
from celldock.h5ad.source import LocalSource
from tests import builders


def header_of(path: Path) -> Header:
    return read_header(LocalSource(path))


def changed(tmp_path: Path, change: Callable[[h5py.File], None], **options: Any) -> Path:
    path = builders.make_h5ad(tmp_path / "cells.h5ad", **options)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def refusal(path: Path) -> InvalidSubmission:
    with pytest.raises(InvalidSubmission) as refused:
        header_of(path)
    assert refused.value.hint
    return refused.value


def test_a_header_tells_shapes_encodings_and_columns(tmp_path: Path) -> None:
    path = builders.make_h5ad(
        tmp_path / "cells.h5ad",
        n_obs=20,
        n_vars=10,
        layers={"counts": np.zeros((20, 10), dtype="int16")},
        obs={"score": np.linspace(0, 1, 20)},
    )
    header = header_of(path)

    assert (header.encoding_type, header.encoding_version) == ("anndata", "0.1.0")
    assert (header.n_obs, header.n_vars) == (20, 10)
    assert header.x is not None
    assert header.raw_x is not None
    assert (header.x.encoding, header.x.shape, header.x.dtype) == ("csr", (20, 10), "float32")
    assert (header.x.index_dtype, header.x.compression) == ("int32", "gzip")
    assert header.x.nnz == header.raw_x.nnz
    assert [(layer.path, layer.encoding, layer.dtype) for layer in header.layers] == [
        ("layers/counts", "dense", "int16")
    ]
    columns = {column.name: column for column in header.obs.columns}
    assert columns["donor_id"].kind == "categorical"
    assert (columns["donor_id"].categories, columns["donor_id"].path) == (1, "obs/donor_id")
    assert columns["is_primary_data"].kind == "boolean"
    assert (columns["score"].kind, columns["score"].dtype) == ("float", "float64")
    assert [(array.key, array.shape, array.kind) for array in header.obsm] == [("X_umap", (20, 2), "dense")]
    assert header.raw_var is not None
    assert header.raw_var.length == 10
    assert header.has_raw
    assert (header.obs.index_name, header.obs.index_kind) == (None, "string")
    assert {(element.path, element.kind, element.dtype) for element in header.uns} == {
        ("uns/title", "scalar", "str"),
        ("uns/organism_ontology_term_id", "scalar", "str"),
    }
    assert header.uns_complete


@pytest.mark.parametrize("x", ["csr", "csc", "dense"])
def test_x_is_read_in_each_encoding(tmp_path: Path, x: Literal["csr", "csc", "dense"]) -> None:
    header = header_of(builders.make_h5ad(tmp_path / "cells.h5ad", x=x))
    assert header.x is not None
    assert (header.x.encoding, header.x.shape) == (x, (20, 10))
    assert (header.x.nnz is None) == (x == "dense")


def test_a_file_without_x_or_raw_has_a_header(tmp_path: Path) -> None:
    header = header_of(builders.make_h5ad(tmp_path / "cells.h5ad", x=None, raw=False))
    assert (header.x, header.raw_x, header.raw_var, header.has_raw) == (None, None, None, False)


@pytest.mark.parametrize("options", [{}, {"n_obs": 0}, {"n_vars": 0}, {"x": None, "raw": False}, {"x": "dense"}])
def test_a_header_survives_json(tmp_path: Path, options: dict[str, Any]) -> None:
    header = header_of(builders.make_h5ad(tmp_path / "cells.h5ad", **options))
    assert Header.from_json(json.loads(json.dumps(header.to_json()))) == header


@pytest.mark.parametrize("ordered", [["string-array", "0.2.0"], "False", [1, 1], np.array([]), 1.5])
def test_a_flag_that_is_none_is_not_set(tmp_path: Path, ordered: Any) -> None:
    path = builders.make_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(path, "r+") as file:
        file["obs/donor_id"].attrs["ordered"] = ordered
    (column,) = (column for column in header_of(path).obs.columns if column.name == "donor_id")
    assert (column.kind, column.ordered) == ("categorical", False)


def test_a_group_that_does_not_say_that_it_is_a_frame_has_rows_without_names(tmp_path: Path) -> None:
    def strip(file: h5py.File) -> None:
        for name in ("encoding-type", "encoding-version", "_index", "column-order"):
            del file["raw/var"].attrs[name]
        file["raw/var/symbol"] = ["s"] * 10

    raw_var = header_of(changed(tmp_path, strip)).raw_var
    assert raw_var is not None
    assert (raw_var.index, raw_var.index_name, raw_var.length) == ("", None, 10)
    assert [column.name for column in raw_var.columns] == ["_index", "symbol"]


def test_an_index_may_have_a_name_and_be_no_text(tmp_path: Path) -> None:
    def rename(file: h5py.File) -> None:
        file["var/position"] = np.arange(10)
        file["var"].attrs["_index"] = "position"

    var = header_of(changed(tmp_path, rename)).var
    assert (var.index, var.index_name, var.index_kind) == ("var/position", "position", "integer")


def test_arrays_along_genes_and_between_cells_are_told(tmp_path: Path) -> None:
    def add(file: h5py.File) -> None:
        file["varm/PCs"] = np.zeros((10, 3), dtype="float32")
        file["obsp/weights"] = np.zeros((20, 20), dtype=">f8")
        file["varp/labels"] = np.full((10, 2), b"x", dtype=object)

    header = header_of(changed(tmp_path, add))
    arrays = [
        (array.path, array.kind, array.shape, array.dtype) for array in (*header.varm, *header.obsp, *header.varp)
    ]
    assert arrays == [
        ("varm/PCs", "dense", (10, 3), "float32"),
        ("obsp/weights", "dense", (20, 20), "float64"),
        ("varp/labels", "other", (10, 2), "str"),
    ]


def test_a_header_reads_no_index_of_chunks(tmp_path: Path) -> None:
    chunks = 8_000

    def shred(file: h5py.File) -> None:
        for path in ("obs/_index", "obs/is_primary_data"):
            del file[path]
            dataset = file.create_dataset(path, (chunks,), "S2", chunks=(1,))
            for i in range(chunks):
                dataset.id.write_direct_chunk((i,), b"ab")

    path = changed(tmp_path, shred)
    with CountingFile(path) as counted, h5py.File(counted, "r") as file:
        header = read_by_libhdf5(file)
        cost = counted.bytes_read
        assert file["obs/_index"].id.get_storage_size() == 2 * chunks
        assert counted.bytes_read - cost > 2 * cost, "the index had not been read yet, and would have cost far more"
    assert header.n_obs == chunks


class CountingFile(io.FileIO):
    """A file that counts what is read of it."""

    bytes_read = 0

    def readinto(self, buffer: Any, /) -> int | None:
        self.bytes_read += memoryview(buffer).nbytes
        return super().readinto(buffer)


def test_each_kind_of_obsm_is_told(tmp_path: Path) -> None:
    obsm = {
        "X_umap": np.zeros((20, 2)),
        "X_sparse": sparse.csr_matrix(np.eye(20)),
        "table": pd.DataFrame({"a": range(20)}, index=pd.Index(builders.cell_names(20), dtype=object)),
    }
    header = header_of(builders.make_h5ad(tmp_path / "cells.h5ad", obsm=obsm))
    assert {array.key: (array.kind, array.shape) for array in header.obsm} == {
        "X_umap": ("dense", (20, 2)),
        "X_sparse": ("sparse", (20, 20)),
        "table": ("frame", (20, 1)),
    }


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (builders.make_with_external_link, "file.external_link"),
        (builders.make_with_soft_link, "file.soft_link"),
        (builders.make_with_external_storage, "file.external_storage"),
        (builders.make_with_virtual_dataset, "file.virtual_dataset"),
    ],
)
@pytest.mark.parametrize("element", ["obsm/X_umap", "obs/is_primary_data", "X/data"])
def test_data_that_lie_elsewhere_are_hostile(
    tmp_path: Path, make: Callable[..., Path], code: str, element: str
) -> None:
    error = refusal(make(tmp_path / "cells.h5ad", element))
    assert isinstance(error, HostileFile)
    assert (error.code, error.where) == (code, element)


@pytest.mark.parametrize("link", [h5py.ExternalLink("missing.h5", "/"), h5py.SoftLink("/nowhere"), h5py.SoftLink("/")])
@pytest.mark.parametrize("element", ["obs", "obsm", "X", "uns", "raw"])
def test_a_link_on_the_way_is_hostile_even_if_it_dangles(tmp_path: Path, link: Any, element: str) -> None:
    def relink(file: h5py.File) -> None:
        del file[element]
        file[element] = link

    assert isinstance(refusal(changed(tmp_path, relink)), HostileFile)


def _drop(element: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(element)


def _attribute(element: str, name: str, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file[element].attrs.__setitem__(name, value)


def _replace(element: str, data: Any) -> Callable[[h5py.File], None]:
    def replace(file: h5py.File) -> None:
        attributes = dict(file[element].attrs)
        del file[element]
        file[element] = data
        file[element].attrs.update(attributes)

    return replace


def _drop_attribute(element: str, name: str) -> Callable[[h5py.File], None]:
    return lambda file: file[element].attrs.__delitem__(name)


def _array_for(element: str, array: np.ndarray) -> Callable[[h5py.File], None]:
    def replace(file: h5py.File) -> None:
        del file[element]
        file[element] = array

    return replace


@pytest.mark.parametrize(
    ("change", "where", "code"),
    [
        (_drop("obs"), "", "file.not_anndata"),
        (_drop("var"), "", "file.not_anndata"),
        (_drop("obs/_index"), "obs", "file.not_anndata"),
        (_drop_attribute("obs", "column-order"), "obs", "file.not_anndata"),
        (_drop_attribute("obs", "_index"), "obs", "file.not_anndata"),
        (_attribute("/", "encoding-type", "mudata"), "", "file.not_anndata"),
        (lambda file: file.create_group("mod"), "mod", "file.not_anndata"),
        (lambda file: file.create_group("raw.X"), "raw", "file.not_anndata"),
        (_attribute("obs", "encoding-version", "9.0.0"), "obs", "file.encoding_unknown"),
        (_attribute("X", "encoding-type", "coo_matrix"), "X", "file.encoding_unknown"),
        (_attribute("X", "shape", [20, -10]), "X", "file.sparse_invalid"),
        (_attribute("X", "shape", "20 × 10"), "X", "file.sparse_invalid"),
        (_attribute("X", "shape", [21, 10]), "X", "file.sparse_invalid"),
        (_drop("X/indptr"), "X", "file.sparse_invalid"),
        (_replace("X/indices", np.zeros(3, dtype="int32")), "X", "file.sparse_invalid"),
        (_replace("X/indices", np.zeros((3, 3), dtype="int32")), "X", "file.sparse_invalid"),
        (_replace("obs", np.zeros(20, dtype=[("index", "S8"), ("a", "f4")])), "obs", "file.encoding_unknown"),
        (_replace("raw/var", np.zeros(20, dtype=[("index", "S8")])), "raw/var", "file.encoding_unknown"),
        (_array_for("obs", np.zeros(20)), "obs", "file.not_anndata"),
        (_array_for("raw/var", np.zeros(10, dtype=[("index", "S8")])), "raw/var", "file.not_anndata"),
        (_array_for("obsm", np.zeros(20, dtype=[("X_umap", "f4")])), "obsm", "file.not_anndata"),
        (_array_for("X", np.zeros((20, 10, 2))), "X", "file.not_anndata"),
        (_attribute("obs", "column-order", np.array([b"\xff\xfe"], dtype="S2")), "obs", "file.not_utf8"),
        (lambda file: file["obsm"].create_group(b"\xff\xfe"), "obsm", "file.not_utf8"),
    ],
)
def test_what_anndata_could_not_understand_is_refused(
    tmp_path: Path, change: Callable[[h5py.File], None], where: str, code: str
) -> None:
    error = refusal(changed(tmp_path, change))
    assert (error.code, error.where) == (code, where)


def test_a_filter_that_would_need_a_plugin_is_refused(tmp_path: Path) -> None:
    def scale(file: h5py.File) -> None:
        del file["obsm/X_umap"]
        file["obsm"].create_dataset("X_umap", data=np.ones((20, 2)), chunks=(20, 2), scaleoffset=2)

    error = refusal(changed(tmp_path, scale))
    assert (error.code, error.where) == ("file.filter_unknown", "obsm/X_umap")


def test_more_members_than_any_real_file_has_are_refused(tmp_path: Path) -> None:
    def crowd(file: h5py.File) -> None:
        uns = file["uns"].id
        member = h5py.h5g.create(uns, b"member")
        for i in range(100_000):
            uns.links.create_hard(b"%d" % i, uns, b"member")
        member.close()

    assert refusal(changed(tmp_path, crowd)).code == "file.too_many_members"


def test_a_column_in_no_known_encoding_is_unsupported_not_fatal(tmp_path: Path) -> None:
    def spoil(file: h5py.File) -> None:
        file["obs/donor_id"].attrs["encoding-version"] = "7.0.0"
        del file["obs/suspension_type"]
        del file["obs/tissue_type/categories"]
        file["obs/tissue_type/categories"] = file["obs/tissue_type"]

    columns = {column.name: column.kind for column in header_of(changed(tmp_path, spoil)).obs.columns}
    broken = {name for name, kind in columns.items() if kind == "unsupported"}
    assert broken == {"donor_id", "suspension_type", "tissue_type"}


def test_a_foreign_reference_in_the_old_encoding_is_hostile(tmp_path: Path) -> None:
    def refer(file: h5py.File) -> None:
        file["obs"].attrs["encoding-version"] = "0.1.0"
        del file["obs/donor_id"]
        codes = file["obs"].create_dataset("donor_id", data=np.zeros(20, dtype="int8"))
        file["obs"].create_group("__categories")["donor_id"] = ["donor_1"]
        codes.attrs["categories"] = file["uns"].ref

    error = refusal(changed(tmp_path, refer))
    assert isinstance(error, HostileFile)
    assert error.code == "file.foreign_reference"

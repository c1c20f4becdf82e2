"""What a header says of a file, and what it refuses."""

from __future__ import annotations

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
from celldock.h5ad.headers import Header, read_header
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
    assert set(header.uns) == {"title", "organism_ontology_term_id"}


@pytest.mark.parametrize("x", ["csr", "csc", "dense"])
def test_x_is_read_in_each_encoding(tmp_path: Path, x: Literal["csr", "csc", "dense"]) -> None:
    header = header_of(builders.make_h5ad(tmp_path / "cells.h5ad", x=x))
    assert header.x is not None
    assert (header.x.encoding, header.x.shape) == (x, (20, 10))
    assert (header.x.nnz is None) == (x == "dense")
    assert header.x.stored_bytes > 0


def test_a_file_without_x_or_raw_has_a_header(tmp_path: Path) -> None:
    header = header_of(builders.make_h5ad(tmp_path / "cells.h5ad", x=None, raw=False))
    assert (header.x, header.raw_x, header.raw_var) == (None, None, None)


@pytest.mark.parametrize("options", [{}, {"n_obs": 0}, {"n_vars": 0}, {"x": None, "raw": False}, {"x": "dense"}])
def test_a_header_survives_json(tmp_path: Path, options: dict[str, Any]) -> None:
    header = header_of(builders.make_h5ad(tmp_path / "cells.h5ad", **options))
    assert Header.from_json(json.loads(json.dumps(header.to_json()))) == header


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


@pytest.mark.parametrize(
    ("change", "where", "code"),
    [
        (_drop("obs"), "", "file.not_anndata"),
        (_drop("var"), "", "file.not_anndata"),
        (_drop("obs/_index"), "obs/_index", "file.not_anndata"),
        (_attribute("/", "encoding-type", "mudata"), "", "file.not_anndata"),
        (_attribute("obs", "encoding-version", "9.0.0"), "obs", "file.encoding_unknown"),
        (_attribute("X", "encoding-type", "coo_matrix"), "X", "file.encoding_unknown"),
        (_attribute("X", "shape", [20, -10]), "X", "file.not_anndata"),
        (_attribute("X", "shape", "20 × 10"), "X", "file.not_anndata"),
        (_attribute("X", "shape", [21, 10]), "X", "file.not_anndata"),
        (_drop("X/indptr"), "X", "file.not_anndata"),
        (_replace("X/indices", np.zeros(3, dtype="int32")), "X", "file.not_anndata"),
        (_replace("X/indices", np.zeros((3, 3), dtype="int32")), "X", "file.not_anndata"),
        (_replace("obs", np.zeros(20, dtype=[("index", "S8"), ("a", "f4")])), "obs", "file.not_anndata"),
        (_attribute("obs", "column-order", np.array([b"\xff\xfe"], dtype="S2")), "obs", "file.not_utf8"),
        (lambda file: file["obsm"].create_group(b"\xff\xfe"), "obsm", "file.not_utf8"),
    ],
)
def test_what_anndata_could_not_understand_is_refused(
    tmp_path: Path, change: Callable[[h5py.File], None], where: str, code: str
) -> None:
    error = refusal(changed(tmp_path, change))
    assert (error.code, error.where) == (code, where)


def test_an_index_that_declares_more_than_it_holds_is_hostile(tmp_path: Path) -> None:
    def inflate(file: h5py.File) -> None:
        del file["obs/_index"]
        file["obs"].create_dataset("_index", (1 << 40,), h5py.string_dtype(), chunks=(1024,), compression="gzip")

    error = refusal(changed(tmp_path, inflate))
    assert isinstance(error, HostileFile)
    assert error.code == "file.declares_more"


def test_a_filter_that_would_need_a_plugin_is_refused(tmp_path: Path) -> None:
    def scale(file: h5py.File) -> None:
        del file["obsm/X_umap"]
        file["obsm"].create_dataset("X_umap", data=np.ones((20, 2)), chunks=(20, 2), scaleoffset=2)

    error = refusal(changed(tmp_path, scale))
    assert (error.code, error.where) == ("file.filter_unknown", "obsm/X_umap")


def test_more_members_than_any_real_file_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crowd(file: h5py.File) -> None:
        for i in range(30):
            file["uns"].create_group(f"g{i}")

    path = changed(tmp_path, crowd)
    monkeypatch.setattr("celldock.h5ad.nodes.MAX_MEMBERS", 25)
    assert refusal(path).code == "file.too_many_members"


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
        del file["obs/donor_id"]
        codes = file["obs"].create_dataset("donor_id", data=np.zeros(20, dtype="int8"))
        file["obs"].create_group("__categories")["donor_id"] = ["donor_1"]
        codes.attrs["categories"] = file["uns"].ref

    error = refusal(changed(tmp_path, refer))
    assert isinstance(error, HostileFile)
    assert error.code == "file.foreign_reference"

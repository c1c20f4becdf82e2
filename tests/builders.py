"""Small h5ad files: one valid by schema 7.1's structure, and broken ones of every kind."""

from __future__ import annotations

import gzip
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

MatrixKind = Literal["csr", "csc", "dense"]

OBS: Mapping[str, Any] = {
    "assay_ontology_term_id": "EFO:0009922",
    "cell_type_ontology_term_id": "CL:0000084",
    "development_stage_ontology_term_id": "HsapDv:0000258",
    "disease_ontology_term_id": "PATO:0000461",
    "donor_id": "donor_1",
    "is_primary_data": True,
    "self_reported_ethnicity_ontology_term_id": "unknown",
    "sex_ontology_term_id": "PATO:0000383",
    "suspension_type": "cell",
    "tissue_ontology_term_id": "UBERON:0000178",
    "tissue_type": "tissue",
}
UNS: Mapping[str, Any] = {"title": "A small dataset", "organism_ontology_term_id": "NCBITaxon:9606"}

OBS_2_0_0: Mapping[str, Any] = {
    "assay_ontology_term_id": "EFO:0009922",
    "cell_type_ontology_term_id": "CL:0000084",
    "development_stage_ontology_term_id": "HsapDv:0000087",
    "disease_ontology_term_id": "PATO:0000461",
    "ethnicity_ontology_term_id": "unknown",
    "is_primary_data": True,
    "organism_ontology_term_id": "NCBITaxon:9606",
    "sex_ontology_term_id": "PATO:0000383",
    "tissue_ontology_term_id": "UBERON:0000178",
}


_ENCODE: Mapping[MatrixKind, Callable[[np.ndarray], Any]] = {
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "dense": np.asarray,
}


def cell_names(n_obs: int) -> list[str]:
    """The names that `make_h5ad` gives to cells."""
    return [f"cell-{i:04}" for i in range(n_obs)]


def gene_names(n_vars: int) -> list[str]:
    """The names that `make_h5ad` gives to genes: Ensembl ids of human genes that code for proteins."""
    names = (Path(__file__).parent / "data" / "human_genes.txt").read_text().split()
    assert n_vars <= len(names), f"{len(names)} genes are at hand"
    return names[:n_vars]


def make_counts(n_obs: int, n_vars: int, mean: float) -> np.ndarray:
    """Counts, float32, of which no cell is without and no two cells share all."""
    counts = np.random.default_rng(7).poisson(mean, (n_obs, n_vars)).astype(np.float32)
    counts[:, :1] = np.arange(1, n_obs + 1)[:, None]
    return counts


def make_anndata(
    *,
    n_obs: int = 20,
    n_vars: int = 10,
    x: MatrixKind | None = "csr",
    drop: Iterable[str] = (),
    raw: bool = True,
    obs: Mapping[str, Any] | None = None,
    obs_names: Iterable[str] | None = None,
    var_names: Iterable[str] | None = None,
    obsm: Mapping[str, Any] | None = None,
    layers: Mapping[str, Any] | None = None,
    uns: Mapping[str, Any] | None = None,
) -> anndata.AnnData:
    """An AnnData with counts in raw.X and their logarithm in X; without `raw`, the counts are in X.

    `drop` names obs columns to leave out; `obs` and `uns` add or replace, `obsm` replaces the one embedding X_umap.
    """
    dropped = set(drop)
    rng = np.random.default_rng(7)
    columns = {name: value for name, value in {**OBS, **(obs or {})}.items() if name not in dropped}
    frame = pd.DataFrame(columns, index=pd.Index(list(obs_names or cell_names(n_obs)), dtype=object))
    for name in frame.columns:
        if name in OBS and name != "is_primary_data" and name not in (obs or {}):
            frame[name] = frame[name].astype("category")
    genes = pd.Index(list(var_names or gene_names(n_vars)), dtype=object)
    # Few zeros where the matrix is dense: by the schema, one that is mostly zeros has to be sparse.
    counts = make_counts(n_obs, n_vars, 2.0 if x == "dense" else 0.4)
    embeddings: dict[str, Any] = {"X_umap": rng.normal(size=(n_obs, 2)).astype(np.float32)}
    data = anndata.AnnData(
        X=sparse.csr_matrix(counts),
        obs=frame,
        var=pd.DataFrame(index=genes),
        obsm=embeddings if obsm is None else dict(obsm),
        layers=dict(layers or {}),
        uns={**UNS, **(uns or {})},
    )
    if raw:
        data.raw = data.copy()
    data.X = None if x is None else _ENCODE[x](np.log1p(counts) if raw else counts)
    data.var["feature_is_filtered"] = False
    return data


def make_anndata_2_0_0(
    *,
    raw: bool = True,
    drop: Iterable[str] = (),
    obs: Mapping[str, Any] | None = None,
    uns: Mapping[str, Any] | None = None,
    **options: Any,
) -> anndata.AnnData:
    """`make_anndata` by schema 2.0.0: the organism in obs, the biotype of genes, and what uns says of X."""
    data = make_anndata(
        raw=raw,
        drop={*(OBS.keys() - OBS_2_0_0.keys()), *drop},
        obs={**OBS_2_0_0, **(obs or {})},
        uns={"schema_version": "2.0.0", "X_normalization": "log1p" if raw else "none", **(uns or {})},
        **options,
    )
    del data.uns["organism_ontology_term_id"]
    for frame in (data.var, data.raw.var) if raw else (data.var,):
        spiked = frame.index.str.startswith("ERCC-")
        frame["feature_biotype"] = pd.Categorical(np.where(spiked, "spike-in", "gene"))
    return data


def make_h5ad(path: Path, *, compression: Literal["gzip", "lzf"] | None = "gzip", **overrides: Any) -> Path:
    """Writes `make_anndata(**overrides)` as AnnData itself does, and returns the path."""
    make_anndata(**overrides).write_h5ad(path, compression=compression)
    return path


def make_empty(path: Path) -> Path:
    """A file of no bytes, as an upload that broke at once leaves it."""
    path.write_bytes(b"")
    return path


def make_html(path: Path) -> Path:
    """A web page under the name of a data file, as a download behind a login leaves it."""
    path.write_text("\n<!DOCTYPE html>\n<html><body>Please sign in</body></html>\n")
    return path


def make_gzipped(path: Path) -> Path:
    """A whole h5ad, compressed once more as a file."""
    path.write_bytes(gzip.compress(make_h5ad(path).read_bytes()))
    return path


def make_zipped(path: Path) -> Path:
    """A whole h5ad in a zip archive."""
    content = make_h5ad(path).read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.h5ad", content)
    return path


def make_truncated(path: Path, keep: float = 0.6) -> Path:
    """The first part of an h5ad, as an interrupted copy leaves it."""
    content = make_h5ad(path).read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


def make_unclosed(path: Path) -> Path:
    """An HDF5 file whose writer died: its superblock is still marked as open for writing."""
    with h5py.File(path, "w", libver="latest") as file:
        file["x"] = np.arange(10)
    content = bytearray(path.read_bytes())
    content[11] |= 0x01
    path.write_bytes(bytes(content))
    return path


def make_with_user_block(path: Path, block: bytes = b"<html>hello</html>") -> Path:
    """A valid HDF5 file that begins with something else."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file["x"] = np.arange(10)
    with path.open("r+b") as stream:
        stream.write(block)
    return path


def make_with_external_link(path: Path, element: str = "obsm/X_umap", target: str = "/etc/hostname") -> Path:
    """An h5ad with one element replaced by a link into another file."""
    with h5py.File(make_h5ad(path), "r+") as file:
        del file[element]
        file[element] = h5py.ExternalLink(target, "/")
    return path


def make_with_soft_link(path: Path, element: str = "obsm/X_umap", target: str = "/X") -> Path:
    """An h5ad with one element replaced by a symbolic link within the file."""
    with h5py.File(make_h5ad(path), "r+") as file:
        del file[element]
        file[element] = h5py.SoftLink(target)
    return path


def make_with_external_storage(path: Path, element: str = "obsm/X_umap", target: str = "/etc/hostname") -> Path:
    """An h5ad with one dataset whose bytes lie in another file."""
    with h5py.File(make_h5ad(path), "r+") as file:
        shape = file[element].shape
        del file[element]
        file.create_dataset(element, shape, "f4", external=[(target, 0, h5py.h5f.UNLIMITED)])
    return path


def make_with_virtual_dataset(path: Path, element: str = "obsm/X_umap", target: str = "other.h5") -> Path:
    """An h5ad with one dataset that is a view of another file's."""
    with h5py.File(make_h5ad(path), "r+") as file:
        shape = file[element].shape
        del file[element]
        layout = h5py.VirtualLayout(shape, "f4")
        layout[:] = h5py.VirtualSource(target, "x", shape)
        file.create_virtual_dataset(element, layout)
    return path


def shared_data(name: str) -> Path:
    """A larger file that is not kept in the repository: from $CELLDOCK_SHARED/data or ../shared/data; skips without."""
    folder = Path(os.environ.get("CELLDOCK_SHARED") or Path(__file__).parents[2] / "shared")
    path = folder / "data" / name
    if not path.is_file():
        pytest.skip(f"{name} is not here: set CELLDOCK_SHARED to the folder that holds data/{name}")
    return path

"""The sound files that mutations start from: real data, whole and cut small, in every way of storing them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

_ROOT = Path(__file__).parents[2]
_EXAMPLE = _ROOT / "examples" / "pbmc68k.h5ad"
_SHARED = Path(os.environ.get("CELLDOCK_SHARED") or _ROOT.parent / "shared") / "data"
_CELLS, _GENES = 60, 80

# anndata types X and obs as every backing that they may have, on disk or in memory.
type AnnData = Any


def seed_names() -> tuple[str, ...]:
    """The seeds that there are on this machine."""
    return tuple(name for name, path in _FILES.items() if path.is_file()) + tuple(_MADE)


@cache
def seed(name: str) -> bytes:
    """The bytes of a seed. Raises KeyError for an unknown name."""
    if name in _MADE:
        return _MADE[name]()
    return _FILES[name].read_bytes()


@cache
def _subset() -> AnnData:
    """60 cells and 80 genes of the example."""
    cells: AnnData = anndata.read_h5ad(_EXAMPLE)
    raw: AnnData = cells.raw.to_adata()
    part: AnnData = cells[:_CELLS, :_GENES].copy()
    part.raw = raw[:_CELLS, :_GENES].copy()
    return part


def _csr() -> bytes:
    return _written(_subset(), compression="gzip")


def _dense() -> bytes:
    """Dense and csc matrices, 64-bit indices, nullable columns, all filters: what the example has not."""
    data: AnnData = _subset().copy()
    data.obs["nullable"] = pd.array([1, None] * (_CELLS // 2), dtype="Int64")
    data.obs["flag"] = pd.array([True, None] * (_CELLS // 2), dtype="boolean")
    data.layers["csc"] = sparse.csc_matrix(data.X)
    data.layers["wide"] = data.X.toarray().astype(np.float64)
    data.X = data.X.toarray()
    data.obsp["distances"] = sparse.random(_CELLS, _CELLS, 0.1, format="csr", rng=np.random.default_rng(1))
    data.uns["table"] = np.rec.fromarrays([np.arange(5.0), np.arange(5)], names="score,rank")
    with h5py.File(stream := io.BytesIO(_written(data, compression="lzf")), "r+") as file:
        _store_again(file, "X", chunks=(7, 9), compression="lzf", shuffle=True, fletcher32=True)
        _store_again(file, "layers/wide", chunks=(1, _GENES), compression="gzip", shuffle=True)
        for name, dtype in (("indices", "i8"), ("indptr", "i8"), ("data", "f8")):
            _store_again(file, f"raw/X/{name}", dtype=dtype, chunks=(16,), compression="gzip", fletcher32=True)
        _store_again(file, "obsm/X_umap")
    return stream.getvalue()


def _legacy() -> bytes:
    """The encoding of AnnData 0.7: categoricals are codes whose attribute refers to `__categories/NAME`."""
    with h5py.File(stream := io.BytesIO(_csr()), "r+") as file:
        for frame in (file["obs"], file["var"], file["raw/var"]):
            frame.attrs["encoding-version"] = "0.1.0"
            for name in [name for name in frame if isinstance(frame[name], h5py.Group)]:
                if "codes" in frame[name]:
                    _to_reference(frame, name)
                else:
                    _to_plain(frame, name)
        for name in ("layers", "obsp", "varm", "varp", "raw/varm"):
            del file[name]
    return stream.getvalue()


def _latest() -> bytes:
    """The newest structures of HDF5: version 2 object headers, dense links and attributes, other chunk indexes."""
    stream = io.BytesIO()
    with h5py.File(io.BytesIO(_csr())) as old, h5py.File(stream, "w", libver="latest") as new:
        _rebuild(old, new)
        _store_again(new, "raw/X/data", chunks=(50,), maxshape=(None,), compression="gzip")
        _store_again(new, "X/data", chunks=(50,), shuffle=True)
        for number in range(10):
            new["uns"].attrs[f"note-{number}"] = "text " * number
    return stream.getvalue()


def _rebuild(old: h5py.Group, new: h5py.Group) -> None:
    """Makes everything anew: to copy objects would keep their structures."""
    new.attrs.update(old.attrs)
    for name, node in old.items():
        if isinstance(node, h5py.Group):
            _rebuild(node, new.create_group(name))
        else:
            storage = {"compression": "gzip"} if node.shape else {}
            new.create_dataset(name, data=node[()], dtype=node.dtype, **storage).attrs.update(node.attrs)


def _store_again(file: h5py.File, path: str, dtype: str | None = None, **storage: Any) -> None:
    node = file[path]
    values, attributes = node[()].astype(dtype or node.dtype), dict(node.attrs)
    del file[path]
    file.create_dataset(path, data=values, **storage).attrs.update(attributes)


def _to_reference(frame: h5py.Group, name: str) -> None:
    column = frame[name]
    codes, ordered = column["codes"][()], bool(column.attrs["ordered"])
    categories = frame["__categories"] if "__categories" in frame else frame.create_group("__categories")
    column.copy("categories", categories, name)
    del frame[name]
    categories[name].attrs["ordered"] = ordered
    dataset = frame.create_dataset(name, data=codes, compression="gzip")
    dataset.attrs["categories"] = categories[name].ref


def _to_plain(frame: h5py.Group, name: str) -> None:
    values = frame[name]["values"][()]
    del frame[name]
    frame.create_dataset(name, data=values, dtype=h5py.string_dtype(), compression="gzip")


def _written(data: AnnData, **options: Any) -> bytes:
    with h5py.File(stream := io.BytesIO(), "w") as file:
        anndata.io.write_elem(file, "/", data, dataset_kwargs=options)
    return stream.getvalue()


_FILES: Mapping[str, Path] = {
    "pbmc68k": _EXAMPLE,
    "pbmc68k_reduced": _SHARED / "pbmc68k_reduced.h5ad",
    "pbmc68k_schema2.0.0": _SHARED / "pbmc68k_schema2.0.0.h5ad",
}
_MADE: Mapping[str, Callable[[], bytes]] = {"csr": _csr, "dense": _dense, "legacy": _legacy, "latest": _latest}

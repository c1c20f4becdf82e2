"""Writes the h5ad files of this folder; run once under each environment that the README lists.

    python make_files.py anndata-0.8.0

The argument names the file, without its endings; it is compressed, because HDF5 takes 1.4 kB for each little array.
What a version of anndata cannot write is left out of its file. The script runs on Python 3.7 to 3.13.
"""

from __future__ import annotations

import importlib
import lzma
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

FOLDER = Path(__file__).parent
VERSION = tuple(int(part) for part in anndata.__version__.split(".")[:2])
PANDAS = int(pd.__version__.split(".")[0])
N_OBS, N_VARS = 7, 4
CELLS = [f"cell-{i}" for i in range(N_OBS - 1)] + ["zelle-ü"]
GENES = [f"ENSG{i:011}" for i in range(N_VARS)]


def main(name: str) -> None:
    data: Any = anndata.AnnData(X=counts(), obs=obs(), var=var())
    data.raw = anndata.AnnData(X=counts(), obs=data.obs[[]], var=var()[["gene_name"]])
    data.X = np.log1p(counts().toarray()).astype("float32")
    data.layers["counts"] = sparse.csc_matrix(counts()).astype("int32")
    data.layers["dense"] = counts().toarray().astype("float16")
    for key, value in obsm().items():
        data.obsm[key] = value
    data.varm["PCs"] = np.linspace(-1, 1, N_VARS * 2).reshape(N_VARS, 2)
    data.uns.update(uns())
    if VERSION >= (0, 7):
        data.obsp["distances"] = graph(N_OBS)
        data.obsp["weights"] = graph(N_OBS).toarray()
        data.varp["correlation"] = sparse.csc_matrix(graph(N_VARS))
        data.varm["loadings"] = pd.DataFrame({"a": range(N_VARS), "b": list("wxyz")}, index=GENES)
    write(data, name)
    if VERSION >= (0, 11):
        write_awkward(name)


def write(data: Any, name: str) -> None:
    settings = getattr(anndata, "settings", None)
    if settings is not None and hasattr(settings, "allow_write_nullable_strings"):
        settings.allow_write_nullable_strings = True
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "data.h5ad"
        save = data.write if VERSION < (0, 7) else data.write_h5ad
        save(path)
        content = path.read_bytes()
    (FOLDER / (name + ".h5ad.xz")).write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


def counts() -> Any:
    values = np.arange(N_OBS * N_VARS, dtype="float32").reshape(N_OBS, N_VARS) % 3
    return sparse.csr_matrix(values)


def graph(n: int) -> Any:
    values = np.arange(n * n, dtype="float64").reshape(n, n) % 5
    return sparse.csr_matrix(np.where(values < 2, values + 0.5, 0))


def obs() -> pd.DataFrame:
    columns = {
        "categorical": pd.Categorical(["b", None, "a", "b", "ü", "a", "b"]),
        "ordered": pd.Categorical(["lo", "hi", "lo", "lo", None, "hi", "hi"], ["lo", "mid", "hi"], ordered=True),
        "one_category": pd.Categorical(["same"] * N_OBS),
        "of_integers": pd.Categorical([3, 1, 1, 2, 3, 1, 2]),
        "of_floats": pd.Categorical([0.5, 1.5, np.nan, 0.5, 1.5, 0.5, 0.5]),
        "unique_text": np.array(["a", "é", "", "日本", "e f", "<b>", "=1+1"], dtype=object),
        "repeated_text": np.array(["x", "y", "x", "y", "x", "y", "x"], dtype=object),
        "int8": np.arange(N_OBS, dtype="int8") - 3,
        "uint16": np.arange(N_OBS, dtype="uint16"),
        "int64": np.arange(N_OBS) * 2**40,
        "uint64": np.full(N_OBS, 2**64 - 1, dtype="uint64"),
        "float32": np.array([1.5, np.nan, np.inf, -np.inf, 0, 1, 2], dtype="float32"),
        "float64": np.linspace(0, 1, N_OBS),
        "flag": np.arange(N_OBS) % 2 == 0,
    }
    if VERSION >= (0, 7):
        columns["float16"] = np.arange(N_OBS, dtype="float16")
    if (0, 7) <= VERSION < (0, 12):
        columns["with/slash"] = np.arange(N_OBS)
    if (0, 8) <= VERSION < (0, 12):
        columns["categorical/with/slash"] = pd.Categorical(list("abababa"))
    if VERSION >= (0, 8):
        columns["of_booleans"] = pd.Categorical([True, False, True, True, False, True, False])
        columns["maybe_integer"] = pd.array([1, None, 3, 4, None, 6, 7], dtype="Int32")
        columns["maybe_unsigned"] = pd.array([1, 2, 3, 4, 5, 6, 7], dtype="UInt8")
        columns["maybe_flag"] = pd.array([True, None, False, True, None, True, True], dtype="boolean")
    if VERSION >= (0, 11):
        columns["maybe_text"] = pd.array(["q", None, "", "é", "r", "s", "t"], dtype="string")
        categories = pd.Index(pd.array(["n1", "n2"], dtype="string"))
        columns["of_strings"] = pd.Categorical.from_codes([0, 1, -1, 0, 1, 1, 0], categories)
    if PANDAS >= 3:
        columns["pandas_text"] = pd.Series(["q", None, "", "é", "r", "s", "t"], dtype="str").array
    frame = pd.DataFrame(columns)
    frame.index = pd.Index(CELLS, name="barcode" if VERSION >= (0, 7) else None)
    return frame


def var() -> Any:
    columns = {"gene_name": pd.Categorical(["A", "B", "A", "C"]), "feature_is_filtered": [False, True, False, True]}
    return pd.DataFrame(columns, index=pd.Index(GENES))


def obsm() -> dict[str, Any]:
    arrays = {
        "X_umap": np.arange(N_OBS * 2, dtype="float32").reshape(N_OBS, 2),
        "X_pca": np.linspace(-1, 1, N_OBS * 3).reshape(N_OBS, 3),
    }
    if VERSION >= (0, 7):
        table = {"kind": pd.Categorical(list("ababaab")), "score": np.linspace(0, 1, N_OBS)}
        arrays["table"] = pd.DataFrame(table, index=pd.Index(CELLS))
        arrays["sparse"] = sparse.csr_matrix(np.eye(N_OBS, 5))
        arrays["cube"] = np.arange(N_OBS * 4).reshape(N_OBS, 2, 2)
    return arrays


def uns() -> dict[str, Any]:
    names = np.rec.fromarrays([np.array(["A", "B"], object), np.array(["é", "D"], object)], names=["0", "1"])
    scores = np.rec.fromarrays([np.array([1.5, 2], "f4"), np.array([3, 4], "f4")], names=["0", "1"])
    values = {
        "title": "A title – with a dash",
        "number": 7,
        "real": 0.25,
        "flag": True,
        "array": np.arange(6, dtype="int16").reshape(2, 3),
        "flags": np.array([True, False]),
        "one_number": np.array([3.5]),
        "one_text": np.array(["only"], dtype=object),
        "categorical_colors": np.array(["#ff0000", "#00ff00", "#0000ff"], dtype=object),
        "rank_genes_groups": {"names": names, "scores": scores, "params": {"groupby": "categorical", "use_raw": True}},
        "neighbors": {"params": {"n_neighbors": 15, "method": "umap"}},
        "empty_array": np.array([], dtype="float64"),
    }
    if VERSION < (0, 7):
        values["neighbors"]["connectivities"] = graph(N_OBS)
        return values
    values["nothing_in_it"] = {}
    values["big_endian"] = np.arange(3, dtype=">i4")
    values["fixed_width_text"] = np.array(["ab", "cdé"])
    values["masked"] = np.ma.masked_array(np.arange(3), mask=[False, True, False])
    values["numpy_scalar"] = np.float32(0.5)
    values["zero_dimensions"] = np.array(5)
    values["text_matrix"] = np.array([["a", "b"], ["c", "d"]], dtype=object)
    values["sparse"] = graph(3)
    frame = {"text": ["u", "v"], "kind": pd.Categorical(["k", None]), "number": [1, 2]}
    values["frame"] = pd.DataFrame(frame, index=pd.Index(["r0", "r1"], name="row"))
    if VERSION >= (0, 8):
        values["categorical"] = pd.Categorical(["x", None, "y"], ordered=True)
        values["maybe"] = pd.array([1, None], dtype="Int64")
        values["complex"] = np.array([1 + 2j, 3j])
        values["list"] = ["p", "q"]
    if VERSION >= (0, 12):
        values["null"] = None
    return values


def write_awkward(name: str) -> None:
    awkward = importlib.import_module("awkward")
    data: Any = anndata.AnnData(
        X=counts(), obs=pd.DataFrame(index=pd.Index(CELLS)), var=pd.DataFrame(index=pd.Index(GENES))
    )
    data.obsm["ragged"] = awkward.Array([[1, 2], [], [3], [4, 5, 6], [], [], [7]])
    data.uns["records"] = awkward.Array([{"a": 1, "b": [1.5]}, {"a": 2, "b": []}])
    write(data, name + "-awkward")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])

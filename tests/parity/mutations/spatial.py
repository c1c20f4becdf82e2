"""Visium and bead-based files: uns['spatial'], positions in obs, and what their raw counts must be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anndata
import numpy as np
from scipy import sparse

from tests.parity.bases import Data, put
from tests.parity.mutations.registry import changes
from tests.parity.mutations.terms import ASSAY, CELL_TYPE

_POSITIONS = ("array_row", "array_col", "in_tissue")


@changes("spatial-missing", "uns.spatial.missing", base=("visium_joined", "slide_seq"))
def _missing(data: Data, _: None) -> None:
    del data.uns["spatial"]


@changes("spatial-not-expected", "uns.spatial.not_expected", base=("human", "mouse"), values=(True, False))
def _not_expected(data: Data, single: bool) -> None:
    data.uns["spatial"] = {"is_single": single}


@changes("spatial-none", "uns.spatial.not_expected", "uns.spatial.type", base=("human", "slide_seq", "visium_joined"))
def _none(data: Data, _: None) -> None:
    data.uns["spatial"] = None


@changes("spatial-type", "uns.spatial.type", "uns.spatial.missing", base="slide_seq", values=("x", 1, True))
def _type(data: Data, value: Any) -> None:
    data.uns["spatial"] = value


@changes(
    "spatial-is-single",
    "uns.spatial.is_single.missing",
    "uns.spatial.is_single.type",
    base=("slide_seq", "visium"),
    values=(None, "True", 1, 1.0),
)
def _is_single(data: Data, value: Any) -> None:
    if value is None:
        del data.uns["spatial"]["is_single"]
        data.uns["spatial"].setdefault("library", {"images": "x"})
    else:
        data.uns["spatial"]["is_single"] = value


@changes("spatial-primary-not-single", "obs.is_primary_data.not_single", base="visium_joined", values=([0], [1, 5]))
def _primary(data: Data, cells: Sequence[int]) -> None:
    put(data, "is_primary_data", True, list(cells))


@changes(
    "spatial-library-not-expected",
    "uns.spatial.library.not_expected",
    base=("slide_seq", "visium_joined"),
    values=("lib",),
)
def _library(data: Data, name: str) -> None:
    data.uns["spatial"][name] = {"images": {}, "scalefactors": {}}


@changes("spatial-library-missing", "uns.spatial.library.missing", base="visium")
def _no_library(data: Data, _: None) -> None:
    del data.uns["spatial"]["section"]


@changes("spatial-libraries", "uns.spatial.libraries", base="visium")
def _libraries(data: Data, _: None) -> None:
    data.uns["spatial"]["other"] = data.uns["spatial"]["section"]


@changes("spatial-library-type", "uns.spatial.library.type", base="visium", values=("x", 1))
def _library_type(data: Data, value: Any) -> None:
    data.uns["spatial"]["section"] = value


# What is taken out of a library, or put in: (path, value), None to take it out.
_LIBRARY: Sequence[tuple[str, tuple[str, ...], Any]] = (
    ("library.extra_keys", ("metadata",), "x"),
    ("images.missing", ("images",), None),
    ("images.type", ("images",), "x"),
    ("images.extra_keys", ("images", "lowres"), np.zeros((4, 4, 3), np.uint8)),
    ("hires.missing", ("images", "hires"), None),
    ("hires.type", ("images", "hires"), "x"),
    ("hires.type", ("images", "hires"), np.zeros((2000, 4, 3), np.float32)),
    ("hires.type", ("images", "hires"), np.zeros((2000, 4, 3), np.uint16)),
    ("hires.shape", ("images", "hires"), np.zeros((2000, 4), np.uint8)),
    ("hires.shape", ("images", "hires"), np.zeros((2000, 4, 2), np.uint8)),
    ("hires.shape", ("images", "hires"), np.zeros((1, 2000, 4, 3), np.uint8)),
    ("hires.size", ("images", "hires"), np.zeros((1999, 4, 3), np.uint8)),
    ("hires.size", ("images", "hires"), np.zeros((4000, 2000, 3), np.uint8)),
    ("fullres.missing", ("images", "fullres"), None),
    ("fullres.type", ("images", "fullres"), np.zeros((8, 4, 3), np.int8)),
    ("fullres.shape", ("images", "fullres"), np.zeros((8, 4), np.uint8)),
    ("fullres.shape", ("images", "fullres"), np.zeros((8, 4, 1), np.uint8)),
    ("scalefactors.missing", ("scalefactors",), None),
    ("scalefactors.type", ("scalefactors",), "x"),
    ("scalefactors.extra_keys", ("scalefactors", "tissue_lowres_scalef"), 0.1),
    ("spot_diameter_fullres.missing", ("scalefactors", "spot_diameter_fullres"), None),
    ("spot_diameter_fullres.type", ("scalefactors", "spot_diameter_fullres"), 89),
    ("spot_diameter_fullres.type", ("scalefactors", "spot_diameter_fullres"), "89.5"),
    ("spot_diameter_fullres.type", ("scalefactors", "spot_diameter_fullres"), np.float32(89.5)),
    ("tissue_hires_scalef.missing", ("scalefactors", "tissue_hires_scalef"), None),
    ("tissue_hires_scalef.type", ("scalefactors", "tissue_hires_scalef"), 1),
    ("tissue_hires_scalef.type", ("scalefactors", "tissue_hires_scalef"), np.array([0.1, 0.2])),
)


def _change_library(data: Data, change: tuple[tuple[str, ...], Any]) -> None:
    (*folders, name), value = change
    place = data.uns["spatial"]["section"]
    for folder in folders:
        place = place[folder]
    if value is None:
        del place[name]
    else:
        place[name] = value


for _fault in dict.fromkeys(fault for fault, *_ in _LIBRARY):
    _values = [(path, value) for fault, path, value in _LIBRARY if fault == _fault]
    changes(f"spatial-{_fault.replace('.', '-')}", f"uns.spatial.{_fault}", base="visium", values=_values)(
        _change_library
    )

_IMAGES = (
    (("images", "hires"), np.zeros((3, 2000, 4), np.uint8)),
    (("scalefactors", "tissue_hires_scalef"), np.float64(1)),
)
changes("spatial-library-allowed", base="visium", values=_IMAGES)(_change_library)


@changes("spatial-position-dropped", *[f"obs.{name}.missing" for name in _POSITIONS], base="visium", values=_POSITIONS)
def _position_dropped(data: Data, column: str) -> None:
    del data.obs[column]


_TYPE_FAULTS = [f"obs.{name}.{fault}" for name in _POSITIONS for fault in ("type", "values_missing")]


@changes(
    "spatial-position-type",
    *_TYPE_FAULTS,
    base="visium",
    values=[(name, kind) for name in _POSITIONS for kind in ("float64", "category", "missing")],
)
def _position_type(data: Data, change: tuple[str, str]) -> None:
    column, kind = change
    values = data.obs[column].astype("float64" if kind == "missing" else kind)
    if kind == "missing":
        values.iloc[3] = np.nan
    data.obs[column] = values


_RANGES = (
    ("array_row", -1),
    ("array_row", 78),
    ("array_col", 128),
    ("array_col", -1),
    ("in_tissue", 2),
    ("in_tissue", -1),
)


@changes("spatial-position-range", *[f"obs.{name}.range" for name in _POSITIONS], base="visium", values=_RANGES)
def _position_range(data: Data, change: tuple[str, int]) -> None:
    put(data, change[0], change[1], [7])


@changes("spatial-position-dtypes", base="visium", values=("int8", "uint16", "int32"))
def _position_dtypes(data: Data, kind: str) -> None:
    for column in _POSITIONS:
        data.obs[column] = data.obs[column].astype("uint8" if kind == "int8" and column == "array_col" else kind)


@changes("spatial-off-tissue-cell-type", f"obs.{CELL_TYPE}.off_tissue", base="visium", values=("CL:0000084",))
def _off_tissue(data: Data, value: str) -> None:
    put(data, CELL_TYPE, value, [1])


def _with_counts(data: Data, values: np.ndarray) -> None:
    data.raw = anndata.AnnData(sparse.csr_matrix(values), obs=data.obs[[]], var=data.raw.var)


@changes("visium-rows", "raw.visium_rows", base="visium", values=(4991, 100))
def _rows(data: Data, rows: int) -> Data:
    return data[:rows].copy()


@changes("visium-11mm-rows", "raw.visium_rows", "uns.spatial.hires.size", base="visium", values=("EFO:0022860",))
def _large(data: Data, assay: str) -> None:
    put(data, ASSAY, assay)


@changes("visium-in-tissue-empty", "raw.in_tissue_empty", base="visium", values=([5], [5, 900]))
def _in_tissue_empty(data: Data, spots: Sequence[int]) -> None:
    values = data.raw.X.toarray()
    values[list(spots)] = 0
    _with_counts(data, values)


@changes("visium-off-tissue-empty", "raw.off_tissue_empty", base="visium")
def _off_tissue_empty(data: Data, _: None) -> None:
    values = data.raw.X.toarray()
    values[[0, 1]] = 0
    _with_counts(data, values)


@changes("visium-off-tissue-some-empty", base="visium", values=([0], [1]))
def _off_tissue_some(data: Data, spots: Sequence[int]) -> None:
    values = data.raw.X.toarray()
    values[list(spots)] = 0
    _with_counts(data, values)


@changes("visium-identical-in-tissue", "raw.identical_cells", base="visium", values=([5, 6],))
def _identical(data: Data, spots: Sequence[int]) -> None:
    values = data.raw.X.toarray()
    values[list(spots)] = values[spots[0]]
    _with_counts(data, values)


@changes("visium-identical-off-tissue", base="visium", values=([0, 1], [0, 7]))
def _identical_off(data: Data, spots: Sequence[int]) -> None:
    values = data.raw.X.toarray()
    values[list(spots)] = values[spots[0]]
    _with_counts(data, values)


@changes("visium-no-spot-off-tissue", base="visium")
def _all_in_tissue(data: Data, _: None) -> None:
    put(data, "in_tissue", 1)


@changes(
    "visium-generic-assay", f"obs.{ASSAY}.term_not_allowed", base=("visium_joined", "visium"), values=("EFO:0010961",)
)
def _generic(data: Data, assay: str) -> None:
    put(data, ASSAY, assay)


@changes("bead-based-assays", base="slide_seq", values=("EFO:0009920", "EFO:0920002", "EFO:0920003"))
def _bead_based(data: Data, assay: str) -> None:
    put(data, ASSAY, assay)


@changes("bead-based-parent", base="slide_seq", values=("EFO:0920001",))
def _parent(data: Data, assay: str) -> None:
    put(data, ASSAY, assay)
    del data.uns["spatial"], data.obsm["spatial"]
    data.obsm["X_umap"] = np.ones((data.n_obs, 2), np.float32)

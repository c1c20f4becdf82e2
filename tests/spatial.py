"""A section of Visium with something changed, and what the rules about spatial files say of it."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from anndata.io import write_elem

from celldock.report import Finding
from celldock.schema import load_schema
from tests.builders import make_h5ad
from tests.changing import findings_of
from tests.scanning import scanned

SCHEMA = load_schema("7.1.0")
SPOTS, LARGE_SPOTS = 4_992, 14_336
VISIUM, LARGE_VISIUM, BEADS, RNA = "EFO:0022857", "EFO:0022860", "EFO:0030062", "EFO:0009922"
IMAGES, FACTORS = "uns/spatial/section/images", "uns/spatial/section/scalefactors"

_CODES = (
    *("uns.spatial.", "obs.array_", "obs.in_tissue.", "obs.is_primary_data.not_single"),
    *("raw.visium", "raw.in_tissue", "raw.off_tissue"),
)

type Change = Callable[[h5py.File], Any]


def visium_options(spots: int = SPOTS) -> dict[str, Any]:
    """What makes a file one section of Visium: half of the spots lie in the tissue."""
    place = np.arange(spots)
    library = {
        "images": {
            "hires": np.zeros((2_000, 3, 3), np.uint8),
            "fullres": np.zeros((3, 4, 3), np.uint8),
        },
        "scalefactors": {"spot_diameter_fullres": 89.5, "tissue_hires_scalef": 0.17},
    }
    return {
        "n_obs": spots,
        "n_vars": 3,
        "obs": {
            "assay_ontology_term_id": VISIUM,
            "cell_type_ontology_term_id": "unknown",
            "suspension_type": "na",
            "array_row": place // 64 % 78,
            "array_col": place % 64 * 2,
            "in_tissue": (place % 64 < 32).astype(int),
        },
        "obsm": {"spatial": np.stack([place // 64, place % 64], axis=1)},
        "uns": {"spatial": {"is_single": True, "section": library}},
    }


@functools.cache
def _section() -> bytes:
    """One section of Visium, as it should be; made once."""
    with tempfile.TemporaryDirectory() as folder:
        return make_h5ad(Path(folder) / "section.h5ad", **visium_options()).read_bytes()


def changed(folder: Path, change: Change | None = None, *, scan: bool = False) -> list[Finding]:
    """What is said of the section after a change; with `scan` also of its values."""
    path = folder / "section.h5ad"
    path.write_bytes(_section())
    if change:
        with h5py.File(path, "r+") as file:
            change(file)
    return told(path, scan=scan)


def told(path: Path, *, scan: bool = False) -> list[Finding]:
    """What the rules about spatial files say."""
    return findings_of(path, _CODES, scanned(path, path.parent) if scan else None)


def put(path: str, value: Any) -> Change:
    """Writes an element as AnnData does, in place of what is there."""
    parent, _, name = path.rpartition("/")
    return lambda file: write_elem(file[parent], name, value)


def leave_out(*paths: str) -> Change:
    """Removes elements; of columns also the frame's mention."""

    def change(file: h5py.File) -> None:
        for path in paths:
            del file[path]
            if path.startswith("obs/"):
                columns = [name for name in file["obs"].attrs["column-order"] if f"obs/{name}" not in paths]
                file["obs"].attrs["column-order"] = np.array(columns, object)

    return change


def set_values(path: str, rows: Any, value: Any) -> Change:
    """Overwrites some values of an array."""

    def change(file: h5py.File) -> None:
        values = file[path][()]
        values[rows] = value
        file[path][...] = values

    return change


def all_of(*changes: Change) -> Change:
    """One change after the other."""
    return lambda file: [change(file) for change in changes]


def assay(term: str) -> Change:
    """Gives all cells another assay."""
    return lambda file: file["obs/assay_ontology_term_id/categories"].__setitem__(0, term)

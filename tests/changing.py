"""A valid small file with some columns and keys changed: quicker than to make each file anew."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import h5py
import pandas as pd

from celldock.h5ad.source import LocalSource
from celldock.report import Finding
from celldock.scan import ScanResult
from celldock.schema import Setting, load_schema, validate
from tests import builders

CELLS = 20

MOUSE = {"organism_ontology_term_id": "NCBITaxon:10090"}
ROUNDWORM = {"organism_ontology_term_id": "NCBITaxon:6239"}
ZEBRAFISH = {"organism_ontology_term_id": "NCBITaxon:7955"}
FRUIT_FLY = {"organism_ontology_term_id": "NCBITaxon:7227"}
MACAQUE = {"organism_ontology_term_id": "NCBITaxon:9541"}

ASSAY = "assay_ontology_term_id"
CELL_TYPE = "cell_type_ontology_term_id"
STAGE = "development_stage_ontology_term_id"
DISEASE = "disease_ontology_term_id"
ETHNICITY = "self_reported_ethnicity_ontology_term_id"
SEX = "sex_ontology_term_id"
TISSUE = "tissue_ontology_term_id"
CONDITION = "experimental_condition_ontology_term_id"
GUIDE_IDS = "genetic_perturbation_id"
STRATEGY = "genetic_perturbation_strategy"

CELL_LINE = {
    "tissue_type": "cell line",
    TISSUE: "CVCL_0030",
    STAGE: "na",
    ETHNICITY: "na",
    SEX: "na",
    "donor_id": "na",
}
GUIDES = {
    "genetic_perturbations": {
        name: {"role": role, "protospacer_sequence": "ACGTACGTACGTACGT", "protospacer_adjacent_motif": "3' NGG"}
        for name, role in {"ctrl-1": "control", "ctrl-2": "control", "tp53-1": "targeting"}.items()
    }
}
NON_HUMAN = {ETHNICITY: "na"}
UNSTAGED = {**NON_HUMAN, STAGE: "unknown"}


@functools.cache
def valid_file() -> bytes:
    """The bytes of `builders.make_h5ad`, made once."""
    with tempfile.TemporaryDirectory() as folder:
        return builders.make_h5ad(Path(folder) / "cells.h5ad", n_obs=CELLS).read_bytes()


def in_some(value: Any, otherwise: Any, cells: int = 3) -> pd.Categorical:
    """A column of obs with `value` in the first few cells."""
    return pd.Categorical([value] * cells + [otherwise] * (CELLS - cells))


def write_changed(
    path: Path, obs: Mapping[str, Any], uns: Mapping[str, Any] | None = None, drop: Sequence[str] = ()
) -> Path:
    """The valid file with these columns of obs and keys of uns; a text in `obs` is the value of all cells."""
    path.write_bytes(valid_file())
    with h5py.File(path, "r+") as file:
        kept = [name for name in file["obs"].attrs["column-order"] if name not in {*obs, *drop}]
        for name, value in obs.items():
            column = pd.Categorical([value] * CELLS) if isinstance(value, str) else value
            anndata.io.write_elem(file["obs"], name, column)
        file["obs"].attrs["column-order"] = [*kept, *obs]
        for key, value in (uns or {}).items():
            anndata.io.write_elem(file["uns"], key, value)
    return path


def findings_on_obs(
    folder: Path,
    obs: Mapping[str, Any],
    uns: Mapping[str, Any] | None = None,
    drop: Sequence[str] = (),
    setting: Setting | None = None,
) -> list[Finding]:
    """What the rules about obs find in `write_changed(…)`."""
    path = write_changed(folder / "cells.h5ad", obs, uns, drop)
    return findings_of(path, ("obs.", "names.", "fragments."), setting=setting)


def findings_of(
    path: Path, codes: tuple[str, ...], scan: ScanResult | None = None, setting: Setting | None = None
) -> list[Finding]:
    """What the rules find whose codes begin so; with a scan also those about values."""
    schema = load_schema("7.1.0")
    rules = tuple(rule for rule in schema.rules if rule.code.startswith(codes))
    return list(validate(LocalSource(path), replace(schema, rules=rules), scan=scan, setting=setting).findings)

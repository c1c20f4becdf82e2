"""Starter configs: they say what a file lacks and has, they can be read, and filled in they make a valid file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celldock.curation.columns import curate_columns
from celldock.curation.config import Mapped, Taken
from celldock.curation.ledger import Ledger
from celldock.curation.reading import read_curation
from celldock.curation.starter import starter_config
from celldock.curation.written import commented, quoted
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.source import LocalSource
from celldock.h5ad.spool import Spool
from celldock.schema import load_schema, validate
from celldock.schema.reference import open_reference
from tests.builders import OBS
from tests.curations import CELLS, write_cells

VERSION = "7.1.0"
CELL_TYPE = "cell_type_ontology_term_id"
LAB = {
    "bulk": pd.Categorical(["T cell", "Dendritic"] * (CELLS // 2)),
    "donor": ["p1", "p2"] * (CELLS // 2),
    "Sex": ["female", "male"] * (CELLS // 2),
    "qc": np.arange(CELLS) / 10,
}


def starter(path: Path, version: str = VERSION) -> str:
    """The starter config of a file."""
    with open_h5ad(LocalSource(path)) as file:
        return starter_config(file, file.header(), None, load_schema(version), open_reference(version))


def test_a_starter_says_what_there_is_and_what_is_missing(tmp_path: Path) -> None:
    text = starter(write_cells(tmp_path / "a.h5ad", LAB, drop={*OBS} - {"tissue_type"}))
    config = read_curation(text.encode()).config

    assert config.obs[CELL_TYPE] == Mapped(column="bulk", values={"Dendritic": "", "T cell": "CL:0000084"})
    assert config.obs["sex_ontology_term_id"] == Mapped(
        column="Sex", values={"female": "PATO:0000383", "male": "PATO:0000384"}
    )
    assert config.obs["donor_id"] == Taken(column="donor")
    assert "tissue_type" not in config.obs
    assert set(config.obs) == set(OBS) - {"tissue_type"}
    assert config.uns == {"title": "", "organism_ontology_term_id": "NCBITaxon:9606"}
    assert "The term nearest to 'Dendritic' is CL:0000451 (dendritic cell)." in text
    assert "# tissue_type: the file has it" in text
    assert "Of 10 genes 10 are known by ids" in text


def test_a_starter_finds_symbols_counts_and_reserved_names(tmp_path: Path) -> None:
    counts = np.ones((CELLS, 3), np.float32)
    path = write_cells(
        tmp_path / "a.h5ad",
        {"cell_type": ["a", "b"] * (CELLS // 2)},
        # Symbols are looked up among those of the organism: of all organisms where none is stated.
        {"organism_ontology_term_id": "NCBITaxon:9606"},
        n_vars=3,
        var_names=["TP53", "CD4", "GAPDH"],
        raw=False,
        layers={"counts": counts},
    )
    text = starter(path)

    assert "Of 3 genes 3 are known by symbols" in text
    assert "layers.counts: dense, float32 whole numbers: counts, it seems" in text
    assert read_curation(text.encode()).config.matrices["raw.X"].source == "layers.counts"
    assert "# obs.cell_type will be called author_cell_type" in text


@pytest.mark.long
def test_a_starter_for_schema_2_0_0_asks_for_its_fields(tmp_path: Path) -> None:
    config = read_curation(starter(write_cells(tmp_path / "a.h5ad", LAB), "2.0.0").encode()).config

    assert {"organism_ontology_term_id", "ethnicity_ontology_term_id"} <= config.obs.keys()
    assert config.uns.keys() == {"title", "X_normalization"}


def test_a_starter_that_is_filled_in_makes_a_valid_file(tmp_path: Path) -> None:
    path = write_cells(tmp_path / "a.h5ad", LAB)
    text = starter(path)
    answers = {
        "title": "Cells",
        '"Dendritic"': "dendritic cell",
        "assay_ontology_term_id": "Seq-Well",
        "development_stage_ontology_term_id": "adult stage",
        "disease_ontology_term_id": "normal",
        "self_reported_ethnicity_ontology_term_id": "unknown",
        "suspension_type": "cell",
        "tissue_ontology_term_id": "blood",
        "tissue_type": "tissue",
    }
    for name, answer in answers.items():
        text, count = re.subn(rf'^( *{name}: )""', rf"\g<1>{answer}", text, flags=re.MULTILINE)
        assert count == 1, name
    schema, ledger = load_schema(VERSION), Ledger()
    source = LocalSource(path)
    with open_h5ad(source) as file, Spool.opened(source.size, tmp_path) as spool:
        curation = read_curation(text.encode())
        additions = curate_columns(file, file.header(), curation, schema, open_reference(VERSION), ledger)
        report = validate(file.append(additions, spool), schema)

    assert ledger.findings == []
    assert [finding.code for finding in report.findings if finding.severity == "error"] == []


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_any_name_of_a_file_can_be_written_and_read(text: str) -> None:
    config = f"uns: # {commented(text)}\n  {quoted(text)}: {quoted(f'x{text}')} # {commented(text)}\n"

    assert read_curation(config.encode()).config.uns == {text: f"x{text}"}


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    names = ["a: b # c", "- x", "{y}", "line\nbreak", 'quo"te', "ünï", "\x1b[31m", "\u2028"]
    column = "cluster: {\n# '\u2029"
    config = read_curation(starter(write_cells(tmp_path / "a.h5ad", {column: pd.Categorical(names)})).encode()).config

    assert config.obs[CELL_TYPE] == Mapped(column=column, values=dict.fromkeys(names, ""))

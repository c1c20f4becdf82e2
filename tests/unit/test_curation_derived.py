"""What follows from what a file and its config say, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from celldock.curation.genes import GeneFacts
from tests.builders import OBS, gene_names, make_anndata_2_0_0
from tests.curations import CELLS, curate, write_cells

HALVES = CELLS // 2
ASSAY = "assay_ontology_term_id"
ORGANISM = "organism_ontology_term_id"


@pytest.mark.parametrize(
    ("genes", "organism"),
    [
        (gene_names(4), "NCBITaxon:9606"),
        # Spike-ins and SARS-CoV-2 go with any organism.
        ([*gene_names(3), "ERCC-00002"], "NCBITaxon:9606"),
        ([*gene_names(3), "ENSMUSG00000102693"], None),
        (["ERCC-00002", "ERCC-00003", "ERCC-00004", "ERCC-00009"], None),
        (["A", "B", "C", "D"], None),
    ],
)
def test_the_organism_follows_from_genes_of_one(tmp_path: Path, genes: list[str], organism: str | None) -> None:
    path = write_cells(tmp_path / "a.h5ad", n_vars=4, var_names=genes)
    made = curate(path, "")

    assert made.elements.get(f"uns/{ORGANISM}") == organism
    assert bool(made.changes("uns.derived")) == bool(organism)


def test_the_organism_follows_from_the_ids_that_genes_are_to_get(tmp_path: Path) -> None:
    path = write_cells(tmp_path / "a.h5ad", n_vars=2, var_names=["A", "B"])
    made = curate(path, "", genes=GeneFacts({"NCBITaxon:10090": 2, "NCBITaxon:32630": 1}))

    assert made.elements[f"uns/{ORGANISM}"] == "NCBITaxon:10090"


@pytest.mark.parametrize("said", ["config", "file"])
def test_an_organism_that_is_said_is_not_derived(tmp_path: Path, said: str) -> None:
    path = write_cells(tmp_path / "a.h5ad", uns={ORGANISM: "human"} if said == "file" else {})
    made = curate(path, f"uns: {{{ORGANISM}: Mus musculus}}" if said == "config" else "")

    assert made.elements.get(f"uns/{ORGANISM}") == ("NCBITaxon:10090" if said == "config" else None)
    assert not made.changes("uns.derived")


@pytest.mark.parametrize(
    ("obs", "config", "suspensions"),
    [
        ({}, f"obs: {{{ASSAY}: EFO:0008919}}", ["cell"] * CELLS),
        ({}, f"obs: {{{ASSAY}: Seq-Well}}", ["cell"] * CELLS),
        ({ASSAY: "EFO:0008994"}, "", ["na"] * CELLS),
        (
            {"kit": ["a", "b"] * HALVES},
            f"obs: {{{ASSAY}: {{kit: {{a: EFO:0008919, b: EFO:0008994}}}}}}",
            ["cell", "na"] * HALVES,
        ),
        # 10x 3' v3 takes cells and nuclei.
        ({}, f"obs: {{{ASSAY}: EFO:0009922}}", None),
        ({ASSAY: pd.Categorical(["EFO:0008919", "EFO:0009922"] * HALVES)}, "", None),
        ({ASSAY: pd.Categorical(["EFO:0008919", None] * HALVES)}, "", None),
        ({"suspension_type": "nucleus"}, f"obs: {{{ASSAY}: EFO:0008919}}", None),
        ({}, "", None),
    ],
)
def test_the_suspension_follows_from_assays_that_leave_one(
    tmp_path: Path, obs: dict[str, Any], config: str, suspensions: list[str] | None
) -> None:
    made = curate(write_cells(tmp_path / "a.h5ad", obs), config)

    column = made.columns.get("obs/suspension_type")
    assert (None if column is None else column.tolist()) == suspensions


@pytest.mark.parametrize(
    ("uns", "config", "primary"),
    [
        ({}, "", True),
        ({"spatial": {"is_single": True}}, "", True),
        ({"spatial": {"is_single": False}}, "", False),
        ({}, "uns: {spatial: {is_single: false}}", False),
        ({"spatial": {"is_single": True}}, "uns: {spatial: {is_single: false}}", False),
    ],
)
def test_data_are_primary_where_nobody_says_otherwise(
    tmp_path: Path, uns: dict[str, Any], config: str, primary: bool
) -> None:
    made = curate(write_cells(tmp_path / "a.h5ad", uns=uns), config)

    assert made.columns["obs/is_primary_data"].tolist() == [primary] * CELLS
    assert "assumed" in made.changes("obs.assumed")["obs/is_primary_data"].message


def test_what_is_said_of_primary_data_stands(tmp_path: Path) -> None:
    path = write_cells(tmp_path / "a.h5ad", {"is_primary_data": [False] * CELLS})

    assert not curate(path, "").changes("obs.assumed")


def test_a_complete_file_needs_nothing(tmp_path: Path) -> None:
    path = write_cells(tmp_path / "a.h5ad", drop=(), uns={"title": "A", ORGANISM: "NCBITaxon:9606"})
    made = curate(path, "")

    assert made.ledger.changes == []
    assert not {**made.columns, **made.elements, **made.renamed}


def test_biotypes_of_schema_2_0_0_follow_from_the_ids(tmp_path: Path) -> None:
    genes = [*gene_names(2), "ERCC-00002"]
    data = make_anndata_2_0_0(n_obs=CELLS, n_vars=3, var_names=genes)
    frames: list[Any] = [data.var, data.raw.var]
    for frame in frames:
        del frame["feature_biotype"]
    data.write_h5ad(tmp_path / "a.h5ad")
    made = curate(tmp_path / "a.h5ad", "", "2.0.0")

    assert set(made.columns) == {"var/feature_biotype", "raw/var/feature_biotype"}
    assert made.columns["var/feature_biotype"].tolist() == ["gene", "gene", "spike-in"]
    renamed = curate(tmp_path / "a.h5ad", "", "2.0.0", ids={"var": genes[::-1]})
    assert renamed.columns["var/feature_biotype"].tolist() == ["spike-in", "gene", "gene"]


def test_the_organism_of_schema_2_0_0_is_a_column(tmp_path: Path) -> None:
    made = curate(write_cells(tmp_path / "a.h5ad", drop=OBS), "", "2.0.0")

    assert made.columns[f"obs/{ORGANISM}"].tolist() == ["NCBITaxon:9606"] * CELLS

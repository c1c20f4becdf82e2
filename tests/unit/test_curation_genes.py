"""Genes by symbol or id, as submitters name them, and the ids that they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from celldock.curation.config import Config, Curation
from celldock.curation.genes import Genes, map_genes
from celldock.curation.ledger import CurationRefused, Ledger
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.source import LocalSource
from celldock.schema.reference import open_reference
from tests.builders import gene_names, make_anndata

HUMAN, MOUSE = "NCBITaxon:9606", "NCBITaxon:10090"
SYMBOLS = {"TP53": "ENSG00000141510", "CD4": "ENSG00000010610", "GAPDH": "ENSG00000111640"}
MICE = {"Trp53": "ENSMUSG00000059552", "Cd4": "ENSMUSG00000023274"}
DROP = {"genes": {"unknown": "drop"}}


def mapped(
    folder: Path,
    names: Sequence[str],
    config: Mapping[str, Any] | None = None,
    *,
    organism: str = "",
    columns: Mapping[str, Any] | None = None,
    raw: bool = False,
) -> tuple[Genes, Ledger]:
    """The genes of a file that has these names. Raises CurationRefused."""
    data = make_anndata(n_obs=3, n_vars=len(names), var_names=names, raw=raw)
    for name, values in (columns or {}).items():
        data.var[name] = values
    path = folder / "a.h5ad"
    data.write_h5ad(path)
    ledger = Ledger()
    curation = Curation(Config.model_validate(config or {}), lines={("genes", "names"): 7})
    with open_h5ad(LocalSource(path)) as file:
        genes = map_genes(file, file.header(), curation, open_reference("7.1.0"), ledger, organism=organism)
    ledger.check()
    return genes, ledger


def codes(ledger: Ledger) -> list[str]:
    return [change.code for change in ledger.changes]


def test_ids_stay_and_nothing_is_said(tmp_path: Path) -> None:
    genes, ledger = mapped(tmp_path, [*gene_names(3), "ERCC-00002"])
    assert genes.mappings["var"].ids == (*gene_names(3), "ERCC-00002")
    assert genes.facts.organisms == {HUMAN: 3, "NCBITaxon:32630": 1}
    assert genes.facts.organism == ""
    assert not ledger.changes


def test_symbols_of_the_stated_organism_become_ids(tmp_path: Path) -> None:
    genes, ledger = mapped(tmp_path, [*MICE], organism=MOUSE)
    assert genes.mappings["var"].ids == tuple(MICE.values())
    assert genes.mappings["var"].former == "gene_symbol"
    assert genes.facts.organisms == {MOUSE: 2}
    assert codes(ledger) == ["genes.resolved"]


def test_raw_has_names_of_its_own(tmp_path: Path) -> None:
    genes, ledger = mapped(tmp_path, [*SYMBOLS], organism=HUMAN, raw=True)
    assert genes.mappings["raw/var"].ids == genes.mappings["var"].ids == tuple(SYMBOLS.values())
    assert [change.where for change in ledger.changes] == ["var", "raw/var"]


def test_the_organism_is_that_of_the_ids(tmp_path: Path) -> None:
    genes, ledger = mapped(tmp_path, [*gene_names(2), "TP53"])
    assert genes.facts.organism == HUMAN
    assert codes(ledger) == ["genes.resolved"]


@pytest.mark.long
def test_symbols_alone_do_not_say_what_organism_they_are_of(tmp_path: Path) -> None:
    with pytest.raises(CurationRefused) as refused:
        mapped(tmp_path, [*MICE])
    (finding,) = refused.value.findings
    assert finding.code == "genes.organism_unknown"
    assert "NCBITaxon:10090 (Mus musculus) has 100% of them" in finding.message


def test_versions_and_case_are_seen_through_and_said(tmp_path: Path) -> None:
    genes, ledger = mapped(tmp_path, [f"{SYMBOLS['CD4']}.12", "tp53", " GAPDH"], organism=HUMAN)
    assert genes.mappings["var"].ids == (SYMBOLS["CD4"], SYMBOLS["TP53"], SYMBOLS["GAPDH"])
    assert codes(ledger) == ["genes.resolved", "genes.version_removed", "genes.case_ignored"]
    assert ledger.changes[-1].details == {"tp53": SYMBOLS["TP53"]}


def test_what_has_no_id_is_one_problem(tmp_path: Path) -> None:
    with pytest.raises(CurationRefused) as caught:
        mapped(tmp_path, ["TP53", "CD99", "nonsense", "CD4", "cd4"], organism=HUMAN, raw=True)
    (finding,) = caught.value.findings
    assert (finding.code, finding.where, finding.count) == ("genes.unresolved", "var", 3)
    assert "1 unknown to the schema, 1 ambiguous, 1 the same gene as another" in finding.message
    assert "'CD99': stands for several genes: ENSG00000002586, ENSG00000292348" in finding.examples
    assert "genes: {unknown: drop}" in finding.suggestion


def test_what_has_no_id_may_be_dropped(tmp_path: Path) -> None:
    genes, ledger = mapped(tmp_path, ["TP53", "CD99", "nonsense", "CD4"], DROP, organism=HUMAN)
    mapping = genes.mappings["var"]
    assert mapping.ids == (SYMBOLS["TP53"], "", "", SYMBOLS["CD4"])
    assert mapping.kept_rows.tolist() == [0, 3]
    (dropped,) = [change for change in ledger.changes if change.code == "genes.dropped"]
    assert dropped.count == 2
    assert dropped.details == {
        "CD99": "stands for several genes: ENSG00000002586, ENSG00000292348",
        "nonsense": "unknown",
    }


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["CD4", "cd4", "TP53"], [SYMBOLS["CD4"], "", SYMBOLS["TP53"]]),
        (["CD4", SYMBOLS["CD4"], "TP53"], ["", SYMBOLS["CD4"], SYMBOLS["TP53"]]),
        (["CD4", "CD4", "TP53"], ["", "", SYMBOLS["TP53"]]),
        ([f"{SYMBOLS['CD4']}.1", f"{SYMBOLS['CD4']}.2", "TP53"], ["", "", SYMBOLS["TP53"]]),
    ],
)
def test_names_of_one_gene_are_never_merged(tmp_path: Path, names: list[str], ids: list[str]) -> None:
    genes, ledger = mapped(tmp_path, names, DROP, organism=HUMAN)
    assert list(genes.mappings["var"].ids) == ids
    assert f"names {SYMBOLS['CD4']}, as another row does" in ledger.changes[-1].details.values()  # type: ignore[union-attr]


def test_names_may_be_in_a_column(tmp_path: Path) -> None:
    ids = pd.Categorical([f"{id_}.3" for id_ in SYMBOLS.values()])
    columns = {"gene_ids": ids, "gene_symbol": [*SYMBOLS]}
    genes, _ = mapped(tmp_path, [*SYMBOLS], {"genes": {"names": "gene_ids"}}, columns=columns)
    mapping = genes.mappings["var"]
    assert mapping.ids == tuple(SYMBOLS.values())
    assert mapping.index == tuple(SYMBOLS)
    assert mapping.former == "gene_symbol_2"


def test_a_missing_name_is_unknown(tmp_path: Path) -> None:
    columns = {"symbols": pd.Categorical(["TP53", None, "CD4"])}
    genes, ledger = mapped(
        tmp_path, gene_names(3), {"genes": {"names": "symbols", "unknown": "drop"}}, columns=columns, organism=HUMAN
    )
    assert genes.mappings["var"].ids == (SYMBOLS["TP53"], "", SYMBOLS["CD4"])
    assert genes.mappings["var"].former == "author_index"
    assert ledger.changes[-1].details == {"": "unknown"}


def test_a_column_that_is_not_there_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(CurationRefused) as caught:
        mapped(
            tmp_path, gene_names(3), {"genes": {"names": "gene_idz"}}, columns={"gene_ids": np.array(["a", "b", "c"])}
        )
    (finding,) = caught.value.findings
    assert (finding.code, finding.where) == ("genes.no_such_column", "curation.yaml, line 7")
    assert "'gene_ids'" in finding.suggestion

"""Rules about the ids of genes and about feature_is_filtered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from celldock.h5ad.source import LocalSource
from celldock.report import Finding
from celldock.schema import Schema, load_schema, validate
from celldock.schema.loading import AppliedRule
from celldock.schema.registry import get_rule
from celldock.schema.rules.genes import without_version
from tests.builders import gene_names, make_anndata
from tests.scanning import scanned

SCHEMA = load_schema("7.1.0")
HUMAN = gene_names(10)
MOUSE = ["ENSMUSG00000102693", "ENSMUSG00000064842", "ENSMUSG00000051951"]

type Change = Callable[[anndata.AnnData], Any]


def told(tmp_path: Path, change: Change | None = None, *, scan: bool = False, **options: Any) -> list[Finding]:
    """What is said of var and raw.var of a sound file after a change."""
    data = make_anndata(**options)
    if change:
        change(data)
    path = tmp_path / "a.h5ad"
    data.write_h5ad(path)
    return told_of(path, scan=scan)


def told_of(path: Path, *, scan: bool = False) -> list[Finding]:
    report = validate(LocalSource(path), SCHEMA, scan=scanned(path, path.parent) if scan else None)
    return [
        finding
        for finding in report.findings
        if finding.code.startswith(("var.", "raw.var.")) and finding.code != "var.few_genes"
    ]


def with_ids(*ids: str) -> list[str]:
    """Ten ids, of which these are the first."""
    return [*ids, *HUMAN[len(ids) :]]


@pytest.mark.parametrize(
    "ids",
    [
        HUMAN,
        with_ids("ERCC-00002", "ERCC-00003"),
        with_ids("ENSSASG00005000002"),  # of SARS-CoV-2
    ],
    ids=["human", "spike-ins", "virus"],
)
def test_ids_of_the_organism_spike_ins_and_the_virus_are_accepted(tmp_path: Path, ids: Sequence[str]) -> None:
    assert told(tmp_path, var_names=ids, scan=True) == []


@pytest.mark.parametrize(
    ("organism", "ids"),
    [
        ("NCBITaxon:10090", MOUSE),
        ("NCBITaxon:35531", MOUSE),  # a subspecies of the mouse
        ("NCBITaxon:6239", ["WBGene00000001", "WBGene00000002"]),
        ("NCBITaxon:7227", ["FBgn0031208", "FBgn0002121"]),
    ],
)
def test_each_organism_has_its_own_annotation(tmp_path: Path, organism: str, ids: Sequence[str]) -> None:
    uns = {"organism_ontology_term_id": organism}
    assert told(tmp_path, n_vars=len(ids), var_names=ids, uns=uns) == []


@pytest.mark.parametrize(
    ("ids", "code", "examples", "suggestion"),
    [
        (["CD4"], "gene_unknown", ["CD4"], "'CD4' is ENSG00000010610"),
        (["cd4"], "gene_unknown", ["cd4"], "'cd4' is ENSG00000010610"),
        (["ensg00000010610"], "gene_unknown", ["ensg00000010610"], "'ensg00000010610' is ENSG00000010610"),
        (["ENSG00000010610 "], "gene_unknown", ["'ENSG00000010610 '"], "is ENSG00000010610"),
        (["CD4_ENSG00000010610"], "gene_unknown", ["CD4_ENSG00000010610"], "is ENSG00000010610"),
        (["GRCh38_ENSG00000010610.11"], "gene_unknown", ["GRCh38_ENSG00000010610.11"], "is ENSG00000010610"),
        (["ERCC_00002"], "gene_unknown", ["ERCC_00002"], "'ERCC_00002' is ERCC-00002"),
        (["ENSG99999999999", "no gene"], "gene_unknown", ["ENSG99999999999", "no gene"], "an older or a newer release"),
        (["ENSG99999999999.1"], "gene_unknown", ["ENSG99999999999.1"], "an older or a newer release"),
        (["ENSG00000010610.11"], "gene_version", ["ENSG00000010610.11"], "ENSG00000010610.11 is ENSG00000010610"),
        (MOUSE[:2], "gene_organism", MOUSE[:2], "orthologs' ids in Homo sapiens"),
    ],
)
def test_ids_that_are_not_of_the_annotation(
    tmp_path: Path, ids: Sequence[str], code: str, examples: Sequence[str], suggestion: str
) -> None:
    var, raw = told(tmp_path, var_names=with_ids(*ids))
    assert (var.code, raw.code) == (f"var.index.{code}", f"raw.var.index.{code}")
    assert (var.where, raw.where) == ("var/_index", "raw/var/_index")
    assert var.count == raw.count == len(ids)
    assert list(var.examples) == list(examples)
    assert suggestion in var.suggestion


def test_each_kind_is_told_with_all_its_genes(tmp_path: Path) -> None:
    ids = with_ids("CD4", "no gene", "ENSG00000010610.11", *MOUSE)
    found = told(tmp_path, var_names=ids, raw=False)
    assert [(finding.code, finding.count) for finding in found] == [
        ("var.index.gene_unknown", 2),
        ("var.index.gene_version", 1),
        ("var.index.gene_organism", 3),
    ]
    assert "3 of Mus musculus (NCBITaxon:10090)" in found[2].message


def test_a_wrong_organism_is_told_by_what_the_genes_are(tmp_path: Path) -> None:
    found = told(tmp_path, n_vars=3, var_names=MOUSE, raw=False)
    assert [finding.code for finding in found] == ["var.index.gene_organism"]
    assert "adata.uns['organism_ontology_term_id'] = 'NCBITaxon:10090'" in found[0].suggestion


@pytest.mark.parametrize("organism", [None, "human", "EFO:0000001"])
def test_genes_are_not_compared_with_an_organism_that_nobody_knows(tmp_path: Path, organism: str | None) -> None:
    def change(data: Any) -> None:
        del data.uns["organism_ontology_term_id"]
        if organism:
            data.uns["organism_ontology_term_id"] = organism

    assert told(tmp_path, change, var_names=with_ids(*MOUSE)) == []


@pytest.mark.parametrize("versions", [False, True])
def test_a_column_that_holds_the_ids_is_found(tmp_path: Path, versions: bool) -> None:
    def change(data: Any) -> None:
        data.var["chromosome"] = pd.Categorical(["1"] * 10)
        data.var["gene_ids"] = [f"{name}.12" if versions else name for name in HUMAN]

    (found,) = told(tmp_path, change, var_names=[f"gene {i}" for i in range(10)], raw=False)
    assert (found.code, found.count) == ("var.index.gene_unknown", 10)
    assert "adata.var_names = adata.var['gene_ids']" in found.suggestion
    assert (".str.replace" in found.suggestion) == versions


def test_hostile_names_are_only_unknown(tmp_path: Path) -> None:
    names = ["", "x" * 100_000, "ENSG'; drop table genes; --", "é" * 30, "%", "ENSG00000010610\n"]
    found = told(tmp_path, var_names=with_ids(*names), raw=False)
    assert [(finding.code, finding.count) for finding in found] == [("var.index.gene_unknown", 6)]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("ENSG00000186092.7", "ENSG00000186092"),
        ("ENSMUSG00000102693.2", "ENSMUSG00000102693"),
        ("ENSG00000002586.20_PAR_Y", "ENSG00000002586_PAR_Y"),
        ("ENSG00000186092", "ENSG00000186092"),
        ("2L52.1", "2L52.1"),
        ("RP11-34P13.7", "RP11-34P13.7"),
    ],
)
def test_versions_are_those_of_ensembl_ids(name: str, plain: str) -> None:
    assert without_version(name) == plain


def raw_names(data: Any, names: Sequence[str]) -> None:
    raw = data.raw.to_adata()
    raw.var_names = list(names)
    data.raw = raw


@pytest.mark.parametrize(
    ("names", "count", "example", "suggestion"),
    [
        (
            [HUMAN[1], HUMAN[0], *HUMAN[2:]],
            2,
            f"{HUMAN[0]} in var, {HUMAN[1]} in raw.var",
            "adata.raw[:, adata.var_names]",
        ),
        (
            [*HUMAN[:9], "ERCC-00002"],
            1,
            f"{HUMAN[9]} in var, ERCC-00002 in raw.var",
            "from an AnnData of the same genes",
        ),
    ],
)
def test_raw_var_names_the_same_genes(
    tmp_path: Path, names: Sequence[str], count: int, example: str, suggestion: str
) -> None:
    (found,) = told(tmp_path, lambda data: raw_names(data, names))
    assert (found.code, found.where, found.count) == ("raw.var.index.differs", "raw/var/_index", count)
    assert found.examples[0] == example
    assert suggestion in found.suggestion


def test_few_genes_are_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.h5ad"
    make_anndata().write_h5ad(path)
    found = {finding.code: finding for finding in validate(LocalSource(path), SCHEMA).findings}["var.few_genes"]
    assert (found.severity, found.where) == ("warning", "var")
    assert "10 genes" in found.message


BIOTYPE = {"frame": "var", "gene": "gene", "spike_in": "spike-in", "spike_ins": "NCBITaxon:32630"}
BIOTYPES = Schema(
    "2.0.0",
    "",
    "",
    (AppliedRule(get_rule("feature_biotype"), "var.feature_biotype.not_allowed", "error", "", BIOTYPE),),
)


@pytest.mark.parametrize("categorical", [True, False])
@pytest.mark.parametrize(
    ("given", "examples"),
    [
        (["spike-in", *["gene"] * 9], ()),
        (["gene"] * 10, ("ERCC-00002: 'gene' where 'spike-in' is right",)),
        (["spike-in", "spike-in", *["gene"] * 8], (f"{HUMAN[1]}: 'spike-in' where 'gene' is right",)),
        (["spike-in", "protein_coding", *["gene"] * 8], (f"{HUMAN[1]}: 'protein_coding' where 'gene' is right",)),
    ],
)
def test_biotypes_are_those_of_the_ids(
    tmp_path: Path, given: Sequence[str], examples: Sequence[str], categorical: bool
) -> None:
    data = make_anndata(var_names=with_ids("ERCC-00002"))
    data.var["feature_biotype"] = pd.Categorical(given) if categorical else list(given)
    path = tmp_path / "a.h5ad"
    data.write_h5ad(path)
    report = validate(LocalSource(path), BIOTYPES)
    assert report.checked == ("var.feature_biotype.not_allowed",)
    assert [finding.examples for finding in report.findings] == ([tuple(examples)] if examples else [])


def flag(data: Any, *genes: int) -> None:
    data.var["feature_is_filtered"] = np.isin(np.arange(data.n_vars), genes)


def clear(data: Any, *genes: int) -> None:
    """Makes the values of some genes in X zero."""
    values = data.X.toarray()
    values[:, list(genes)] = 0
    data.X = type(data.X)(values)


def test_genes_that_are_flagged_and_zero_in_x_are_as_they_should_be(tmp_path: Path) -> None:
    def change(data: Any) -> None:
        clear(data, 3, 4)
        flag(data, 3, 4)

    assert told(tmp_path, change, scan=True) == []


def test_genes_without_counts_at_all_need_no_flag(tmp_path: Path) -> None:
    def change(data: Any) -> None:
        clear(data, 3)
        raw = data.raw.to_adata()
        clear(raw, 3)
        data.raw = raw

    assert told(tmp_path, change, scan=True) == []


def test_flagged_genes_with_values_are_named(tmp_path: Path) -> None:
    (found,) = told(tmp_path, lambda data: flag(data, 0, 1), scan=True)
    assert (found.code, found.severity, found.count) == ("var.feature_is_filtered.not_zero", "error", 2)
    assert found.where == "var/feature_is_filtered"
    assert found.examples[0] == f"{HUMAN[0]} (20 cells)"


def test_genes_that_are_zero_in_x_alone_are_named(tmp_path: Path) -> None:
    (found,) = told(tmp_path, lambda data: clear(data, 0, 1), scan=True)
    assert (found.code, found.severity, found.count) == ("var.feature_is_filtered.all_zero", "error", 2)
    assert found.examples == tuple(HUMAN[:2])


def test_values_that_cancel_out_are_no_zeros(tmp_path: Path) -> None:
    def change(data: Any) -> None:
        values = data.X.toarray()
        values[:, 0] = np.where(np.arange(20) % 2, 1, -1)
        data.X = values

    assert told(tmp_path, change, scan=True) == []


def test_without_raw_no_gene_is_flagged(tmp_path: Path) -> None:
    (found,) = told(tmp_path, lambda data: flag(data, 2), raw=False, scan=True)
    assert (found.code, found.count, found.examples) == ("var.feature_is_filtered.without_raw", 1, (HUMAN[2],))


def test_the_column_is_required_and_of_bool(tmp_path: Path) -> None:
    def drop(data: Any) -> None:
        del data.var["feature_is_filtered"]

    def text(data: Any) -> None:
        data.var["feature_is_filtered"] = pd.Categorical(["False"] * 10)

    assert [finding.code for finding in told(tmp_path, drop)] == ["var.feature_is_filtered.missing"]
    assert [finding.code for finding in told(tmp_path, text, scan=True)] == ["var.feature_is_filtered.type"]


def test_raw_var_does_not_have_the_column(tmp_path: Path) -> None:
    def change(data: Any) -> None:
        data.raw.var["feature_is_filtered"] = False

    (found,) = told(tmp_path, change)
    assert found.code == found.code == "raw.var.feature_is_filtered.not_expected"
    assert found.where == "raw/var/feature_is_filtered"


@pytest.mark.parametrize("frame", ["var", "raw/var"])
def test_genes_are_named_by_text(tmp_path: Path, frame: str) -> None:
    path = tmp_path / "a.h5ad"
    make_anndata().write_h5ad(path)
    with h5py.File(path, "r+") as file:
        del file[f"{frame}/_index"]
        file[f"{frame}/_index"] = np.arange(10)
        file[f"{frame}/_index"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    codes = [finding.code for finding in told_of(path)]
    assert f"{frame.replace('/', '.')}.index.type" in codes

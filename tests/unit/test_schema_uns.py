"""Rules about uns: its keys, colors, and guides of genetic perturbations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from celldock.h5ad.headers import MAX_UNS_ELEMENTS
from celldock.h5ad.source import LocalSource
from celldock.report import Finding
from celldock.schema import Setting, load_schema, validate
from tests.builders import make_anndata, make_h5ad

SCHEMA = load_schema("7.1.0")
ORGANISM = "organism_ontology_term_id"
GUIDE: Mapping[str, Any] = {
    "role": "targeting",
    "protospacer_sequence": "ACGTACGTACGTACGTACGT",
    "protospacer_adjacent_motif": "3' NGG",
}

type Change = Callable[[anndata.AnnData], Any]


def told(tmp_path: Path, change: Change | None = None, setting: Setting | None = None, /, **uns: Any) -> list[Finding]:
    """What is said of the uns of a sound file with other values in it; None takes a key out."""
    data = make_anndata(uns={key: value for key, value in uns.items() if value is not None})
    for key, value in uns.items():
        if value is None:
            data.uns.pop(key, None)
    if change:
        change(data)
    path = tmp_path / "a.h5ad"
    data.write_h5ad(path)
    findings = validate(LocalSource(path), SCHEMA, setting=setting).findings
    return [each for each in findings if each.code.startswith("uns.") or each.code.endswith(".pre_analysis")]


@pytest.mark.parametrize(
    "uns",
    [
        {},
        {"title": "Zellen des Herzens — all of them"},
        {ORGANISM: "NCBITaxon:10090"},
        {ORGANISM: "NCBITaxon:35531"},
        {ORGANISM: "NCBITaxon:6239"},
        {"batch_condition": ["donor_id", "sex_ontology_term_id"]},
        {"batch_condition": np.array(["donor_id"], dtype=object)},
        {"default_embedding": "X_umap"},
        {"X_approximate_distribution": "count"},
        {"X_approximate_distribution": "normal"},
        {"log1p": {"base": np.array([])}},
        {"flag": False, "other": True, "zero": 0, "number": 1.5},
        {"graph": sparse.csr_matrix((2, 2))},
        {"table": pd.DataFrame({"a": [1]})},
    ],
    ids=str,
)
def test_what_the_schema_allows_is_not_told(tmp_path: Path, uns: Mapping[str, Any]) -> None:
    assert told(tmp_path, **uns) == []


def test_none_is_no_empty_value(tmp_path: Path) -> None:
    def change(data: anndata.AnnData) -> None:
        data.uns["neighbors"] = {"params": None}
        data.uns["nothing"] = None

    with anndata.settings.override(allow_write_nullable_strings=True):
        assert told(tmp_path, change) == []


@pytest.mark.parametrize(
    ("uns", "code", "where", "suggestion"),
    [
        ({"title": None}, "title.missing", "title", "adata.uns['title'] = "),
        ({"title": None, "Title": "x"}, "title.missing", "title", "The key 'Title' looks like it"),
        ({"title": ["A title"]}, "title.type", "title", "adata.uns['title'] = 'A title'"),
        ({"title": 5}, "title.type", "title", "a text (str)"),
        ({"title": "Two  blanks"}, "title.spaces", "title", "'Two blanks'"),
        ({"title": " In front"}, "title.spaces", "title", "'In front'"),
        ({"title": "Behind\t"}, "title.spaces", "title", "'Behind'"),
        ({ORGANISM: None}, f"{ORGANISM}.missing", ORGANISM, "NCBITaxon:9606 (Homo sapiens)"),
        ({ORGANISM: ["NCBITaxon:9606"]}, f"{ORGANISM}.type", ORGANISM, "= 'NCBITaxon:9606'"),
        ({ORGANISM: 9606}, f"{ORGANISM}.type", ORGANISM, "a text (str)"),
        ({ORGANISM: "Homo sapiens"}, f"{ORGANISM}.term_unknown", ORGANISM, "NCBITaxon:9606 (Homo sapiens)"),
        ({ORGANISM: "NCBITaxon_9606"}, f"{ORGANISM}.term_unknown", ORGANISM, "NCBITaxon:9606 (Homo sapiens)"),
        ({ORGANISM: "ncbitaxon:9606"}, f"{ORGANISM}.term_unknown", ORGANISM, "NCBITaxon:9606 (Homo sapiens)"),
        ({ORGANISM: ""}, f"{ORGANISM}.term_unknown", ORGANISM, ""),
        ({ORGANISM: "EFO:0000001"}, f"{ORGANISM}.term_not_allowed", ORGANISM, "NCBITaxon:9606 (Homo sapiens)"),
        ({"batch_condition": "donor_id"}, "batch_condition.type", "batch_condition", "['donor_id']"),
        ({"batch_condition": [1, 2]}, "batch_condition.type", "batch_condition", "a list"),
        ({"batch_condition": ["donor", "sex"]}, "batch_condition.column_unknown", "batch_condition", "'donor_id'"),
        ({"default_embedding": ["X_umap"]}, "default_embedding.type", "default_embedding", "= 'X_umap'"),
        ({"default_embedding": "umap"}, "default_embedding.not_in_obsm", "default_embedding", "'X_umap'"),
        ({"default_embedding": "X_umpa"}, "default_embedding.not_in_obsm", "default_embedding", "'X_umap'"),
        ({"X_approximate_distribution": 1}, "X_approximate_distribution.type", "X_approximate_distribution", "text"),
        (
            {"X_approximate_distribution": "Counts"},
            "X_approximate_distribution.not_allowed",
            "X_approximate_distribution",
            "= 'count'",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_value(tmp_path: Path, uns: Mapping[str, Any], code: str, where: str, suggestion: str) -> None:
    found = {finding.code: finding for finding in told(tmp_path, **uns)}
    assert found.keys() - {"uns.values.empty"} == {f"uns.{code}"}
    assert found[f"uns.{code}"].where == f"uns/{where}"
    assert suggestion in found[f"uns.{code}"].suggestion


def test_the_organism_that_obs_names_is_suggested(tmp_path: Path) -> None:
    def change(data: anndata.AnnData) -> None:
        data.obs[ORGANISM] = pd.Categorical(["NCBITaxon:10090"] * data.n_obs)

    (found,) = told(tmp_path, change, **{ORGANISM: None})
    assert "Mus musculus" in found.suggestion


def test_keys_without_a_value_are_told_together(tmp_path: Path) -> None:
    empty = {
        "text": "",
        "array": np.array([]),
        "flat": np.zeros((3, 0)),
        "matrix": sparse.csr_matrix((2, 0)),
        "dictionary": {},
        "table": pd.DataFrame({"a": []}),
    }
    (found,) = told(tmp_path, **empty)
    assert (found.code, found.where, found.count) == ("uns.values.empty", "uns", 6)
    assert "array (an array of 0 float64)" in found.examples


def test_deprecated_keys_are_told_together(tmp_path: Path) -> None:
    (found,) = told(tmp_path, tags=["a"], version="1.1", project_name="x")
    assert (found.code, found.count, found.examples) == (
        "uns.keys.deprecated",
        3,
        ("tags", "version", "project_name"),
    )


def test_a_file_of_a_pre_analysis_collection_has_neither_cell_types_nor_a_default_embedding(tmp_path: Path) -> None:
    found = told(tmp_path, None, Setting(pre_analysis=True), default_embedding="X_umap")
    assert [finding.code for finding in found] == [
        "uns.default_embedding.pre_analysis",
        "obs.cell_type_ontology_term_id.pre_analysis",
        "obsm.pre_analysis",
    ]
    assert told(tmp_path, default_embedding="X_umap") == []


def test_long_values_are_not_compared_with_others(tmp_path: Path) -> None:
    found = told(tmp_path, batch_condition=["ab" * 100_000] * 3, default_embedding="X_" * 100_000)
    assert {finding.code for finding in found} == {
        "uns.batch_condition.column_unknown",
        "uns.default_embedding.not_in_obsm",
    }


SUSPENSION = "suspension_type_colors"


def categories(data: anndata.AnnData) -> None:
    """A column of three categories, of which one is not used."""
    values = ["cell", "nucleus"] * (data.n_obs // 2)
    data.obs["suspension_type"] = pd.Categorical(values, categories=["cell", "na", "nucleus"])
    data.obs["score"] = 1.5


@pytest.mark.parametrize(
    "colors",
    [
        ["#000000", "#FFffff", "#123456"],
        ["red", "Blue", "REBECCAPURPLE"],
        ["#000000"] * 5,
    ],
)
def test_colors_as_they_should_be(tmp_path: Path, colors: Sequence[str]) -> None:
    assert told(tmp_path, categories, **{SUSPENSION: np.array(colors, dtype=object)}) == []


@pytest.mark.parametrize(
    ("key", "colors", "code", "count", "suggestion"),
    [
        ("suspension_colors", ["red"], "column", 1, "'suspension_type_colors'"),
        ("score_colors", ["red"], "column", 1, ".astype('category')"),
        ("nothing_like_it_colors", ["red"], "column", 1, "del adata.uns"),
        ("cell_type_colors", ["red"], "label_column", 1, "cell_type_ontology_term_id_colors"),
        (SUSPENSION, [1, 2, 3], "type", 1, "numpy.array"),
        (SUSPENSION, [np.nan] * 3, "type", 1, "numpy.array"),
        (SUSPENSION, "red", "type", 1, "numpy.array"),
        (SUSPENSION, [["red", "red", "red"]], "dimensions", 1, "to_hex"),
        (SUSPENSION, ["red", "blue"], "count", 1, "remove_unused_categories"),
        (SUSPENSION, ["red"], "count", 2, "Add colors"),
        (SUSPENSION, ["red", "blue", "#000000"], "model", 1, "codes"),
        (SUSPENSION, ["#000", "#fff", "#000000"], "model", 2, "'#000' as '#000000'"),
        (SUSPENSION, ["#00000080", "#000000", "#000000"], "model", 1, "'#00000080' is '#000000'"),
        (SUSPENSION, ["light blue", "red", "red"], "model", 1, "'lightblue'"),
        (SUSPENSION, ["", "#zzzzzz", "red"], "model", 2, "codes"),
    ],
)
def test_wrong_colors(tmp_path: Path, key: str, colors: Any, code: str, count: int, suggestion: str) -> None:
    (found,) = told(tmp_path, categories, **{key: colors if isinstance(colors, str) else np.array(colors)})
    assert (found.code, found.where, found.count) == (f"uns.colors.{code}", f"uns/{key}", count)
    assert suggestion in found.suggestion


def guides(*ids: str, **changes: Any) -> dict[str, Any]:
    """Guides of which the first has other values; None takes a key out."""
    first = {key: value for key, value in {**GUIDE, **changes}.items() if value is not None}
    return {name: dict(GUIDE) for name in ids} | {ids[0]: first}


def perturbed(data: anndata.AnnData) -> None:
    data.obs["genetic_perturbation_id"] = pd.Categorical(["g1"] * data.n_obs)
    data.obs["genetic_perturbation_strategy"] = pd.Categorical(["CRISPR knockout screen"] * data.n_obs)


@pytest.mark.parametrize(
    "perturbations",
    [
        guides("g1", "g2"),
        guides("g1", role="control", protospacer_sequence="A" * 14, protospacer_adjacent_motif="3' TTTV"),
        guides("g1", intended_features={"ENSG00000010610": "CD4"}),
        guides("g1", "CD4-1.a|b_(c)"),
    ],
    ids=str,
)
def test_guides_as_they_should_be(tmp_path: Path, perturbations: Mapping[str, Any]) -> None:
    assert told(tmp_path, perturbed, genetic_perturbations=perturbations) == []


@pytest.mark.parametrize(
    ("perturbations", "code", "count", "example", "suggestion"),
    [
        ("guides", "type", 1, None, "dictionary"),
        ({"g1": dict(GUIDE), "g2": "control"}, "type", 1, "g2", "dictionary"),
        (guides("g1", "a b", "naïve", "x,y", "it's"), "id", 4, "a b", "'a b' to 'a_b'"),
        (guides("g1", "na"), "id", 1, "na", "'na' to 'na_1'"),
        (guides("g1", role=None), "role", 1, "g1", "'control' or 'targeting'"),
        (guides("g1", role="Control"), "role", 1, "g1: 'Control'", "as 'control'"),
        (guides("g1", role=1), "role", 1, "g1: 1", "'control' or 'targeting'"),
        (guides("g1", protospacer_sequence=None), "protospacer_sequence", 1, "g1", "14 to 22"),
        (guides("g1", protospacer_sequence="acguacguacguacgu"), "protospacer_sequence", 1, None, "'ACGTACGTACGTACGT'"),
        (guides("g1", protospacer_sequence="ACGT"), "protospacer_sequence", 1, "g1: 'ACGT'", "14 to 22"),
        (guides("g1", protospacer_sequence="A" * 23), "protospacer_sequence", 1, None, "14 to 22"),
        (guides("g1", protospacer_sequence="N" * 20), "protospacer_sequence", 1, None, "14 to 22"),
        (guides("g1", protospacer_adjacent_motif=None), "protospacer_adjacent_motif", 1, "g1", "3' NGG"),
        (guides("g1", protospacer_adjacent_motif="NGG"), "protospacer_adjacent_motif", 1, "g1: 'NGG'", '"3\' NGG"'),
        (guides("g1", protospacer_adjacent_motif="3’-ngg"), "protospacer_adjacent_motif", 1, None, '"3\' NGG"'),
        (guides("g1", protospacer_adjacent_motif="3' NXG"), "protospacer_adjacent_motif", 1, None, "nucleotide"),
        (guides("g1", note="x", other=1), "extra_keys", 1, "note (1 guide)", "of their own"),
        (guides("g1", intended_features={"CD4": "CD4"}), "intended_features", 1, "g1: CD4", "Ensembl ids"),
        (
            guides("g1", intended_features={"ENSG00000010610.11": "CD4"}),
            "intended_features",
            1,
            "g1: ENSG00000010610.11",
            "ENSG00000010610.11 is ENSG00000010610",
        ),
        (
            guides("g1", intended_features={"ENSMUSG00000051951": "Xkr4"}),
            "intended_features",
            1,
            "g1: ENSMUSG00000051951",
            "Ensembl ids",
        ),
        (guides("g1", intended_features="CD4"), "intended_features", 1, "g1: 'CD4'", "dictionary"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_wrong_guides(
    tmp_path: Path, perturbations: Any, code: str, count: int, example: str | None, suggestion: str
) -> None:
    (found,) = told(tmp_path, perturbed, genetic_perturbations=perturbations)
    assert (found.code, found.count) == (f"uns.genetic_perturbations.{code}", count)
    assert found.where == "uns/genetic_perturbations"
    assert example is None or example in found.examples
    assert suggestion in found.suggestion


def test_guides_and_the_column_that_names_them_come_together(tmp_path: Path) -> None:
    (missing,) = told(tmp_path, perturbed)
    assert missing.code == "uns.genetic_perturbations.missing"
    found = {finding.code for finding in told(tmp_path, genetic_perturbations=guides("g1"))}
    assert found == {"uns.genetic_perturbations.not_expected"}


def test_what_is_not_looked_at_is_not_called_valid(tmp_path: Path) -> None:
    path = make_h5ad(tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        crowd = file.create_group("uns/crowd")
        for number in range(MAX_UNS_ELEMENTS):
            crowd.create_group(str(number))

    assert "uns.too_many_elements" in {finding.code for finding in validate(LocalSource(path), SCHEMA).findings}

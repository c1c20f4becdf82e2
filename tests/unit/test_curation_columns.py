"""What a config adds to obs, var and uns, what makes room for it, and what it says where it cannot be done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from celldock.curation.columns import stated_organism
from celldock.curation.reading import read_curation
from celldock.h5ad.additions import RemovedColumn
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.source import LocalSource
from celldock.schema import load_schema
from celldock.schema.reference import open_reference
from tests.builders import OBS, make_anndata_2_0_0
from tests.curations import CELLS, curate, problems, write_cells

CELL_TYPE = "cell_type_ontology_term_id"
HALVES = CELLS // 2


def halves(one: Any, other: Any) -> list[Any]:
    return [one, other] * HALVES


def test_one_value_for_all_cells(tmp_path: Path) -> None:
    path = write_cells(tmp_path / "a.h5ad")
    made = curate(
        path,
        "obs:\n  assay_ontology_term_id: 10x 3' v2\n  disease_ontology_term_id: [asthma, MONDO:0005015]\n"
        "  donor_id: 7\n  is_primary_data: false\n  age: 30\n  weight: 1.5\n  batch: first\n",
    )

    assert {path: (column.dtype.name, column[0], len(column)) for path, column in made.columns.items()} == {
        "obs/assay_ontology_term_id": ("category", "EFO:0009899", CELLS),
        "obs/disease_ontology_term_id": ("category", "MONDO:0004979 || MONDO:0005015", CELLS),
        "obs/donor_id": ("category", "7", CELLS),
        "obs/is_primary_data": ("bool", False, CELLS),
        "obs/age": ("int64", 30, CELLS),
        "obs/weight": ("float64", 1.5, CELLS),
        "obs/batch": ("category", "first", CELLS),
    }
    assert made.changes("obs.term_resolved")["obs/assay_ontology_term_id"].details == {"10x 3' v2": "EFO:0009899"}
    assert made.ledger.findings == []


@pytest.mark.parametrize(
    ("column", "keys"),
    [
        (pd.Categorical(halves("a", "b"), categories=["b", "unused", "a"]), ("a", "b")),
        (halves("a", "b"), ("a", "b")),
        (halves(0, 12), ("0", "12")),
        (np.array(halves(0.1, 2), np.float32), ("0.1", "2")),
        (halves(0.1, 2.0), ("0.1", "2.0")),
        (halves(True, False), ("true", "False")),
        (pd.Categorical(halves(3, 4)), ("3", "4")),
        (pd.array(halves(3, 4), "Int64"), ("3", "4")),
        (pd.array(halves(True, False), "boolean"), ("True", "false")),
        (halves('a "quoted"\nline', "ü"), ('"a \\"quoted\\"\\nline"', "ü")),
    ],
)
def test_a_map_takes_values_of_any_column_by_their_texts(tmp_path: Path, column: Any, keys: tuple[str, str]) -> None:
    path = write_cells(tmp_path / "a.h5ad", {"source": column})
    made = curate(path, f"obs:\n  {CELL_TYPE}:\n    source:\n      {keys[0]}: T cell\n      {keys[1]}: CL:0000451\n")

    assert made.columns[f"obs/{CELL_TYPE}"].tolist() == halves("CL:0000084", "CL:0000451")
    assert made.columns[f"obs/{CELL_TYPE}"].cat.categories.tolist() == ["CL:0000084", "CL:0000451"]
    assert len(made.changes("obs.mapped")[f"obs/{CELL_TYPE}"].details) == 2
    assert made.ledger.findings == []


def test_a_map_may_lead_to_booleans_and_numbers(tmp_path: Path) -> None:
    path = write_cells(tmp_path / "a.h5ad", {"source": halves("a", "b")})
    made = curate(path, "obs:\n  is_primary_data: {source: {a: true, b: false}}\n  score: {source: {a: 1, b: 2.5}}\n")

    assert made.columns["obs/is_primary_data"].tolist() == halves(True, False)
    assert made.columns["obs/is_primary_data"].dtype == bool
    assert made.columns["obs/score"].tolist() == halves(1.0, 2.5)


GAPS = {
    "categorical": pd.Categorical(halves("a", None)),
    "float": halves(1.0, np.nan),
    "nullable": pd.array(halves(1, None), "Int64"),
}


@pytest.mark.parametrize("kind", GAPS)
@pytest.mark.parametrize("policy", ["unknown", "keep"])
def test_what_is_missing_is_unmapped(tmp_path: Path, kind: str, policy: str) -> None:
    path = write_cells(tmp_path / "a.h5ad", {"source": GAPS[kind]})
    made = curate(path, f"unmapped: {policy}\nobs:\n  {CELL_TYPE}: {{source: {{a: T cell, 1: T cell}}}}\n")

    column = made.columns[f"obs/{CELL_TYPE}"]
    assert column.astype(object).fillna("gone").tolist() == halves(
        "CL:0000084", "unknown" if policy == "unknown" else "gone"
    )
    assert made.changes("obs.unmapped")[f"obs/{CELL_TYPE}"].details == ("missing",)


def test_unmapped_values_are_a_problem_that_names_them(tmp_path: Path) -> None:
    path = write_cells(tmp_path / "a.h5ad", {"source": pd.Categorical(["a", "b", "c", None, "b", "a", "a", "a"])})
    made = curate(path, f"obs:\n  {CELL_TYPE}:\n    source: {{a: T cell}}\n")
    (finding,) = made.ledger.findings

    assert (finding.code, finding.where, finding.count) == ("obs.unmapped", "curation.yaml, line 2", 4)
    assert finding.message == (
        "3 values of obs/source, in 4 cells, have nothing to become in cell_type_ontology_term_id."
    )
    assert finding.examples == ("b (2 cells)", "c (1 cell)", "missing (1 cell)")
    assert not made.columns.keys() & {f"obs/{CELL_TYPE}"}


def test_unmapped_values_are_kept_or_unknown_where_that_is_asked_for(tmp_path: Path) -> None:
    path = write_cells(tmp_path / "a.h5ad", {"source": halves("a", "CL:0000451")})
    config = "unmapped: keep\nobs:\n  {}: {{column: source, map: {{a: T cell}}{}}}\n"

    kept = curate(path, config.format(CELL_TYPE, ""))
    assert kept.columns[f"obs/{CELL_TYPE}"].tolist() == halves("CL:0000084", "CL:0000451")
    assert [finding.code for finding in kept.ledger.findings] == ["obs.kept"]
    unknown = curate(path, config.format(CELL_TYPE, ", unmapped: unknown"))
    assert unknown.columns[f"obs/{CELL_TYPE}"].tolist() == halves("CL:0000084", "unknown")
    impossible = curate(
        path, config.format("disease_ontology_term_id", ", unmapped: unknown").replace("T cell", "asthma")
    )
    assert problems(impossible) == [("obs.unknown_not_allowed", "line 3")]


def test_what_a_map_has_and_the_column_has_not_is_a_warning(tmp_path: Path) -> None:
    path = write_cells(tmp_path / "a.h5ad", {"source": ["a"] * CELLS})
    (finding,) = curate(path, f"obs:\n  {CELL_TYPE}:\n    source: {{a: T cell, A: B cell}}\n").ledger.findings

    assert (finding.severity, finding.code, finding.examples) == ("warning", "obs.map_unused", ("A",))


def test_a_column_is_taken_over_as_the_schema_wants_it(tmp_path: Path) -> None:
    path = write_cells(
        tmp_path / "a.h5ad",
        {
            "patient": halves(1, 2),
            "label": halves("T cell", "CL:0000451"),
            "first": pd.Categorical(halves("True", "False")),
            "dose": pd.array(halves(1, None), "Int64"),
            "stage": pd.Categorical(halves("late", "early"), categories=["late", "early", "never"], ordered=True),
        },
    )
    made = curate(
        path,
        f"obs:\n  donor_id: {{column: patient}}\n  {CELL_TYPE}: {{column: label}}\n"
        "  is_primary_data: {column: first}\n  amount: {column: dose}\n  time: {column: stage}\n",
    )

    assert made.columns["obs/donor_id"].tolist() == halves("1", "2")
    assert made.columns[f"obs/{CELL_TYPE}"].tolist() == halves("CL:0000084", "CL:0000451")
    assert made.columns["obs/is_primary_data"].tolist() == halves(True, False)
    (amount,) = [column for column in made.additions.columns if column.name == "amount"]
    assert (amount.kind, amount.dtype) == ("nullable-integer", "int64")
    assert made.columns["obs/time"].cat.ordered
    assert made.columns["obs/time"].cat.categories.tolist() == ["late", "early"]


def test_cells_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celldock.curation.making.BLOCK_ROWS", 3)
    monkeypatch.setattr("celldock.schema.facts.BLOCK_ROWS", 3)
    path = write_cells(tmp_path / "a.h5ad", {"source": pd.Categorical(halves("a", "b"))})
    made = curate(path, f"obs:\n  {CELL_TYPE}: {{source: {{a: T cell, b: unknown}}}}\n  batch: one\n")

    assert made.columns[f"obs/{CELL_TYPE}"].tolist() == halves("CL:0000084", "unknown")
    assert made.columns["obs/batch"].tolist() == ["one"] * CELLS


def test_originals_make_room_and_keep_their_values(tmp_path: Path) -> None:
    path = write_cells(
        tmp_path / "a.h5ad",
        {
            "donor_id": halves("p1", "p2"),
            "cell_type": halves("a", "b"),
            "author_cell_type": halves("a", "b"),
            "ethnicity": ["x"] * CELLS,
        },
        {"title": "old", "citation": "someone", "cell_type_colors": np.array(["#fff", "#000"]), "tags": "x", "ok": 1},
    )
    made = curate(path, "uns: {title: New}\nobs:\n  donor_id: {column: donor_id}\n")

    assert made.renamed == {
        "obs/donor_id": "author_donor_id",
        "obs/cell_type": "author_cell_type_2",
        "obs/ethnicity": "author_ethnicity",
        "uns/title": "uns/author_title",
        "uns/citation": "uns/author_citation",
        "uns/cell_type_colors": "uns/author_cell_type_2_colors",
        "uns/tags": "uns/author_tags",
    }
    assert made.columns["obs/donor_id"].tolist() == halves("p1", "p2")
    assert set(made.changes("obs.renamed")) == {"obs/donor_id", "obs/cell_type", "obs/ethnicity"}


def test_a_file_that_the_portal_has_labelled_is_told(tmp_path: Path) -> None:
    labels = ["assay", "cell_type", "development_stage", "disease", "self_reported_ethnicity", "sex", "tissue"]
    made = curate(write_cells(tmp_path / "a.h5ad", dict.fromkeys(labels, "x")), "")
    less = curate(write_cells(tmp_path / "b.h5ad", dict.fromkeys(labels[1:], "x")), "")

    assert [(finding.severity, finding.code) for finding in made.ledger.findings] == [("warning", "obs.labelled")]
    assert (len(made.renamed), len(less.renamed), less.ledger.findings) == (7, 6, [])


def test_columns_of_genes_make_room_too(tmp_path: Path) -> None:
    path = tmp_path / "a.h5ad"
    data = make_anndata_2_0_0(n_obs=CELLS)
    data.var["feature_name"] = data.raw.var["feature_name"] = data.var_names
    data.write_h5ad(path)
    made = curate(path, "var: {feature_is_filtered: false}")

    assert {path: name for path, name in made.renamed.items() if "var" in path} == {
        "var/feature_name": "author_feature_name",
        "raw/var/feature_name": "author_feature_name",
        "var/feature_biotype": "author_feature_biotype",
        "raw/var/feature_biotype": "author_feature_biotype",
        "var/feature_is_filtered": "author_feature_is_filtered",
    }
    assert made.columns["var/feature_is_filtered"].tolist() == [False] * data.n_vars


def test_what_is_dropped_can_be_read_first_and_replaced(tmp_path: Path) -> None:
    obs = {"name": halves("Ann", "Ben"), "donor_id": halves("x", "y"), "cell_type": halves("a", "b")}
    path = write_cells(tmp_path / "a.h5ad", obs, {"private": "x", "title": "old"})
    made = curate(
        path,
        "uns: {title: New}\nobs:\n  donor_id: {name: {Ann: d1, Ben: d2}}\n"
        "drop: [obs.name, obs.donor_id, obs.cell_type, uns.private, uns.title]\n",
    )

    assert made.additions.removed_columns == (RemovedColumn("obs", "cell_type"), RemovedColumn("obs", "name"))
    assert made.additions.removed_elements == ("uns/private",)
    assert not made.renamed
    assert [each.path for each in made.additions.elements if each.replaces] == ["uns/title"]
    assert [each.name for each in made.additions.columns if each.replaces] == ["donor_id"]


def test_uns_holds_what_the_config_says(tmp_path: Path) -> None:
    path = write_cells(tmp_path / "a.h5ad", uns={"spatial": {"library": {"x": 1}}})
    made = curate(
        path,
        "uns:\n  title: Mine\n  organism_ontology_term_id: Homo sapiens\n  batch_condition: [a, b]\n  sizes: [1, 2.5]\n"
        "  spatial: {is_single: true}\n  more: {deep: {er: x}}\n",
    )

    lists = {path: list(value) for path, value in made.elements.items() if isinstance(value, np.ndarray)}
    assert lists == {"uns/batch_condition": ["a", "b"], "uns/sizes": [1.0, 2.5]}
    assert {path: value for path, value in made.elements.items() if path not in lists} == {
        "uns/title": "Mine",
        "uns/organism_ontology_term_id": "NCBITaxon:9606",
        "uns/spatial/is_single": True,
        "uns/more": {"deep": {"er": "x"}},
    }
    assert not made.renamed


def test_what_cannot_be_is_told_with_its_line(tmp_path: Path) -> None:
    path = write_cells(tmp_path / "a.h5ad", {"patient": halves("p1", "p2"), "bulk": halves("a", "b")})
    made = curate(
        path,
        """\
uns: {titel: x}
obs:
  cell_type: x
  cel_type_ontology_term_id: T cell
  organism_ontology_term_id: Homo sapiens
  observation_joinid: x
  donor_id: {column: pateint}
  is_primary_data: "yes"
  disease_ontology_term_id: ""
  tissue_type:
    bulk: {a: organ,
           b: tissue}
  mixed: {bulk: {a: 1, b: x}}
  sex_ontology_term_id: {column: patient}
  a/b: x
  list: [a, b]
  _index: x
  .: x
  __x: y
""",
    )

    assert sorted(problems(made), key=lambda found: int(found[1].split()[1])) == [
        ("uns.field_unknown", "line 1"),
        ("obs.field_unknown", "line 3"),
        ("obs.field_unknown", "line 4"),
        ("obs.field_unknown", "line 5"),
        ("obs.field_unknown", "line 6"),
        ("obs.column_missing", "line 7"),
        ("obs.value_not_allowed", "line 8"),
        ("obs.term_unresolved", "line 9"),
        ("obs.value_not_allowed", "line 11"),
        ("obs.mixed_types", "line 13"),
        ("obs.term_unresolved", "line 14"),
        ("obs.term_unresolved", "line 14"),
        ("obs.field_unknown", "line 15"),
        ("obs.value_not_allowed", "line 16"),
        ("obs.field_unknown", "line 17"),
        ("obs.field_unknown", "line 18"),
        ("obs.field_unknown", "line 19"),
    ]
    said = {finding.where: finding.suggestion for finding in made.ledger.findings}
    assert said["curation.yaml, line 3"] == "Set cell_type_ontology_term_id."
    assert said["curation.yaml, line 4"].startswith("cell_type_ontology_term_id may be meant.")
    assert said["curation.yaml, line 5"] == "Set it in uns."
    assert said["curation.yaml, line 7"] == "'patient' may be meant."


def test_of_very_many_problems_the_first_are_told(tmp_path: Path) -> None:
    path = write_cells(tmp_path / "a.h5ad", {"source": [f"s{i}" for i in range(60)]}, n_obs=60)
    lines = "".join(f"      s{i}: no such disease {i}\n" for i in range(60))
    made = curate(path, f"obs:\n  tissue_type:\n    source:\n{lines}")

    assert len(made.ledger.findings) == 51
    assert made.ledger.findings[-1].count == 10


def test_the_organism_decides_what_a_label_stands_for(tmp_path: Path) -> None:
    path = write_cells(tmp_path / "a.h5ad")
    config = "uns: {{organism_ontology_term_id: {}}}\nobs: {{development_stage_ontology_term_id: adult stage}}"

    made = [curate(path, config.format(each)) for each in ("Homo sapiens", "Drosophila melanogaster")]
    stages = [each.columns["obs/development_stage_ontology_term_id"][0] for each in made]
    assert stages == ["HsapDv:0000258", "FBdv:00005369"]


@pytest.mark.parametrize(
    ("config", "uns", "organism"),
    [
        ("uns: {organism_ontology_term_id: Mus musculus}", "NCBITaxon:9606", "NCBITaxon:10090"),
        ("", "NCBITaxon:9606", "NCBITaxon:9606"),
        ("", "human", None),
        ("uns: {organism_ontology_term_id: human}", "NCBITaxon:9606", None),
    ],
)
def test_the_organism_is_that_of_the_config_or_else_of_the_file(
    tmp_path: Path, config: str, uns: str, organism: str | None
) -> None:
    path = write_cells(tmp_path / "a.h5ad", uns={"organism_ontology_term_id": uns})
    with open_h5ad(LocalSource(path)) as file:
        curation = read_curation(config.encode())
        found = stated_organism(file, file.header(), curation, load_schema("7.1.0"), open_reference("7.1.0"))

    assert found == organism


def test_schema_2_0_0_has_the_organism_in_obs(tmp_path: Path) -> None:
    path = write_cells(tmp_path / "a.h5ad", drop=OBS)
    made = curate(
        path,
        "uns: {title: A, X_normalization: none}\nobs:\n  organism_ontology_term_id: Mus musculus\n"
        "  development_stage_ontology_term_id: unknown\n  ethnicity_ontology_term_id: na\n"
        "  tissue_ontology_term_id: lung (organoid)\n",
        "2.0.0",
    )

    assert problems(made) == []
    assert made.columns["obs/organism_ontology_term_id"].tolist()[0] == "NCBITaxon:10090"
    assert made.columns["obs/tissue_ontology_term_id"].tolist()[0] == "UBERON:0002048 (organoid)"
    assert made.elements["uns/schema_version"] == "2.0.0"
    assert made.columns["var/feature_biotype"].unique().tolist() == ["gene"]

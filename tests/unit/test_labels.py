"""The labels that the portal adds: what each is made of, in which categories, and from how much of a file at once."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xxhash

from celldock.errors import HostileFile, InvalidSubmission
from celldock.h5ad.additions import Additions, NewColumn
from celldock.h5ad.file import H5adFile, open_h5ad
from celldock.h5ad.frames import Column
from celldock.h5ad.headers import ColumnHeader
from celldock.h5ad.source import LocalSource
from celldock.labels import Citation, make_labels
from celldock.schema import Setting, load_schema
from tests.builders import cell_names, make_h5ad
from tests.changing import (
    ASSAY,
    CELL_LINE,
    CELL_TYPE,
    CELLS,
    CONDITION,
    DISEASE,
    ETHNICITY,
    GUIDE_IDS,
    GUIDES,
    TISSUE,
    in_some,
    write_changed,
)
from tests.parity.labelling import values_of

SCHEMA = load_schema("7.1.0")
OF_GENES = ["feature_name", "feature_reference", "feature_biotype", "feature_length", "feature_type"]


def labels(path: Path, **options: Any) -> tuple[Additions, dict[str, pd.Series]]:
    """The labels of a file, and the values of its new columns by path."""
    with open_h5ad(LocalSource(path)) as file:
        made = make_labels(file, file.header(), SCHEMA, **options)
        return made, {f"{column.frame}/{column.name}": values_of(column) for column in made.columns}


def of_cells(folder: Path, obs: Mapping[str, Any], uns: Mapping[str, Any] | None = None) -> dict[str, pd.Series]:
    """The columns of a valid file with these columns of obs."""
    return labels(write_changed(folder / "cells.h5ad", obs, uns))[1]


def test_a_file_gets_all_labels_in_the_portals_order(tmp_path: Path) -> None:
    made, columns = labels(write_changed(tmp_path / "cells.h5ad", {}))

    assert list(columns) == [
        *(f"obs/{name}" for name in ("cell_type", "assay", "disease", "sex", "tissue")),
        *(f"obs/{name}" for name in ("self_reported_ethnicity", "development_stage", "observation_joinid")),
        *(f"{frame}/{name}" for frame in ("var", "raw/var") for name in OF_GENES),
    ]
    cells = {name: set(values) for name, values in columns.items() if name.startswith("obs/")}
    assert cells.pop("obs/observation_joinid")
    assert cells == {
        "obs/cell_type": {"T cell"},
        "obs/assay": {"10x 3' v3"},
        "obs/disease": {"normal"},
        "obs/sex": {"female"},
        "obs/tissue": {"blood"},
        "obs/self_reported_ethnicity": {"unknown"},
        "obs/development_stage": {"adult stage"},
    }
    assert {element.path: element.value for element in made.elements} == {
        "uns/organism": "Homo sapiens",
        "uns/schema_version": "7.1.0",
        "uns/schema_reference": "https://github.com/chanzuckerberg/single-cell-curation/blob/main/schema/7.1.0/schema.md",
        "uns/is_pre_analysis": False,
    }
    assert not made.removed_columns
    assert not made.removed_elements
    assert not any(added.replaces for added in (*made.columns, *made.elements))


def test_every_reserved_name_is_a_label_that_is_made_or_left_to_an_aligner(tmp_path: Path) -> None:
    obs = {CONDITION: in_some("CHEBI:16412", "na"), GUIDE_IDS: in_some("tp53-1", "na")}
    citation = Citation("https://example.org/cells.h5ad", "https://example.org/heart")
    made, _ = labels(write_changed(tmp_path / "cells.h5ad", obs, GUIDES), citation=citation)

    found = {
        path: [column.name for column in made.columns if column.frame == path] for path in ("obs", "var", "raw/var")
    }
    found["uns"] = [element.path.removeprefix("uns/") for element in made.elements]
    reserved = {place.replace(".", "/"): list(names) for place, names in SCHEMA.labels.items()}
    assert list(reserved.pop("uns/genetic_perturbations")) == ["derived_genomic_regions", "derived_features"]
    assert found == reserved


@pytest.mark.parametrize(
    ("column", "value", "name", "label"),
    [
        (CELL_TYPE, "unknown", "cell_type", "unknown"),
        (TISSUE, "CVCL_0030", "tissue", "HeLa"),
        (DISEASE, "MONDO:0043004 || MONDO:1030008", "disease", "Weil's disease || mitral valve insufficiency"),
        (
            ETHNICITY,
            "HANCESTRO:0580 || HANCESTRO:0590",
            "self_reported_ethnicity",
            "Malaysian Chinese || European American",
        ),
        (
            CONDITION,
            "CHEBI:16412 || anti-uniprot:Q99467",
            "experimental_condition",
            "lipopolysaccharide || anti-CD180_HUMAN",
        ),
    ],
)
def test_several_terms_words_prefixes_and_cell_lines(
    tmp_path: Path, column: str, value: str, name: str, label: str
) -> None:
    columns = of_cells(tmp_path, {column: value})

    assert columns[f"obs/{name}"].tolist() == [label] * CELLS


def test_na_of_a_cell_line_is_na(tmp_path: Path) -> None:
    columns = of_cells(tmp_path, {**CELL_LINE, CELL_TYPE: "na"})

    for name in ("cell_type", "sex", "development_stage", "self_reported_ethnicity"):
        assert set(columns[f"obs/{name}"]) == {"na"}


@pytest.mark.parametrize(
    ("ids", "categories"),
    [
        # neuron, T cell, B cell: each has cells, so that the order of the ids stays.
        (["CL:0000540", "CL:0000084", "CL:0000236"], ["neuron", "T cell", "B cell"]),
        # Of T cells there are none.
        (["CL:0000540", "CL:0000236"], ["B cell", "neuron"]),
    ],
)
def test_categories_keep_the_order_of_the_ids_or_are_sorted(
    tmp_path: Path, ids: list[str], categories: list[str]
) -> None:
    values = [ids[number % len(ids)] for number in range(CELLS)]
    order = ["CL:0000540", "CL:0000084", "CL:0000236"]
    column = pd.Categorical(values, categories=order, ordered=True)

    found = of_cells(tmp_path, {CELL_TYPE: column})["obs/cell_type"]

    names = dict(zip(order, ["neuron", "T cell", "B cell"], strict=True))
    assert found.tolist() == [names[value] for value in values]
    assert found.cat.categories.tolist() == categories
    assert found.cat.ordered == (len(ids) == len(order))


def test_a_column_of_plain_texts_has_sorted_labels(tmp_path: Path) -> None:
    texts = pd.Series(["CL:0000084"] * 7 + ["CL:0000236"] * (CELLS - 7), dtype=object).to_numpy()

    found = of_cells(tmp_path, {CELL_TYPE: texts})["obs/cell_type"]

    assert found.cat.categories.tolist() == ["B cell", "T cell"]
    assert found.tolist() == ["T cell"] * 7 + ["B cell"] * (CELLS - 7)


def test_join_ids_are_those_of_the_portal(tmp_path: Path) -> None:
    columns = of_cells(tmp_path, {})

    hashes = [xxhash.xxh3_64_intdigest(name.encode()) for name in cell_names(CELLS)]
    assert columns["obs/observation_joinid"].tolist() == [
        base64.b85encode(number.to_bytes(8, "big")).decode() for number in hashes
    ]
    # Of test_valid_anndata in cellxgene-schema's own tests, whose cells are called X and Y.
    assert made_of(["X", "Y"], tmp_path) == ["ab6yl9v%fZ", "f-dZLjjiRl"]


def made_of(names: list[str], folder: Path) -> list[str]:
    """The join ids of cells of these names."""
    path = make_h5ad(folder / "named.h5ad", n_obs=len(names), obs_names=names)
    return labels(path)[1]["obs/observation_joinid"].tolist()


def test_join_ids_of_names_in_any_script(tmp_path: Path) -> None:
    names = ["Zelle-ß", "細胞", "🧫", "a" * 300]

    assert made_of(names, tmp_path) == [
        base64.b85encode(xxhash.xxh3_64_digest(name.encode())).decode() for name in names
    ]


def test_cells_are_read_a_block_at_a_time(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(70_000)]
    path = make_h5ad(tmp_path / "cells.h5ad", n_obs=len(names), n_vars=1, obs_names=names, compression=None)
    with open_h5ad(LocalSource(path)) as file:
        made = make_labels(file, file.header(), SCHEMA)
        (column,) = (each for each in made.columns if each.name == "observation_joinid")
        blocks = list(column.blocks())
        again = list(column.blocks())

    assert max(map(len, blocks)) <= 1 << 16
    assert np.array_equal(np.concatenate(blocks), np.concatenate(again))
    for row in (0, 65_535, 65_536, 69_999):
        wanted = base64.b85encode(xxhash.xxh3_64_digest(names[row].encode())).decode()
        assert np.concatenate(blocks)[row] == wanted


def test_genes_get_what_the_annotation_says(tmp_path: Path) -> None:
    names = ["ENSG00000000419", "ERCC-00002", "ENSG00000000005", "ENSG00000083622"]
    columns = labels(make_h5ad(tmp_path / "cells.h5ad", n_vars=4, var_names=names))[1]

    for frame in ("var", "raw/var"):
        found = [columns[f"{frame}/{name}"] for name in OF_GENES]
        assert list(zip(*found, strict=True)) == [
            ("DPM1", "NCBITaxon:9606", "gene", 1262, "protein_coding"),
            ("ERCC-00002 (spike-in control)", "NCBITaxon:32630", "spike-in", 1061, "synthetic"),
            ("TNMD", "NCBITaxon:9606", "gene", 873, "protein_coding"),
            # A gene without a symbol is called by its id.
            ("ENSG00000083622", "NCBITaxon:9606", "gene", 376, "lncRNA"),
        ]
        assert all(each.cat.categories.tolist() == sorted(set(each)) for each in found)


@pytest.mark.parametrize(
    ("condition", "guide", "types"),
    [
        ("na", "na", "no perturbations"),
        ("na", "tp53-1", "genetic"),
        ("CHEBI:16412 || CHEBI:41774", "na", "chemical"),
        (
            "CHEBI:16412 || EFO:0001702 || anti-uniprot:Q99467",
            "ctrl-1",
            "chemical || genetic || protein || temperature",
        ),
        ("EFO:0002755", "na", "diet"),
        ("EFO:0002756", "na", "diet"),
        ("EFO:0002757", "na", "diet"),
        ("uniprot:P05112", None, "protein"),
        (None, "tp53-1 || ctrl-1", "genetic"),
    ],
)
def test_perturbation_types(tmp_path: Path, condition: str | None, guide: str | None, types: str) -> None:
    given = {CONDITION: condition, GUIDE_IDS: guide}
    obs = {name: in_some(value, "na") for name, value in given.items() if value is not None}

    found = of_cells(tmp_path, obs, GUIDES)["obs/perturbation_types"]

    assert found.tolist() == [types] * 3 + ["no perturbations"] * (CELLS - 3)
    assert found.cat.categories.tolist() == sorted({types, "no perturbations"})


def test_names_of_intended_genes_fill_what_is_blank(tmp_path: Path) -> None:
    guides = {"g1": {"intended_features": {"ENSG00000000419": "", "ENSG00000000005": "the author's"}}, "g2": {}}
    made, _ = labels(write_changed(tmp_path / "cells.h5ad", {}, {"genetic_perturbations": guides}))

    named = [element for element in made.elements if "genetic_perturbations" in element.path]
    assert [(element.path, element.value, element.replaces) for element in named] == [
        ("uns/genetic_perturbations/g1/intended_features/ENSG00000000419", "DPM1", True)
    ]


def test_a_pre_analysis_file_has_no_cell_types(tmp_path: Path) -> None:
    path = write_changed(tmp_path / "cells.h5ad", {}, drop=[CELL_TYPE])
    made, columns = labels(path, setting=Setting(pre_analysis=True))

    assert "obs/cell_type" not in columns
    assert "obs/assay" in columns
    assert {element.path: element.value for element in made.elements}["uns/is_pre_analysis"] is True


@pytest.mark.parametrize("publication", ["", "https://doi.org/10.1000/182"])
def test_a_citation_is_added_where_it_is_known(tmp_path: Path, publication: str) -> None:
    citation = Citation("https://example.org/cells.h5ad", "https://example.org/heart", publication)
    made, _ = labels(write_changed(tmp_path / "cells.h5ad", {}), citation=citation)

    (text,) = (element.value for element in made.elements if element.path == "uns/citation")
    first = f"Publication: {publication} " if publication else ""
    assert text == (
        f"{first}Dataset Version: https://example.org/cells.h5ad curated and distributed by CZ CELLxGENE Discover in "
        "Collection: https://example.org/heart"
    )


def test_what_is_no_term_has_no_label(tmp_path: Path) -> None:
    with pytest.raises(InvalidSubmission, match=r"'EFO:1 \|\| EFO:2' is no term") as refusal:
        of_cells(tmp_path, {ASSAY: "EFO:1 || EFO:2"})

    assert (refusal.value.code, refusal.value.where) == ("labels.term_unknown", f"obs/{ASSAY}")


def test_what_is_no_gene_has_no_labels(tmp_path: Path) -> None:
    with pytest.raises(InvalidSubmission, match="'TP53' is in no annotation") as refusal:
        labels(make_h5ad(tmp_path / "cells.h5ad", n_vars=2, var_names=["ENSG00000000419", "TP53"]))

    assert (refusal.value.code, refusal.value.where) == ("labels.gene_unknown", "var/_index")


def test_more_genes_than_there_are_is_refused_before_any_is_read(tmp_path: Path) -> None:
    with open_h5ad(LocalSource(write_changed(tmp_path / "cells.h5ad", {}))) as file:
        header = file.header()
        with pytest.raises(InvalidSubmission, match="2,000,000 rows"):
            make_labels(file, replace(header, var=replace(header.var, length=2_000_000)), SCHEMA)


def test_a_file_that_answers_otherwise_the_second_time_is_hostile(tmp_path: Path) -> None:
    column = pd.Categorical(["CL:0000084"] * CELLS, categories=["CL:0000084", "CL:0000236"])
    with open_h5ad(LocalSource(write_changed(tmp_path / "cells.h5ad", {CELL_TYPE: column}))) as file:
        unsteady: Any = _Unsteady(file)
        made = make_labels(unsteady, file.header(), SCHEMA)
        first: NewColumn = made.columns[0]
        unsteady.code = 1
        with pytest.raises(HostileFile) as refusal:
            list(first.blocks())

    assert (first.name, refusal.value.code) == ("cell_type", "file.unsteady")


class _Unsteady:
    """An open file whose categorical columns are all of one code, which may change."""

    def __init__(self, file: H5adFile) -> None:
        self._file = file
        self.code = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def column(self, column: ColumnHeader, start: int, stop: int) -> Column:
        found = self._file.column(column, start, stop)
        return replace(found, values=np.full_like(found.values, self.code)) if column.categories else found

"""The ten labels of schema 2.0.0, beside what cellxgene-schema 2.1.2 made of the same file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from celldock.h5ad.file import open_h5ad
from celldock.h5ad.source import LocalSource
from celldock.labels import make_labels
from celldock.schema import load_schema
from tests.builders import make_anndata_2_0_0, shared_data
from tests.builders_0_7 import rewrite_as_0_7
from tests.parity.labelling import differences, names_of_labels, values_of
from tests.reading import read_by_anndata

SCHEMA = load_schema("2.0.0")


def columns_of(path: Path) -> Mapping[str, pd.Series]:
    """The labels of a file by the paths of their columns; there are none in uns."""
    with open_h5ad(LocalSource(path)) as file:
        made = make_labels(file, file.header(), SCHEMA)
        assert not made.elements
        return {f"{column.frame}/{column.name}": values_of(column) for column in made.columns}


def test_labels_are_those_of_the_tool_of_that_time() -> None:
    original, labelled = shared_data("pbmc68k_schema2.0.0.h5ad"), shared_data("pbmc68k_schema2.0.0_labelled.h5ad")
    with open_h5ad(LocalSource(original)) as file:
        made = make_labels(file, file.header(), SCHEMA)
        found = list(differences(made, read_by_anndata(labelled), names_of_labels("2.0.0")))

    assert len(made.columns) == 12
    assert not found


def test_suffixes_stay_behind_the_labels(tmp_path: Path) -> None:
    data: Any = make_anndata_2_0_0(n_obs=4, n_vars=3)
    data.obs["assay_ontology_term_id"] = pd.Categorical(["EFO:0009899 (sci-plex)"] + ["EFO:0009899"] * 3)
    tissues = ["UBERON:0000955 (organoid)", "CL:0000057 (cell culture)", "UBERON:0000178", "UBERON:0000178"]
    data.obs["tissue_ontology_term_id"] = pd.Categorical(tissues)
    data.write_h5ad(tmp_path / "cells.h5ad")

    found = columns_of(rewrite_as_0_7(tmp_path / "cells.h5ad"))

    assert found["obs/assay"].tolist() == ["10x 3' v2 (sci-plex)", *["10x 3' v2"] * 3]
    assert found["obs/tissue"].tolist() == ["brain (organoid)", "fibroblast (cell culture)", "blood", "blood"]
    assert found["obs/organism"].tolist() == ["Homo sapiens"] * 4
    assert found["obs/ethnicity"].tolist() == ["unknown"] * 4


def test_a_symbol_that_genes_share_ends_in_the_id(tmp_path: Path) -> None:
    # Two genes are called MATR3.
    names = ["ENSG00000015479", "ENSG00000000003", "ERCC-00002"]
    make_anndata_2_0_0(n_vars=3, var_names=names).write_h5ad(tmp_path / "cells.h5ad")

    found = columns_of(tmp_path / "cells.h5ad")

    for frame in ("var", "raw/var"):
        shown = found[f"{frame}/feature_name"].tolist()
        assert shown == ["MATR3_ENSG00000015479", "TSPAN6", "ERCC-00002 (spike-in control)"]
        assert found[f"{frame}/feature_reference"].tolist() == [*["NCBITaxon:9606"] * 2, "NCBITaxon:32630"]


def test_texts_that_are_no_categories_have_labels_too(tmp_path: Path) -> None:
    data: Any = make_anndata_2_0_0(n_obs=4)
    data.obs["sex_ontology_term_id"] = np.array(["PATO:0000384", "unknown", "PATO:0000383", "unknown"], object)
    data.strings_to_categoricals = lambda *_: None
    data.write_h5ad(tmp_path / "cells.h5ad")

    sex = columns_of(tmp_path / "cells.h5ad")["obs/sex"]

    assert sex.tolist() == ["male", "unknown", "female", "unknown"]
    assert sex.cat.categories.tolist() == ["female", "male", "unknown"]

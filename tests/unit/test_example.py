"""The committed example is what its README says it is."""

import hashlib
import re
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE = EXAMPLES / "pbmc68k.h5ad"

# CELLxGENE schema 7.1, obs: what every data set of whole cells must have.
REQUIRED_OBS = {
    "assay_ontology_term_id",
    "cell_type_ontology_term_id",
    "development_stage_ontology_term_id",
    "disease_ontology_term_id",
    "donor_id",
    "is_primary_data",
    "self_reported_ethnicity_ontology_term_id",
    "sex_ontology_term_id",
    "suspension_type",
    "tissue_ontology_term_id",
    "tissue_type",
}


# anndata types X and obs as every backing that they may have, on disk or in memory.
type AnnData = Any


@pytest.fixture(scope="module")
def example() -> AnnData:
    return anndata.read_h5ad(EXAMPLE)


def test_it_is_the_file_that_the_readme_describes() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    content = EXAMPLE.read_bytes()

    assert re.findall(r"SHA-256 \| `([0-9a-f]{64})`", readme) == [hashlib.sha256(content).hexdigest()]
    assert f"| {len(content):,} bytes |" in readme
    assert len(content) <= 1_500_000


def test_raw_holds_counts_of_every_cell(example: AnnData) -> None:
    counts = example.raw.X

    assert sparse.issparse(counts)
    assert counts.format == "csr"
    assert counts.dtype == np.float32
    assert counts.shape == (700, 700)
    assert (counts.data > 0).all()
    assert (counts.data == counts.data.round()).all()
    assert (np.asarray(counts.sum(axis=1)) > 0).all()


def test_x_is_the_log_of_the_normalised_counts(example: AnnData) -> None:
    share_of_cell = example.raw.X.toarray() / example.obs["n_counts"].to_numpy()[:, None]

    # The source keeps three decimals.
    np.testing.assert_allclose(example.X.toarray(), np.log1p(share_of_cell * 1e4), atol=0.0006)


def test_obs_has_what_the_schema_requires_and_what_the_authors_said(example: AnnData) -> None:
    obs = example.obs

    assert set(obs.columns) >= REQUIRED_OBS
    assert set(obs.columns) >= {"bulk_labels", "louvain", "n_counts", "n_genes", "percent_mito", "phase"}
    assert obs.index.is_unique
    assert not obs.isna().any(axis=None)
    assert obs["is_primary_data"].dtype == bool
    assert all(isinstance(obs[c].dtype, pd.CategoricalDtype) for c in REQUIRED_OBS - {"is_primary_data"})


def test_each_author_label_has_one_cell_type(example: AnnData) -> None:
    pairs = example.obs[["bulk_labels", "cell_type_ontology_term_id"]].drop_duplicates()

    assert len(pairs) == example.obs["bulk_labels"].nunique() == 10
    assert pairs["cell_type_ontology_term_id"].str.fullmatch(r"CL:\d{7}").all()


def test_genes_are_ensembl_ids_shared_by_x_and_raw(example: AnnData) -> None:
    assert example.var_names.is_unique
    assert example.var_names.str.fullmatch(r"ENSG\d{11}").all()
    assert list(example.var_names) == list(example.raw.var_names)
    assert not example.var["feature_is_filtered"].any()


def test_it_names_its_organism_title_and_default_embedding(example: AnnData) -> None:
    assert example.uns["organism_ontology_term_id"] == "NCBITaxon:9606"
    assert example.uns["title"]
    assert example.obsm[example.uns["default_embedding"]].shape == (700, 2)
    assert example.obsm["X_pca"].shape == (700, 50)

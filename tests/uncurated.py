"""A file as a lab has it, before anybody has thought of the schema, and a config that makes it fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from tests.builders import cell_names, make_counts

SYMBOLS = ["TP53", "CD3E", "MS4A1", "LYZ", "NKG7", "GNLY", "CD8A", "FCER1A", "PPBP", "CD14"]
STRANGER = "my-reporter"
"""A gene that no reference has."""
CLUSTERS = ["T cells", "B cells"]

CONFIG = """\
uns:
  organism_ontology_term_id: Homo sapiens
  title: Twenty cells
obs:
  assay_ontology_term_id: 10x 3' v3
  cell_type_ontology_term_id:
    cell_type:
      T cells: T cell
      B cells: CL:0000236
  development_stage_ontology_term_id: unknown
  disease_ontology_term_id: normal
  donor_id: {column: patient}
  self_reported_ethnicity_ontology_term_id: unknown
  sex_ontology_term_id: unknown
  suspension_type: cell
  tissue_ontology_term_id: blood
  tissue_type: tissue
genes:
  unknown: drop
matrices:
  raw.X: layers.counts
"""


def make_uncurated(path: Path, n_obs: int = 20) -> Path:
    """Counts by gene symbols in a layer, their logarithm in X, and columns under names that the portal reserves."""
    counts = make_counts(n_obs, len(SYMBOLS) + 1, 0.4)
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical([CLUSTERS[row % 2] for row in range(n_obs)], CLUSTERS),
            "patient": [f"P{row % 3}" for row in range(n_obs)],
            "batch": np.arange(n_obs) % 4,
        },
        index=pd.Index(cell_names(n_obs), dtype=object),
    )
    embeddings: dict[str, Any] = {"X_umap": np.random.default_rng(7).normal(size=(n_obs, 2)).astype(np.float32)}
    data = anndata.AnnData(
        X=sparse.csr_matrix(np.log1p(counts)),
        obs=obs,
        var=pd.DataFrame(index=pd.Index([*SYMBOLS, STRANGER], dtype=object)),
        obsm=embeddings,
        layers={"counts": sparse.csr_matrix(counts.astype(np.int64))},
    )
    data.write_h5ad(path, compression="gzip")
    return path

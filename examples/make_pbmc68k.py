# /// script
# requires-python = ">=3.12,<3.14"
# dependencies = [
#     "anndata==0.11.4",
#     "cellxgene-ontology-guide==1.11.1",
#     "cellxgene-schema==7.1.2",
#     "h5py==3.16.0",
#     "numpy==2.3.5",
#     "pandas==2.3.3",
#     "scanpy==1.12.4",
#     "scipy==1.15.3",
# ]
#
# [tool.uv]
# # Only data files are taken from these two wheels; their code is never imported, so neither are their dependencies.
# dependency-metadata = [
#     { name = "cellxgene-schema", version = "7.1.2", requires-dist = [] },
#     { name = "scanpy", version = "1.12.4", requires-dist = [] },
# ]
# ///
"""Make `pbmc68k.h5ad`: 700 real PBMCs in the form that the CELLxGENE schema 7.1 asks for.

    uv run examples/make_pbmc68k.py [OUTPUT]

The cells come from `10x_pbmc68k_reduced.h5ad`, which scanpy packages (BSD-3-Clause), and the gene ids from the human
gene file of cellxgene-schema (MIT). Both inputs are checked against their SHA-256 and every library is pinned, so that
the same bytes come out each time. `examples/README.md` tells where the data come from and how the result was checked.
"""

import csv
import gzip
import hashlib
import sys
from collections import Counter
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from cellxgene_ontology_guide.ontology_parser import (  # pyright: ignore[reportMissingImports]: only in this script's environment
    OntologyParser,
)
from scipy import sparse

CELLS = (
    "scanpy",
    "scanpy/datasets/10x_pbmc68k_reduced.h5ad",
    "863e19914ab2d4ba97edc9623ac3a343c0461f1e40b121bfb5fa92638b22e9bd",
)
GENES = (
    "cellxgene-schema",
    "cellxgene_schema/gencode_files/genes_homo_sapiens.csv.gz",
    "2ef2138de00aa2b6def4f8779195e40d98bcb4d00556400b40b9cc8d51b4e047",
)

# Author's label → Cell Ontology term and its label. The authors assigned these labels by correlating each cell with
# populations sorted on the named surface markers.
CELL_TYPES = {
    "CD14+ Monocyte": ("CL:0001054", "CD14-positive monocyte"),
    "CD19+ B": ("CL:0001201", "B cell, CD19-positive"),
    "CD34+": ("CL:0008001", "hematopoietic precursor cell"),
    "CD4+/CD25 T Reg": ("CL:0000792", "CD4-positive, CD25-positive, alpha-beta regulatory T cell"),
    "CD4+/CD45RA+/CD25- Naive T": ("CL:0000895", "naive thymus-derived CD4-positive, alpha-beta T cell"),
    "CD4+/CD45RO+ Memory": ("CL:0000897", "CD4-positive, alpha-beta memory T cell"),
    "CD56+ NK": ("CL:0000623", "natural killer cell"),
    "CD8+ Cytotoxic T": ("CL:0000794", "CD8-positive, alpha-beta cytotoxic T cell"),
    "CD8+/CD45RA+ Naive Cytotoxic": ("CL:0000900", "naive thymus-derived CD8-positive, alpha-beta T cell"),
    "Dendritic": ("CL:0000451", "dendritic cell"),
}

# What is true of every cell, as (term, label); `examples/README.md` gives the source of each.
CONSTANT_TERMS = {
    "assay_ontology_term_id": ("EFO:0009901", "10x 3' v1"),
    "disease_ontology_term_id": ("PATO:0000461", "normal"),
    "tissue_ontology_term_id": ("UBERON:0000178", "blood"),
}
CONSTANT_VALUES = {
    "development_stage_ontology_term_id": "unknown",
    "donor_id": "Donor A",
    "self_reported_ethnicity_ontology_term_id": "unknown",
    "sex_ontology_term_id": "unknown",
    "suspension_type": "cell",
    "tissue_type": "tissue",
}
ORGANISM = ("NCBITaxon:9606", "Homo sapiens")
TITLE = "700 peripheral blood mononuclear cells of a healthy donor (10x Genomics, Zheng et al. 2017)"

# anndata types X and obs as every backing that they may have, on disk or in memory.
type AnnData = Any

# raw.X was normalised to this many counts a cell, log1p-transformed and rounded to three decimals.
TARGET_SUM = 1e4
HALF_STEP = 0.0005


def main(output: Path) -> None:
    source: AnnData = anndata.read_h5ad(packaged(*CELLS))
    check_terms()
    ids = ensembl_ids(source.raw.var_names, packaged(*GENES))
    counts, furthest = recover_counts(source)
    made = assemble(source, counts, ids)
    made.write_h5ad(output, compression="gzip", compression_opts=9)

    print(f"{output}: {made.n_obs} cells, {made.n_vars} genes, {output.stat().st_size:,} bytes")
    print(f"sha256 {hashlib.sha256(output.read_bytes()).hexdigest()}")
    print(f"counts lie at most {furthest:.4f} from an integer")
    dropped = [symbol for symbol in source.raw.var_names if symbol not in ids]
    print(f"{len(dropped)} symbols without a unique Ensembl id were dropped: {', '.join(dropped)}")


def packaged(name: str, path: str, sha256: str) -> Path:
    """A data file of an installed distribution, once its bytes are known to be the expected ones."""
    file = Path(str(distribution(name).locate_file(path)))
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{path} of {name} has SHA-256 {found}, expected {sha256}")
    return file


def check_terms() -> None:
    """Hold every term of this script against the ontologies: it exists, is not deprecated and has the label given."""
    ontologies = OntologyParser()
    for term, label in [*CELL_TYPES.values(), *CONSTANT_TERMS.values(), ORGANISM]:
        found = ontologies.get_term_label(term)
        if found != label or ontologies.is_term_deprecated(term):
            raise SystemExit(f"{term} is {found!r} (or deprecated), expected {label!r}")


def ensembl_ids(symbols: pd.Index, gene_file: Path) -> dict[str, str]:
    """Symbol → Ensembl id, for those symbols that name exactly one gene of the gene file, in the order of `symbols`."""
    with gzip.open(gene_file, "rt", encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines))
    genes_of = Counter(symbol for _, symbol, *_ in rows)
    id_of = {symbol: gene_id for gene_id, symbol, *_ in rows if genes_of[symbol] == 1}
    return {symbol: id_of[symbol] for symbol in symbols if symbol in id_of}


def recover_counts(source: AnnData) -> tuple[sparse.csr_matrix, float]:
    """The UMI counts behind `raw.X` (cells × genes, float32 csr), and how far the furthest lay from an integer.

    Normalising the result again must give `raw.X` to the last of its three decimals; that leaves one integer for each.
    """
    normalised = sparse.csr_matrix(source.raw.X)
    n_counts = np.repeat(source.obs["n_counts"].to_numpy(np.float64), np.diff(normalised.indptr))
    values = normalised.data.astype(np.float64)
    estimates = np.expm1(values) * n_counts / TARGET_SUM
    counts = np.round(estimates)

    furthest = float(np.abs(estimates - counts).max())
    assert furthest < 0.1, f"a count lies {furthest} from an integer"
    assert counts.min() >= 1, "a stored value stands for no count"
    again = np.log1p(counts * TARGET_SUM / n_counts)
    assert np.abs(again - values).max() < HALF_STEP * 1.01, "the counts do not normalise to raw.X"

    return sparse.csr_matrix(
        (counts.astype(np.float32), normalised.indices, normalised.indptr), normalised.shape
    ), furthest


def assemble(source: AnnData, counts: sparse.csr_matrix, ids: dict[str, str]) -> AnnData:
    """The example: counts in `raw.X`, scanpy's log-normalised values in `X`, both over the genes that have an id."""
    kept = np.flatnonzero(source.raw.var_names.isin(list(ids)))
    gene_ids = pd.Index(list(ids.values()), dtype=object)
    raw_x, x = canonical(counts[:, kept]), canonical(sparse.csr_matrix(source.raw.X)[:, kept])
    assert (raw_x.sum(axis=1) > 0).all(), "a cell is empty"
    assert len(np.unique(raw_x.toarray(), axis=0)) == source.n_obs, "two cells are identical"

    var = pd.DataFrame({"feature_is_filtered": False, "gene_symbol": list(ids)}, index=gene_ids)
    made: AnnData = anndata.AnnData(
        X=x,
        obs=annotate(source.obs),
        var=var,
        uns={
            "bulk_labels_colors": np.asarray(source.uns["bulk_labels_colors"], object),
            "default_embedding": "X_umap",
            "organism_ontology_term_id": ORGANISM[0],
            "title": TITLE,
        },
    )
    for key in ("X_pca", "X_umap"):
        made.obsm[key] = np.asarray(source.obsm[key], np.float32)
    made.raw = anndata.AnnData(X=raw_x, obs=pd.DataFrame(index=made.obs_names), var=pd.DataFrame(index=gene_ids))
    return made


def annotate(author: pd.DataFrame) -> pd.DataFrame:
    """`obs` as schema 7.1 wants it, with the authors' own columns after the required ones."""
    terms = {label: term for label, (term, _) in CELL_TYPES.items()}
    required = {column: term for column, (term, _) in CONSTANT_TERMS.items()} | CONSTANT_VALUES
    cell_types = [terms[label] for label in author["bulk_labels"]]
    obs = pd.DataFrame({"cell_type_ontology_term_id": cell_types, **required}, index=author.index)
    obs = obs[sorted(obs.columns)].astype("category")
    obs["is_primary_data"] = False
    obs = obs.join(author)
    obs.index = pd.Index(author.index.astype(object), name=None)
    return obs


def canonical(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """The matrix with sorted column indices and neither duplicates nor stored zeros."""
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("pbmc68k.h5ad"))

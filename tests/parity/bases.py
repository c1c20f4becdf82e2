"""Small files that are valid, by schema 7.1.0 unless their names say 2.0.0: what mutations start from.

There is one of each kind that the rules tell apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from tests.builders import make_anndata_2_0_0

# What AnnData's own types say of an element is a union of all that it could be.
type Data = Any
"""An AnnData."""

CELLS = 16
SPOTS = 4992
HUMAN = "NCBITaxon:9606"
MOUSE = "NCBITaxon:10090"
ZEBRAFISH = "NCBITaxon:7955"
FRUIT_FLY = "NCBITaxon:7227"
ROUNDWORM = "NCBITaxon:6239"
MACAQUE = "NCBITaxon:9544"

# Real identifiers: of protein-coding genes, and one ERCC spike-in each.
GENES: Mapping[str, tuple[str, ...]] = {
    HUMAN: (
        "ENSG00000171735",
        "ENSG00000169641",
        "ENSG00000142694",
        "ENSG00000121310",
        "ENSG00000198691",
        "ENSG00000143603",
        "ENSG00000117143",
        "ERCC-00002",
    ),
    MOUSE: (
        "ENSMUSG00000004768",
        "ENSMUSG00000045005",
        "ENSMUSG00000089943",
        "ENSMUSG00000042066",
        "ENSMUSG00000026696",
        "ENSMUSG00000026494",
        "ENSMUSG00000026786",
        "ERCC-00002",
    ),
    ROUNDWORM: (
        "WBGene00000723",
        "WBGene00001892",
        "WBGene00003923",
        "WBGene00005259",
        "WBGene00005622",
        "WBGene00005975",
        "WBGene00006486",
        "ERCC-00002",
    ),
    ZEBRAFISH: (
        "ENSDARG00000077220",
        "ENSDARG00000105831",
        "ENSDARG00000073963",
        "ENSDARG00000093615",
        "ENSDARG00000101817",
        "ENSDARG00000103458",
        "ENSDARG00000110404",
        "ERCC-00002",
    ),
    FRUIT_FLY: (
        "FBgn0039058",
        "FBgn0037364",
        "FBgn0051017",
        "FBgn0038167",
        "FBgn0039055",
        "FBgn0266259",
        "FBgn0037553",
        "ERCC-00002",
    ),
    MACAQUE: (
        "ENSMMUG00000063991",
        "ENSMMUG00000005668",
        "ENSMMUG00000007256",
        "ENSMMUG00000008030",
        "ENSMMUG00000059972",
        "ENSMMUG00000057315",
        "ENSMMUG00000017838",
        "ERCC-00002",
    ),
}

_OBS: Mapping[str, Any] = {
    "assay_ontology_term_id": "EFO:0009922",
    "cell_type_ontology_term_id": "CL:0000084",
    "development_stage_ontology_term_id": "HsapDv:0000003",
    "disease_ontology_term_id": "PATO:0000461",
    "donor_id": "donor_1",
    "is_primary_data": True,
    "self_reported_ethnicity_ontology_term_id": "unknown",
    "sex_ontology_term_id": "PATO:0000383",
    "suspension_type": "cell",
    "tissue_ontology_term_id": "UBERON:0000178",
    "tissue_type": "tissue",
}
_CELL_LINE: Mapping[str, str] = {
    "cell_type_ontology_term_id": "na",
    "development_stage_ontology_term_id": "na",
    "donor_id": "na",
    "self_reported_ethnicity_ontology_term_id": "na",
    "sex_ontology_term_id": "na",
    "tissue_ontology_term_id": "CVCL_0001",
    "tissue_type": "cell line",
}


def put(data: Data, column: str, value: Any, cells: slice | list[int] | None = None) -> None:
    """Sets a column of obs, or some of its cells, and keeps texts categorical."""
    values = np.full(data.n_obs, None, object) if column not in data.obs else data.obs[column].to_numpy(object)
    values = values.copy()
    values[slice(None) if cells is None else cells] = value
    texts = all(each is None or isinstance(each, str) for each in values)
    data.obs[column] = pd.Categorical(values) if texts else pd.Series(values, data.obs.index).infer_objects()


def counts(cells: int, genes: int) -> np.ndarray:
    """Counts, more than half of them zero, in which no cell is empty and no two are alike; float32."""
    table = np.zeros((cells, genes), np.float32)
    rows = np.arange(cells)
    table[rows, rows % genes] = rows // genes + 1
    table[rows, (rows + 3) % genes] += 2
    return table


def make(organism: str = HUMAN, *, cells: int = CELLS, raw: bool = True, **obs: Any) -> Data:
    """A file of one organism; `obs` replaces columns. Without `raw` the counts are in X."""
    genes = list(GENES[organism])
    table = counts(cells, len(genes))
    frame = pd.DataFrame(index=pd.Index([f"cell-{number:05}" for number in range(cells)], dtype=object))
    data: Data = anndata.AnnData(
        X=sparse.csr_matrix(table),
        obs=frame,
        var=pd.DataFrame(index=pd.Index(genes, dtype=object)),
        uns={"title": "Cells of a small donor", "organism_ontology_term_id": organism},
    )
    data.obsm["X_umap"] = np.random.default_rng(5).normal(size=(cells, 2)).astype(np.float32)
    for column, value in {**_OBS, **obs}.items():
        put(data, column, value)
    if raw:
        data.raw = data.copy()
        data.X = sparse.csr_matrix(np.log1p(table))
    data.var["feature_is_filtered"] = False
    return data


def human() -> Data:
    """Two donors, one of them ill, with all that a file may have besides."""
    data = make()
    ill = slice(CELLS // 2, None)
    put(data, "disease_ontology_term_id", "MONDO:0004604 || MONDO:0043004", ill)
    put(data, "self_reported_ethnicity_ontology_term_id", "HANCESTRO:0580 || HANCESTRO:0590", ill)
    put(data, "donor_id", "donor_2", ill)
    put(data, "sex_ontology_term_id", "PATO:0000384", ill)
    put(data, "cell_type_ontology_term_id", "unknown", [0])
    data.layers["scaled"] = data.X.copy()
    data.uns |= {
        "batch_condition": np.array(["donor_id"], dtype=object),
        "default_embedding": "X_umap",
        "X_approximate_distribution": "normal",
        "donor_id_colors": np.array(["#08c0ff", "#FF00aa"], dtype=object),
        "sex_ontology_term_id_colors": np.array(["aqua", "blueviolet", "red", "lime"], dtype=object),
    }
    return data


def human_counts() -> Data:
    """No normalised matrix: the counts are in X."""
    return make(raw=False)


def mouse() -> Data:
    """A mouse."""
    return make(
        MOUSE,
        development_stage_ontology_term_id="MmusDv:0000003",
        self_reported_ethnicity_ontology_term_id="na",
    )


def zebrafish() -> Data:
    """A zebrafish, with its own cell types and tissues."""
    return make(
        ZEBRAFISH,
        development_stage_ontology_term_id="ZFS:0000016",
        self_reported_ethnicity_ontology_term_id="na",
        cell_type_ontology_term_id="ZFA:0009166",
        tissue_ontology_term_id="ZFA:0001262",
    )


def fruit_fly() -> Data:
    """A fruit fly, with its own cell types and tissues."""
    return make(
        FRUIT_FLY,
        development_stage_ontology_term_id="FBdv:00007117",
        self_reported_ethnicity_ontology_term_id="na",
        cell_type_ontology_term_id="FBbt:00049192",
        tissue_ontology_term_id="FBbt:00007337",
    )


def roundworm() -> Data:
    """A roundworm, with its own cell types and tissues."""
    return make(
        ROUNDWORM,
        development_stage_ontology_term_id="WBls:0000816",
        self_reported_ethnicity_ontology_term_id="na",
        sex_ontology_term_id="PATO:0000384",
        cell_type_ontology_term_id="WBbt:0008611",
        tissue_ontology_term_id="WBbt:0006750",
    )


def macaque() -> Data:
    """A macaque: an organism without stages of its own."""
    return make(
        MACAQUE,
        development_stage_ontology_term_id="UBERON:0000113",
        self_reported_ethnicity_ontology_term_id="na",
    )


def cell_line() -> Data:
    """Half of the cells of a cell line, half of a tissue."""
    data = make()
    for column, value in _CELL_LINE.items():
        put(data, column, value, slice(CELLS // 2))
    return data


def culture() -> Data:
    """A primary cell culture."""
    return make(tissue_type="primary cell culture", tissue_ontology_term_id="CL:0000057")


def organoid() -> Data:
    """An organoid."""
    return make(tissue_type="organoid", tissue_ontology_term_id="UBERON:0000955")


def perturbed() -> Data:
    """Cells with guides and with compounds, and controls without."""
    data = make()
    put(data, "genetic_perturbation_id", "na")
    put(data, "genetic_perturbation_id", "g1 || g2", slice(4, 8))
    put(data, "genetic_perturbation_id", "safe", slice(8, 10))
    put(data, "genetic_perturbation_strategy", "no perturbations")
    put(data, "genetic_perturbation_strategy", "CRISPR knockout screen", slice(4, 8))
    put(data, "genetic_perturbation_strategy", "control", slice(8, 10))
    put(data, "experimental_condition_ontology_term_id", "na")
    put(data, "experimental_condition_ontology_term_id", "CHEBI:16412 || EFO:0001702 || uniprot:P05112", slice(4))
    put(data, "experimental_condition_ontology_term_id", "anti-uniprot:Q99467", [4])
    guide = {"protospacer_sequence": "ACGTACGTACGTACGTACGT", "protospacer_adjacent_motif": "3' NGG"}
    data.uns["genetic_perturbations"] = {
        "g1": {"role": "targeting", **guide},
        "g2": {"role": "targeting", **guide},
        "safe": {"role": "control", **guide},
    }
    return data


def visium() -> Data:
    """All spots of one Visium section, two of them off the tissue."""
    data = make(
        cells=SPOTS,
        assay_ontology_term_id="EFO:0022857",
        suspension_type="na",
        array_row=0,
        array_col=0,
        in_tissue=1,
    )
    spots = np.arange(SPOTS)
    data.obs["array_row"], data.obs["array_col"] = spots // 64, spots % 128
    put(data, "in_tissue", 0, [0, 1])
    put(data, "cell_type_ontology_term_id", "unknown", [0, 1])
    data.obsm["spatial"] = data.obsm["X_umap"] * 100
    image = np.zeros((2000, 4, 3), np.uint8)
    data.uns["spatial"] = {
        "is_single": True,
        "section": {
            "images": {"hires": image, "fullres": image[:8]},
            "scalefactors": {"spot_diameter_fullres": 89.5, "tissue_hires_scalef": 0.17},
        },
    }
    return data


def visium_joined() -> Data:
    """Spots of several Visium sections."""
    data = make(assay_ontology_term_id="EFO:0022857", suspension_type="na", is_primary_data=False)
    data.uns["spatial"] = {"is_single": False}
    return data


def slide_seq() -> Data:
    """One Slide-seqV2 array."""
    data = make(assay_ontology_term_id="EFO:0030062", suspension_type="na")
    data.uns["spatial"] = {"is_single": True}
    data.obsm["spatial"] = data.obsm.pop("X_umap")
    return data


def multiome() -> Data:
    """A paired accessibility assay: RNA counts are required."""
    return make(assay_ontology_term_id="EFO:0030059", suspension_type="nucleus")


def accessibility() -> Data:
    """An unpaired accessibility assay: X holds gene activities, and no counts are required."""
    data = make(raw=False, assay_ontology_term_id="EFO:0010891", suspension_type="nucleus")
    data.X = sparse.csr_matrix(np.log1p(data.X.toarray()))
    return data


def human_2_0_0() -> Data:
    """By schema 2.0.0: a human, with all that a file may have besides."""
    data: Data = make_anndata_2_0_0(n_obs=CELLS, n_vars=8)
    put(data, "assay_ontology_term_id", "EFO:0010183 (sci-plex)", [0])
    put(data, "tissue_ontology_term_id", "CL:0000057 (cell culture)", [1])
    data.layers["scaled"] = data.X.copy()
    data.uns |= {
        "batch_condition": np.array(["sex_ontology_term_id"], dtype=object),
        "default_embedding": "X_umap",
        "X_approximate_distribution": "normal",
    }
    return data


def human_counts_2_0_0() -> Data:
    """By schema 2.0.0: no normalised matrix, the counts are in X."""
    return make_anndata_2_0_0(raw=False, n_obs=CELLS)


def macaque_2_0_0() -> Data:
    """By schema 2.0.0: a macaque, with human genes for its own."""
    return make_anndata_2_0_0(
        n_obs=CELLS,
        obs={
            "organism_ontology_term_id": MACAQUE,
            "development_stage_ontology_term_id": "UBERON:0000113",
            "ethnicity_ontology_term_id": "na",
        },
    )


BASES: Mapping[str, Callable[[], Data]] = {
    base.__name__: base
    for base in (
        human,
        human_counts,
        mouse,
        zebrafish,
        fruit_fly,
        roundworm,
        macaque,
        cell_line,
        culture,
        organoid,
        perturbed,
        visium,
        visium_joined,
        slide_seq,
        multiome,
        accessibility,
        human_2_0_0,
        human_counts_2_0_0,
        macaque_2_0_0,
    )
}

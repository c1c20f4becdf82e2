"""All mutations. Importing a module here registers its mutations."""

from tests.parity.mutations import (
    columns,
    dataset,
    embeddings,
    genes,
    matrices,
    perturbations,
    schema_2_0_0,
    spatial,
    terms,
)
from tests.parity.mutations.registry import MUTATIONS, Case, Mutation, cases

__all__ = [
    "MUTATIONS",
    "Case",
    "Mutation",
    "cases",
    "columns",
    "dataset",
    "embeddings",
    "genes",
    "matrices",
    "perturbations",
    "schema_2_0_0",
    "spatial",
    "terms",
]

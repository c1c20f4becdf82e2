"""All rules. Importing a module here registers its rules."""

from celldock.schema.rules import columns, damage, embeddings, index, matrices, structure, values

__all__ = ["columns", "damage", "embeddings", "index", "matrices", "structure", "values"]

"""All rules. Importing a module here registers its rules."""

from celldock.schema.rules import columns, damage, embeddings, index, matrices, structure

__all__ = ["columns", "damage", "embeddings", "index", "matrices", "structure"]

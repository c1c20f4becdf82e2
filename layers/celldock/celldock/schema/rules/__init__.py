"""All rules. Importing a module here registers its rules."""

from celldock.schema.rules import columns, embeddings, index, matrices, structure

__all__ = ["columns", "embeddings", "index", "matrices", "structure"]

"""The CELLxGENE schema, version by version: which rules apply, and how a file fares by them."""

from celldock.schema.loading import Schema, load_schema, schema_versions
from celldock.schema.registry import Setting
from celldock.schema.validation import validate

__all__ = ["Schema", "Setting", "load_schema", "schema_versions", "validate"]

"""The JSON Schema of curation configs, by which editors complete and check them."""

from __future__ import annotations

import json
from typing import Any

from celldock.curation.fields import Place, SchemaField, fields_of
from celldock.schema import schema_versions

_SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean"]}
_VALUE: dict[str, Any] = {"anyOf": [_SCALAR, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
_UNMAPPED: dict[str, Any] = {
    "enum": ["error", "keep", "unknown"],
    "description": "What becomes of values that a map does not have: a problem, their own text, or 'unknown'.",
}


def curation_schema() -> dict[str, Any]:
    """The schema, a document for `json.dumps`. Fields of all schema versions that celldock knows are proposed."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "celldock curation config",
        "description": "What is to become of an h5ad file before it is validated: celldock curate.",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "schema_version": {
                "enum": list(schema_versions()),
                "description": "The schema that the file is to fulfil; the newest where nothing is said.",
            },
            "unmapped": {**_UNMAPPED, "default": "error"},
            "tidy": {
                "type": "boolean",
                "default": True,
                "description": "Whether all matrices are looked through, and what the schema does not allow is mended.",
            },
            "uns": _section("Keys of uns, facts of the whole dataset.", "uns", {}),
            "obs": _section("Columns of obs, with one value for each cell.", "obs", {"$ref": "#/$defs/rule"}),
            "var": _section("Columns of var, with one value for each gene.", "var", {"$ref": "#/$defs/rule"}),
            "genes": _GENES,
            "matrices": _MATRICES,
            "drop": {
                "type": ["array", "null"],
                "items": {"type": "string"},
                "description": "What is left out: obs.NAME, var.NAME, uns.KEY, layers.NAME, obsm.NAME, raw.",
            },
        },
        "$defs": {"rule": _RULE},
    }


_RULE: dict[str, Any] = {
    "anyOf": [
        {**_VALUE, "description": "One value for all rows; a list is several terms of one value."},
        {
            "type": "object",
            "required": ["column"],
            "additionalProperties": False,
            "properties": {
                "column": {"type": "string", "description": "A column of the file that is taken over, or mapped."},
                "map": {"type": "object", "additionalProperties": _VALUE, "description": "The value for each of its."},
                "unmapped": _UNMAPPED,
            },
        },
        {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": {"type": "object", "additionalProperties": _VALUE},
            "description": "{column: {value: term}}: a value for each value of a column of the file.",
        },
    ]
}

_GENES: dict[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "names": {
            "type": "string",
            "default": "index",
            "description": "Where genes are named, by symbols or ids: index, or a column of var and raw.var.",
        },
        "unknown": {
            "enum": ["error", "drop"],
            "default": "error",
            "description": "What becomes of genes that the schema does not know: a problem, or they are dropped.",
        },
    },
}

_SOURCE = "A matrix of the original file: X, raw.X or layers.NAME."
_MATRICES: dict[str, Any] = {
    "type": ["object", "null"],
    "description": "Where matrices come from, by target: X, raw.X, layers.NAME.",
    "propertyNames": {"pattern": r"^(X|raw\.X|layers\..+)$"},
    "additionalProperties": {
        "anyOf": [
            {"type": "string", "description": _SOURCE},
            {
                "type": "object",
                "required": ["from"],
                "additionalProperties": False,
                "properties": {
                    "from": {"type": "string", "description": _SOURCE},
                    "undo": {"enum": ["log1p"], "description": "A transformation that is taken back."},
                    "target_sum": {
                        "type": "number",
                        "exclusiveMinimum": 0,
                        "description": "What each cell's counts were normalised to.",
                    },
                    "totals": {"type": "string", "description": "A column of obs with each cell's counts before that."},
                    "dtype": {"enum": ["float32"], "description": "What the values are cast to."},
                    "rounding": {
                        "enum": ["refuse", "allow"],
                        "default": "refuse",
                        "description": "Whether a cast may lose decimals.",
                    },
                },
            },
        ]
    },
}


def _section(description: str, place: Place, others: dict[str, Any]) -> dict[str, Any]:
    """A map of the schema's fields and of others, which it does not know."""
    fields: dict[str, list[SchemaField]] = {}
    for version in reversed(schema_versions()):
        for name, field in fields_of(version).known[place].items():
            fields.setdefault(name, []).append(field)
    return {
        "type": ["object", "null"],
        "description": description,
        "properties": {name: {**others, "description": _describe(each)} for name, each in fields.items()},
        "additionalProperties": others or True,
    }


def _describe(fields: list[SchemaField]) -> str:
    """A field in words, by the newest version that has it."""
    field = fields[0]
    words = [f"'{word}'" for word in field.words or field.spelling.literals]
    terms = [f"a term of {', '.join(field.ontologies)}, by id or label"] if field.has_terms else []
    said = " or ".join([*terms, *words]) or {"boolean": "true or false"}.get(field.holds or "", "a value")
    return f"{said[0].upper()}{said[1:]}.{' Required.' if field.required else ''}"


def schema_text() -> str:
    """The schema as it is written beside a config."""
    return json.dumps(curation_schema(), indent=2, ensure_ascii=False) + "\n"

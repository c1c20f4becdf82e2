"""What a schema version says of the fields that a config may set, gathered from the parameters of its rules."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter

from celldock.schema import Schema, load_schema
from celldock.schema.rules.terms import Case, Spelling, Terms

UNKNOWN = "unknown"
ORGANISM = "organism_ontology_term_id"

type Holds = Literal["categorical", "text", "boolean"]
type Place = Literal["obs", "var", "raw.var", "uns"]

_CASES = TypeAdapter(tuple[Case, ...])
_TERMS = TypeAdapter(tuple[Terms, ...])
_TERM_ID = "ontologytermid"
_CLOSE = 0.8
_LONGEST = 100


@dataclass(frozen=True, slots=True)
class SchemaField:
    """A column of obs, var or raw.var, or a key of uns, that the schema knows.

    Attributes:
        place: where it is.
        name: of the column or key.
        required: whether every file has it.
        holds: the type of a column; None where the schema does not fix it.
        ontologies: those that its terms are of; empty where it holds none.
        spelling: how its values name terms.
        cases: which terms and words are allowed, and on what that depends.
        elsewhere: words that other rules allow.
        words: all that it may hold, where that is a list of words.
    """

    place: Place
    name: str
    required: bool = False
    holds: Holds | None = None
    ontologies: tuple[str, ...] = ()
    spelling: Spelling = field(default_factory=Spelling)
    cases: tuple[Case, ...] = ()
    elsewhere: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    @property
    def has_terms(self) -> bool:
        """Whether its values are ontology terms."""
        return bool(self.ontologies)

    @property
    def depends_on(self) -> frozenset[str]:
        """The fields on which it depends what is allowed: `tissue_type`, `uns/organism_ontology_term_id`."""
        return frozenset(name for case in self.cases for name in case.where)

    def allows_word(self, word: str) -> bool:
        """Whether a word may stand there in some cell, in the place of a term."""
        if self.has_terms:
            return word in self.elsewhere or any(word in case.literals for case in self.cases)
        return word in self.words if self.words else self.holds != "boolean"


@dataclass(frozen=True, slots=True)
class SchemaFields:
    """All fields of a schema version, and the names that it keeps for itself.

    Attributes:
        version: of the schema.
        known: by place and name.
        labels: names that the portal uses for what it adds, by place; for each the field that it is derived from.
        usual_labels: columns of obs that every file has once the portal has labelled it.
        refused: other names that a file must not have, by place; for each what is to be done, or "".
    """

    version: str
    known: Mapping[Place, Mapping[str, SchemaField]]
    labels: Mapping[Place, Mapping[str, str]]
    refused: Mapping[Place, Mapping[str, str]]
    usual_labels: frozenset[str]

    def find(self, place: Place, name: str) -> SchemaField | None:
        """The field of exactly that name."""
        return self.known[place].get(name)

    def is_reserved(self, place: Place, name: str) -> bool:
        """Whether no file that is submitted may have a column or key of that name."""
        return name in self.labels[place] or name in self.refused[place] or name.startswith("__")

    def meant(self, place: Place, name: str) -> str:
        """The field that a name which is none was meant for; "" for a name of its own."""
        if source := self.labels[place].get(name):
            return source
        fields = self.known[place]
        plain = {_plain(each): each for each in fields}
        if _plain(name) in plain:
            return plain[_plain(name)]
        # Of two names that end alike only what is before that says whether they are near.
        ending = _TERM_ID if _plain(name).endswith(_TERM_ID) else ""
        stems = {each.removesuffix(ending): full for each, full in plain.items() if each.endswith(ending)}
        return stems.get(nearest(_plain(name).removesuffix(ending), stems), "")


@cache
def fields_of(version: str) -> SchemaFields:
    """The fields of a schema version; raises KeyError for one that celldock does not know."""
    return _gather(load_schema(version))


def nearest(name: str, names: Iterable[str]) -> str:
    """The one of some names that is most like another; "" if none is."""
    if len(name) > _LONGEST:
        return ""
    some = [each for each in names if len(each) <= _LONGEST]
    return next(iter(difflib.get_close_matches(name, some, n=1, cutoff=_CLOSE)), "")


def _gather(schema: Schema) -> SchemaFields:
    known: dict[Place, dict[str, dict[str, Any]]] = {"obs": {}, "var": {}, "raw.var": {}, "uns": {}}
    refused: dict[Place, dict[str, str]] = {"obs": {}, "var": {}, "raw.var": {}, "uns": {}}
    usual_labels: frozenset[str] = frozenset()
    for applied in schema.rules:
        name, parameters = applied.rule.name, applied.parameters
        if name == "columns_deprecated":
            refused[parameters["frame"]] |= parameters["columns"]
        elif name == "uns_deprecated":
            refused["uns"] |= dict.fromkeys(parameters["keys"], "")
        elif name == "filtered_in_raw":
            refused["raw.var"]["feature_is_filtered"] = ""
        elif name == "file_labelled":
            usual_labels = frozenset(parameters["always"]["obs"])
        elif name == "organism_missing":
            known["uns"].setdefault(ORGANISM, {})["required"] = True
        else:
            place: Place = "uns" if name.startswith("uns_") else parameters.get("frame", "obs")
            target = str(parameters.get("key" if place == "uns" else "column", ""))
            if target and (said := _said(name, parameters)) is not None:
                known[place].setdefault(target, {}).update(said)
    return SchemaFields(
        version=schema.version,
        known={
            place: {name: SchemaField(place, name, **said) for name, said in fields.items()}
            for place, fields in known.items()
        },
        labels={place: _labels(schema, place) for place in known},
        refused=refused,
        usual_labels=usual_labels,
    )


def _said(rule: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """What one rule says of the field that it is about; None for a rule that is about values in ways of its own."""
    said: dict[str, Any] | None = None
    match rule:
        case "column_missing" | "uns_missing":
            said = {"required": True}
        case "column_type":
            said = {"holds": parameters["holds"]}
        case "term_unknown" | "uns_term_unknown":
            said = {"ontologies": tuple(parameters["ontologies"]), "spelling": _spelling(parameters)}
        case "term_list":
            said = {"spelling": _spelling(parameters)}
        case "term_not_allowed":
            elsewhere = tuple(parameters.get("elsewhere", ()))
            said = {"cases": _CASES.validate_python(parameters["cases"]), "elsewhere": elsewhere}
        case "uns_term_not_allowed":
            said = {"cases": (Case(allowed=_TERMS.validate_python(parameters["allowed"])),)}
        case "not_allowed":
            said = {"words": tuple(parameters["values"])}
        case "uns_enum":
            said = {"words": tuple(parameters["allowed"])}
        case "uns_text" | "uns_list" | "position_type":
            said = {}
        case _:
            pass
    return said


def _spelling(parameters: Mapping[str, Any]) -> Spelling:
    spelling: Mapping[str, Any] = parameters.get("spelling") or {}
    return Spelling(**spelling)


def _labels(schema: Schema, place: str) -> dict[str, str]:
    """The names of labels, and the fields that those of terms are derived from."""
    return {
        name: str(recipe.get("of", "")) * (recipe["made"] == "term")
        for name, recipe in schema.labels.get(place, {}).items()
    }


def _plain(name: str) -> str:
    """A name without what people spell differently: case, spaces, dots, dashes, underscores."""
    return re.sub(r"[\W_]+", "", name).casefold()

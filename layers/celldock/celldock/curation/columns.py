"""All that a curation adds to a file and renames in it: columns of obs and var, and keys of uns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from celldock.curation.config import Constant, Curation, Rule
from celldock.curation.dataset import set_elements
from celldock.curation.derived import (
    Ids,
    assumed_primary,
    derived_biotypes,
    derived_organism,
    derived_suspensions,
)
from celldock.curation.dropping import Drops, find_drops
from celldock.curation.fields import ORGANISM, Place, fields_of
from celldock.curation.genes import GeneFacts
from celldock.curation.ledger import Ledger
from celldock.curation.making import MadeColumn
from celldock.curation.mapping import make_column
from celldock.curation.renaming import rename_columns, rename_elements
from celldock.curation.task import Task
from celldock.h5ad.additions import Additions, NewColumn, NewElement, RemovedColumn
from celldock.h5ad.file import H5adFile
from celldock.h5ad.headers import Header
from celldock.schema import Schema
from celldock.schema.facts import Tables, TooManyValuesError
from celldock.schema.reference import Reference

_ASSAY = "assay_ontology_term_id"
_VERSION = "schema_version"


def curate_columns(
    file: H5adFile,
    header: Header,
    curation: Curation,
    schema: Schema,
    reference: Reference,
    ledger: Ledger,
    *,
    genes: GeneFacts | None = None,
    ids: Ids | None = None,
) -> Additions:
    """What a config adds to obs, var and uns, what is derived, and which original names make room for it.

    `header` is that of the file, which has to stay open until the columns are written: their blocks are read from it.
    Where the genes' names are about to become ids, `genes` says what these are of, and `ids` has them, by the path of
    their frame. All changes and problems go to the ledger: after a problem the additions lack what could not be made,
    and are of no use. Columns and elements that the config drops are removed, so that their bytes stay in the file
    until it is written anew.
    Memory: a block of rows, and the different values of the columns that are read. Raises InvalidSubmission for what is
    damaged.
    """
    task = Task(Tables(file, header), curation, fields_of(schema.version), reference, ledger)
    making = _Making(task, schema, genes, ids or {})
    additions = making.additions()
    task.tell()
    return additions


def stated_organism(
    file: H5adFile, header: Header, curation: Curation, schema: Schema, reference: Reference
) -> str | None:
    """The id of the organism that the config names, by id or label, or else the file; None where neither names one."""
    task = Task(Tables(file, header), curation, fields_of(schema.version), reference, Ledger())
    return _Making(task, schema, None, {}).stated_organism()


class _Making:
    """Makes the additions of one curation, what others depend on first."""

    def __init__(self, task: Task, schema: Schema, genes: GeneFacts | None, ids: Ids) -> None:
        self._task = task
        self._schema = schema
        self._genes = genes
        self._ids = ids
        self._drops: Drops = find_drops(task.tables.header, task.curation)
        self._made: dict[str, MadeColumn | NewColumn] = {}
        self._is_of_dataset = ORGANISM in task.fields.known["uns"]

    def additions(self) -> Additions:
        """All of it. Order: columns of obs as the config has them, derived ones, then those of genes."""
        task = self._task
        if not task.tables.header.uns_complete:
            message = "uns has too many elements for its names to be checked."
            task.ledger.problem("uns.too_large", "uns", message, suggestion="Move what is not needed out of uns.")
        if task.fields.usual_labels <= {column.name for column in task.frame("obs").columns}:
            message = (
                "obs has all labels that the portal adds: they are kept under other names, as an author's would be."
            )
            suggestion = "If the portal has labelled this file, take the labels off first: celldock label --remove."
            task.ledger.warn("obs.labelled", "obs", message, suggestion=suggestion)
        obs, var = self._rules("obs"), self._rules("var")
        organism = self.stated_organism()
        elements = set_elements(task, [key for key in task.curation.config.uns if self._is_name("uns", key)])
        if organism is None and not self._is_set(ORGANISM):
            elements += self._derive_organism()
        elif organism is not None and self._is_of_dataset:
            task.known[f"uns/{ORGANISM}"] = organism
        elements += self._stated_version()
        self._make(obs)
        self._derive(elements)
        genes = [made for name, rule in var.items() if (made := make_column(task, "var", name, rule))]
        columns = [*self._in_order(obs), *map(self._new, genes)]
        columns += derived_biotypes(task, self._schema, self._ids)
        return self._renamed(columns, elements)

    def stated_organism(self) -> str | None:
        """The organism that the config or the file names for all cells."""
        task, config = self._task, self._task.curation.config
        rule = config.obs.get(ORGANISM)
        stated: object = config.uns.get(ORGANISM) if self._is_of_dataset else None
        if not self._is_of_dataset and isinstance(rule, Constant):
            stated = rule.value
        if isinstance(stated, str):
            place: Place = "uns" if self._is_of_dataset else "obs"
            quiet = Task(task.tables, task.curation, task.fields, task.reference, Ledger())
            settled = quiet.settle(task.fields.known[place][ORGANISM], stated, "")
            return settled if isinstance(settled, str) else None
        if stated is not None or rule is not None:
            return None
        if not self._is_of_dataset:
            column = self._of_file(ORGANISM)
            return column.only if column is not None and isinstance(column.only, str) else None
        path = f"uns/{ORGANISM}"
        element = task.tables.element(path) if task.tables.element_header(path) else None
        return element if isinstance(element, str) and task.reference.term(element) else None

    def _rules(self, place: Place) -> dict[str, Rule]:
        """The rules for fields of a place, without those for names that are no fields, which are told."""
        config = self._task.curation.config
        rules = config.obs if place == "obs" else config.var
        return {name: rule for name, rule in rules.items() if self._is_name(place, name)}

    def _is_name(self, place: Place, name: str) -> bool:
        """Whether the config may set a column or key of that name."""
        task = self._task
        where, fields = task.curation.where(place, name), task.fields
        if fields.find(place, name) is not None:
            return True
        elsewhere = next((each for each, known in fields.known.items() if each != place and name in known), "")
        meant = fields.meant(place, name)
        if name in fields.labels[place]:
            message = f"{name} is what the portal adds to {place} itself."
            suggestion = f"Set {meant}." if meant else "Leave it out."
        elif elsewhere:
            message, suggestion = (
                f"{name} is no field of {place} in schema {fields.version}.",
                f"Set it in {elsewhere}.",
            )
        elif name in fields.refused[place] or name.startswith("__"):
            message = f"{name} is a name that schema {fields.version} does not allow in {place}."
            suggestion = f"It says: {fields.refused[place][name]}." if fields.refused[place].get(name) else ""
        elif meant:
            message = f"{name} is no field of {place} in schema {fields.version}."
            suggestion = f"{meant} may be meant. For a column of your own, take a name that is less like it."
        elif place != "uns" and self._is_impossible(place, name):
            message, suggestion = (
                f"{name!r} cannot be the name of a column.",
                "Take another: not empty, without slashes, and not what the index is called.",
            )
        else:
            return True
        task.ledger.problem(f"{place}.field_unknown", where, message, suggestion=suggestion)
        return False

    def _is_impossible(self, place: Place, name: str) -> bool:
        """Whether no column can have a name: what names the rows lies beside the columns, in a place of its own."""
        index = self._task.frame(place).index.rpartition("/")[2]
        return not name.strip(" .") or "/" in name or name in (index, "_index", "index")

    def _is_set(self, name: str) -> bool:
        config = self._task.curation.config
        return name in (config.uns if self._is_of_dataset else config.obs)

    def _derive_organism(self) -> list[NewElement]:
        if self._is_of_dataset:
            is_there = self._task.tables.element_header(f"uns/{ORGANISM}") is not None
        else:
            is_there = self._of_file(ORGANISM) is not None
        if is_there:
            return []
        organism = derived_organism(self._task, self._genes)
        if organism is None:
            return []
        if self._is_of_dataset:
            self._task.known[f"uns/{ORGANISM}"] = organism
            return [NewElement(f"uns/{ORGANISM}", organism)]
        self._task.known[ORGANISM] = organism
        self._made[ORGANISM] = MadeColumn(self._task.frame("obs"), ORGANISM, None, {None: organism})
        return []

    def _stated_version(self) -> list[NewElement]:
        """The version of the schema, where submitters have to state it."""
        field = self._task.fields.find("uns", _VERSION)
        said = self._task.curation.config.uns.get(_VERSION) is not None
        path = f"uns/{_VERSION}"
        if field is None or said or self._is_in_file(path, self._schema.version):
            return []
        message = f"{_VERSION} of uns is {self._schema.version!r}."
        self._task.ledger.change("uns.derived", path, message, 1)
        return [NewElement(path, self._schema.version)]

    def _is_in_file(self, path: str, value: str) -> bool:
        return self._task.tables.element_header(path) is not None and self._task.tables.element(path) == value

    def _make(self, rules: dict[str, Rule]) -> None:
        """Makes the columns of obs; those on which it depends what others may hold come first."""
        task = self._task
        needed = {name for field in task.fields.known["obs"].values() for name in field.depends_on}
        for name in needed - rules.keys():
            column = self._of_file(name)
            if column is not None and column.only is not None:
                task.known[name] = column.only
        for name in sorted(rules, key=lambda name: name not in needed):
            made = make_column(task, "obs", name, rules[name])
            if made is None:
                continue
            self._made[name] = made
            if name in needed and isinstance(made, MadeColumn) and made.only is not None:
                task.known[name] = made.only

    def _derive(self, elements: list[NewElement]) -> None:
        """Makes the columns of obs that nobody sets and that follow from others."""
        names = {column.name for column in self._task.frame("obs").columns} | self._task.curation.config.obs.keys()
        wanted = [
            name for name, field in self._task.fields.known["obs"].items() if field.required and name not in names
        ]
        if "suspension_type" in wanted:
            assays = self._made.get(_ASSAY) or self._of_file(_ASSAY)
            derived = derived_suspensions(self._task, self._schema, assays if isinstance(assays, MadeColumn) else None)
            self._made |= {derived.name: derived} if derived is not None else {}
        if "is_primary_data" in wanted:
            self._made["is_primary_data"] = assumed_primary(self._task, elements)

    def _of_file(self, name: str) -> MadeColumn | None:
        """A column of obs as the file has it; None where it has none, or one of too many values."""
        column = self._task.column("obs", name)
        if column is None or ("obs", name) in self._drops.columns:
            return None
        try:
            facts = self._task.tables.column(column, self._task.frame("obs").length)
        except TooManyValuesError:
            return None
        values = {None: None, **{value: value for value in facts.used}}
        return MadeColumn(self._task.frame("obs"), name, facts, values)

    def _in_order(self, rules: dict[str, Rule]) -> Iterator[NewColumn]:
        names = [*(name for name in rules if name in self._made), *(name for name in self._made if name not in rules)]
        yield from (self._new(self._made[name]) for name in names)

    def _new(self, made: MadeColumn | NewColumn) -> NewColumn:
        return made.as_new(self._task.tables) if isinstance(made, MadeColumn) else made

    def _renamed(self, columns: list[NewColumn], elements: list[NewElement]) -> Additions:
        """The additions, with what makes room for them."""
        places: dict[str, Place] = {"obs": "obs", "var": "var", "raw/var": "raw.var", "raw.var": "raw.var"}
        new: dict[Place, set[str]] = {}
        for column in columns:
            new.setdefault(places[column.frame], set()).add(column.name)
        renamed = rename_columns(self._task, new, self._drops)
        paths = {element.path for element in elements}
        moved = rename_elements(self._task, paths, self._drops, renamed)
        dropped = {(self._task.frame(place).path, name) for place, name in self._drops.columns}
        taken = {(column.frame, column.name) for column in columns} & dropped
        return Additions(
            columns=tuple(replace(each, replaces=(each.frame, each.name) in taken) for each in columns),
            elements=tuple(replace(each, replaces=each.path in self._drops.elements) for each in elements),
            removed_columns=tuple(RemovedColumn(*each) for each in sorted(dropped - taken)),
            removed_elements=tuple(path for path in self._drops.elements if path not in paths),
            renamed_columns=tuple(renamed),
            renamed_elements=tuple(moved),
        )

"""What all parts of one curation share: the open file, the config, what the schema says, and what is known so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from celldock.curation.config import Curation
from celldock.curation.config import Value as ConfigValue
from celldock.curation.fields import Place, SchemaField, SchemaFields, nearest
from celldock.curation.ledger import Ledger
from celldock.curation.terms import UnresolvedError, resolve
from celldock.h5ad.headers import ColumnHeader, FrameHeader
from celldock.schema.facts import MAX_VALUES, ColumnFacts, Tables, TooManyValuesError, Value
from celldock.schema.reference import Reference
from celldock.schema.words import ROWS

_MOST_PROBLEMS = 50
"""Problems with one field that are told one by one."""
_FEW = 10


@dataclass
class Task:
    """One curation in progress.

    Attributes:
        known: values of fields that all cells share (`tissue_type`, `uns/organism_ontology_term_id`): what is allowed
            elsewhere may depend on them.
    """

    tables: Tables
    curation: Curation
    fields: SchemaFields
    reference: Reference
    ledger: Ledger
    known: dict[str, Value] = field(default_factory=dict[str, Value])
    _labels: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    _told: Counter[str] = field(default_factory=Counter[str])

    def frame(self, place: Place) -> FrameHeader:
        """The header of obs, var or raw.var; raises KeyError where the file has none."""
        header = self.tables.header
        frame = {"obs": header.obs, "var": header.var, "raw.var": header.raw_var}[place]
        if frame is None:
            raise KeyError(place)
        return frame

    def column(self, place: Place, name: str) -> ColumnHeader | None:
        """A column of the file that can be read; None if there is none of that name."""
        columns = self.frame(place).columns
        return next((each for each in columns if each.name == name and each.kind != "unsupported"), None)

    def facts(self, place: Place, column: ColumnHeader, where: str) -> ColumnFacts | None:
        """The values of a column; None, and a problem at `where`, for more than are told apart."""
        try:
            return self.tables.column(column, self.frame(place).length)
        except TooManyValuesError:
            message = f"The column {column.name} of {place} has more than {MAX_VALUES:,} different values."
            suggestion = "Values of single cells, such as barcodes, cannot be mapped."
            self.ledger.problem("column.too_many_values", where, message, suggestion=suggestion)
            return None

    def missing_column(self, place: Place, name: str, where: str) -> None:
        """Tells of a column that the config reads and the file does not have."""
        names = [column.name for column in self.frame(place).columns]
        by_case = {each.casefold(): each for each in names}
        meant = nearest(name, names) or by_case.get(nearest(name.casefold(), by_case), "")
        self.ledger.problem(
            f"{place}.column_missing",
            where,
            f"{place} has no column {name!r}.",
            examples=names,
            suggestion=f"{meant!r} may be meant." if meant else _columns(place, names),
        )

    def settle(
        self, wanted: SchemaField, value: ConfigValue, where: str, rows: int = 0, subject: str = ""
    ) -> Value | None:
        """The value that a field gets for one of the config, or of a column; None, and a problem, if it may not.

        `rows` are those that would get it; `subject` is what the message begins with.
        """
        try:
            return self._settle(wanted, value)
        except UnresolvedError as error:
            self.problem(wanted, where, f"{subject}{error.message}", rows, error.suggestion)
            return None

    def _settle(self, wanted: SchemaField, value: ConfigValue) -> Value:
        path = f"{wanted.place}/{wanted.name}"
        if wanted.holds == "boolean":
            if isinstance(value, bool):
                return value
            raise UnresolvedError(f"{wanted.name} must be true or false.", "Write true or false, without quotes.")
        if wanted.holds is None and not (wanted.has_terms or wanted.words or isinstance(value, tuple)):
            return value
        if isinstance(value, bool | float):
            raise UnresolvedError(f"{wanted.name} holds texts, but the config has {value!r}.", "Write it in quotes.")
        resolved = resolve(self.reference, wanted, str(value) if isinstance(value, int) else value, self.known)
        if resolved.labels:
            self._labels.setdefault(path, {}).update(resolved.labels)
        return resolved.value

    def problem(self, wanted: SchemaField, where: str, message: str, rows: int, suggestion: str) -> None:
        """A problem with a value of a field: of very many the first ones are told."""
        self._told[wanted.name] += 1
        if self._told[wanted.name] > _MOST_PROBLEMS:
            return
        code = f"{wanted.place}.{'term_unresolved' if wanted.has_terms else 'value_not_allowed'}"
        count = f" ({ROWS[wanted.place].of(rows)})" if rows and wanted.place in ROWS else ""
        self.ledger.problem(
            code, where, message.removesuffix(".") + count + ".", count=rows or 1, suggestion=suggestion
        )

    def tell(self) -> None:
        """Says which labels were taken for which terms, and how many problems were not told one by one."""
        for path, labels in self._labels.items():
            some = ", ".join(f"{label!r} is {id_}" for label, id_ in list(labels.items())[:_FEW])
            more = " …" if len(labels) > _FEW else ""
            message = f"Labels were given where ids are wanted: {some}{more}."
            self.ledger.change(f"{path.split('/')[0]}.term_resolved", path, message, len(labels), labels)
        for name, count in self._told.items():
            if count > _MOST_PROBLEMS:
                more = count - _MOST_PROBLEMS
                self.ledger.problem(
                    "config.more_problems", name, f"{more:,} more values of {name} have such problems.", count=more
                )


def _columns(place: str, names: Iterable[str]) -> str:
    some = list(names)
    return f"{place} has {', '.join(map(repr, some[:_FEW]))}{' …' if len(some) > _FEW else ''}." if some else ""

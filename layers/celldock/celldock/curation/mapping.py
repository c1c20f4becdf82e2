"""Rules of a config as columns: one value for all rows, another column's values, or a value for each of them."""

from __future__ import annotations

from collections import Counter

import numpy as np

from celldock.curation.config import Constant, Mapped, Rule, Taken, Unmapped
from celldock.curation.config import Value as ConfigValue
from celldock.curation.fields import UNKNOWN, Place, SchemaField
from celldock.curation.making import MadeColumn, copied_column
from celldock.curation.task import Task
from celldock.h5ad.additions import NewColumn
from celldock.schema.facts import ColumnFacts, Value
from celldock.schema.words import ROWS

_MISSING = "missing"
_BOOLEANS = {"true": True, "false": False}
_FEW = 5
_SHOWN = 60


def make_column(task: Task, place: Place, name: str, rule: Rule) -> MadeColumn | NewColumn | None:
    """The column that a rule of the config asks for; None where that cannot be, which the ledger says."""
    wanted = task.fields.find(place, name) or SchemaField(place, name)
    where = task.curation.where(place, name)
    if isinstance(rule, Constant):
        value = _value(task, wanted, rule.value, where, task.frame(place).length)
        made = None if value is None else MadeColumn(task.frame(place), name, None, {None: value})
        if made is not None:
            rows = ROWS[place].of(made.frame.length)
            task.ledger.change(f"{place}.set", f"{place}/{name}", f"{name} is {value!r} in {rows}.", made.frame.length)
        return made
    where = task.curation.where(place, name, "column") if isinstance(rule, Taken) else where
    column = task.column(place, rule.column)
    if column is None:
        task.missing_column(place, rule.column, where)
        return None
    is_free = wanted.holds is None and not wanted.has_terms
    if isinstance(rule, Taken) and is_free and (copied := copied_column(task.tables, task.frame(place), column, name)):
        _say_taken(task, place, name, rule)
        return copied
    facts = task.facts(place, column, where)
    if facts is None:
        return None
    return _Mapping(task, wanted, facts).make(rule, where)


class _Mapping:
    """Makes one column of another's values, and tells what stands in the way."""

    def __init__(self, task: Task, wanted: SchemaField, facts: ColumnFacts) -> None:
        self._task = task
        self._wanted = wanted
        self._facts = facts
        self._place: Place = wanted.place
        self._noun = ROWS[wanted.place]
        self._failed = False
        self._unmapped: Counter[str] = Counter()

    def make(self, rule: Taken | Mapped, where: str) -> MadeColumn | None:
        """The column; None if there is any problem."""
        task, wanted, facts = self._task, self._wanted, self._facts
        policy: Unmapped = (rule.unmapped if isinstance(rule, Mapped) else None) or task.curation.config.unmapped
        values: dict[Value | None, Value | None] = {}
        used: set[str] = set()
        for value, rows in facts.used.items():
            if isinstance(rule, Taken):
                values[value] = self._taken(value, where, rows)
                continue
            texts = texts_of(value, facts.header.dtype)
            key = next((text for text in texts if text in rule.values), None)
            if key is None:
                values[value] = self._left_over(value, policy, where, rows)
            else:
                used.add(key)
                values[value] = self._mapped(rule, key, rows)
        if facts.missing:
            values[None] = self._left_over(None, policy, where, facts.missing)
        self._tell_unmapped(policy, where, "Map the column" if isinstance(rule, Taken) else "Add them to the map")
        if isinstance(rule, Mapped):
            self._tell_unused(rule, used, where)
        ordered = isinstance(rule, Taken) and facts.header.categories is not None
        made = MadeColumn(task.frame(self._place), wanted.name, facts, values, ordered and facts.header.ordered)
        if self._failed or not self._is_of_one_type(made, where):
            return None
        self._say(rule, made)
        return made

    def _mapped(self, rule: Mapped, key: str, rows: int) -> Value | None:
        where = self._task.curation.where_mapped(self._place, self._wanted.name, rule.column, key)
        value = _value(self._task, self._wanted, rule.values[key], where, rows, f"{key[:_SHOWN]!r}: ")
        self._failed |= value is None
        return value

    def _taken(self, value: Value, where: str, rows: int) -> Value | None:
        """A value of the other column as it is, if it may stand in this one."""
        wanted, text = self._wanted, texts_of(value, self._facts.header.dtype)[0]
        plain: Value = text
        if wanted.holds == "boolean":
            plain = value if isinstance(value, bool) else _BOOLEANS.get(text.strip().casefold(), text)
        elif not text.strip():
            return self._left_over(value, self._task.curation.config.unmapped, where, rows)
        taken = self._task.settle(wanted, plain, where, rows) if _is_checked(wanted) else plain
        self._failed |= taken is None
        return taken

    def _left_over(self, value: Value | None, policy: Unmapped, where: str, rows: int) -> Value | None:
        """What becomes of a value that the map does not have, or of a missing one, which is None."""
        text = _MISSING if value is None else texts_of(value, self._facts.header.dtype)[0]
        self._unmapped[text] += rows
        if policy == "error":
            self._failed = True
            return None
        if policy == "unknown":
            if self._wanted.allows_word(UNKNOWN):
                return UNKNOWN
            self._refuse_unknown(where)
            return None
        return None if value is None else self._kept(value, text)

    def _kept(self, value: Value, text: str) -> Value:
        if self._wanted.holds == "boolean":
            return value if isinstance(value, bool) else _BOOLEANS.get(text.strip().casefold(), text)
        return text

    def _refuse_unknown(self, where: str) -> None:
        if not self._failed:
            message = f"{self._wanted.name} cannot be 'unknown', which unmapped: unknown asks for."
            suggestion = "Give each value of its own."
            self._task.ledger.problem(f"{self._place}.unknown_not_allowed", where, message, suggestion=suggestion)
        self._failed = True

    def _tell_unmapped(self, policy: Unmapped, where: str, mend: str) -> None:
        """Says which values have nothing to become, if that is not allowed; else what they became."""
        if not self._unmapped or (self._failed and policy != "error"):
            return
        name, column, total = self._wanted.name, self._facts.header.name, self._unmapped.total()
        path, rows = f"{self._place}/{name}", self._noun.of(total)
        shown = [f"{text[:_SHOWN]} ({self._noun.of(count)})" for text, count in self._unmapped.most_common(_FEW)]
        if policy == "error":
            self._task.ledger.problem(
                f"{self._place}.unmapped",
                where,
                f"{_values(len(self._unmapped))} of {self._place}/{column}, in {rows}, "
                f"{'has' if len(self._unmapped) == 1 else 'have'} nothing to become in {name}.",
                count=total,
                examples=shown,
                suggestion=f"{mend}, or write unmapped: unknown, or unmapped: keep.",
            )
            return
        became = "'unknown'" if policy == "unknown" else "as they were"
        message = (
            f"{_values(len(self._unmapped))} of {self._place}/{column} without an entry became {became}, in {rows}."
        )
        self._task.ledger.change(f"{self._place}.unmapped", path, message, total, tuple(self._unmapped))
        if policy == "keep" and self._wanted.holds is not None:
            message = f"{name} keeps values that nothing was said of: they may be none that the schema allows."
            self._task.ledger.warn(f"{self._place}.kept", where, message, count=total, examples=shown)

    def _tell_unused(self, rule: Mapped, used: set[str], where: str) -> None:
        unused = [key for key in rule.values if key not in used]
        if unused:
            self._task.ledger.warn(
                f"{self._place}.map_unused",
                where,
                f"The map of {self._wanted.name} has {_values(len(unused))} that {self._place}/{rule.column} "
                "does not have.",
                count=len(unused),
                examples=unused,
                suggestion="Make sure that they are spelt as in the file.",
            )

    def _is_of_one_type(self, made: MadeColumn, where: str) -> bool:
        """Whether the values can be those of one column."""
        types = {type(value) for value in made.counts if value is not None}
        gaps = None in made.counts and types != {str} and bool(types)
        if not gaps and (types <= {int, float} or len(types) <= 1):
            return True
        words = "has rows without a value" if gaps else "would hold values of several types"
        message = f"{self._wanted.name} {words}, where it must hold only texts, only numbers, or only true and false."
        suggestion = "Add the values that are left over to the map."
        self._task.ledger.problem(f"{self._place}.mixed_types", where, message, suggestion=suggestion)
        return False

    def _say(self, rule: Taken | Mapped, made: MadeColumn) -> None:
        if isinstance(rule, Taken):
            _say_taken(self._task, self._place, made.name, rule)
            return
        rows = made.frame.length
        message = f"{made.name} was made of {_values(len(self._facts.used))} of {self._place}/{rule.column}."
        dtype = self._facts.header.dtype
        details = {
            _MISSING if value is None else texts_of(value, dtype)[0]: _MISSING if to is None else str(to)
            for value, to in made.values.items()
        }
        self._task.ledger.change(f"{self._place}.mapped", f"{self._place}/{made.name}", message, rows, details)


def texts_of(value: Value, dtype: str) -> tuple[str, ...]:
    """How a config may write a value of a column of that type: True as `True` or `true`, 1.0 as `1.0` or `1`."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, bool):
        return (str(value), str(value).lower())
    if isinstance(value, int):
        return (str(value),)
    text = str(np.float32(value)) if dtype == "float32" else str(value)
    return (text, str(int(value))) if value.is_integer() else (text,)


def _value(
    task: Task, wanted: SchemaField, value: ConfigValue, where: str, rows: int = 0, subject: str = ""
) -> Value | None:
    """A value of the config as the field gets it; None, and a problem, if it may not."""
    if isinstance(value, tuple) or _is_checked(wanted):
        return task.settle(wanted, value, where, rows, subject)
    return value


def _is_checked(wanted: SchemaField) -> bool:
    return wanted.has_terms or bool(wanted.words) or wanted.holds is not None


def _say_taken(task: Task, place: Place, name: str, rule: Taken) -> None:
    rows = task.frame(place).length
    message = f"{name} has the values of {place}/{rule.column}."
    task.ledger.change(f"{place}.taken", f"{place}/{name}", message, rows)


def _values(number: int) -> str:
    return f"{number:,} value{'' if number == 1 else 's'}"

"""What a config says of the dataset as a whole: the keys of uns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

import numpy as np

from celldock.curation.config import UnsValue
from celldock.curation.fields import SchemaField
from celldock.curation.task import Task
from celldock.h5ad.additions import NewElement, NewValue

_LONGEST = 200


def set_elements(task: Task, keys: Iterable[str]) -> list[NewElement]:
    """The elements of uns that the config sets by these keys; what may not be is told to the ledger, and left out."""
    made: list[NewElement] = []
    for key in keys:
        value = task.curation.config.uns[key]
        wanted = task.fields.find("uns", key) or SchemaField("uns", key)
        where = task.curation.where("uns", key)
        if wanted.has_terms or wanted.words:
            text = value if isinstance(value, str) else None
            settled = task.settle(wanted, text or "", where)
            made += [NewElement(f"uns/{key}", settled)] if settled is not None else []
        else:
            made += _elements(task, (key,), value)
    for element in made:
        message = f"{element.path.removeprefix('uns/')} of uns is {_shown(element.value)}."
        task.ledger.change("uns.set", element.path, message, 1)
    return made


def _elements(task: Task, path: tuple[str, ...], value: UnsValue) -> Iterator[NewElement]:
    """The elements that a value comes to; one for each key of a dictionary that the file has already."""
    where, place = task.curation.where("uns", *path), f"uns/{'/'.join(path)}"
    if not _is_name(path[-1]):
        message = f"{path[-1][:_LONGEST]!r} cannot be the name of an element of uns."
        suggestion = "Names are not empty, have no slashes, and do not begin with two underscores."
        task.ledger.problem("uns.name", where, message, suggestion=suggestion)
        return
    header = task.tables.element_header(place)
    if isinstance(value, dict) and (header is not None and header.kind == "dict"):
        for key, item in value.items():
            yield from _elements(task, (*path, key), item)
        return
    plain = _plain(task, path, value)
    if plain is not None:
        yield NewElement(place, plain)


def _plain(task: Task, path: tuple[str, ...], value: UnsValue) -> NewValue | None:
    """A value as uns has it; None, and a problem, for what it cannot be."""
    if isinstance(value, dict):
        items = {key: _plain(task, (*path, key), item) for key, item in value.items()}
        for key in items:
            if not _is_name(key):
                _refuse(task, (*path, key), "its name cannot be that of an element")
        return None if None in items.values() else cast("Mapping[str, NewValue]", items)
    if isinstance(value, tuple):
        types = {type(item) for item in value}
        if types == {str}:
            return np.array(value, object)
        if types in ({bool}, {int}, {float}, {int, float}):
            return np.array(value)
        _refuse(task, path, "a list must hold only texts, only numbers, or only true and false, and not be empty")
        return None
    if isinstance(value, str) and not value.strip():
        _refuse(task, path, "it is empty: give it a value, or leave the line out")
        return None
    return value


def _refuse(task: Task, path: tuple[str, ...], why: str) -> None:
    task.ledger.problem("uns.value", task.curation.where("uns", *path), f"uns.{'.'.join(path)} cannot be set: {why}.")


def _is_name(name: str) -> bool:
    return bool(name.strip(".")) and "/" not in name and not name.startswith("__") and len(name) <= _LONGEST


def _shown(value: NewValue) -> str:
    if isinstance(value, np.ndarray):
        return f"a list of {len(value):,}"
    if isinstance(value, Mapping):
        return f"a dictionary of {len(value):,}"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"

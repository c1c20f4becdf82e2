"""What a mutation is: one change of a valid file, with the values that it is tried with and the code that names it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from tests.parity.bases import BASES, Data

NEWEST = "7.1.0"

type File = Any
"""An open h5py.File: its own types say of an element all that it could be."""
type Change = Callable[[Data, Any], Data | None]
type Edit = Callable[[File, Any], None]

MUTATIONS: list[Mutation] = []


@dataclass(frozen=True, slots=True)
class Mutation:
    """One kind of change.

    Attributes:
        name: of the kind, unique.
        bases: the valid files that it is applied to.
        codes: the findings that name it: a report on any case has at least one of them. None at all where the file
            stays valid.
        values: what the change is called with, one case each.
        change: changes the AnnData before it is written, or returns another.
        edit: changes the file after that: what AnnData would refuse to write.
        version: of the schema by which the bases are valid.
    """

    name: str
    bases: tuple[str, ...]
    codes: tuple[str, ...]
    values: tuple[Any, ...]
    change: Change | None = None
    edit: Edit | None = None
    version: str = NEWEST


@dataclass(frozen=True, slots=True)
class Case:
    """A mutation of one base with one value. `id` is the same in every run."""

    mutation: Mutation
    base: str
    number: int

    @property
    def id(self) -> str:
        """As `obs.term_unknown-human-2`."""
        return f"{self.mutation.name}-{self.base}-{self.number}"

    def write(self, path: Path) -> Path:
        """Makes the file, and returns its path."""
        data, value = BASES[self.base](), self.mutation.values[self.number]
        if self.mutation.change:
            changed = self.mutation.change(data, value)
            data = data if changed is None else changed
        data.write_h5ad(path)
        if self.mutation.edit:
            with h5py.File(path, "r+") as file:
                self.mutation.edit(file, value)
        return path


def changes[C: Change](
    name: str,
    *codes: str,
    base: str | Sequence[str] = "human",
    values: Sequence[Any] = (None,),
    version: str = NEWEST,
) -> Callable[[C], C]:
    """Registers a change of the AnnData, made before it is written."""

    def register(change: C) -> C:
        MUTATIONS.append(Mutation(name, _names(base), codes, tuple(values), change=change, version=version))
        return change

    return register


def edits[E: Edit](
    name: str,
    *codes: str,
    base: str | Sequence[str] = "human",
    values: Sequence[Any] = (None,),
    version: str = NEWEST,
) -> Callable[[E], E]:
    """Registers a change of the written file."""

    def register(edit: E) -> E:
        MUTATIONS.append(Mutation(name, _names(base), codes, tuple(values), edit=edit, version=version))
        return edit

    return register


def cases(version: str = NEWEST) -> list[Case]:
    """Every mutation by a version of the schema, of each of its bases with each of its values."""
    return [
        Case(mutation, base, number)
        for mutation in MUTATIONS
        if mutation.version == version
        for base in mutation.bases
        for number in range(len(mutation.values))
    ]


def _names(base: str | Sequence[str]) -> tuple[str, ...]:
    return (base,) if isinstance(base, str) else tuple(base)

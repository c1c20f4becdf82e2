"""Original columns and keys that have to make room: each keeps its values and is called `author_<name>` from now on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from celldock.curation.dropping import Drops, frames_of
from celldock.curation.fields import Place
from celldock.curation.task import Task
from celldock.h5ad.additions import RenamedColumn, RenamedElement

_AUTHOR = "author_"
_COLORS = "_colors"


def rename_columns(task: Task, new: Mapping[Place, Collection[str]], drops: Drops) -> list[RenamedColumn]:
    """The columns that are in the way: of `new` ones of their name, or of the portal's own."""
    renamed: list[RenamedColumn] = []
    for place, frame in frames_of(task.tables.header):
        names = [column.name for column in frame.columns if (place, column.name) not in drops.columns]
        taken = {*names, *new.get(place, ())}
        for name in names:
            if name in new.get(place, ()):
                reason = "its name is that of a new column"
            elif task.fields.is_reserved(place, name):
                reason = "its name is reserved"
            else:
                continue
            to = author_name(name, taken)
            taken.add(to)
            renamed.append(RenamedColumn(frame.path, name, to))
            message = f"The column {name} of {place} is called {to}: {reason}. Its values are as they were."
            task.ledger.change(f"{place}.renamed", f"{frame.path}/{name}", message, frame.length, {name: to})
    return renamed


def rename_elements(
    task: Task, new: Collection[str], drops: Drops, columns: Iterable[RenamedColumn]
) -> list[RenamedElement]:
    """The elements of uns that are in the way of `new` paths or of the portal's, and colours of renamed columns."""
    paths = {element.path for element in task.tables.header.uns} - {*drops.elements}
    colors = {f"uns/{each.name}{_COLORS}": f"uns/{each.to}{_COLORS}" for each in columns if each.frame == "obs"}
    taken = {path.removeprefix("uns/") for path in (*paths, *new)}
    renamed: list[RenamedElement] = []
    for path in sorted(paths):
        name = path.removeprefix("uns/")
        parent, _, last = name.rpartition("/")
        is_reserved = not parent and task.fields.is_reserved("uns", last)
        if path in colors and colors[path] not in paths:
            to, reason = colors[path].removeprefix("uns/"), "its column has another name"
        elif path in new or is_reserved:
            within = f"{parent}/" if parent else ""
            to = within + author_name(last, {each.removeprefix(within) for each in taken if each.startswith(within)})
            reason = "its name is reserved" if is_reserved else "its name is that of a new one"
        else:
            continue
        taken.add(to)
        renamed.append(RenamedElement(path, f"uns/{to}"))
        message = f"{name} of uns is called {to}: {reason}. Its value is as it was."
        task.ledger.change("uns.renamed", path, message, 1, {name: to})
    return renamed


def author_name(name: str, taken: Collection[str]) -> str:
    """A name for what was called `name`: `author_<name>`, with a number where that is taken."""
    plain = _AUTHOR + (name.lstrip("_") or "column")
    number, found = 1, plain
    while found in taken:
        number += 1
        found = f"{plain}_{number}"
    return found

"""Adds columns and elements to a file without moving anything of the original.

Whatever is new gets a place behind the file's end, and stays without a name until all of it is there. Then the frames'
lists of columns are renewed, what is to have another name gets it, the new objects are named, and only then is taken
away what is to go, so that no freed place is used again. What libhdf5 rewrites where it lies: the superblock, the
headers of frames that get another list of columns or another index, and the indexes (B-tree, symbol nodes, heap of
names) of groups that get or lose members.

The file is opened a second time for that, and no string of the original is read there: libhdf5 would put new strings
into the gaps of heaps that it knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import h5py
import numpy as np
from h5py import h5a

from celldock.errors import CannotAppend, InvalidSubmission
from celldock.h5ad.additions import Array, NewValue
from celldock.h5ad.container import HEAD_BYTES, declared_end
from celldock.h5ad.hdf5 import nodes
from celldock.h5ad.hdf5.encodings import OLD_CATEGORIES, TEXT, ColumnPlan, Encoder, Filling, appending
from celldock.h5ad.hdf5.faults import shown
from celldock.h5ad.hdf5.overlay import Overlay
from celldock.h5ad.hdf5.series import encoding_of

_FRAME, _OLD_FRAME = ("dataframe", "0.2.0"), ("dataframe", "0.1.0")
_UNMARKED = ("", "")
_DICTS = {_UNMARKED, ("dict", "0.1.0")}
_ORDER, _INDEX = "column-order", "_index"
_POINTER_BYTES = 16
_MAX_ATTRIBUTE_BYTES = 65_000
"""An attribute lies in an object header, whose messages hold up to 64 KiB (HDF5 file format, IV.A.1)."""


@dataclass(frozen=True, slots=True)
class _Link:
    """A new object, and where it is to be."""

    parent: str
    name: str
    node: nodes.Node
    replaces: bool


@dataclass
class Appending:
    """What is added to one file, from the first column to `finish`. `original` is the file, opened for reading.

    Every method may raise CannotAppend, after which nothing can be done with it any more.
    """

    original: h5py.File
    overlay: Overlay
    _file: h5py.File = field(init=False)
    _orders: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    _made: dict[str, h5py.Group] = field(default_factory=dict[str, h5py.Group])
    _links: list[_Link] = field(default_factory=list[_Link])
    _gone: list[str] = field(default_factory=list[str])
    _moves: dict[str, str] = field(default_factory=dict[str, str])
    _indexes: dict[str, str] = field(default_factory=dict[str, str])
    _filling: Filling | None = None

    def __post_init__(self) -> None:
        """Opens the overlay. What is new gets the oldest format: whoever reads the original reads the new file too."""
        end = declared_end(self.overlay.read(HEAD_BYTES))
        if end != self.overlay.size:
            _cannot("", f"goes on after its end at {end:,}, where new data would go")
        with appending(""):
            self._file = h5py.File(self.overlay, "r+", libver=("earliest", "latest"))
            _, persistent, _ = self._file.id.get_create_plist().get_file_space_strategy()
        if persistent:
            _cannot("", "keeps a list of free places within it, where new data would go")

    def rename(self, columns: Sequence[Sequence[str]], elements: Sequence[Sequence[str]]) -> None:
        """Gives columns (frame, name, new name) and elements of uns (path, new path) other names; to be called first.

        Raises InvalidSubmission if something has a name already that does not get another.
        """
        pairs = [
            *elements,
            *(pair for frame, *names in columns for pair in zip(*(_paths(frame, name) for name in names), strict=True)),
        ]
        moves = {old: new for old, new in pairs if nodes.find(self.original, old) is not None}
        for frame in dict.fromkeys(frame for frame, _, _ in columns):
            others = {name: to for of, name, to in columns if of == frame}
            order = self._order(frame)
            if not others.keys() <= set(order):
                raise ValueError(f"{frame} lacks columns that are to be renamed")
            order[:] = [others.get(name, name) for name in order]
        self._moves = moves
        for new in moves.values():
            if new not in moves and nodes.find(self.original, new) is not None:
                _refuse_taken(new, "is there already, and may not be overwritten")
        if len(set(moves.values())) != len(moves):
            raise ValueError("two things are to have the same name")

    def start_index(self, frame: str, rows: int, former: str) -> None:
        """Makes other names for the rows of a frame, to be filled by `write`; see `NewIndex`."""
        order, index = self._order(frame), nodes.text_attribute(_group(self.original, frame), _INDEX)
        path = f"{frame}/{index}"
        if nodes.find(self.original, path) is None:
            _cannot(frame, "does not say what names its rows")
        name = index
        if index in order or index == former:
            # What named the rows stays where it is: a column that is equal to it, or is now to be one of that name.
            name = self._indexes[frame] = _INDEX
            if former and index not in order:
                self._enlist(frame, former)
        elif former:
            self._take(self._there(*_paths(frame, former)), f"{frame}/{former}", replaces=False)
            self._moves[path] = f"{frame}/{former}"
            self._enlist(frame, former)
        else:
            self._gone.append(path)
        self._take(self._there(f"{frame}/{name}") if name != index else [], f"{frame}/{name}", replaces=False)
        encoder = Encoder(self._file, marked=not self._is_old(frame))
        self._filling = encoder.plain(ColumnPlan(frame, name, "string", rows, "", (), ordered=False, replaces=False))
        self._links.append(_Link(frame, name, self._filling.values, replaces=path in self._gone))

    def start_column(self, plan: ColumnPlan) -> None:
        """Makes a column, to be filled by `write`.

        Raises InvalidSubmission if the frame has one of that name already and it is not to be replaced.
        """
        frame = plan.frame
        order, is_old = self._order(frame), self._is_old(frame)
        encoder = Encoder(self._file, marked=not is_old)
        # What names the rows lies beside the columns, and is none of them.
        replaces = plan.replaces and plan.name in order
        self._take(self._there(*_paths(frame, plan.name)), f"{frame}/{plan.name}", replaces=replaces)
        made = encoder.column(plan)
        self._filling = made.filling
        if made.old_labels is not None:
            self._links.append(_Link(self._old_categories(frame), plan.name, made.old_labels, plan.replaces))
        self._links.append(_Link(frame, plan.name, made.node, plan.replaces))
        if plan.name not in order:
            self._enlist(frame, plan.name)

    def write(self, values: Array, mask: Array | None) -> None:
        """The next rows of the column that was started last."""
        assert self._filling is not None
        self._filling.write(values, mask)

    def add_element(self, path: str, value: NewValue, *, replaces: bool) -> None:
        """Makes an element of uns; raises InvalidSubmission as `start_column` does."""
        parent, name = self._parent(path)
        self._take(self._there(path), path, replaces=replaces)
        self._links.append(_Link(parent, name, self._encoder().element(path, value), replaces))

    def finish(self, removed_columns: Mapping[str, list[str]], removed_elements: list[str]) -> int:
        """Names what is new, takes away what was replaced and what is to be removed, and closes the file.

        Returns the bytes that the new file has.
        """
        removed = [*removed_elements]
        for frame, names in removed_columns.items():
            for name in names:
                self._order(frame).remove(name)
                removed += self._there(*_paths(frame, name))
        for frame, order in self._orders.items():
            self._renew(frame, order)
        self._rename()
        self._name(replacing=False)
        for path in self._gone:
            self._unlink(path)
        self._name(replacing=True)
        for path in removed:
            self._unlink(path)
        with appending(""):
            self._file.close()
        self.overlay.hand_over()
        return self.overlay.size

    def _order(self, frame: str) -> list[str]:
        """The columns that a frame is to have in the end."""
        if frame not in self._orders:
            group = _group(self.original, frame)
            order = nodes.text_list_attribute(group, _ORDER)
            if encoding_of(group) not in (_FRAME, _OLD_FRAME) or order is None:
                _cannot(frame, "is in an encoding to which nothing can be added")
            self._orders[frame] = order
        return self._orders[frame]

    def _enlist(self, frame: str, name: str) -> None:
        order = self._order(frame)
        order.append(name)
        if _POINTER_BYTES * len(order) > _MAX_ATTRIBUTE_BYTES:
            _cannot(frame, f"would have {len(order):,} columns, whose names do not fit where AnnData lists them")

    def _encoder(self) -> Encoder:
        """What makes elements of uns."""
        return Encoder(self._file, marked=encoding_of(self.original) != _UNMARKED)

    def _is_old(self, frame: str) -> bool:
        return encoding_of(_group(self.original, frame)) == _OLD_FRAME

    def _take(self, there: list[str], path: str, *, replaces: bool) -> None:
        """Claims the name of something new, which at the paths `there` has something already."""
        if there and not replaces:
            _refuse_taken(path, "is there already, and may not be overwritten")
        if any(f"{link.parent}/{link.name}" == path for link in self._links):
            raise ValueError(f"{path} is added twice")
        self._gone += there

    def _parent(self, path: str) -> tuple[str, str]:
        """The path of the group that is to hold an element, made if there is none, and the element's name in it."""
        parent, _, name = path.rpartition("/")
        if not parent or parent in self._made:
            return parent, name
        node = self._stays(parent)
        if node is None:
            self._made[parent] = self._encoder().dictionary()
            self._links.append(_Link(*self._parent(parent), self._made[parent], replaces=False))
        elif not isinstance(node, h5py.Group) or encoding_of(node) not in _DICTS:
            _refuse_taken(parent, f"is no dictionary, so that it cannot hold {name}")
        return parent, name

    def _old_categories(self, frame: str) -> str:
        """The path of the group where a frame of AnnData 0.7 has all of its categories, made if there is none."""
        path = f"{frame}/{OLD_CATEGORIES}"
        if path not in self._made and nodes.find_group(self.original, path) is None:
            self._made[path] = Encoder(self._file).group()
            self._links.append(_Link(frame, OLD_CATEGORIES, self._made[path], replaces=False))
        return path

    def _there(self, *paths: str) -> list[str]:
        """Those of the paths at which there is something, once all that gets another name has it."""
        given = set(self._moves.values())
        return [path for path in paths if path in given or self._stays(path) is not None]

    def _stays(self, path: str) -> nodes.Node | None:
        """What the original has at a path, unless it gets another name, or what it lies in."""
        moved = any(path == old or path.startswith(f"{old}/") for old in self._moves)
        return None if moved else nodes.find(self.original, path)

    def _renew(self, frame: str, order: list[str]) -> None:
        """Writes which columns a frame has, and which names its rows, where that is not what it was."""
        old, group = _group(self.original, frame), _group(self._file, frame)
        if order != nodes.text_list_attribute(old, _ORDER):
            self._renew_attribute(group, _ORDER, np.array(order, dtype=object))
        if self._indexes.get(frame, nodes.text_attribute(old, _INDEX)) != nodes.text_attribute(old, _INDEX):
            self._renew_attribute(group, _INDEX, self._indexes[frame])

    def _renew_attribute(self, group: h5py.Group, name: str, value: Array | str) -> None:
        with appending(nodes.path_of(group)):
            # Not by assignment: h5py would write it under a random name first, which leaves traces in the header.
            h5a.delete(group.id, name.encode())
            group.attrs.create(name, value, dtype=TEXT)

    def _rename(self) -> None:
        """Gives all names, each once nothing else has it any more."""
        waiting = dict(self._moves)
        while waiting:
            ready = [path for path, to in waiting.items() if to not in waiting]
            if not ready:
                raise ValueError("names that are to change places")
            for path in ready:
                with appending(path):
                    self._file.move(path, waiting.pop(path))

    def _name(self, *, replacing: bool) -> None:
        for link in self._links:
            if link.replaces == replacing:
                parent = self._made.get(link.parent) or _group(self._file, link.parent)
                with appending(link.parent):
                    parent[link.name] = link.node

    def _unlink(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        group = _group(self._file, parent)
        with appending(path):
            del group[name]


def _paths(frame: str, name: str) -> tuple[str, str]:
    """Where the objects of a column are; those of AnnData 0.7 have their categories in another place."""
    return f"{frame}/{name}", f"{frame}/{OLD_CATEGORIES}/{name}"


def _group(file: h5py.File, path: str) -> h5py.Group:
    group = nodes.find_group(file, path) if path else file
    if group is None:
        _cannot(path, "is no group, so that nothing can be added to it")
    return group


def _cannot(where: str, problem: str) -> NoReturn:
    raise CannotAppend(f"{shown(where)} {problem}.", code="file.not_appendable", where=shown(where))


def _refuse_taken(path: str, problem: str) -> NoReturn:
    hint = f"Rename it, for example to author_{path.rpartition('/')[2]}, and upload the file again."
    raise InvalidSubmission(f"{shown(path)} {problem}.", code="file.name_taken", where=shown(path), hint=hint)

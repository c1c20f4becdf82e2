"""What a case is, and how one is registered."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py

from tests import builders

Stage = Literal["guard", "rules", "parser", "processed"]
"""Who must refuse it: the guard (or whoever opens the file before it), the header and rules and scan that come after
it, libhdf5 itself in its sandbox; or nobody."""

type Builder = Callable[[Path], None]
type Change = Callable[[h5py.File], None]

UNREADABLE = frozenset({"file.damaged", "file.crashes_reader", "file.hangs_reader", "file.memory"})
"""What a file may be told whose bytes break the parser: how depends on the build of libhdf5."""


@dataclass(frozen=True)
class Case:
    """One file: `build` writes it; its submitter must be told one of `codes`, or nothing if there are none."""

    name: str
    build: Builder
    codes: frozenset[str]
    stage: Stage


CASES: dict[str, Case] = {}


def case(name: str, *codes: str, stage: Stage = "guard") -> Callable[[Builder], Builder]:
    """Registers a function that writes a whole file."""

    def register(build: Builder) -> Builder:
        assert name not in CASES, f"two cases are called {name}"
        CASES[name] = Case(name, build, frozenset(codes), stage)
        return build

    return register


def edited(name: str, *codes: str, stage: Stage = "guard", **options: Any) -> Callable[[Change], Change]:
    """Registers a function that changes a good file, which `builders.make_h5ad(**options)` has made."""

    def register(change: Change) -> Change:
        def build(path: Path) -> None:
            path.write_bytes(good(**options))
            with h5py.File(path, "r+") as file:
                change(file)

        case(name, *codes, stage=stage)(build)
        return change

    return register


def good(**options: Any) -> bytes:
    """A good file, as anndata writes it; made once."""
    key = repr(sorted(options.items()))
    if key not in _GOOD:
        with tempfile.TemporaryDirectory() as folder:
            _GOOD[key] = builders.make_h5ad(Path(folder) / "good.h5ad", **options).read_bytes()
    return _GOOD[key]


_GOOD: dict[str, bytes] = {}


def replace(file: h5py.File, element: str, make: Callable[[h5py.Group, str], Any]) -> None:
    """Removes an element and lets `make(parent, name)` put another in its place, with the old one's attributes."""
    parent, _, name = element.rpartition("/")
    attributes = dict(file[element].attrs)
    del file[element]
    group = file[parent or "/"]
    make(group, name)
    if isinstance(group.get(name, getlink=True), h5py.HardLink):
        group[name].attrs.update(attributes)

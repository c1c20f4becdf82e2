"""What a config leaves out of a file: `obs.patient_name`, `uns.private`, `layers.old`, `raw`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from celldock.curation.config import Curation
from celldock.curation.fields import Place, nearest
from celldock.curation.ledger import Ledger
from celldock.h5ad.headers import FrameHeader, Header

_ARRAYS = ("obsm", "varm", "obsp", "varp")


@dataclass(frozen=True, slots=True)
class Drops:
    """What is left out.

    Attributes:
        columns: of obs, var and raw.var, each as (place, name).
        elements: paths below uns.
        paths: of all else: `layers/old`, `obsm/X_umap`, `raw`.
    """

    columns: tuple[tuple[Place, str], ...] = ()
    elements: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


def frames_of(header: Header) -> Iterator[tuple[Place, FrameHeader]]:
    """The data frames that the file has, each with the name that a config has for it."""
    yield "obs", header.obs
    yield "var", header.var
    if header.raw_var is not None:
        yield "raw.var", header.raw_var


def find_drops(header: Header, curation: Curation, ledger: Ledger | None = None) -> Drops:
    """What of a file the config leaves out; what the file does not have is a problem, if there is a ledger for it."""
    elements = {name: path for path, name in _elements(header)}
    paths = {name: path for path, name in _paths(header)}
    columns: dict[str, tuple[Place, str]] = {}
    for place, frame in frames_of(header):
        columns |= {f"{place}.{column.name}": (place, column.name) for column in frame.columns}
    found = Drops()
    for number, name in enumerate(curation.config.drop):
        if name in columns:
            found = Drops((*found.columns, columns[name]), found.elements, found.paths)
        elif name in elements:
            found = Drops(found.columns, (*found.elements, elements[name]), found.paths)
        elif name in paths:
            found = Drops(found.columns, found.elements, (*found.paths, paths[name]))
        elif ledger is not None:
            meant = nearest(name, [*columns, *elements, *paths])
            ledger.problem(
                "drop.missing",
                curation.where("drop", str(number)),
                f"The file has no {name!r} that could be left out.",
                suggestion=f"{meant!r} may be meant."
                if meant
                else "Write it as obs.NAME, var.NAME, raw.var.NAME, uns.KEY, layers.NAME, obsm.NAME or raw.",
            )
    return found


def _elements(header: Header) -> Iterator[tuple[str, str]]:
    yield from ((element.path, element.path.replace("/", ".")) for element in header.uns)


def _paths(header: Header) -> Iterator[tuple[str, str]]:
    if header.x is not None:
        yield header.x.path, "X"
    for layer in header.layers:
        yield layer.path, layer.path.replace("/", ".", 1)
    for slot in _ARRAYS:
        for array in getattr(header, slot):
            yield array.path, f"{slot}.{array.key}"
    if header.has_raw:
        yield "raw", "raw"

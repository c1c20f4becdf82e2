"""What a CXG holds of a file and what it leaves out, from headers alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from celldock.formats.protocol import Omission
from celldock.h5ad.headers import ArrayHeader, ColumnHeader, FrameHeader, Header, MatrixHeader

HINT_INDEX = "index"
"""The entry of an array's hints that names its index; no column can have that name."""
MAX_CATEGORIES = 1_000_000
"""Categories of all columns of a frame; all of them are in memory, and in one document, at a time."""
MAX_COLUMNS = 1_000
"""Columns of a frame. Each is an attribute of the array, with files and buffers of its own."""

_MAX_NAME_BYTES = 1_000
_MAX_DIMENSIONS = 10_000
_MAX_CELLS = (1 << 32) - (1 << 12)
# A matrix of more genes is always sparse: a tile of its dense rows would be more than a worker holds.
_MAX_DENSE_GENES = 1 << 17
_DENSE = 0.25
# As the schema spells the names of embeddings.
_EMBEDDING = re.compile(r"X_(?P<name>[A-Za-z][A-Za-z0-9_.-]*)", re.ASCII)
_SPATIAL = "spatial"
_TEXT = re.compile(r"[^\ud800-\udfff]*")
_NUMBERS = "biuf"
_EXACT = ("bool", "int8", "uint8", "int16", "uint16", "float16", "float32")


@dataclass(frozen=True, slots=True)
class Embedding:
    """A dense element of obsm, which is the array `emb/<name>`."""

    header: ArrayHeader
    name: str


@dataclass(frozen=True, slots=True)
class CxgLayout:
    """What goes into a CXG, or (`obstacle`) why there can be none; `omitted` is what stays out."""

    obstacle: str
    obs: tuple[ColumnHeader, ...]
    var: tuple[ColumnHeader, ...]
    embeddings: tuple[Embedding, ...]
    omitted: tuple[Omission, ...]


def layout_of(header: Header) -> CxgLayout:
    """Lays the arrays out."""
    omitted: list[Omission] = []
    if header.x is not None and header.x.dtype not in _EXACT:
        omitted.append(Omission(header.x.path, f"{header.x.dtype} is rounded to float32, the type of CXG"))
    obs, var = _columns(header.obs, omitted), _columns(header.var, omitted)
    embeddings = _embeddings(header, omitted)
    obstacle = _obstacle(header)
    if not obstacle and not embeddings:
        obstacle = "there is no embedding that CELLxGENE Explorer could show"
    return CxgLayout(obstacle, obs, var, embeddings, tuple(omitted))


def is_sparse(header: MatrixHeader, nonzeros: int | None) -> bool:
    """Whether X is a sparse array: below a quarter of non-zeros.

    A dense matrix's header does not tell; then `nonzeros` does. Without them it stays dense.
    """
    rows, genes = header.shape
    found = header.nnz if header.nnz is not None else nonzeros
    return genes > _MAX_DENSE_GENES or (found is not None and found < _DENSE * rows * genes)


def _obstacle(header: Header) -> str:
    x = header.x
    if x is None:
        return "there is no X"
    if min(x.shape) < 1:
        return "there are no cells" if header.n_obs < 1 else "there are no genes"
    if max(x.shape) > _MAX_CELLS:
        return f"{max(x.shape):,} cells or genes are more than 2³²"
    return "" if _kind(x.dtype) in _NUMBERS else f"X holds {x.dtype}, not numbers"


def _columns(frame: FrameHeader, omitted: list[Omission]) -> tuple[ColumnHeader, ...]:
    columns: list[ColumnHeader] = []
    categories = 0
    for column in frame.columns:
        reason = name_obstacle(column.name) or _type_obstacle(column)
        categories += 0 if reason else column.categories or 0
        if not reason and categories > MAX_CATEGORIES:
            reason = f"the columns up to here have more than {MAX_CATEGORIES:,} categories"
            categories -= column.categories or 0
        if not reason and len(columns) >= MAX_COLUMNS:
            reason = f"more than {MAX_COLUMNS:,} columns"
        if reason:
            omitted.append(Omission(column.path, reason))
        else:
            columns.append(column)
    return tuple(columns)


def name_obstacle(name: str) -> str:
    """Why a column of this name can be no attribute; "" if it can."""
    if not name or "\0" in name:
        return "its name is empty or has a NUL in it"
    if name.startswith("__"):
        return "TileDB keeps names that begin with __ to itself"
    if name == HINT_INDEX:
        return f"a CXG takes {HINT_INDEX!r} for the name of the index"
    if not _TEXT.fullmatch(name):
        return "its name is not Unicode"
    return "" if len(name.encode()) <= _MAX_NAME_BYTES else f"its name has more than {_MAX_NAME_BYTES:,} bytes"


def _type_obstacle(column: ColumnHeader) -> str:
    match column.kind:
        case "integer" | "nullable-integer" | "float":
            return "" if np.dtype(column.dtype).itemsize <= np.dtype(np.int64).itemsize else _no_type(column)
        case "unsupported":
            return _no_type(column)
        case _:
            return ""


def _no_type(column: ColumnHeader) -> str:
    return f"a {column.kind} column of {column.dtype or 'no type'} has no type in a CXG"


def _embeddings(header: Header, omitted: list[Omission]) -> tuple[Embedding, ...]:
    embeddings: dict[str, Embedding] = {}
    for array in header.obsm:
        found = _EMBEDDING.fullmatch(array.key)
        name = _SPATIAL if array.key == _SPATIAL else found["name"] if found else ""
        reason = _embedding_obstacle(array, name, header.n_obs)
        if not reason and name in embeddings:
            reason = f"{embeddings[name].header.path} has its name"
        if reason:
            omitted.append(Omission(array.path, reason))
        else:
            embeddings[name] = Embedding(array, name)
    return tuple(embeddings.values())


def _embedding_obstacle(array: ArrayHeader, name: str, n_obs: int) -> str:
    if not name or array.key == f"X_{_SPATIAL}":
        return "embeddings are called spatial, or X_ and a name of letters, digits, _, . and -"
    if array.kind != "dense" or len(array.shape) != 2 or array.shape[0] != n_obs:
        return "not a dense array of cells by dimensions"
    if not 2 <= array.shape[1] <= _MAX_DIMENSIONS:
        return f"an embedding has 2 to {_MAX_DIMENSIONS:,} dimensions"
    return "" if _kind(array.dtype) in "iuf" else f"{array.dtype} are no coordinates"


def _kind(dtype: str) -> str:
    """NumPy's letter for the kind of a type; "-" for what is none of its types."""
    try:
        return np.dtype(dtype).kind
    except TypeError:
        return "-"

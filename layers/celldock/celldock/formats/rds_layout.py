"""What of a file an R object holds, and under which names: from headers alone, so that plan and workers agree."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from celldock.formats.cells_layout import MAX_CATEGORIES, unique_names
from celldock.formats.protocol import Omission
from celldock.h5ad.headers import ArrayHeader, ColumnHeader, ElementHeader, Header, MatrixHeader

MAX_LENGTH = 2**31 - 1
"""Rows, columns and non-zeros of R's sparse matrices are int32."""
MAX_EMBEDDING_BYTES = 4_000_000_000
"""Of one embedding as it is stored: R has matrices by columns, so it is turned round on disk."""
MAX_UNS_BYTES = 32_000_000
"""Of an element of uns: numbers decoded."""
MAX_UNS_TEXTS = 250_000
"""Values of an element of uns that are text, or in the columns of a data frame."""

ASSAY = "RNA"
FEATURE_DASHES = "_|"
"""Characters of genes' names that Seurat replaces by dashes in each object it makes; with them NormalizeData fails."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """A dense element of obsm, the name of it in R, and what the names of its dimensions begin with."""

    header: ArrayHeader
    name: str
    key: str

    @property
    def dimensions(self) -> list[str]:
        """The names of its columns in R."""
        return [f"{self.key}{number}" for number in range(1, self.header.shape[1] + 1)]


@dataclass(frozen=True, slots=True)
class UnsNode:
    """An element of uns that R holds; `members`, by their names, of a dictionary, None of anything else."""

    path: str
    members: Mapping[str, UnsNode] | None


@dataclass(frozen=True, slots=True)
class RdsLayout:
    """What is written. `counts` is None where raw has genes of its own; without a raw it is X itself.

    `obstacle` says why nothing can be written; "" where it can.
    """

    data: MatrixHeader | None
    counts: MatrixHeader | None
    obs: tuple[ColumnHeader, ...]
    var: tuple[ColumnHeader, ...]
    reductions: tuple[Reduction, ...]
    uns: Mapping[str, UnsNode]
    omitted: tuple[Omission, ...]
    obstacle: str

    @property
    def matrices(self) -> dict[str, MatrixHeader]:
        """The matrices that are held, each once, by short names."""
        named = {"x": self.data, "raw": self.counts if self.counts is not self.data else None}
        return {name: matrix for name, matrix in named.items() if matrix is not None}


def layout_of(header: Header) -> RdsLayout:
    """Lays the objects out. What they cannot hold is omitted with the reason."""
    omitted: list[Omission] = []
    counts, reason = _counts(header)
    if header.raw_x is not None and reason:
        omitted.append(Omission(header.raw_x.path, reason))
    if header.raw_var is not None and header.raw_var.columns:
        omitted.append(Omission(header.raw_var.path, "there is one table of genes, that of var"))
    obs = _columns(header.obs.columns, omitted)
    var = _columns(header.var.columns, omitted)
    arrays: list[ArrayHeader] = []
    for array in header.obsm:
        obstacle = _array_obstacle(array, header.n_obs)
        if obstacle:
            omitted.append(Omission(array.path, obstacle))
        else:
            arrays.append(array)
    omitted += [Omission(layer.path, "counts and data are the matrices of an assay") for layer in header.layers]
    rest = (*header.varm, *header.obsp, *header.varp)
    omitted += [Omission(array.path, "R's objects are written without it") for array in rest]
    return RdsLayout(
        data=header.x,
        counts=counts,
        obs=obs,
        var=var,
        reductions=_reductions(arrays),
        uns=_uns(header, omitted),
        omitted=tuple(omitted),
        obstacle=_obstacle(header, counts),
    )


def _counts(header: Header) -> tuple[MatrixHeader | None, str]:
    """The matrix of counts, and why it is not raw.X where there is one."""
    raw = header.raw_x
    if raw is None:
        return header.x, ""
    if header.raw_var is None or raw.shape != (header.n_obs, header.n_vars):
        return None, "it has other genes than X, and an assay has one set of genes"
    return raw, ""


def _obstacle(header: Header, counts: MatrixHeader | None) -> str:
    if header.n_obs < 1 or header.n_vars < 1:
        return "there are no cells" if header.n_obs < 1 else "there are no genes"
    if header.x is None:
        return "there is no X"
    if max(header.n_obs, header.n_vars) > MAX_LENGTH:
        return f"R's sparse matrices have at most {MAX_LENGTH:,} rows and columns"
    obstacles = (_matrix_obstacle(matrix, header) for matrix in (counts, header.x) if matrix is not None)
    return next(filter(None, obstacles), "")


def _matrix_obstacle(matrix: MatrixHeader, header: Header) -> str:
    if matrix.shape != (header.n_obs, header.n_vars):
        return f"{matrix.path} has another shape than obs and var"
    if not is_number(matrix.dtype):
        return f"R has no type for the {matrix.dtype or 'unknown values'} of {matrix.path}"
    if (matrix.nnz or 0) > MAX_LENGTH:
        return f"{matrix.path} has {matrix.nnz:,} non-zeros, and R's sparse matrices at most {MAX_LENGTH:,} (2³¹ − 1)"
    return ""


def is_number(dtype: str) -> bool:
    """Whether values of that type are real numbers that doubles hold, integers beyond 2**53 aside."""
    try:
        parsed = np.dtype(dtype)
    except TypeError:
        return False
    return parsed.kind in "biuf" and parsed.itemsize <= 8


def _columns(columns: Iterable[ColumnHeader], omitted: list[Omission]) -> tuple[ColumnHeader, ...]:
    held: list[ColumnHeader] = []
    for column in columns:
        text = column.kind in ("categorical", "string", "nullable-string")
        if column.kind == "unsupported" or not (text or is_number(column.dtype)):
            reason = f"a {column.kind} column of {column.dtype or 'no type'} has no type in R"
        elif (column.categories or 0) > MAX_CATEGORIES:
            reason = f"{column.categories:,} categories are more than {MAX_CATEGORIES:,}"
        else:
            held.append(column)
            continue
        omitted.append(Omission(column.path, reason))
    return tuple(held)


def _array_obstacle(array: ArrayHeader, n_obs: int) -> str:
    if array.kind != "dense" or len(array.shape) != 2 or array.shape[1] < 1:
        return "not a dense array of cells by dimensions"
    if array.shape[0] != n_obs:
        return f"{array.shape[0]:,} rows for {n_obs:,} cells"
    if not is_number(array.dtype):
        return f"{array.dtype} has no type in R"
    size = array.shape[0] * array.shape[1] * np.dtype(array.dtype).itemsize
    if size > MAX_EMBEDDING_BYTES:
        return f"its {size:,} bytes are more than {MAX_EMBEDDING_BYTES:,}"
    return ""


def _reductions(arrays: Sequence[ArrayHeader]) -> tuple[Reduction, ...]:
    # Seurat looks assays and reductions up by name in one space, and demands keys that differ from each other.
    names = unique_names([ASSAY, *(array.key.removeprefix("X_") or array.key for array in arrays)])[1:]
    taken = {ASSAY}
    reductions: list[Reduction] = []
    for array, name in zip(arrays, names, strict=True):
        letters = re.sub(r"[^A-Z0-9]", "", name.upper())
        stem = letters if letters[:1].isalpha() else f"DIM{letters}"
        chosen, number = stem, 1
        while chosen in taken:
            number += 1
            chosen = f"{stem}X{number}"
        taken.add(chosen)
        reductions.append(Reduction(array, name, f"{chosen}_"))
    return tuple(reductions)


def _uns(header: Header, omitted: list[Omission]) -> Mapping[str, UnsNode]:
    if not header.uns_complete:
        omitted.append(Omission("uns", f"more than {len(header.uns):,} elements"))
        return {}
    below: defaultdict[str, list[ElementHeader]] = defaultdict(list)
    for element in header.uns:
        below[element.path.rpartition("/")[0]].append(element)

    def held(parent: str) -> dict[str, UnsNode]:
        members: dict[str, UnsNode] = {}
        for element in below[parent]:
            reason = _uns_obstacle(element, len(below[element.path]))
            if reason:
                omitted.append(Omission(element.path, reason))
            else:
                name = element.path.rpartition("/")[2]
                members[name] = UnsNode(element.path, held(element.path) if element.kind == "dict" else None)
        return members

    return held("uns")


def _uns_obstacle(element: ElementHeader, listed: int) -> str:
    count = int(np.prod(element.shape, dtype=object))
    number = is_number(element.dtype)
    match element.kind:
        case "null":
            reason = ""
        case "dict":
            reason = "" if listed == count else "its members are too many to be looked into"
        case "frame" | "records":
            reason = f"more than {MAX_UNS_TEXTS:,} values" if count > MAX_UNS_TEXTS else ""
        case "scalar" | "array" | "column" if number or element.dtype == "str":
            size = count * (np.dtype(element.dtype).itemsize if number else MAX_UNS_BYTES // MAX_UNS_TEXTS)
            reason = f"larger than {MAX_UNS_BYTES:,} bytes" if size > MAX_UNS_BYTES else ""
        case _:
            reason = f"a {element.kind} element of {element.dtype or 'its kind'} is not written for R"
    return reason

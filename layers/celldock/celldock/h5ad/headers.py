"""What an h5ad file declares about itself: shapes, encodings and columns, read without touching a value.

A `Header` is small and plain, so it travels as JSON from the step that read it to every step that needs it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

ColumnKind = Literal[
    "categorical",
    "string",
    "integer",
    "float",
    "boolean",
    "nullable-integer",
    "nullable-boolean",
    "nullable-string",
    "unsupported",
]
MatrixEncoding = Literal["csr", "csc", "dense"]
ArrayKind = Literal["dense", "sparse", "frame", "other"]
ElementKind = Literal[
    "dict", "null", "scalar", "array", "records", "column", "frame", "sparse", "awkward", "unsupported"
]

MAX_UNS_ELEMENTS = 10_000
"""Elements of uns that a header lists."""
CROWD = 1_000
"""Members of a dictionary of uns that are looked into; of more, as of the guides of a large screen, each is listed."""


@dataclass(frozen=True, slots=True)
class MatrixHeader:
    """A matrix of cells by genes: X, raw.X or a layer.

    `path` is where the file has it: raw.X lies at raw/X, before AnnData 0.7 at raw.X. `dtype` is that of the values;
    `nnz` the stored elements of a sparse matrix, explicit zeros included; `compression` the filter of the values.
    """

    path: str
    encoding: MatrixEncoding
    shape: tuple[int, int]
    dtype: str
    nnz: int | None
    index_dtype: str | None
    compression: str | None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict` after a trip through JSON."""
        rows, columns = data["shape"]
        fields: dict[str, Any] = {**data, "shape": (rows, columns)}
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class ColumnHeader:
    """One column of a data frame. `categories` is how many there are; `dtype` that of the values or codes."""

    name: str
    path: str
    kind: ColumnKind
    dtype: str
    categories: int | None
    ordered: bool


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """A data frame (obs, var, raw.var).

    `index` is the path of what names the rows; "" where nothing does, so that the rows are called 0, 1, 2 …
    """

    path: str
    length: int
    index: str
    columns: tuple[ColumnHeader, ...]
    index_kind: ColumnKind = "string"

    @property
    def index_name(self) -> str | None:
        """What pandas calls the index; None for one without a name."""
        name = self.index.removeprefix(f"{self.path}/")
        return None if name in ("", "_index") else name

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict` after a trip through JSON."""
        fields: dict[str, Any] = {**data, "columns": tuple(ColumnHeader(**column) for column in data["columns"])}
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """One element of obsm, varm, obsp or varp. `shape` is () for what has none."""

    path: str
    key: str
    shape: tuple[int, ...]
    dtype: str
    kind: ArrayKind

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict` after a trip through JSON."""
        fields: dict[str, Any] = {**data, "shape": tuple(data["shape"])}
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class ElementHeader:
    """One element of the tree of uns, at any depth.

    | kind | `shape` | `dtype` |
    |---|---|---|
    | scalar, array | as stored, () for a scalar | of the values; "str" for text |
    | records (a NumPy record array) | (rows, fields) | "" |
    | column (categorical or nullable values) | (rows,) | of the codes or values |
    | frame | (rows, columns) | "" |
    | sparse | (rows, columns) | of the values |
    | dict | (members,) | "" |
    | null, awkward, unsupported | () | "" |
    """

    path: str
    kind: ElementKind
    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict` after a trip through JSON."""
        fields: dict[str, Any] = {**data, "shape": tuple(data["shape"])}
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Header:
    """Everything the file declares that celldock plans and validates by. `n_obs` cells, `n_vars` genes.

    `uns` lists the elements of the tree level by level, but not what lies below the members of a `CROWD`;
    `uns_complete` is False where there are more than `MAX_UNS_ELEMENTS`. What lies in uns/neighbors stays there,
    though AnnData moves old distances on to obsp.
    """

    encoding_type: str
    encoding_version: str
    n_obs: int
    n_vars: int
    x: MatrixHeader | None
    raw_x: MatrixHeader | None
    layers: tuple[MatrixHeader, ...]
    obs: FrameHeader
    var: FrameHeader
    raw_var: FrameHeader | None
    obsm: tuple[ArrayHeader, ...]
    varm: tuple[ArrayHeader, ...] = ()
    obsp: tuple[ArrayHeader, ...] = ()
    varp: tuple[ArrayHeader, ...] = ()
    uns: tuple[ElementHeader, ...] = ()
    uns_complete: bool = True

    @property
    def has_raw(self) -> bool:
        """Whether there is a raw: AnnData takes an empty one for none."""
        return self.raw_x is not None or self.raw_var is not None

    def to_json(self) -> dict[str, Any]:
        """A document for `json.dumps`; `from_json` gives an equal header back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The header that `to_json` wrote, also after a trip through JSON."""
        x, raw_x, raw_var = data["x"], data["raw_x"], data["raw_var"]
        return cls(
            encoding_type=data["encoding_type"],
            encoding_version=data["encoding_version"],
            n_obs=data["n_obs"],
            n_vars=data["n_vars"],
            x=MatrixHeader.from_json(x) if x is not None else None,
            raw_x=MatrixHeader.from_json(raw_x) if raw_x is not None else None,
            layers=tuple(MatrixHeader.from_json(layer) for layer in data["layers"]),
            obs=FrameHeader.from_json(data["obs"]),
            var=FrameHeader.from_json(data["var"]),
            raw_var=FrameHeader.from_json(raw_var) if raw_var is not None else None,
            obsm=_arrays(data["obsm"]),
            varm=_arrays(data["varm"]),
            obsp=_arrays(data["obsp"]),
            varp=_arrays(data["varp"]),
            uns=tuple(ElementHeader.from_json(element) for element in data["uns"]),
            uns_complete=data["uns_complete"],
        )


def _arrays(documents: Iterable[dict[str, Any]]) -> tuple[ArrayHeader, ...]:
    return tuple(ArrayHeader.from_json(document) for document in documents)

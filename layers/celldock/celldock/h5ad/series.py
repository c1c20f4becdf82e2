"""One-dimensional elements of a data frame, in every encoding that AnnData 0.7 to 0.13 has written.

| AnnData | on disk |
|---|---|
| 0.7 | a dataset; categorical: codes, their attribute `categories` refers to `__categories/<name>` of the frame |
| 0.8 and later | a dataset; categorical: a group of `codes` and `categories` |
| 0.8 and later | nullable integer and boolean, 0.11 nullable string: a group of `values` and `mask` |

Source: https://anndata.readthedocs.io/en/stable/fileformat-prose.html and AnnData's own readers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import h5py

from celldock.errors import HostileFile
from celldock.h5ad import nodes

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

_BY_DTYPE: dict[str, ColumnKind] = {"i": "integer", "u": "integer", "f": "float", "b": "boolean"}
_NULLABLE: dict[tuple[str, str], tuple[ColumnKind, ColumnKind]] = {
    ("nullable-integer", "0.1.0"): ("nullable-integer", "integer"),
    ("nullable-boolean", "0.1.0"): ("nullable-boolean", "boolean"),
    ("nullable-string-array", "0.1.0"): ("nullable-string", "string"),
}
_PLAIN_ENCODINGS = {("", ""), ("array", "0.2.0"), ("string-array", "0.2.0")}
_CATEGORICAL = ("categorical", "0.2.0")


@dataclass(frozen=True, slots=True)
class Series:
    """An opened column or index: `values` are the plain values, or the codes of a categorical."""

    kind: ColumnKind
    values: h5py.Dataset
    mask: h5py.Dataset | None = None
    categories: Series | None = None
    ordered: bool = False

    @property
    def length(self) -> int:
        """Rows."""
        return (self.values.shape or (0,))[0]

    @property
    def dtype(self) -> str:
        """The NumPy name of the type of the values or codes; `str` for strings."""
        return "str" if nodes.is_text(self.values) else self.values.dtype.name


def open_series(frame: h5py.Group, name: str) -> Series | None:
    """The column or index `name` of a frame; None if it is absent or in an encoding that AnnData does not know.

    Raises HostileFile for what lies elsewhere.
    """
    node = nodes.find(frame, name)
    if node is None:
        return None
    if isinstance(node, h5py.Dataset):
        reference = nodes.attribute(node, "categories")
        return _plain(node) if reference is None else _categorical_by_reference(frame, name, node, reference)
    if _encoding(node) == _CATEGORICAL:
        return _categorical(node)
    return _nullable(node)


def _plain(dataset: h5py.Dataset) -> Series | None:
    if len(dataset.shape or ()) != 1 or _encoding(dataset) not in _PLAIN_ENCODINGS:
        return None
    kind = "string" if nodes.is_text(dataset) else _BY_DTYPE.get(dataset.dtype.kind)
    return Series(kind, dataset) if kind else None


def _nullable(group: h5py.Group) -> Series | None:
    known = _NULLABLE.get(_encoding(group))
    if known is None:
        return None
    kind, of_values = known
    values = _plain_member(group, "values")
    mask = _plain_member(group, "mask")
    if values is None or values.kind != of_values:
        return None
    if mask is not None and (mask.kind != "boolean" or mask.length != values.length):
        return None
    return Series(kind, values.values, mask=mask.values if mask else None)


def _categorical(group: h5py.Group) -> Series | None:
    codes = _plain_member(group, "codes")
    node = nodes.find(group, "categories")
    # Categories are never categorical themselves, so a group that contains itself ends here.
    categories = _nullable(node) if isinstance(node, h5py.Group) else _plain(node) if node is not None else None
    if codes is None or codes.kind != "integer" or categories is None:
        return None
    ordered = bool(nodes.attribute(group, "ordered"))
    return Series("categorical", codes.values, categories=categories, ordered=ordered)


def _categorical_by_reference(frame: h5py.Group, name: str, codes: h5py.Dataset, reference: object) -> Series | None:
    """AnnData 0.7: only a reference to the place where AnnData itself puts the categories is followed."""
    where = nodes.path_of(codes)
    dataset = nodes.find_dataset(frame, f"__categories/{name}")
    if dataset is None:
        return None
    with nodes.damaged(where):
        target = frame[reference] if isinstance(reference, h5py.Reference) and reference else None
    if target != dataset:
        raise HostileFile(
            f"The categories of {where} are not those that AnnData stored for it.",
            code="file.foreign_reference",
            where=where,
            hint="Load the file and write it anew with a current anndata.",
        )
    categories = _plain(dataset)
    plain = _plain(codes)
    if categories is None or plain is None or plain.kind != "integer":
        return None
    ordered = bool(nodes.attribute(dataset, "ordered"))
    return Series("categorical", codes, categories=categories, ordered=ordered)


def _plain_member(group: h5py.Group, name: str) -> Series | None:
    dataset = nodes.find_dataset(group, name)
    return _plain(dataset) if dataset is not None else None


def _encoding(node: nodes.Node) -> tuple[str, str]:
    return nodes.text_attribute(node, "encoding-type"), nodes.text_attribute(node, "encoding-version")

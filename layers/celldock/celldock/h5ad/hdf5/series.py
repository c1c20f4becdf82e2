"""One-dimensional elements of a data frame, in every encoding that AnnData 0.6 to 0.13 has written.

| AnnData | on disk |
|---|---|
| before 0.7 | a field of a record array; categorical: integers, what they stand for is at `uns/<name>_categories` |
| 0.7 | a dataset; categorical: codes, their attribute `categories` refers to `__categories/<name>` of the frame |
| 0.8 and later | a dataset; categorical: a group of `codes` and `categories` |
| 0.8 and later | nullable integer and boolean, 0.11 nullable string: a group of `values` and `mask` |

Source: https://anndata.readthedocs.io/en/stable/fileformat-prose.html and AnnData's own readers.
"""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np

from celldock.h5ad.hdf5 import nodes
from celldock.h5ad.hdf5.records import field_dtype, field_names, read_field
from celldock.h5ad.hdf5.references import old_categories
from celldock.h5ad.headers import ColumnKind

_BY_DTYPE: dict[str, ColumnKind] = {"i": "integer", "u": "integer", "f": "float", "b": "boolean"}
_NULLABLE: dict[tuple[str, str], tuple[ColumnKind, ColumnKind]] = {
    ("nullable-integer", "0.1.0"): ("nullable-integer", "integer"),
    ("nullable-boolean", "0.1.0"): ("nullable-boolean", "boolean"),
    ("nullable-string-array", "0.1.0"): ("nullable-string", "string"),
}
_TEXT = ("string-array", "0.2.0")
_PLAIN_ENCODINGS = {("", ""), ("array", "0.2.0"), _TEXT}
_CATEGORICAL = ("categorical", "0.2.0")
_OLD_FRAME = ("dataframe", "0.1.0")


@dataclass(frozen=True, slots=True)
class Series:
    """An opened column or index: `values` are the plain values, or the codes of a categorical.

    With a `field`, they are that field of the record array `values`.
    """

    kind: ColumnKind
    values: h5py.Dataset
    mask: h5py.Dataset | None = None
    categories: Series | None = None
    ordered: bool = False
    field: str | None = None

    @property
    def length(self) -> int:
        """Rows."""
        return (self.values.shape or (0,))[0]

    @property
    def dtype(self) -> str:
        """The NumPy name of the type of the values or codes; `str` for strings."""
        dtype = self.values.dtype if self.field is None else field_dtype(self.values, self.field)
        return "str" if h5py.check_string_dtype(dtype) is not None else dtype.name

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) of the values or codes; strings as an array of `str` objects."""
        if self.field is None:
            return nodes.read_rows(self.values, start, stop)
        return read_field(self.values, self.field, start, stop)

    def read_mask(self, start: int, stop: int) -> np.ndarray | None:
        """Where rows [start, stop) are missing, None for an encoding without a mask."""
        return nodes.read_rows(self.mask, start, stop) if self.mask is not None else None


def open_series(frame: nodes.Node, name: str) -> Series | None:
    """The column or index `name` of a frame; None if it is absent or in an encoding that AnnData does not know.

    Raises HostileFile for what lies elsewhere.
    """
    if isinstance(frame, h5py.Dataset):
        return _of_record(frame, name)
    node = nodes.find(frame, name)
    if node is None:
        return None
    if isinstance(node, h5py.Group):
        return series_of(node, encoding_of(node))
    reference = nodes.attribute(node, "categories")
    if reference is None or encoding_of(frame) != _OLD_FRAME:
        return _plain(node)
    return _categorical_by_reference(frame, name, node, reference)


def series_of(group: h5py.Group, encoding: tuple[str, str]) -> Series | None:
    """The categorical or nullable values that a group of this encoding holds; None if that is something else."""
    return _categorical(group) if encoding == _CATEGORICAL else _nullable(group, encoding)


def _plain(dataset: h5py.Dataset) -> Series | None:
    encoding = encoding_of(dataset)
    if len(dataset.shape or ()) != 1 or encoding not in _PLAIN_ENCODINGS:
        return None
    kind = "string" if nodes.is_text(dataset) else _BY_DTYPE.get(dataset.dtype.kind)
    if kind is None or (encoding == _TEXT and kind != "string"):
        return None
    return Series(kind, dataset)


def _nullable(group: h5py.Group, encoding: tuple[str, str]) -> Series | None:
    known = _NULLABLE.get(encoding)
    if known is None:
        return None
    kind, of_values = known
    values = _plain_member(group, "values")
    mask = _plain_member(group, "mask")
    if values is None or values.kind != of_values:
        return None
    # Integers and booleans of which none is missing may do without a mask (AnnData 0.8's specification).
    if mask is not None and (mask.kind != "boolean" or mask.length != values.length):
        return None
    return Series(kind, values.values, mask=mask.values if mask else None)


def _categorical(group: h5py.Group) -> Series | None:
    codes = _plain_member(group, "codes")
    node = nodes.find(group, "categories")
    # Categories are never categorical themselves, so a group that contains itself ends here.
    if isinstance(node, h5py.Group):
        categories = _nullable(node, encoding_of(node))
    else:
        categories = _plain(node) if node is not None else None
    if codes is None or codes.kind != "integer" or categories is None:
        return None
    ordered = nodes.flag_attribute(group, "ordered")
    return Series("categorical", codes.values, categories=categories, ordered=ordered)


def _categorical_by_reference(frame: h5py.Group, name: str, codes: h5py.Dataset, reference: object) -> Series | None:
    """AnnData 0.7: only a reference to the place where AnnData itself puts the categories is followed."""
    dataset = old_categories(frame, name, codes, reference)
    if dataset is None:
        return None
    categories = _plain(dataset)
    plain = _plain(codes)
    if categories is None or plain is None or plain.kind != "integer":
        return None
    ordered = nodes.flag_attribute(dataset, "ordered")
    return Series("categorical", codes, categories=categories, ordered=ordered)


def _of_record(frame: h5py.Dataset, name: str) -> Series | None:
    """AnnData before 0.7: integers are codes where uns, which obs and var share, has categories of their name."""
    if name not in field_names(frame):
        return None
    dtype = field_dtype(frame, name)
    kind = "string" if h5py.check_string_dtype(dtype) is not None else _BY_DTYPE.get(dtype.kind)
    if kind == "integer" and nodes.path_of(frame) in ("obs", "var"):
        dataset = nodes.find_dataset(frame.file, f"uns/{name}_categories")
        categories = _plain(dataset) if dataset is not None else None
        if categories is not None:
            return Series("categorical", frame, categories=categories, field=name)
    return Series(kind, frame, field=name) if kind else None


def _plain_member(group: h5py.Group, name: str) -> Series | None:
    dataset = nodes.find_dataset(group, name)
    return _plain(dataset) if dataset is not None else None


def encoding_of(node: nodes.Node) -> tuple[str, str]:
    """The type and version of the encoding that a node says it is in; ("", "") if it does not say."""
    return nodes.text_attribute(node, "encoding-type"), nodes.text_attribute(node, "encoding-version")

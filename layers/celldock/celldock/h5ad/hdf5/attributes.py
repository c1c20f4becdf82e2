"""What one attribute declares; attributes are always read whole."""

from __future__ import annotations

import math

from h5py import h5a, h5t

from celldock.h5ad.hdf5.faults import Place, damaged, hostile
from celldock.h5ad.hdf5.types import value_bytes

MAX_VALUES = 100_000
"""Values of one attribute: the names of a frame's columns are the longest list."""
MAX_BYTES = 8 * 1024 * 1024
"""Bytes of one attribute."""
CATEGORIES = "categories"
"""The one attribute that may refer to another object: AnnData 0.7's link from codes to their categories."""


def place(where: str, name: str) -> str:
    """How messages name an attribute of the element at `where`."""
    return f"{where or 'the file'}, attribute {name}"


def admit_attribute(attribute: h5a.AttrID, where: Place, name: str) -> tuple[int, ...] | None:
    """The shape of the attribute `name`, which lies at `where`; None if it has no value.

    Raises HostileFile for one that is too large, InvalidSubmission for types that celldock does not read.
    """
    with damaged(where):
        shape, type_id = attribute.shape, attribute.get_type()
    if shape is None:
        return None
    size = 8 if name == CATEGORIES and is_object_reference(type_id) else value_bytes(type_id, where)
    values = math.prod(shape)
    if values > MAX_VALUES:
        problem = f"has {values:,} values, more than celldock reads ({MAX_VALUES:,})"
        hostile("file.attribute_too_large", where, problem)
    if values * size > MAX_BYTES:
        problem = f"takes {values * size:,} bytes, more than celldock reads ({MAX_BYTES:,})"
        hostile("file.attribute_too_large", where, problem)
    return shape


def is_object_reference(type_id: h5t.TypeID) -> bool:
    """Whether values of this type refer to whole objects (and not to regions of datasets)."""
    return type_id.get_class() == h5t.REFERENCE and bool(type_id.equal(h5t.STD_REF_OBJ))

"""Compound datasets: NumPy's record arrays, and the data frames of AnnData before 0.7."""

from __future__ import annotations

import h5py
import numpy as np

from celldock.h5ad.hdf5 import nodes
from celldock.h5ad.hdf5.faults import damaged, hostile, unread

_ROWS_AT_ONCE = 8192


def field_names(dataset: h5py.Dataset) -> tuple[str, ...]:
    """The fields of a record array, in their order; () for any other dataset."""
    return dataset.dtype.names or ()


def field_dtype(dataset: h5py.Dataset, field: str) -> np.dtype:
    """The type of one field, with h5py's mark of what a string is."""
    return dataset.dtype[field]


def read_field(dataset: h5py.Dataset, field: str, start: int, stop: int) -> np.ndarray:
    """Rows [start, stop) of one field of a record array; strings come as an array of `str` objects.

    HDF5 stores whole records, so it reads all fields for each. Raises InvalidSubmission as `nodes.read_rows` does.
    """
    where = nodes.path_of(dataset)
    shape = dataset.shape or ()
    if len(shape) != 1 or stop > shape[0]:
        unread("file.too_short", where, f"has {shape[0] if shape else 1:,} records where {stop:,} are needed")
    if (stop - start) * dataset.dtype.itemsize > nodes.MAX_READ_BYTES:
        _refuse_size(where)
    text = h5py.check_string_dtype(field_dtype(dataset, field))
    if text is None:
        with damaged(where):
            return np.asarray(dataset.fields(field)[start:stop])
    values = np.empty(stop - start, dtype=object)
    total = 0
    for begin in range(start, stop, _ROWS_AT_ONCE):
        end = min(begin + _ROWS_AT_ONCE, stop)
        with damaged(where):
            stored: list[bytes] = dataset.fields(field)[begin:end].tolist()
            part = [value.decode() for value in stored]
        total += sum(map(len, part))
        if total > nodes.MAX_READ_BYTES:
            _refuse_size(where)
        values[begin - start : end - start] = part
    return values


def _refuse_size(where: str) -> None:
    hostile("file.too_large_to_read", where, f"takes more than {nodes.MAX_READ_BYTES // 1024**2} MiB for one block")

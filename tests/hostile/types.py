"""Data types and filters that AnnData does not write."""

from __future__ import annotations

import pickle

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t, h5z

from tests.hostile.case import edited, replace

_PICKLE = pickle.dumps(slice(1, 2))
_ZSTD = 32015


@edited("pickle-in-uns", "file.opaque")
def pickle_in_uns(file: h5py.File) -> None:
    file["uns/model"] = np.void(_PICKLE)


@edited("raw-dates", "file.opaque")
def raw_dates(file: h5py.File) -> None:
    dates = np.zeros(20, "M8[s]")
    file["obs"].create_dataset("date", data=dates.astype(h5py.opaque_dtype(dates.dtype)))


@edited("lists-of-varying-length", "file.type_unread")
def lists_of_varying_length(file: h5py.File) -> None:
    file["uns"].create_dataset("lists", (3,), h5py.vlen_dtype("i4"))


@edited("lists-of-references", "file.type_unread")
def lists_of_references(file: h5py.File) -> None:
    axes = np.empty(2, dtype=object)
    axes[:] = [np.array([file["obs"].ref], h5py.ref_dtype)] * 2
    file["obsm/X_umap"].attrs.create("DIMENSION_LIST", axes, dtype=h5py.vlen_dtype(h5py.ref_dtype))


@edited("enumeration", "file.type_unread")
def enumeration(file: h5py.File) -> None:
    file["obs"].create_dataset("phase", (20,), h5py.enum_dtype({"G1": 0, "S": 1, "G2M": 2}))


@edited("arrays-in-values", "file.type_unread")
def arrays_in_values(file: h5py.File) -> None:
    file["uns"].create_dataset("vectors", data=np.zeros(3, [("vector", "f4", (1000,))]))


@edited("nested-records", "file.type_unread")
def nested_records(file: h5py.File) -> None:
    file["uns"].create_dataset("records", data=np.zeros(3, [("outer", [("inner", "f4")])]))


@edited("long-double", "file.type_unread")
def long_double(file: h5py.File) -> None:
    file["uns"].create_dataset("precise", data=np.ones(3, np.longdouble))


@edited("bit-field", "file.type_unread")
def bit_field(file: h5py.File) -> None:
    h5d.create(file["uns"].id, b"bits", h5t.STD_B8LE, h5s.create_simple((3,)))


@edited("time-type", "file.type_unread")
def time_type(file: h5py.File) -> None:
    h5d.create(file["uns"].id, b"when", h5t.UNIX_D32LE, h5s.create_simple((3,)))


@edited("named-type", "file.named_type")
def named_type(file: h5py.File) -> None:
    file["uns/type"] = np.dtype("f4")


@edited("data-of-a-named-type", "file.named_type")
def data_of_a_named_type(file: h5py.File) -> None:
    # The type has no link of its own: only the dataset leads to it.
    stored = h5t.STD_I32LE.copy()
    stored.commit(file.id, b"type")
    h5d.create(file["uns"].id, b"values", stored, h5s.create_simple((3,)))
    del file["type"]


@edited("huge-values", "file.value_too_large")
def huge_values(file: h5py.File) -> None:
    file["uns"].create_dataset("text", (1,), "S1000000000", chunks=(1,), compression="gzip")


@edited("records", stage="processed")
def records(file: h5py.File) -> None:
    table = np.zeros(3, [("CD4+/CD25 T Reg", "f4"), ("..", "S8"), ("c", "?")])
    file["uns"].create_dataset("rank_genes_groups", data=table)


@edited("filter-of-a-plugin", "file.filter_unknown")
def filter_of_a_plugin(file: h5py.File) -> None:
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk((20, 2))
    properties.set_filter(_ZSTD, h5z.FLAG_OPTIONAL, (3,))

    def create(parent: h5py.Group, name: str) -> None:
        space = h5s.create_simple((20, 2))
        h5d.create(parent.id, name.encode(), h5t.IEEE_F32LE, space, properties).write_direct_chunk((0, 0), bytes(30))

    replace(file, "obsm/X_umap", create)


@edited("filter-scaleoffset", "file.filter_unknown")
def filter_scaleoffset(file: h5py.File) -> None:
    def create(parent: h5py.Group, name: str) -> None:
        parent.create_dataset(name, data=np.ones((20, 2), "f4"), chunks=(20, 2), scaleoffset=2)

    replace(file, "obsm/X_umap", create)


@edited("filter-twice", "file.filter_repeated")
def filter_twice(file: h5py.File) -> None:
    """Deflated twice: 32 MiB of zeros in some 1,000 bytes."""
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk((1 << 25,))
    for _ in range(2):
        properties.set_filter(h5z.FILTER_DEFLATE, 0, (9,))
    dataset = h5d.create(file["uns"].id, b"zeros", h5t.STD_I8LE, h5s.create_simple((1 << 25,)), properties)
    dataset.write(h5s.ALL, h5s.ALL, np.zeros(1 << 25, "i1"))

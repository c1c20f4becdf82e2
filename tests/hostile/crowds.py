"""Too many of what is harmless alone."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from h5py import h5a, h5g, h5s, h5t

from tests.hostile.case import case, edited


@edited("a-hundred-thousand-groups", "file.too_many_members")
def a_hundred_thousand_groups(file: h5py.File) -> None:
    """As links to one group: a group in each would be no other to count, and slow to make."""
    group = file["uns"].create_group("crowd")
    h5g.create(group.id, b"one")
    for i in range(100_000):
        group.id.links.create_hard(b"%d" % i, group.id, b"one")


@case("many-groups-of-groups", "file.too_many_members")
def many_groups_of_groups(path: Path) -> None:
    """No group is crowded, all of them together are."""
    # The newer file format takes a third of the time and of the bytes for an empty group.
    with h5py.File(path, "w", libver="latest") as file:
        parent = h5g.create(file.id, b"0")
        for i in range(200):
            h5g.create(parent, b"%d" % i)
        for i in range(1, 130):
            file.copy("0", str(i))


@case("a-hundred-thousand-attributes", "file.too_many_attributes")
def a_hundred_thousand_attributes(path: Path) -> None:
    # Only the newer file format holds more than 65,535.
    with h5py.File(path, "w", libver="latest") as file:
        scalar = h5s.create(h5s.SCALAR)
        for i in range(100_000):
            h5a.create(file.id, b"%d" % i, h5t.STD_I8LE, scalar)


@edited("attributes-on-every-group", "file.too_many_attributes")
def attributes_on_every_group(file: h5py.File) -> None:
    scalar = h5s.create(h5s.SCALAR)
    group = h5g.create(file["uns"].id, b"0")
    for i in range(120):
        h5a.create(group, b"%d" % i, h5t.STD_I8LE, scalar)
    for i in range(1, 510):
        file.copy("uns/0", f"uns/{i}")


@case("attribute-of-many-values", "file.attribute_too_large")
def attribute_of_many_values(path: Path) -> None:
    # Only the newer file format holds an attribute of more than 64 KB.
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["column-order"] = np.zeros(200_000, "i1")


@case("attribute-of-many-bytes", "file.attribute_too_large")
def attribute_of_many_bytes(path: Path) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["column-order"] = np.zeros(9000, "S1000")


@edited("nine-hundred-levels", "file.too_deep")
def nine_hundred_levels(file: h5py.File) -> None:
    group = file["uns"]
    for _ in range(900):
        group = group.create_group("g")


@edited("a-million-tiny-chunks", "file.too_many_chunks")
def a_million_tiny_chunks(file: h5py.File) -> None:
    file["uns"].create_dataset("crumbs", (1_000_001,), "u1", chunks=(1,))


@edited("x-of-tiny-chunks", "file.too_many_chunks")
def x_of_tiny_chunks(file: h5py.File) -> None:
    del file["X/data"]
    file["X"].create_dataset("data", (9_000_000,), "f4", chunks=(1,))

"""Mutations that keep a file sound HDF5 but break what AnnData expects of it, made by h5py."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import h5py

from tests.fuzz import elements, values

FAILURES = (OSError, ValueError, LookupError, TypeError, RuntimeError, OverflowError, AttributeError)

LogicalMutation = Callable[[h5py.File, Random], str]

LOGICAL: tuple[LogicalMutation, ...] = (
    elements.drop,
    elements.rename,
    elements.exchange,
    elements.overwrite,
    elements.link,
    elements.foreign,
    elements.drop_attribute,
    *(2 * (elements.set_attribute,)),
    elements.set_encoding,
    elements.set_columns,
    *(2 * (values.set_dtype,)),
    *(2 * (values.set_length,)),
    *(2 * (values.set_storage,)),
    *(2 * (values.set_values,)),
    *(2 * (values.set_structure,)),
    *(2 * (values.damage_chunk,)),
    *(2 * (values.damage_inside,)),
    elements.multiply,
)


def apply(file: h5py.File, rng: Random) -> str:
    """One mutation that this file allows; answers what it did. What one that fails has done so far stays."""
    while True:
        mutation = rng.choice(LOGICAL)
        try:
            return f"{mutation.__name__}: {mutation(file, rng)}"
        except FAILURES:
            continue

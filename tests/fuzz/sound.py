"""What mutations of a sound HDF5 file share: finding what to change, and storing it anew."""

from __future__ import annotations

from random import Random
from typing import Any

import h5py
import numpy as np

NUMBERS = (-1, 0, 1, -(2**63), 2**63 - 1, 2**40, 2**31, 2**31 - 1, 2**32, 700, 80, 60)
FLOATS = (np.nan, np.inf, -np.inf, -1.0, -0.0, 0.5, 1e-310, 2.0**24 + 1, 2.0**41, 1e300)
TEXTS = (b"", b"\xff\xfe", b"\xed\xa0\x80", b"a\0b", b"cell-0001", b"x" * 100_000, b"NA", b"<script>alert(1)</script>")
_MOST_VALUES = 1 << 20


def all_paths(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visit(found.append)
    return found


def any_path(file: h5py.File, rng: Random) -> str:
    """A member anywhere; every other time one of the top, which would else be rare."""
    paths = all_paths(file)
    top = [path for path in paths if path.count("/") <= 1]
    return rng.choice(top if rng.random() < 0.5 else paths)


def datasets(file: h5py.File) -> list[str]:
    return [path for path in all_paths(file) if isinstance(file[path], h5py.Dataset)]


def any_values(file: h5py.File, rng: Random) -> tuple[str, np.ndarray]:
    path = rng.choice(datasets(file))
    dataset = file[path]
    if not dataset.shape or not 0 < dataset.size <= _MOST_VALUES:
        raise ValueError(f"{path} has no axis, no values or too many")
    return path, dataset[()]


def any_chunked(file: h5py.File, rng: Random, compression: str | None = None) -> h5py.Dataset:
    """A dataset that has chunks, and that filter if one is named."""
    chunked = [file[path] for path in datasets(file) if file[path].chunks]
    if compression:
        chunked = [dataset for dataset in chunked if dataset.compression == compression]
    return rng.choice([dataset for dataset in chunked if dataset.id.get_num_chunks()])


def replace(file: h5py.File, path: str, values: Any, dtype: Any = None, **storage: Any) -> None:
    node = file[path]
    attributes = {name: node.attrs[name] for name in node.attrs}
    if dtype is None and node.dtype.kind == "O":
        dtype = node.dtype
    if not np.shape(values):
        storage = {}
    del file[path]
    made = file.create_dataset(path, data=values, dtype=dtype, **storage)
    for name, value in attributes.items():
        made.attrs[name] = value

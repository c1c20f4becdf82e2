"""Mutations of datasets: their types, lengths, storage and values, and the bytes of their chunks."""

from __future__ import annotations

import math
import zlib
from random import Random
from typing import Any

import h5py
import numpy as np

from tests.fuzz.sound import FLOATS, NUMBERS, TEXTS, all_paths, any_chunked, any_values, replace

_DTYPES = ("i1", "u1", "i2", ">i4", "u4", "i8", "u8", "f2", "f4", ">f8", "f8", "c16", "?", "S10", "V4", "vlen", "str")
_MOST_CHUNKS = 4096


def set_dtype(file: h5py.File, rng: Random) -> str:
    """Stores the values of a dataset in another type."""
    path, values = any_values(file, rng)
    name = rng.choice(_DTYPES)
    if name == "str":
        replaced = np.array([str(value) for value in values.ravel().tolist()], object).reshape(values.shape)
        replace(file, path, replaced, dtype=h5py.string_dtype())
    elif name == "vlen":
        lists = np.empty(len(values), object)
        lists[:] = [[number] * (number % 3) for number in range(len(values))]
        replace(file, path, lists, dtype=h5py.vlen_dtype("i4"))
    else:
        numbers = np.zeros(values.shape) if values.dtype.kind not in "fiub" else values
        replace(file, path, numbers.astype("S10").view(name) if name == "V4" else numbers.astype(name))
    return f"{path} is stored as {name}"


def set_length(file: h5py.File, rng: Random) -> str:
    """Makes a dataset longer, shorter, empty or of another rank."""
    path, values = any_values(file, rng)
    change = rng.choice(("shorter", "longer", "empty", "one", "two axes", "scalar"))
    match change:
        case "shorter":
            values = values[:-1]
        case "longer":
            values = np.concatenate([values, values[:1]])
        case "empty":
            values = values[:0]
        case "one":
            values = values[:1]
        case "two axes":
            values = values[None]
        case _:
            values = values.ravel()[0]
    replace(file, path, values)
    return f"{path} is {change}"


def set_storage(file: h5py.File, rng: Random) -> str:
    """Stores a dataset in other chunks and behind other filters."""
    path, values = any_values(file, rng)
    chunks = tuple(rng.randint(1, length) for length in values.shape)
    if math.prod(-(-length // chunk) for length, chunk in zip(values.shape, chunks, strict=True)) > _MOST_CHUNKS:
        raise ValueError("too many chunks to write quickly")
    options: dict[str, Any] = {
        "chunks": chunks,
        "compression": rng.choice((None, "gzip", "lzf")),
        "shuffle": rng.random() < 0.5,
        "fletcher32": rng.random() < 0.5,
        "scaleoffset": 3 if rng.random() < 0.1 else None,
    }
    if rng.random() < 0.2:
        options = {}
    replace(file, path, values, **options)
    return f"{path} is stored with {options}"


def set_values(file: h5py.File, rng: Random) -> str:
    """Changes single values of a dataset, or all of them."""
    path, values = any_values(file, rng)
    places = slice(None) if rng.random() < 0.2 else [rng.randrange(len(values)) for _ in range(rng.choice((1, 1, 5)))]
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        value: Any = min(max(rng.choice((*NUMBERS, limits.min, limits.max)), limits.min), limits.max)
    elif values.dtype.kind == "f":
        value = rng.choice(FLOATS)
    elif values.dtype.kind == "O":
        value = rng.choice(TEXTS)
    else:
        value = rng.choice((True, False))
    with np.errstate(over="ignore"):
        values[places] = value
    replace(file, path, values, chunks=file[path].chunks, compression=file[path].compression)
    return f"{path}: {str(value)[:20]} at {places}"


def set_structure(file: h5py.File, rng: Random) -> str:
    """Changes indices and indptr of a sparse matrix: what would make arithmetic read elsewhere."""
    groups = [path for path in all_paths(file) if f"{path}/indptr" in file]
    path = f"{rng.choice(groups)}/{rng.choice(('indices', 'indptr', 'indptr', 'data'))}"
    values = file[path][()]
    at = rng.randrange(len(values))
    change = rng.choice(("value", "reversed", "constant", "repeated", "swapped"))
    match change:
        case "value":
            limits = np.iinfo(values.dtype) if values.dtype.kind in "iu" else np.iinfo("i4")
            values[at] = min(max(rng.choice((*NUMBERS, limits.max, limits.min)), limits.min), limits.max)
        case "reversed":
            values = values[::-1].copy()
        case "constant":
            values[:] = values[at]
        case "repeated":
            values[at:] = np.concatenate([values[at : at + 1], values[at:-1]])
        case _:
            values[[0, at]] = values[[at, 0]]
    replace(file, path, values, chunks=file[path].chunks, compression=file[path].compression)
    return f"{path}: {change} at {at}"


def damage_chunk(file: h5py.File, rng: Random) -> str:
    """Stores a chunk of the wrong length, of other bytes or behind other filters than the dataset says."""
    dataset = any_chunked(file, rng)
    info = dataset.id.get_chunk_info(rng.randrange(dataset.id.get_num_chunks()))
    mask, payload = dataset.id.read_direct_chunk(info.chunk_offset)
    change = rng.choice(("shorter", "longer", "empty", "bomb", "random", "mask", "short inside", "long inside"))
    match change:
        case "shorter":
            payload = payload[: len(payload) // 2]
        case "longer":
            payload += b"\xff" * 100
        case "empty":
            payload = b"\0"
        case "bomb":
            payload = zlib.compress(bytes(1 << 24))
        case "random":
            payload = bytes(rng.randrange(256) for _ in range(64))
        case "mask":
            mask = rng.choice((1, 2, 3, 0xFFFFFFFF))
        case "short inside":
            payload = zlib.compress(b"\1" * 3)
        case _:
            payload = zlib.compress(b"\1" * (dataset.id.get_chunk_info(0).size * 3 + 100_000))
    dataset.id.write_direct_chunk(info.chunk_offset, payload, mask)
    return f"chunk {info.chunk_offset} of {dataset.name}: {change}"


def damage_inside(file: h5py.File, rng: Random) -> str:
    """Changes bytes of a chunk underneath its compression: codes, indices, references to variable-length text."""
    dataset = any_chunked(file, rng, compression="gzip")
    info = dataset.id.get_chunk_info(rng.randrange(dataset.id.get_num_chunks()))
    mask, payload = dataset.id.read_direct_chunk(info.chunk_offset)
    try:
        plain = bytearray(zlib.decompress(payload))
    except zlib.error as error:
        raise ValueError("an earlier mutation has damaged it") from error
    for _ in range(rng.choice((1, 1, 4, 32))):
        plain[rng.randrange(len(plain))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    dataset.id.write_direct_chunk(info.chunk_offset, zlib.compress(bytes(plain)), mask)
    return f"chunk {info.chunk_offset} of {dataset.name}: bytes inside"

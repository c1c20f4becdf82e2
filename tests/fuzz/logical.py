"""Mutations that keep a file sound HDF5 but break what AnnData expects of it, made by h5py."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import h5py
import numpy as np

_NAMES = (
    "",
    "..",
    ".",
    "X",
    "obs",
    "_index",
    "data",
    "__categories",
    "a\nb",
    "<script>",
    "=cmd",
    "é",
    "\u202e",
    "n" * 999,
)
_ENCODINGS = (
    ("csr_matrix", "0.1.0"),
    ("csc_matrix", "0.1.0"),
    ("array", "0.2.0"),
    ("string-array", "0.2.0"),
    ("nullable-string-array", "0.1.0"),
    ("nullable-integer", "0.1.0"),
    ("nullable-boolean", "0.1.0"),
    ("categorical", "0.2.0"),
    ("dataframe", "0.2.0"),
    ("dict", "0.1.0"),
    ("null", "0.1.0"),
    ("awkward-array", "0.1.0"),
    ("rec-array", "0.2.0"),
    ("raw", "0.1.0"),
    ("anndata", "9.9.9"),
)
_DTYPES = ("i1", "u1", "i2", ">i4", "u4", "i8", "u8", "f2", "f4", ">f8", "f8", "c16", "?", "S10", "V4", "vlen", "str")
_ATTRIBUTES = ("encoding-type", "encoding-version", "shape", "_index", "column-order", "ordered", "categories")
_NUMBERS = (-1, 0, 1, -(2**63), 2**63 - 1, 2**40, 2**31, 2**31 - 1, 2**32, 700, 80, 60)
_FLOATS = (np.nan, np.inf, -np.inf, -1.0, -0.0, 0.5, 1e-310, 2.0**24 + 1, 2.0**41, 1e300)
_TEXTS = (b"", b"\xff\xfe", b"\xed\xa0\x80", b"a\0b", b"cell-0001", b"x" * 100_000, b"NA", b"<script>alert(1)</script>")
_FOREIGN = ("storage", "virtual", "opaque", "reference", "null", "type", "text", "unwritten", "huge", "group")
_MOST_VALUES = 1 << 20
_MOST_CHUNKS = 4096
FAILURES = (OSError, ValueError, LookupError, TypeError, RuntimeError, OverflowError, AttributeError)

LogicalMutation = Callable[[h5py.File, Random], str]


def drop(file: h5py.File, rng: Random) -> str:
    """Removes a member."""
    path = _path(file, rng)
    del file[path]
    return f"{path} dropped"


def rename(file: h5py.File, rng: Random) -> str:
    """Gives a member another name."""
    path = _path(file, rng)
    name = f"{path.rpartition('/')[0]}/{rng.choice(_NAMES)}"
    file.move(path, name)
    return f"{path} renamed {name!r}"


def exchange(file: h5py.File, rng: Random) -> str:
    """Lets two members change places."""
    one, other = _path(file, rng), _path(file, rng)
    file.move(one, "exchanged")
    file.move(other, one)
    file.move("exchanged", other)
    return f"{one} exchanged with {other}"


def overwrite(file: h5py.File, rng: Random) -> str:
    """Puts a copy of one member in another's place."""
    one, other = _path(file, rng), _path(file, rng)
    if f"{one}/".startswith(f"{other}/"):
        raise ValueError("a member of the other one")
    del file[other]
    file.copy(one, other)
    return f"{other} is a copy of {one}"


def link(file: h5py.File, rng: Random) -> str:
    """Puts a soft, external or second hard link in a member's place or beside it."""
    path, target = _path(file, rng), rng.choice(("/", "/obs", f"/{_path(file, rng)}", "/nowhere"))
    kind = rng.choice(("soft", "external", "hard"))
    at = path if rng.random() < 0.5 else f"{path.rpartition('/')[0]}/more"
    made = {"soft": h5py.SoftLink(target), "external": h5py.ExternalLink("/etc/hostname", target)}
    node = made[kind] if kind in made else file[target]
    if at in file:
        del file[at]
    file[at] = node
    return f"{at} is a {kind} link to {target}"


def foreign(file: h5py.File, rng: Random) -> str:
    """Puts a dataset in a member's place whose content is elsewhere, of no use to AnnData or not there at all."""
    path = _path(file, rng)
    kind = rng.choice(
        ("storage", "virtual", "opaque", "reference", "null", "type", "text", "unwritten", "huge", "group")
    )
    shape = getattr(file[path], "shape", None) or (60,)
    del file[path]
    match kind:
        case "storage":
            file.create_dataset(path, shape, "f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])
        case "virtual":
            layout = h5py.VirtualLayout(shape, "f4")
            layout[...] = h5py.VirtualSource("/etc/hostname", "x", shape)
            file.create_virtual_dataset(path, layout)
        case "opaque":
            file[path] = np.zeros(shape, "V8")
        case "reference":
            file.create_dataset(path, data=[file.ref] * shape[0], dtype=h5py.ref_dtype)
        case "null":
            file[path] = h5py.Empty("f4")
        case "type":
            file[path] = np.dtype("f8")
        case "text":
            file[path] = "text"
        case "unwritten":
            file.create_dataset(
                path, shape, "f4", chunks=tuple(min(length, 16) for length in shape), compression="gzip"
            )
        case "huge":
            file.create_dataset(path, (1 << 40,), "f4", chunks=(1 << 16,), compression="gzip")
        case "group":
            file.create_group(path)
    return f"{path} is now {kind}"


def drop_attribute(file: h5py.File, rng: Random) -> str:
    """Removes an attribute."""
    node = file[rng.choice(["/", _path(file, rng)])]
    name = rng.choice(sorted(node.attrs))
    del node.attrs[name]
    return f"attribute {name} of {node.name} dropped"


def set_attribute(file: h5py.File, rng: Random) -> str:
    """Gives an attribute another value or type."""
    node = file[rng.choice(["/", _path(file, rng)])]
    name = rng.choice([*sorted(node.attrs), *_ATTRIBUTES])
    value = rng.choice(
        (
            rng.choice(_NUMBERS),
            [rng.choice(_NUMBERS), rng.choice(_NUMBERS)],
            rng.choice(_FLOATS),
            rng.choice(_ENCODINGS)[rng.randrange(2)],
            list(rng.choice(_ENCODINGS)),
            np.bytes_(rng.choice(_TEXTS[:4])),
            np.array([b"\xff", b"x"], h5py.string_dtype()),
            h5py.Empty("f4"),
            file.ref,
            np.zeros((2, 3, 4)),
            np.arange(5000),
        )
    )
    node.attrs[name] = value
    return f"attribute {name} of {node.name} is {str(value)[:40]}"


def set_encoding(file: h5py.File, rng: Random) -> str:
    """Gives an element another encoding."""
    node = file[_path(file, rng)]
    node.attrs["encoding-type"], node.attrs["encoding-version"] = encoding = rng.choice(_ENCODINGS)
    return f"{node.name} is encoded as {' '.join(encoding)}"


def set_columns(file: h5py.File, rng: Random) -> str:
    """Changes what a data frame says of its columns."""
    frame = file[rng.choice(("obs", "var", "raw/var"))]
    order = [str(name) for name in frame.attrs["column-order"]]
    rng.shuffle(order)
    changed = rng.choice((order * 2, order[:-1], [*order, "missing"], [*order, ""], [*order, "a/b"], [*order, ".."]))
    frame.attrs["column-order"] = np.array(changed, h5py.string_dtype())
    return f"columns of {frame.name}: {len(order)} → {changed[-1:]} and {len(changed) - 1} more"


def set_dtype(file: h5py.File, rng: Random) -> str:
    """Stores the values of a dataset in another type."""
    path, values = _values(file, rng)
    name = rng.choice(_DTYPES)
    if name == "str":
        replaced = np.array([str(value) for value in values.ravel().tolist()], object).reshape(values.shape)
        _replace(file, path, replaced, dtype=h5py.string_dtype())
    elif name == "vlen":
        lists = np.empty(len(values), object)
        lists[:] = [[number] * (number % 3) for number in range(len(values))]
        _replace(file, path, lists, dtype=h5py.vlen_dtype("i4"))
    else:
        numbers = np.zeros(values.shape) if values.dtype.kind not in "fiub" else values
        _replace(file, path, numbers.astype("S10").view(name) if name == "V4" else numbers.astype(name))
    return f"{path} is stored as {name}"


def set_length(file: h5py.File, rng: Random) -> str:
    """Makes a dataset longer, shorter, empty or of another rank."""
    path, values = _values(file, rng)
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
    _replace(file, path, values)
    return f"{path} is {change}"


def set_storage(file: h5py.File, rng: Random) -> str:
    """Stores a dataset in other chunks and behind other filters."""
    path, values = _values(file, rng)
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
    _replace(file, path, values, **options)
    return f"{path} is stored with {options}"


def set_values(file: h5py.File, rng: Random) -> str:
    """Changes single values of a dataset, or all of them."""
    path, values = _values(file, rng)
    places = slice(None) if rng.random() < 0.2 else [rng.randrange(len(values)) for _ in range(rng.choice((1, 1, 5)))]
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        value: Any = min(max(rng.choice((*_NUMBERS, limits.min, limits.max)), limits.min), limits.max)
    elif values.dtype.kind == "f":
        value = rng.choice(_FLOATS)
    elif values.dtype.kind == "O":
        value = rng.choice(_TEXTS)
    else:
        value = rng.choice((True, False))
    with np.errstate(over="ignore"):
        values[places] = value
    _replace(file, path, values, chunks=file[path].chunks, compression=file[path].compression)
    return f"{path}: {str(value)[:20]} at {places}"


def set_structure(file: h5py.File, rng: Random) -> str:
    """Changes indices and indptr of a sparse matrix: what would make arithmetic read elsewhere."""
    groups = [path for path in _paths(file) if f"{path}/indptr" in file]
    path = f"{rng.choice(groups)}/{rng.choice(('indices', 'indptr', 'indptr', 'data'))}"
    values = file[path][()]
    at = rng.randrange(len(values))
    change = rng.choice(("value", "reversed", "constant", "repeated", "swapped"))
    match change:
        case "value":
            limits = np.iinfo(values.dtype) if values.dtype.kind in "iu" else np.iinfo("i4")
            values[at] = min(max(rng.choice((*_NUMBERS, limits.max, limits.min)), limits.min), limits.max)
        case "reversed":
            values = values[::-1].copy()
        case "constant":
            values[:] = values[at]
        case "repeated":
            values[at:] = np.concatenate([values[at : at + 1], values[at:-1]])
        case _:
            values[[0, at]] = values[[at, 0]]
    _replace(file, path, values, chunks=file[path].chunks, compression=file[path].compression)
    return f"{path}: {change} at {at}"


def damage_chunk(file: h5py.File, rng: Random) -> str:
    """Stores a chunk of the wrong length, of other bytes or behind other filters than the dataset says."""
    dataset = _chunked(file, rng)
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
    dataset = _chunked(file, rng, compression="gzip")
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


def multiply(file: h5py.File, rng: Random) -> str:
    """Adds many members, attributes or levels."""
    groups = ["/", *(path for path in _paths(file) if isinstance(file[path], h5py.Group))]
    group = file[rng.choice(groups)]
    kind = rng.choice(("members", "attributes", "levels"))
    for number in range(rng.choice((40, 200))):
        if kind == "members":
            group.create_group(f"more-{number}")
        elif kind == "attributes":
            group.attrs[f"more-{number}"] = "x" * 40
        else:
            group = group.create_group("deep")
    return f"{kind} added below {group.name[:40]}"


LOGICAL: tuple[LogicalMutation, ...] = (
    drop,
    rename,
    exchange,
    overwrite,
    link,
    foreign,
    drop_attribute,
    *(2 * (set_attribute,)),
    set_encoding,
    set_columns,
    *(2 * (set_dtype,)),
    *(2 * (set_length,)),
    *(2 * (set_storage,)),
    *(2 * (set_values,)),
    *(2 * (set_structure,)),
    *(2 * (damage_chunk,)),
    *(2 * (damage_inside,)),
    multiply,
)


def apply(file: h5py.File, rng: Random) -> str:
    """One mutation that this file allows; answers what it did. What one that fails has done so far stays."""
    while True:
        mutation = rng.choice(LOGICAL)
        try:
            return f"{mutation.__name__}: {mutation(file, rng)}"
        except FAILURES:
            continue


def _paths(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visit(found.append)
    return found


def _path(file: h5py.File, rng: Random) -> str:
    """A member anywhere; every other time one of the top, which would else be rare."""
    paths = _paths(file)
    top = [path for path in paths if path.count("/") <= 1]
    return rng.choice(top if rng.random() < 0.5 else paths)


def _datasets(file: h5py.File) -> list[str]:
    return [path for path in _paths(file) if isinstance(file[path], h5py.Dataset)]


def _values(file: h5py.File, rng: Random) -> tuple[str, np.ndarray]:
    path = rng.choice(_datasets(file))
    dataset = file[path]
    if not dataset.shape or not 0 < dataset.size <= _MOST_VALUES:
        raise ValueError(f"{path} has no axis, no values or too many")
    return path, dataset[()]


def _chunked(file: h5py.File, rng: Random, compression: str | None = None) -> h5py.Dataset:
    """A dataset that has chunks, and that filter if one is named."""
    chunked = [file[path] for path in _datasets(file) if file[path].chunks]
    if compression:
        chunked = [dataset for dataset in chunked if dataset.compression == compression]
    return rng.choice([dataset for dataset in chunked if dataset.id.get_num_chunks()])


def _replace(file: h5py.File, path: str, values: Any, dtype: Any = None, **storage: Any) -> None:
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

"""Mutations of what an AnnData file consists of: its members, their attributes and what they say of themselves."""

from __future__ import annotations

from random import Random

import h5py
import numpy as np

from tests.fuzz.sound import FLOATS, NUMBERS, TEXTS, all_paths, any_path

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
_ATTRIBUTES = ("encoding-type", "encoding-version", "shape", "_index", "column-order", "ordered", "categories")
_FOREIGN = ("storage", "virtual", "opaque", "reference", "null", "type", "text", "unwritten", "huge", "group")


def drop(file: h5py.File, rng: Random) -> str:
    """Removes a member."""
    path = any_path(file, rng)
    del file[path]
    return f"{path} dropped"


def rename(file: h5py.File, rng: Random) -> str:
    """Gives a member another name."""
    path = any_path(file, rng)
    name = f"{path.rpartition('/')[0]}/{rng.choice(_NAMES)}"
    file.move(path, name)
    return f"{path} renamed {name!r}"


def exchange(file: h5py.File, rng: Random) -> str:
    """Lets two members change places."""
    one, other = any_path(file, rng), any_path(file, rng)
    file.move(one, "exchanged")
    file.move(other, one)
    file.move("exchanged", other)
    return f"{one} exchanged with {other}"


def overwrite(file: h5py.File, rng: Random) -> str:
    """Puts a copy of one member in another's place."""
    one, other = any_path(file, rng), any_path(file, rng)
    if f"{one}/".startswith(f"{other}/"):
        raise ValueError("a member of the other one")
    del file[other]
    file.copy(one, other)
    return f"{other} is a copy of {one}"


def link(file: h5py.File, rng: Random) -> str:
    """Puts a soft, external or second hard link in a member's place or beside it."""
    path, target = any_path(file, rng), rng.choice(("/", "/obs", f"/{any_path(file, rng)}", "/nowhere"))
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
    path = any_path(file, rng)
    kind = rng.choice(_FOREIGN)
    shape = getattr(file[path], "shape", None) or (60,)
    del file[path]
    match kind:
        case "storage":
            file.create_dataset(path, shape, "f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])
        case "virtual":
            layout = h5py.VirtualLayout(shape, "f4")
            layout.dcpl.set_obj_track_times(False)  # h5py does so itself for all other datasets
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
    node = file[rng.choice(["/", any_path(file, rng)])]
    name = rng.choice(sorted(node.attrs))
    del node.attrs[name]
    return f"attribute {name} of {node.name} dropped"


def set_attribute(file: h5py.File, rng: Random) -> str:
    """Gives an attribute another value or type."""
    node = file[rng.choice(["/", any_path(file, rng)])]
    name = rng.choice([*sorted(node.attrs), *_ATTRIBUTES])
    value = rng.choice(
        (
            rng.choice(NUMBERS),
            [rng.choice(NUMBERS), rng.choice(NUMBERS)],
            rng.choice(FLOATS),
            rng.choice(_ENCODINGS)[rng.randrange(2)],
            list(rng.choice(_ENCODINGS)),
            np.bytes_(rng.choice(TEXTS[:4])),
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
    node = file[any_path(file, rng)]
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


def multiply(file: h5py.File, rng: Random) -> str:
    """Adds many members, attributes or levels."""
    groups = ["/", *(path for path in all_paths(file) if isinstance(file[path], h5py.Group))]
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

"""Names and texts that no path, table or page could hold as they are, and some that only look so."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from tests.hostile.case import Change, edited
from tests.hostile.structure import Patched

MARKUP = "<img src=x onerror=alert(1)><script>alert(1)"
FORMULA = "=cmd|'calc'!A0"


def _group(name: bytes) -> Change:
    return lambda file: file["uns"].create_group(name) and None


edited("name-not-utf8", "file.not_utf8")(_group(b"caf\xe9"))
edited("name-dot-dot", "file.bad_name")(_group(b".."))
edited("name-line-break", "file.bad_name")(_group(b"a\nb"))
edited("name-escape", "file.bad_name")(_group(b"\x1b[2J"))
edited("name-too-long", "file.name_too_long")(_group(b"a" * 5000))


@edited("name-with-slash", "file.bad_name")
def name_with_slash(file: h5py.File) -> None:
    """No program writes such a name."""
    _rename(file, b"a/b\0")


@edited("name-dot", "file.bad_name")
def name_dot(file: h5py.File) -> None:
    _rename(file, b".\0\0\0")


def _rename(file: h5py.File, name: bytes) -> None:
    """Makes a group and overwrites its name, of three bytes and a zero."""
    file["uns"].create_group("aXb")
    path = Path(file.filename)
    file.close()
    patched = Patched(path)
    patched.replace(b"aXb\0", name)
    patched.save()


@edited("attribute-name-not-utf8", "file.not_utf8")
def attribute_name_not_utf8(file: h5py.File) -> None:
    h5py.h5a.create(file["obs"].id, b"caf\xe9", h5py.h5t.STD_I8LE, h5py.h5s.create(h5py.h5s.SCALAR))


@edited("attribute-not-utf8", "file.not_utf8", stage="rules")
def attribute_not_utf8(file: h5py.File) -> None:
    file["obs"].attrs["column-order"] = np.array([b"caf\xe9"], "S4")


@edited("value-not-utf8", "obs.columns.damaged", stage="rules")
def value_not_utf8(file: h5py.File) -> None:
    del file["obs/donor_id/categories"]
    categories = file["obs/donor_id"].create_dataset("categories", data=[b"caf\xe9"], dtype=h5py.string_dtype())
    categories.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})


@edited("markup-and-formulas", stage="processed", obs={MARKUP: FORMULA, FORMULA: MARKUP})
def markup_and_formulas(file: h5py.File) -> None:
    for key, value in ((MARKUP, FORMULA), (FORMULA, MARKUP)):
        file["uns"][key] = value
        file["uns"][key].attrs.update({"encoding-type": "string", "encoding-version": "0.2.0"})

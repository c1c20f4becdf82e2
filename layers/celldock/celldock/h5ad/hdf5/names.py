"""The names of groups, datasets, attributes and fields."""

from __future__ import annotations

import re

from celldock.h5ad.hdf5.faults import Place, hostile

MAX_NAME_BYTES = 1024
"""Bytes of one name, in UTF-8."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
"""All of Unicode's category Cc."""
_HINT = "Rename it (letters, digits, spaces and punctuation are fine) and write the file anew."


def refuse_name(name: bytes, where: Place) -> str:
    """The name of an attribute or of a record's field, as text; `where` is the place that holds it.

    Raises HostileFile for one that no table or report could hold as it is. It may hold slashes: scanpy names the fields
    of its results after cell types.
    """
    if len(name) > MAX_NAME_BYTES:
        problem = f"holds a name of {len(name):,} bytes, more than celldock reads ({MAX_NAME_BYTES:,})"
        hostile("file.name_too_long", where, problem, _HINT)
    try:
        text = name.decode()
    except UnicodeDecodeError:
        problem = f"holds a name that is not valid UTF-8: {name.decode('utf-8', 'backslashreplace')}"
        hostile("file.not_utf8", where, problem, _HINT)
    if _CONTROL.search(text):
        hostile("file.bad_name", where, f"holds a name with control characters: {text!r}", _HINT)
    return text


def refuse_member_name(name: bytes, where: Place) -> str:
    """The name of a group or dataset, as text: also refused is what would not be one step of a path."""
    text = refuse_name(name, where)
    if text in ("", ".", "..") or "/" in text:
        hostile("file.bad_name", where, f"holds an element named {text!r}, which is no name but a path", _HINT)
    return text

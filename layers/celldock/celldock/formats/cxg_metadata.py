"""What a CXG says of itself: the metadata of the array `cxg_group_metadata`.

| key | |
|---|---|
| `cxg_version` | 0.3.0 |
| `cxg_properties` | `title` and `about`, which is null |
| `corpora` | `schema_version`, `title`, `batch_condition`, `default_embedding`, `X_approximate_distribution` of uns |
| `cxg_category_colors` | for a column the colors of its categories, by name (`celldock.formats.cxg_colors`) |
| `celldock` | which version wrote it, and what of the file it leaves out (`omitted`) |

All but the version are JSON documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from celldock import __version__
from celldock.canonical import canonical_json
from celldock.formats.cxg_colors import Colors
from celldock.formats.cxg_frames import Fields
from celldock.formats.cxg_store import TEXT
from celldock.formats.protocol import Omission
from celldock.h5ad.file import H5adFile
from celldock.h5ad.frames import iter_blocks
from celldock.h5ad.headers import Header

_CXG_VERSION = "0.3.0"
_TEXTS = ("schema_version", "title", "default_embedding", "X_approximate_distribution")
_LIST = "batch_condition"
_FEATURE_NAME = "feature_name"
# From this version of the schema on two genes may have one name.
_GENE_IDS_SINCE = 6
_BLOCK_ROWS = 1 << 16
_MAX_LIST = 1_000


def group_metadata(file: H5adFile, header: Header, colors: Colors, omitted: Sequence[Omission]) -> dict[str, str]:
    """The metadata; `omitted` is what the artifact leaves out. Raises InvalidSubmission for a damaged file."""
    corpora: dict[str, str | list[str]] = {key: text for key in _TEXTS if (text := _text(file, header, key))}
    conditions = _list(file, header)
    if conditions:
        corpora[_LIST] = conditions
    made = {"version": __version__, "omitted": [asdict(each) for each in omitted]}
    return {
        "cxg_version": _CXG_VERSION,
        "cxg_properties": _json({"title": corpora.get("title", ""), "about": None}),
        "corpora": _json(corpora),
        "cxg_category_colors": _json(colors),
        "celldock": _json(made),
    }


def var_index(file: H5adFile, header: Header, var: Fields) -> str:
    """The attribute that readers take for the names of the genes: their ids.

    In files of a schema before version 6 it is `feature_name`, if no two genes share one.
    """
    major = _text(file, header, "schema_version").partition(".")[0]
    if not (major.isascii() and major.isdigit() and int(major) < _GENE_IDS_SINCE):
        return var.index
    names = next((field for field in var.fields if field.attribute.name == _FEATURE_NAME), None)
    if names is None or names.attribute.dtype != TEXT:
        return var.index
    seen: set[str] = set()
    for start, stop in iter_blocks(var.rows, _BLOCK_ROWS):
        seen.update(names.read(start, stop).tolist())
    return _FEATURE_NAME if len(seen) == var.rows else var.index


def _text(file: H5adFile, header: Header, key: str) -> str:
    element = next((each for each in header.uns if each.path == f"uns/{key}"), None)
    if element is None or (element.kind, element.dtype) != ("scalar", "str"):
        return ""
    value = file.element(element.path)
    return value if isinstance(value, str) else ""


def _list(file: H5adFile, header: Header) -> list[str]:
    element = next((each for each in header.uns if each.path == f"uns/{_LIST}"), None)
    if element is None or (element.kind, element.dtype) != ("array", "str") or element.shape[0] > _MAX_LIST:
        return []
    values = file.element(element.path)
    return [str(value) for value in values.ravel().tolist()] if isinstance(values, np.ndarray) else []


def _json(document: Mapping[str, Any]) -> str:
    return canonical_json(document).decode("ascii")

"""Files in the encoding of AnnData 0.7, rewritten from new ones: no library that runs here writes it any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

_FRAMES = ("obs", "var", "raw/var")


def rewrite_as_0_7(path: Path) -> Path:
    """Rewrites a file where it lies: categories beside their columns, which refer to them, and no name of an encoding.

    Frames and sparse matrices keep their encodings' names, but in the versions of then.
    """
    with h5py.File(path, "r+") as opened:
        file: Any = opened
        for name in _FRAMES:
            if name in file:
                _rewrite_frame(file[name])
        file.visititems(_forget_encoding)
        file.attrs.clear()
    return path


def _rewrite_frame(frame: Any) -> None:
    aside = frame.create_group("__categories")
    for name in frame.attrs["column-order"]:
        column = frame[name]
        if isinstance(column, h5py.Group):
            codes, ordered = column["codes"][:], bool(column.attrs["ordered"])
            aside[name] = column["categories"][:]
            aside[name].attrs["ordered"] = ordered
            del frame[name]
            frame[name] = codes
            frame[name].attrs["categories"] = aside[name].ref


def _forget_encoding(_: str, element: Any) -> None:
    if element.attrs.get("encoding-type") in ("dataframe", "csr_matrix", "csc_matrix"):
        element.attrs["encoding-version"] = "0.1.0"
        return
    for name in ("encoding-type", "encoding-version"):
        if name in element.attrs:
            del element.attrs[name]

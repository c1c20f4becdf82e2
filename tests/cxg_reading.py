"""A CXG made in this process, and read by tiledb-py, which knows nothing of ours, as CELLxGENE Explorer uses it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import tiledb

from celldock.formats.cxg import Cxg
from tests.subjects import assembled, converted

CXG = Cxg()
convert = partial(converted, CXG)
make_cxg = partial(assembled, CXG)


@dataclass(frozen=True)
class CxgReader:
    """A CXG in a folder."""

    folder: Path

    def open(self, path: str) -> Any:
        return tiledb.open(str(self.folder / path))

    @property
    def is_sparse(self) -> bool:
        with self.open("X") as array:
            return array.schema.sparse

    @property
    def x(self) -> np.ndarray:
        """All of X, dense; a cell that is there twice is a mistake."""
        with self.open("X") as array:
            if not array.schema.sparse:
                return array[:]
            found = array.query(order="U").multi_index[:, :]
            dense = np.zeros(array.shape, np.float32)
            places = found["obs"].astype(np.int64) * array.shape[1] + found["var"]
            assert len(np.unique(places)) == len(places)
            assert (found[""] != 0).all()
            dense[found["obs"], found["var"]] = found[""]
            return dense

    @property
    def fragments(self) -> int:
        """Fragments of X."""
        return len(tiledb.array_fragments(str(self.folder / "X")))

    def hints(self, frame: str) -> dict[str, Any]:
        with self.open(frame) as array:
            return json.loads(array.meta["cxg_schema"])

    def frame(self, path: str) -> dict[str, list[Any]]:
        """All attributes, codes as their categories."""
        with self.open(path) as array:
            values = array[:]
        hints = self.hints(path)
        assert values.keys() == hints.keys() - {"index"}
        names = {name: hint.get("categories") for name, hint in hints.items() if name != "index"}
        return {
            name: found.tolist() if names[name] is None else [names[name][code] for code in found.tolist()]
            for name, found in values.items()
        }

    def dtypes(self, frame: str) -> dict[str, str]:
        with self.open(frame) as array:
            return {attribute.name: attribute.dtype.name for attribute in array.schema}

    @property
    def embeddings(self) -> dict[str, np.ndarray]:
        found: list[str] = []
        tiledb.ls(str(self.folder / "emb"), lambda path, kind: found.append(path) if kind == "array" else None)
        names = [path.rstrip("/").rpartition("/")[2] for path in found]
        return {name: self._whole(f"emb/{name}") for name in names}

    def _whole(self, path: str) -> np.ndarray:
        with self.open(path) as array:
            return array[:]

    def metadata(self, key: str) -> Any:
        """An entry of `cxg_group_metadata`."""
        with self.open("cxg_group_metadata") as array:
            value = array.meta[key]
        return value if key == "cxg_version" else json.loads(value)

    @cached_property
    def omitted(self) -> dict[str, str]:
        """What the CXG says that it leaves out."""
        return {item["where"]: item["reason"] for item in self.metadata("celldock")["omitted"]}

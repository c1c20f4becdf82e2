"""Writes one Parquet file from blocks of numpy columns, in memory bounded by a block.

DuckDB does the writing: a single block is written as it is; of several each becomes a Parquet file of its own, and all
of them are then streamed into one. Against blocks appended to a table on disk that takes less than half the CPU time
and no more memory. The database sees nothing but the scratch folder: no network, no extensions, no other file.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import numpy as np

from celldock.errors import ServiceFault
from celldock.formats.cells_layout import TableColumn

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": "512MB",
    "threads": 1,
    "preserve_insertion_order": True,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
    # Otherwise a part in which a column happens to have no NULL declares it REQUIRED, and the parts' schemas differ.
    "disabled_optimizers": "statistics_propagation",
}


class ParquetWriter:
    """A Parquet file in the making: `append` blocks of rows, then `finish`.

    Equal blocks give equal bytes. `folder` must be the writer's own; it is left with the finished file only.
    """

    def __init__(self, columns: Sequence[TableColumn], folder: Path, row_group: int) -> None:
        self._columns = tuple(columns)
        self._folder = folder.resolve()
        self._row_group = row_group
        self._held: dict[str, np.ndarray[Any, Any]] = {}
        self._blocks: list[Path] = []
        self._database = duckdb.connect(":memory:", config=_CONFIG | {"temp_directory": str(self._folder / "spill")})
        # DuckDB compares a pattern with these before it resolves it.
        allowed = [str(self._folder), glob.escape(str(self._folder))]
        self._database.execute("SET allowed_directories = $1", [allowed])
        self._database.execute("SET enable_external_access = false")
        self._database.execute("SET lock_configuration = true")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        for block in self._blocks:
            block.unlink(missing_ok=True)

    def append(self, arrays: Sequence[np.ndarray[Any, Any]]) -> None:
        """Adds rows: one 1-d array a column, in order, all of one length. Text is `object`, None is NULL.

        Raises ServiceFault if the arrays do not fit the columns or each other.
        """
        rows = {array.shape for array in arrays}
        if len(arrays) != len(self._columns) or len(rows) != 1:
            raise ServiceFault(f"{len(arrays)} arrays of shapes {rows} are no block", code="parquet.block")
        self._put_aside()
        self._held = {f"c{i}": _native(array) for i, array in enumerate(arrays)}

    def finish(self, path: Path, metadata: str) -> None:
        """Writes the file to `path`, inside the folder. `metadata` becomes its key-value metadata under `celldock`."""
        options = {"compression": "zstd", "kv_metadata": "{celldock: $metadata}"}
        if self._held and not self._blocks:
            names = [_quoted(column.name) for column in self._columns]
            self._copy_held(names, path, options, {"metadata": metadata})
            return
        self._put_aside()
        values = {"blocks": [glob.escape(str(block)) for block in self._blocks], "metadata": metadata}
        names = ", ".join(f"c{i} AS {_quoted(column.name)}" for i, column in enumerate(self._columns))
        self._copy(f"SELECT {names} FROM read_parquet($blocks)", path, options, values)

    def _put_aside(self) -> None:
        """Writes the block that is in memory to a file of its own."""
        if self._held:
            path = self._folder / f"block-{len(self._blocks):05d}.parquet"
            self._blocks.append(path)
            self._copy_held(list(self._held), path, {"compression": "uncompressed"}, {})

    def _copy_held(self, names: Sequence[str], path: Path, options: dict[str, str], values: Mapping[str, str]) -> None:
        self._database.register("block", self._held)
        columns = zip(self._held, self._columns, names, strict=True)
        selected = ", ".join(f"{_value(held, column.type)} AS {name}" for held, column, name in columns)
        self._copy(f"SELECT {selected} FROM block", path, options, values)
        self._database.unregister("block")
        self._held = {}

    def _copy(self, query: str, path: Path, options: dict[str, str], values: Mapping[str, object]) -> None:
        written = {"format": "parquet", "row_group_size": str(self._row_group), **options}
        listed = ", ".join(f"{option} {value}" for option, value in written.items())
        self._database.execute(f"COPY ({query}) TO $path ({listed})", {"path": str(path), **values})


def _native(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _value(name: str, kind: str) -> str:
    # DuckDB takes NaN in a numpy array for NULL; in a float column of AnnData it is a value.
    source = f"coalesce({name}, 'NaN')" if kind in ("FLOAT", "DOUBLE") else name
    return f"CAST({source} AS {kind})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

"""`zarr`: the whole AnnData as a Zarr store, version 3, in AnnData's own layout.

`anndata.read_zarr` gives back what `anndata.read_h5ad` reads from the file: X, layers, raw with its own genes, obs,
var, obsm, varm, obsp, varp and uns. Encodings of old AnnData are brought up to date. Arrays are sharded
(`celldock.formats.zarr_store`), so that a browser fetches single chunks of few files, and the metadata of all nodes
stand in the root as well, so that one request finds all of them.

Workers write whole shards. Shards of an array are dealt out to the partitions in proportion to their cells, which makes
parts independent of each other and of what lies where in the file: a partition of rows [start, stop) writes shard k of
K where start ≤ k · n_obs / K < stop. What is small is written when the artifact is assembled, and so are all metadata:
a store without them is no store.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from celldock.canonical import canonical_json
from celldock.errors import InvalidSubmission, NotFeasible
from celldock.formats.partitions import check_whole
from celldock.formats.protocol import Assembled, FileRecord, FormatPlan, Part, Partition, Prediction, Sink, Subject
from celldock.formats.zarr_elements import Tree, add_element
from celldock.formats.zarr_layout import ZarrLayout, layout_of
from celldock.formats.zarr_sources import streamed
from celldock.formats.zarr_store import METADATA, Source, consolidated, group_document, write_shards
from celldock.h5ad.file import H5adFile, open_h5ad
from celldock.h5ad.frames import iter_blocks
from celldock.h5ad.headers import Header, MatrixHeader

# Partitions of all formats begin on it.
_ROW_STEP = 256
_PARTITION_ROWS = 500_000
_PARTITION_BYTES = 768_000_000
# What a worker takes, measured on files of random counts: a base, and a share for each byte, decoded.
_BASE_SECONDS = 1.0
_BYTE_SECONDS = 1.4e-8
_FILE_SECONDS = 0.03
_BASE_MB = 280
_SHARD_BYTES = 4_194_304 * 8
_TEXT_BYTES = 32
_MB = 1 << 20


class Zarr:
    """The format `zarr`; see the module."""

    name: str = "zarr"
    version: str = "1"
    companion: str = ""

    def plan(self, header: Header, size: int) -> FormatPlan:
        """Partitions of equal numbers of cells, of at most 500,000 cells and 768 MB of matrices and columns."""
        if header.n_obs < 1:
            return FormatPlan(self.name, self.version, False, "there are no cells", ())
        layout = layout_of(header)
        most = max(1, min(_PARTITION_ROWS, _PARTITION_BYTES * header.n_obs // max(1, _decoded_bytes(layout))))
        rows = -(-header.n_obs // -(-header.n_obs // most) // _ROW_STEP) * _ROW_STEP
        blocks = enumerate(iter_blocks(header.n_obs, rows))
        partitions = tuple(Partition(index, start, stop) for index, (start, stop) in blocks)
        return FormatPlan(self.name, self.version, True, "", partitions, tuple(layout.omitted))

    def predict(self, header: Header, planned: FormatPlan, size: int) -> tuple[Prediction, ...]:
        """A block is in memory, a shard in /tmp; each part holds a shard of each array more than its share, at most."""
        layout = layout_of(header)
        parts = max(1, len(planned.partitions))
        decoded = _decoded_bytes(layout)
        share = min(decoded, decoded // parts + _SHARD_BYTES * len(layout.matrices))
        convert = Prediction(
            step=f"convert/{self.name}",
            seconds=round(_BASE_SECONDS + share * _BYTE_SECONDS, 1),
            memory_mb=_BASE_MB,
            scratch_mb=_SHARD_BYTES // _MB,
            basis=f"{share:,} of {decoded:,} bytes, decoded",
        )
        files = len(layout.elements) + 3 * sum(len(frame.columns) for frame in layout.frames.values())
        assemble = Prediction(
            step=f"assemble/{self.name}",
            seconds=round(_BASE_SECONDS + files * _FILE_SECONDS, 1),
            memory_mb=_BASE_MB,
            scratch_mb=_SHARD_BYTES // _MB,
            basis=f"about {files:,} small files",
        )
        return convert, assemble

    def convert(self, subject: Subject, partition: Partition, sink: Sink) -> Part:
        """Writes the shards that fall to the partition. Raises InvalidSubmission for values that contradict the header.

        Memory: a block of rows, whatever the size of the partition.
        """
        with TemporaryDirectory(dir=sink.scratch, prefix="zarr-") as folder, open_h5ad(subject.source) as file:
            layout = _current(layout_of(subject.header), subject.header, file)
            tree = streamed(layout, subject, file, Path(folder))
            files = [
                record
                for source in tree.arrays.values()
                for record in write_shards(source, _owned(source, partition, subject.header), sink, Path(folder))
            ]
        return Part(partition, tuple(files))

    def assemble(self, subject: Subject, parts: Sequence[Part], sink: Sink) -> Assembled:
        """What is small, and the metadata; that of the root comes last.

        Raises ServiceFault unless the parts are obs, once; NotFeasible for an element that is too large or has a name
        that only reading it shows to be none of a node.
        """
        check_whole(self.name, [part.partition for part in parts], subject.header.n_obs)
        with TemporaryDirectory(dir=sink.scratch, prefix="zarr-") as folder, open_h5ad(subject.source) as file:
            layout = _current(layout_of(subject.header), subject.header, file)
            tree = streamed(layout, subject, file, Path(folder))
            by_parts = set(tree.arrays)
            _add_small(tree, layout, file)
            files = [record for part in parts for record in part.files]
            for path, source in tree.arrays.items():
                if path not in by_parts:
                    files += write_shards(source, range(source.node.shards), sink, Path(folder))
            files += _write_metadata(tree, sink, Path(folder))
        return Assembled(tuple(files))


def _current(layout: ZarrLayout, header: Header, file: H5adFile) -> ZarrLayout:
    """The layout without what old AnnData kept in uns for record arrays: the categories of their columns."""
    frames = [header.obs, header.var]
    columns = [column for frame in frames for column in frame.columns if column.kind == "categorical"]
    moved = {f"uns/{column.name}_categories" for column in columns}
    if header.encoding_type or not any(element.path in moved for element in header.uns) or "obs" not in file.datasets():
        return layout
    layout.arrays = [array for array in layout.arrays if array.path not in moved]
    layout.elements = [element for element in layout.elements if element.path not in moved]
    return layout


def _owned(source: Source, partition: Partition, header: Header) -> range:
    """The shards that fall to a partition."""
    first, last = (-(-row * source.node.shards // header.n_obs) for row in (partition.start, partition.stop))
    return range(first, last)


def _add_small(tree: Tree, layout: ZarrLayout, file: H5adFile) -> None:
    """Adds what is read whole: categories, elements of uns, frames beside obs and var."""
    for path, frame in layout.frames.items():
        for column in frame.columns:
            if column.kind == "categorical":
                tree.values(f"{path}/{column.name}/categories", file.categories(column))
    for element in layout.elements:
        add_element(tree, element.path, _whole(file, element.path), element.dtype)
    if "raw" in tree.groups and any(path.startswith("raw/varm/") for path in file.datasets()):
        add_element(tree, "raw/varm", _whole(file, "raw/varm"))


def _whole(file: H5adFile, path: str) -> Any:
    try:
        return file.element(path)
    except InvalidSubmission as error:
        if error.code == "file.element_too_large":
            raise NotFeasible(error.message, code="zarr.element", where=path, hint=error.hint) from error
        raise


def _write_metadata(tree: Tree, sink: Sink, folder: Path) -> list[FileRecord]:
    """The `zarr.json` of all nodes, and of the root with all of them in it."""
    nodes = {path: group_document(attributes) for path, attributes in tree.groups.items()}
    nodes |= {path: source.node.document() for path, source in tree.arrays.items()}
    root = nodes.pop("")
    local = folder / METADATA
    records: list[FileRecord] = []
    for path, document in chain(sorted(nodes.items()), [("", consolidated(root, nodes))]):
        local.write_bytes(canonical_json(document))
        records.append(sink.put(f"{path}/{METADATA}" if path else METADATA, local))
    return records


def _decoded_bytes(layout: ZarrLayout) -> int:
    """Bytes of all that is read by rows, decoded, but for graphs, of which the header does not tell."""
    size = sum(map(_matrix_bytes, layout.matrices.values()))
    size += sum(np.dtype(array.dtype).itemsize * int(np.prod(array.shape, dtype=object)) for array in layout.arrays)
    for frame in layout.frames.values():
        widths = (_TEXT_BYTES if column.dtype == "str" else np.dtype(column.dtype).itemsize for column in frame.columns)
        size += frame.length * (_TEXT_BYTES + sum(widths))
    return size


def _matrix_bytes(matrix: MatrixHeader) -> int:
    width = np.dtype(matrix.dtype).itemsize
    if matrix.nnz is None:
        return matrix.shape[0] * matrix.shape[1] * width
    return matrix.nnz * (width + np.dtype(matrix.index_dtype or "int64").itemsize)

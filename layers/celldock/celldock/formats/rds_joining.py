"""Objects around the pieces that the partitions have written: what only the whole file can say, and the joining."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from celldock import __version__
from celldock.formats.protocol import Assembled, FileRecord, Omission, Partition, Sink
from celldock.formats.rds_contents import Contents
from celldock.formats.rds_layout import FEATURE_DASHES, RdsLayout, layout_of
from celldock.formats.rds_matrix import splices
from celldock.formats.rds_values import data_frame, embedding, frame_columns, frame_names, uns_list
from celldock.formats.rds_xdr import (
    NA_INTEGER,
    Deferred,
    Encoder,
    MemberFile,
    RList,
    Splice,
    Value,
    integers,
    named_list,
    texts,
    vector_head,
)
from celldock.h5ad.file import H5adFile
from celldock.h5ad.headers import FrameHeader, Header


def write_objects(
    file: H5adFile,
    header: Header,
    partitions: Sequence[Partition],
    sink: Sink,
    folder: Path,
    makers: Mapping[str, Callable[[Contents], Value]],
) -> Assembled:
    """Writes what `makers` make, each to its path. Memory: some blocks of rows. Disk: obs and an embedding.

    Raises NotFeasible for names that come twice and for text that R cannot hold, InvalidSubmission for a damaged file.
    """
    layout = layout_of(header)
    cells = _names(file, header.obs, sink, folder / "cells.gz")
    genes = _names(file, header.var, sink, folder / "genes.gz")
    features = _names(file, header.var, sink, folder / "features.gz", FEATURE_DASHES)
    slots = {name: splices(name, partitions) for name in layout.matrices}
    records: list[FileRecord] = []
    omitted: dict[Omission, None] = dict.fromkeys(layout.omitted)
    for path, make in makers.items():
        refused: list[Omission] = []
        contents = Contents(
            n_cells=header.n_obs,
            n_genes=header.n_vars,
            cells=cells,
            genes=genes,
            features=features,
            counts=slots.get("raw", slots["x"]) if layout.counts is not None else None,
            data=slots["x"],
            obs=frame_columns(file, layout.obs, header.n_obs),
            var=frame_columns(file, layout.var, header.n_vars),
            reductions={
                reduction: embedding(file, reduction.header, folder, [cells, texts(reduction.dimensions)])
                for reduction in layout.reductions
            },
            uns=uns_list(file, layout.uns, refused),
            source=_source(layout, refused),
        )
        with closing(_Pieces(sink, folder, Path(path).stem)) as pieces:
            Encoder(pieces.out, pieces.splice).write(make(contents))
            records.append(sink.join(path, pieces.finish()))
        omitted |= dict.fromkeys(refused)
    return Assembled(tuple(records), tuple(omitted))


class _Pieces:
    """The files of an object in their order: those that are written here, and between them those of others."""

    def __init__(self, sink: Sink, folder: Path, name: str) -> None:
        self._sink = sink
        self._folder = folder
        self._name = name
        self._open: MemberFile | None = None
        self._paths: list[str] = []

    def out(self) -> MemberFile:
        """The file that takes the next bytes."""
        if self._open is None:
            self._open = MemberFile(self._folder / f"{self._name}-{len(self._paths):05d}.gz")
        return self._open

    def splice(self, paths: Sequence[str]) -> None:
        """Puts files of others behind what has been written."""
        self._finish_one()
        self._paths += paths

    def finish(self) -> list[str]:
        """The paths of all files."""
        self._finish_one()
        return self._paths

    def close(self) -> None:
        """Closes what was left unfinished."""
        if self._open is not None:
            self._open.close()

    def _finish_one(self) -> None:
        if self._open is not None:
            self._paths.append(_put(self._sink, self._open))
            self._open = None


def _put(sink: Sink, file: MemberFile) -> str:
    file.close()
    path = f"pieces/{file.path.name}"
    sink.put(path, file.path)
    file.path.unlink()
    return path


def _names(file: H5adFile, frame: FrameHeader, sink: Sink, local: Path, dashes: str = "") -> Splice:
    """The names of a frame's rows in a file of their own, because they come many times in an object."""
    names = frame_names(file, frame, dashes)
    with MemberFile(local) as out:
        out.write(vector_head(names.kind, names.length))
        for block in names.blocks:
            out.write_values(names.kind, block)
    return Splice((_put(sink, out),))


def _source(layout: RdsLayout, refused: list[Omission]) -> Value:
    """What wrote the object, and what of the file is not in it; made last, when all has been read."""

    def omitted() -> RList:
        omissions = [*layout.omitted, *refused]
        columns: dict[str, Value] = {
            "where": texts(each.where for each in omissions),
            "reason": texts(each.reason for each in omissions),
        }
        return data_frame(columns, integers([NA_INTEGER, -len(omissions)]))

    return named_list({"version": texts([__version__]), "omitted": Deferred(omitted)})

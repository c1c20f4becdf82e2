"""A fragment file as others read it: sorted by position, compressed by bgzip, with its tabix index beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from celldock.errors import NotFeasible, ServiceFault
from celldock.fragments.bgzip import BgzipWriter
from celldock.fragments.rows import Rows, read_block
from celldock.fragments.sorting import chromosome_name, sorted_pieces
from celldock.fragments.tabix import MAX_POSITION, TabixIndex
from celldock.fragments.text import Hashes, Text, text_blocks
from celldock.fragments.unpacking import unpacked
from celldock.h5ad.source import ByteSource

MAX_UNSORTED_BYTES = 2 << 30
"""The compressed size up to which a file is sorted: reading, spreading and sorting it takes four times as long."""


def write_fragments(source: ByteSource, target: Path, index: Path, scratch: Path) -> None:
    """Writes the fragments of a file that has been checked to `target` and their index to `index`.

    A file that is sorted keeps its order, of chromosomes too; any other is sorted by chromosome, start and end, by way
    of files below `scratch` of about its own size. Header lines, empty ones and carriage returns are left out. The same
    file gives the same bytes. Memory: some 50 MB, and 300 MB where it has to be sorted.

    Raises:
        NotFeasible: it has to be sorted and is too large for that, or has positions that tabix cannot index.
        ServiceFault: it holds lines that are no fragments, which nobody may have checked.
    """
    try:
        _write(_parts(text_blocks(unpacked(source))), target, index)
    except _NotSortedError:
        if source.size > MAX_UNSORTED_BYTES:
            raise NotFeasible(
                f"The fragments are not sorted by position, and more than {MAX_UNSORTED_BYTES >> 30} GiB of them, "
                "compressed, are not sorted here.",
                code="fragments.not_sorted",
                hint="Sort them before they are submitted: "
                "zcat FILE | LC_ALL=C sort -k1,1 -k2,2n -k3,3n | bgzip > NEW.",
            ) from None
        pieces = (text.data.tobytes() for text, _ in _parts(text_blocks(unpacked(source))))
        with TemporaryDirectory(dir=scratch, prefix="sort-") as folder:
            _write(_parts(text_blocks(sorted_pieces(pieces, Path(folder)))), target, index)


class _NotSortedError(Exception):
    """A row comes before the one that it follows, or a chromosome comes back."""


def _parts(texts: Iterable[Text]) -> Iterator[tuple[Text, Rows]]:
    """The text of the fragments alone, each line ended by a newline alone, and the rows that it is."""
    hashes = Hashes()
    for text in texts:
        block = read_block(text, 1, hashes)
        if len(block.not_five_columns) or len(block.not_numbers):
            raise ServiceFault("A line of the fragment file is no fragment.", code="fragments.not_checked")
        lines = block.rows.lines
        if int((lines.stops - lines.starts + 1).sum()) == len(text.data):
            yield text, block.rows
        elif len(lines):
            places = zip(lines.starts.tolist(), lines.stops.tolist(), strict=True)
            whole = Text(b"".join([text.data[start:stop].tobytes() + b"\n" for start, stop in places]))
            yield whole, read_block(whole, 1, hashes).rows


def _write(parts: Iterable[tuple[Text, Rows]], target: Path, index: Path) -> None:
    tabix = TabixIndex()
    with target.open("wb") as file:
        writer, order = BgzipWriter(file), _Order()
        for text, rows in parts:
            if int(rows.stops.max()) > MAX_POSITION:
                raise NotFeasible("Some fragments lie beyond the 2^29th base.", code="fragments.too_far")
            begins = writer.written + rows.lines.starts
            writer.write(text.data.tobytes())
            places = writer.places(np.append(begins, writer.written))
            for name, start, stop in order.runs(rows):
                part, after = slice(start, stop), slice(start + 1, stop + 1)
                tabix.add(name, rows.starts[part], rows.stops[part], places[part], places[after])
        writer.finish()
    index.write_bytes(tabix.to_bytes())


class _Order:
    """Tells the runs of rows of one chromosome, as long as the rows are sorted."""

    def __init__(self) -> None:
        self._done: set[bytes] = set()
        self._name, self._start = b"", 0

    def runs(self, rows: Rows) -> Iterator[tuple[bytes, int, int]]:
        """The chromosome of each run of a block's rows, and its first row and the one after its last.

        Raises _NotSortedError where they are not sorted.
        """
        changes = np.flatnonzero(rows.chromosomes[1:] != rows.chromosomes[:-1]) + 1
        edges = [0, *changes.tolist(), len(rows.starts)]
        for start, stop in pairwise(edges):
            name = chromosome_name(rows, start)
            if name != self._name:
                self._done.add(self._name)
                self._name, self._start = name, 0
            starts = rows.starts[start:stop]
            if name in self._done or starts[0] < self._start or (starts[1:] < starts[:-1]).any():
                raise _NotSortedError
            self._start = int(starts[-1])
            yield name, start, stop

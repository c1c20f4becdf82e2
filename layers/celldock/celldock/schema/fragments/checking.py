"""The checks of a fragment file, in one pass over its text; a file that is not sorted is read twice."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from celldock.fragments.rows import Block, Rows, read_block
from celldock.fragments.text import Array, Hashes, LongLineError, text_blocks
from celldock.fragments.unpacking import UnreadableError, unpacked
from celldock.h5ad.source import ByteSource
from celldock.report import Finding
from celldock.schema.fragments.findings import Findings
from celldock.schema.fragments.names import Names
from celldock.schema.fragments.repeats import RECORD_BYTES, Repeats, SortedRepeats, unsorted_repeats
from celldock.schema.fragments.rules import FragmentRules, Genome
from celldock.schema.fragments.tallies import LineTally, NameTally


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of the h5ad file: `blocks` gives all their names, in order, `names` those of some rows of obs."""

    blocks: Callable[[], Iterable[Iterable[str]]]
    names: Callable[[Sequence[int]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a check may take where whoever takes more is ended: seconds by the clock, bytes of the scratch folder."""

    seconds: float
    scratch_bytes: int


def check_fragments(
    source: ByteSource,
    rules: FragmentRules,
    *,
    genome: Genome | None,
    cells: Cells,
    scratch: Path,
    limits: Limits | None = None,
) -> list[Finding]:
    """Checks a fragment file and tells all that is wrong with it.

    Args:
        source: the file, compressed by gzip or bgzip.
        rules: those of the schema version.
        genome: of the dataset's organism, see `FragmentRules.genome`; None where that is not known: then chromosomes
            are not looked at.
        cells: of the dataset.
        scratch: a local folder for 16 bytes a fragment, which a file needs that is not sorted by position.
        limits: a file that would take more gets a finding that says so, and all others that it has come to.

    Memory: about 50 MB, and 24 to 48 bytes a cell. Raises what the source raises.
    """
    check, watch = _Check(genome, cells), _Watch(limits)
    findings = Findings(source.name, rules, genome)
    repeats, missing, too_large = Repeats(), np.zeros(0, np.int64), list[Finding]()
    try:
        for block in _blocks(source, check.hashes, watch):
            check.add(block)
        missing = check.missing_cells()
        repeats = _repeats(check, source, scratch, watch)
    except UnreadableError as error:
        return [findings.unreadable(f"The fragment file {error}.", error.hint)]
    except LongLineError:
        return [findings.unreadable("The fragment file holds no lines of text.", "Look at what it holds: zcat | head.")]
    except _OutOfTimeError:
        too_large.append(findings.out_of_time(check.lines, watch.seconds))
    except _OutOfSpaceError:
        too_large.append(findings.out_of_space(check.lines))
    if not check.lines:
        return [findings.unreadable("The fragment file is empty.", "Submit the fragments of the dataset's cells.")]
    return [
        *too_large,
        *findings.of_lines(check.headers, check.not_five_columns, check.not_numbers),
        *findings.of_chromosomes(check.chromosome_unknown, check.beyond_chromosome),
        *findings.of_numbers(check.start, check.stop, check.support),
        *findings.of_barcodes(check.barcode_unknown, missing, cells.names),
        *findings.of_repeats(repeats),
    ]


class _OutOfTimeError(Exception):
    """The check has taken as long as it may."""


class _OutOfSpaceError(Exception):
    """The scratch folder is too small for the file."""


class _Watch:
    """Sees to the limits."""

    def __init__(self, limits: Limits | None) -> None:
        self.seconds = limits.seconds if limits else math.inf
        self._deadline = time.monotonic() + self.seconds
        self._scratch_bytes = limits.scratch_bytes if limits else math.inf

    def look(self) -> None:
        """Raises _OutOfTimeError once the time is over."""
        if time.monotonic() > self._deadline:
            raise _OutOfTimeError

    def reserve(self, size: int) -> None:
        """Raises _OutOfSpaceError where so many bytes are more than the scratch folder may hold."""
        if size > self._scratch_bytes:
            raise _OutOfSpaceError


def _blocks(source: ByteSource, hashes: Hashes, watch: _Watch) -> Iterator[Block]:
    line = 1
    for text in text_blocks(unpacked(source)):
        block = read_block(text, line, hashes)
        line += block.count
        yield block
        watch.look()


def _repeats(check: _Check, source: ByteSource, scratch: Path, watch: _Watch) -> Repeats:
    check.repeats.finish()
    if check.repeats.is_sorted:
        return check.repeats.found
    watch.reserve(check.lines * RECORD_BYTES)
    return unsorted_repeats((block.rows for block in _blocks(source, check.hashes, watch)), check.hashes, scratch)


class _Check:
    """What was found so far."""

    def __init__(self, genome: Genome | None, cells: Cells) -> None:
        self.hashes = Hashes()
        self.lines = 0
        self.headers, self.not_five_columns, self.not_numbers = LineTally(), LineTally(), LineTally()
        self.start, self.stop, self.support = LineTally(), LineTally(), LineTally()
        self.beyond_chromosome = LineTally()
        self.chromosome_unknown, self.barcode_unknown = NameTally(), NameTally()
        self.repeats = SortedRepeats(self.hashes)
        self._chromosomes = Names([genome.chromosomes], self.hashes) if genome else None
        # The last one is the length of what is no chromosome: nothing lies beyond it.
        lengths = [*(genome.chromosomes.values() if genome else ()), np.iinfo(np.int64).max]
        self._lengths = np.array(lengths, np.int64)
        self._cells = Names(cells.blocks(), self.hashes)
        self._cell_blocks = cells.blocks
        self._seen = np.zeros(self._cells.length + 1, np.bool)

    def add(self, block: Block) -> None:
        self.lines += len(block.headers) + len(block.not_five_columns) + len(block.not_numbers) + len(block.rows.lines)
        self.headers.add(block.headers)
        self.not_five_columns.add(block.not_five_columns)
        self.not_numbers.add(block.not_numbers)
        rows = block.rows
        if not len(rows.lines):
            return
        self.start.add_where(rows.starts < 0, rows.lines)
        self.stop.add_where(rows.stops <= rows.starts, rows.lines)
        self.support.add_where(rows.support < 1, rows.lines)
        self._add_chromosomes(rows)
        self._add_barcodes(rows)
        self.repeats.add(rows)

    def missing_cells(self) -> Array:
        """The rows of obs whose name no fragment has."""
        numbers = [self._cells.numbers(self.hashes.of_texts(block)) for block in self._cell_blocks()]
        return np.flatnonzero(~self._seen[np.concatenate([np.zeros(0, np.int32), *numbers])])

    def _add_chromosomes(self, rows: Rows) -> None:
        if self._chromosomes is None:
            return
        numbers = self._chromosomes.numbers(rows.chromosomes)
        unknown = numbers < 0
        self.beyond_chromosome.add_where(rows.stops > self._lengths[numbers], rows.lines)
        if unknown.any():
            self.chromosome_unknown.add_where(
                unknown, rows.chromosomes, rows.lines.text, rows.lines.starts, rows.chromosome_stops
            )

    def _add_barcodes(self, rows: Rows) -> None:
        numbers = self._cells.numbers(rows.barcodes)
        # The last place of `_seen` is that of barcodes that are unknown, whose number is -1.
        self._seen[numbers] = True
        unknown = numbers < 0
        if unknown.any():
            self.barcode_unknown.add_where(
                unknown, rows.barcodes, rows.lines.text, rows.barcode_starts, rows.barcode_stops
            )

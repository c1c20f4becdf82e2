"""What is told of a fragment file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from celldock.fragments.text import Array
from celldock.report import Finding
from celldock.report.model import MAX_EXAMPLES
from celldock.schema.fragments.repeats import Repeats
from celldock.schema.fragments.rules import FragmentRules, Genome
from celldock.schema.fragments.tallies import LineTally, NameTally
from celldock.schema.words import ROWS, Noun

_FRAGMENT = Noun("fragment", "fragments")
_LINE = Noun("line", "lines")
_COLUMNS = 5
_PREFIX = "chr"

SORT = "Sort the fragments by position: zcat FILE | LC_ALL=C sort -k1,1 -k2,2n -k3,3n | bgzip > NEW."


class Findings:
    """Makes the findings on the fragment file `name`, each with the section of the schema that asks for it."""

    def __init__(self, name: str, rules: FragmentRules, genome: Genome | None) -> None:
        self._name = name
        self._rules = rules
        self._genome = genome

    def unreadable(self, message: str, suggestion: str) -> Finding:
        """The finding on a file that could not be read to its end."""
        return self._finding("fragments.unreadable", message, 1, (), suggestion)

    def out_of_time(self, lines: int, seconds: float) -> Finding:
        """The finding on a file that could not be read to its end in the time that there is."""
        return self._finding(
            "fragments.too_large",
            f"The fragment file is too large: {_LINE.of(lines)} could be checked in {seconds / 60:.0f} minutes, and "
            "there are more.",
            1,
            (),
            "Split the dataset, each part with the fragments of its own cells.",
        )

    def out_of_space(self, lines: int) -> Finding:
        """The finding on a file that is too large to be looked through for repeats, unless it is sorted."""
        return self._finding(
            "fragments.too_large",
            f"The {_LINE.of(lines)} of the fragment file are not sorted by position, and too many to find out whether "
            "any is there twice.",
            1,
            (),
            SORT,
        )

    def of_lines(self, headers: LineTally, not_five_columns: LineTally, not_numbers: LineTally) -> Iterator[Finding]:
        """On lines that are no fragments."""
        if headers.count:
            yield self._finding(
                "fragments.header",
                f"{_LINE.of(headers.count)} at the fragment file's start or within it "
                f"{_verb(headers, 'begins', 'begin')} with #, but only fragments may stand in it.",
                headers.count,
                headers.first,
                "Leave them out: zcat FILE | grep -v '^#' | bgzip > NEW.",
            )
        if not_five_columns.count:
            yield self._finding(
                "fragments.unreadable",
                f"{_LINE.of(not_five_columns.count)} of the fragment file {_has(not_five_columns)} not five columns, "
                "separated by tabs.",
                not_five_columns.count,
                not_five_columns.first,
                _suggest_columns(not_five_columns),
            )
        if not_numbers.count:
            yield self._finding(
                "fragments.unreadable",
                f"{_LINE.of(not_numbers.count)} of the fragment file {_has(not_numbers)} no whole numbers as start, "
                "end and number of read pairs, the second, third and fifth columns.",
                not_numbers.count,
                not_numbers.first,
                "The first line seems to name the columns: leave it out."
                if not_numbers.count == 1 and not_numbers.first[0].startswith("line 1:")
                else "Write the columns in the order chromosome, start, end, barcode, read pairs.",
            )

    def of_chromosomes(self, unknown: NameTally, beyond: LineTally) -> Iterator[Finding]:
        """On chromosomes, if those of the organism are known."""
        if unknown.count and self._genome:
            yield self._finding(
                "fragments.chromosome_unknown",
                f"{_FRAGMENT.of(unknown.count)} {_has(unknown)} a chromosome that is not one of {self._genome.name}.",
                unknown.count,
                _FRAGMENT.examples(unknown.names),
                self._suggest_chromosomes(list(unknown.names)),
            )
        if beyond.count and self._genome:
            yield self._finding(
                "fragments.beyond_chromosome",
                f"{_FRAGMENT.of(beyond.count)} {_verb(beyond, 'ends', 'end')} beyond the chromosome's last "
                f"base in {self._genome.name}.",
                beyond.count,
                beyond.first,
                "The reads may have been aligned to another assembly: align them to this one, or lift the fragments "
                "over to it.",
            )

    def of_numbers(self, start: LineTally, stop: LineTally, support: LineTally) -> Iterator[Finding]:
        """On the start, the end and the read pairs."""
        if start.count:
            yield self._finding(
                "fragments.start",
                f"{_FRAGMENT.of(start.count)} {_verb(start, 'starts', 'start')} before the first base of the "
                "chromosome, whose number is 0.",
                start.count,
                start.first,
                "A correction for the transposase may have moved them below zero: leave these fragments out.",
            )
        if stop.count:
            yield self._finding(
                "fragments.stop",
                f"{_FRAGMENT.of(stop.count)} {_has(stop)} an end that is not greater than the start.",
                stop.count,
                stop.first,
                "Bases count from 0, and the end is the base after the last one: base 5 alone is 5 to 6.",
            )
        if support.count:
            yield self._finding(
                "fragments.support",
                f"{_FRAGMENT.of(support.count)} {_has(support)} less than one read pair.",
                support.count,
                support.first,
                "Leave them out, or give the number of read pairs in the fifth column.",
            )

    def of_barcodes(
        self, unknown: NameTally, missing: Array, names: Callable[[Sequence[int]], Sequence[str]]
    ) -> Iterator[Finding]:
        """On barcodes that are no cell, and cells without a fragment; `names` tells the names of cells."""
        some = list(names(missing[:MAX_EXAMPLES].tolist())) if len(missing) else []
        if unknown.count:
            yield self._finding(
                "fragments.barcode_unknown",
                f"{_FRAGMENT.of(unknown.count)} {_has(unknown)} a barcode that is the name of no cell in obs.",
                unknown.count,
                _FRAGMENT.examples(unknown.names),
                _suggest_barcodes(list(unknown.names), some),
            )
        if len(missing):
            yield self._finding(
                "fragments.cell_missing",
                f"The file has no fragment of {ROWS['obs'].of(len(missing))} of the dataset.",
                len(missing),
                some,
                "Check that the fragments of all samples are in the file, and that barcodes are written as in obs.",
            )

    def of_repeats(self, repeats: Repeats) -> Iterator[Finding]:
        """On rows that are there twice."""
        if repeats.count:
            yield self._finding(
                "fragments.duplicate_rows",
                f"{_FRAGMENT.of(repeats.count)} {_verb(repeats, 'repeats', 'repeat')} an earlier line of the file.",
                repeats.count,
                [f"line {line:,} repeats line {earlier:,}" for line, earlier in repeats.first],
                "Leave repeated lines out: zcat FILE | sort -u -k1,1 -k2,2n -k3,3n -k4,5 | bgzip > NEW.",
            )

    def _suggest_chromosomes(self, unknown: Sequence[str]) -> str:
        assert self._genome is not None
        known = self._genome.chromosomes
        for name in unknown:
            better = f"{_PREFIX}{'M' if name in ('MT', f'{_PREFIX}MT') else name}"
            if better.replace(_PREFIX * 2, _PREFIX) in known:
                return f"Write the chromosomes as the schema does: {better!r} for {name!r}."
        for genome in self._rules.genomes.values():
            if genome is not self._genome and any(name in genome.chromosomes for name in unknown):
                return f"Some are chromosomes of {genome.name}: check uns['organism_ontology_term_id']."
        return "Leave fragments on other scaffolds out, or name the chromosomes as the schema does: 'chr1', 'chrX'."

    def _finding(self, code: str, message: str, count: int, examples: Sequence[str], suggestion: str) -> Finding:
        return Finding(
            code=code,
            severity="error",
            where=self._name,
            message=message,
            count=count,
            examples=tuple(examples)[:MAX_EXAMPLES],
            suggestion=suggestion,
            schema_url=f"{self._rules.url}#{self._rules.sections[code]}",
        )


def _has(tally: LineTally | NameTally) -> str:
    return _verb(tally, "has", "have")


def _verb(tally: LineTally | NameTally | Repeats, one: str, many: str) -> str:
    return one if tally.count == 1 else many


def _suggest_columns(lines: LineTally) -> str:
    if lines.columns and min(lines.columns) > _COLUMNS:
        return "Leave the columns after the fifth out: zcat FILE | cut -f 1-5 | bgzip > NEW."
    if max(lines.columns, default=0) == 1:
        return "Separate the columns by tabs, neither by spaces nor by commas."
    return "Write chromosome, start, end, barcode and number of read pairs in each line, separated by tabs."


def _suggest_barcodes(unknown: Sequence[str], missing: Sequence[str]) -> str:
    for barcode in unknown:
        core = barcode.rpartition("-")[0] or barcode
        for name in missing:
            if core in name or name in barcode:
                return f"{barcode!r} may be the cell {name!r}: write barcodes as the names in obs."
    return "Keep only the fragments of the dataset's cells, under the names that the cells have in obs."

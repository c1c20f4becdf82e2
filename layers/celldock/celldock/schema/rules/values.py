"""Rules about the values of X, raw.X and the layers, decided from what the scan found in its one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from celldock.errors import InvalidSubmission
from celldock.report import Finding
from celldock.report.model import MAX_EXAMPLES
from celldock.scan import DefectKind
from celldock.schema.registry import Context, rule
from celldock.schema.words import ROWS

_NOT_FINITE = {
    DefectKind.NAN: "NaN",
    DefectKind.POSITIVE_INFINITY: "infinite",
    DefectKind.NEGATIVE_INFINITY: "negative infinite",
}


@rule("matrices.damaged")
def matrices_damaged(context: Context) -> Iterator[Finding]:
    """The values of every matrix can be read; what keeps them from it has a code of its own (`file.damaged` …).

    One finding for each thing that is wrong at one place, however many blocks of rows have it.
    """
    told: set[tuple[str, str]] = set()
    for refusal in context.scanned().refusals:
        if (refusal.code, refusal.where) not in told:
            told.add((refusal.code, refusal.where))
            yield Finding.refusal(refusal.error, schema_url=context.schema_url)


@rule("{matrix}.not_finite")
def not_finite(context: Context, *, matrix: str) -> Iterator[Finding]:
    """No value is NaN or infinite."""
    for scan in context.values(matrix):
        found = {word: scan.defects[kind] for kind, word in _NOT_FINITE.items() if scan.defects[kind].values}
        if not found:
            continue
        kinds = " and ".join(
            f"{defect.values:,} {word} in {ROWS['obs'].of(defect.rows)}" for word, defect in found.items()
        )
        yield context.finding(
            scan.path,
            f"{scan.path} has values that are no finite numbers: {kinds}.",
            count=sum(defect.values for defect in found.values()),
            examples=_names(context, {row for defect in found.values() for row in defect.first}),
            suggestion="They come from a division by zero or the logarithm of a negative number, such as in cells "
            "without counts: leave those cells out, or compute the matrix anew.",
        )


def _names(context: Context, rows: Iterable[int]) -> Iterator[str]:
    """The first of these cells by name, or by number where names cannot be read."""
    for row in sorted(rows)[:MAX_EXAMPLES]:
        name = f"row {row:,}"
        # A matrix may have rows that obs does not name.
        if row < context.header.n_obs:
            with suppress(InvalidSubmission):
                name = str(context.file.index(context.header.obs, row, row + 1)[0])
        yield name

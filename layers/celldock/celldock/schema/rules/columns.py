"""Rules about the columns of obs, var and raw.var."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from celldock.report import Finding
from celldock.schema.registry import Context, rule
from celldock.schema.words import ROWS

_TERM_SUFFIX = "ontologytermid"
_CLOSE = 0.8
_TELLING = 5


@rule("{frame}.{column}.missing")
def column_missing(context: Context, *, frame: str, column: str, before_analysis: bool = True) -> Iterator[Finding]:
    """A column that the schema requires is there; `before_analysis` says whether pre-analysis files need it too."""
    header = context.frame(frame)
    if not before_analysis and context.setting.pre_analysis:
        return
    names = [existing.name for existing in header.columns]
    if column not in names:
        yield context.finding(
            f"{header.path}/{column}",
            f"The column {column} is missing: every {ROWS[frame].one} needs a value in it.",
            count=header.length,
            suggestion=suggest_column(column, names, frame),
        )


@rule("{frame}.columns.duplicate")
def columns_duplicate(context: Context, *, frame: str) -> Iterator[Finding]:
    """No two columns share a name."""
    header = context.frame(frame)
    counts = Counter(column.name for column in header.columns)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        yield context.finding(
            header.path,
            f"{frame} has more than one column of the same name.",
            count=len(repeated),
            examples=repeated,
            suggestion="Rename or drop the repeated columns, then write the file again.",
        )


@rule("{frame}.columns.unreadable")
def columns_unreadable(context: Context, *, frame: str) -> Iterator[Finding]:
    """Every column that the data frame lists is there, in an encoding that AnnData knows."""
    header = context.frame(frame)
    broken = [column.name for column in header.columns if column.kind == "unsupported"]
    if broken:
        yield context.finding(
            header.path,
            f"{frame} lists columns that are not in the file or that AnnData could not read.",
            count=len(broken),
            examples=broken,
            suggestion="Check that the file opens with anndata.read_h5ad; drop these columns or write them anew.",
        )


@rule("{frame}.columns.length")
def columns_length(context: Context, *, frame: str) -> Iterator[Finding]:
    """Every column has a value for each row."""
    header = context.frame(frame)
    for column in header.columns:
        if column.kind == "unsupported":
            continue
        length = context.file.column_length(column)
        if length != header.length:
            yield context.finding(
                column.path,
                f"The column {column.name} has {length:,} values for {ROWS[frame].of(header.length)}.",
                suggestion="Write the file anew with anndata's write_h5ad, which keeps columns and index together.",
            )


def suggest_column(wanted: str, names: Sequence[str], frame: str) -> str:
    """How a missing column may be had from the columns that are there, or how to add it."""
    for name in names:
        if _plain(name) == _plain(wanted):
            return f"The column {name!r} looks like it: rename it to {wanted!r}."
    stems = {_stem(name): name for name in reversed(names)}
    stem = _stem(wanted)
    if stem in stems:
        return f"The column {stems[stem]!r} may hold the labels: give each one's ontology term in {wanted!r}."
    near = difflib.get_close_matches(stem, stems, n=1, cutoff=_CLOSE)
    near += [longer for longer in stems if len(longer) >= _TELLING and stem.endswith(longer)]
    if near:
        return f"The column {stems[near[0]]!r} may hold what is asked for: if so, rename it to {wanted!r}."
    return f"Add it before you write the file: adata.{frame}[{wanted!r}] = …"


def _stem(name: str) -> str:
    """What a column is about: terms and labels of the same thing have the same stem."""
    return _plain(name).removesuffix(_TERM_SUFFIX)


def _plain(name: str) -> str:
    """A name without what people spell differently: case, spaces, dots, dashes, underscores."""
    return re.sub(r"[\W_]+", "", name).casefold()

"""Rules about the names of metadata fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from celldock.report import Finding
from celldock.schema.registry import Context, rule

_RESERVED = "__"


@rule("names.double_underscore")
def double_underscore(context: Context) -> Iterator[Finding]:
    """No field of obs, var, raw.var, uns, obsm, obsp, varm or varp has a name that begins with two underscores."""
    for path, names in _fields(context):
        reserved = [name for name in names if name.startswith(_RESERVED)]
        if reserved:
            yield context.finding(
                path,
                f"{path} has fields whose names begin with two underscores, which are reserved.",
                count=len(reserved),
                examples=reserved,
                suggestion=f"Rename {reserved[0]!r} to {reserved[0].lstrip('_')!r}, or drop it.",
            )


@rule("{frame}.columns.deprecated")
def columns_deprecated(context: Context, *, frame: str, columns: Mapping[str, str]) -> Iterator[Finding]:
    """A frame has none of the columns of earlier schemas; `columns` says of each what is to be done."""
    header = context.frame(frame)
    found = [column.name for column in header.columns if column.name in columns]
    if found:
        yield context.finding(
            header.path,
            f"{frame} has columns that earlier versions of the schema used and this one forbids.",
            count=len(found),
            examples=found,
            suggestion=" ".join(f"{name}: {columns[name]}." for name in found),
        )


def _fields(context: Context) -> Iterator[tuple[str, Sequence[str]]]:
    header = context.header
    for frame in (header.obs, header.var, header.raw_var):
        if frame is not None:
            yield frame.path, [column.name for column in frame.columns]
    yield "uns", [element.path.split("/")[1] for element in header.uns if element.path.count("/") == 1]
    for slot in ("obsm", "obsp", "varm", "varp"):
        yield slot, [array.key for array in getattr(header, slot)]

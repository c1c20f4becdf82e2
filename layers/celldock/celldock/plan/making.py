"""How a plan is made: one opening of the file, guarded before anything of it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from celldock.errors import InvalidSubmission
from celldock.formats.fragments import COMPANION as FRAGMENTS
from celldock.formats.protocol import FormatPlan
from celldock.formats.registry import FORMATS, get_format
from celldock.h5ad.file import H5adFile, open_h5ad
from celldock.h5ad.headers import Header
from celldock.h5ad.layout import FileLayout
from celldock.h5ad.source import ByteSource
from celldock.plan.document import Plan
from celldock.plan.prediction import (
    check_format,
    predict_formats,
    predict_fragments,
    predict_plan,
    predict_scan,
    predict_validate,
)
from celldock.plan.scan import group_column, plan_scan


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and where the chunks of the matrices lie: with both, nobody needs libhdf5 to read a value."""

    plan: Plan
    layout: FileLayout


def make_plan(
    source: ByteSource,
    required_formats: Sequence[str],
    companions: Mapping[str, int] | None = None,
    *,
    formats: Sequence[str] | None = None,
) -> Planned:
    """Guards the file, reads its headers and chunk tables, and plans the scan and the formats.

    Those are `formats` (None for all that there are) and the required ones.

    `companions` has the sizes in bytes of the files that come with it, by their kind: formats that are made of others
    are not planned.
    Memory: the chunk tables, and 8 bytes for each 256 rows of a matrix.

    Raises:
        InvalidSubmission: the file is refused, or AnnData could not understand it.
        ServiceFault: one of the formats is not one that celldock has.
    """
    required = frozenset(get_format(name).name for name in required_formats)
    wanted = frozenset(FORMATS) if formats is None else required.union(get_format(name).name for name in formats)
    with open_h5ad(source) as file:
        inventory = file.guard()
        header = file.header()
        layout = _layout(file, header)
    scan = plan_scan(source, header, layout)
    sizes = {"": source.size, **(companions or {})}
    planned = tuple(_plan_formats(header, sizes, wanted))
    predictions = (
        predict_plan(header, layout),
        predict_scan(layout, scan),
        *(predict_fragments(size, header.n_obs) for kind, size in sizes.items() if kind == FRAGMENTS),
        predict_validate(header, scan),
        *predict_formats(header, planned, sizes),
    )
    return Planned(Plan(inventory, header, scan, planned, required, predictions), layout)


def _plan_formats(header: Header, sizes: Mapping[str, int], wanted: frozenset[str]) -> Iterator[FormatPlan]:
    for each in FORMATS.values():
        if each.name in wanted and each.companion in sizes:
            size = sizes[each.companion]
            yield check_format(header, each.plan(header, size), size)


def _layout(file: H5adFile, header: Header) -> FileLayout:
    """The layouts of the matrices, and of the codes by which cells are grouped."""
    column = group_column(header)
    if column is None:
        return file.layout(header, [])
    try:
        return file.layout(header, [f"{column.path}/codes"])
    except InvalidSubmission as error:
        if error.where != f"{column.path}/codes":
            raise
    # Up to AnnData 0.7 a categorical is no group: its codes are where any other column has its values.
    return file.layout(header, [column.path])

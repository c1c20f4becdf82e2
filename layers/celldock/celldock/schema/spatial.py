"""What decides which spatial rules a file is under: its assays, and what uns['spatial'] says of itself."""

from __future__ import annotations

from collections.abc import Mapping

from celldock.h5ad.headers import ElementHeader
from celldock.schema.registry import Context, Skip

SPATIAL = "spatial"
IS_SINGLE = "is_single"
MAX_LIBRARIES = 5
"""Libraries that rules look into; there should be one."""

_ASSAY = "assay_ontology_term_id"


def is_spatial(context: Context, *, visium: str, beads: str) -> bool:
    """Whether a cell's assay is spatial: below one of the two terms. Raises Skip where that cannot be told."""
    return is_visium(context, visium) or _is_below(context, beads)


def is_visium(context: Context, visium: str) -> bool:
    """Whether a cell's assay is a kind of Visium, below the term `visium`.

    Raises Skip where that cannot be told: no column of assays, or Visium without saying which, as another rule tells.
    """
    if visium in _assays(context):
        raise Skip
    return _is_below(context, visium)


def is_single(context: Context) -> bool | None:
    """Whether the file says that it is one section or one array; None where it does not say."""
    header = context.uns_header(f"{SPATIAL}/{IS_SINGLE}")
    if header is None or (header.kind, header.dtype) != ("scalar", "bool"):
        return None
    return context.uns(f"{SPATIAL}/{IS_SINGLE}") is True


def is_single_visium(context: Context, visium: str) -> bool:
    """Whether the file is one section of Visium. Raises Skip where that cannot be told."""
    if not is_visium(context, visium):
        return False
    single = is_single(context)
    if single is None:
        raise Skip
    return single


def by_assay(context: Context, values: Mapping[str, int], otherwise: int) -> int:
    """The value of the first term in `values` that is a cell's assay or above it."""
    for term, value in values.items():
        if term in _assays(context) or _is_below(context, term):
            return value
    return otherwise


def libraries(context: Context, visium: str) -> dict[str, ElementHeader]:
    """The libraries in uns['spatial'], by name: none where the file may not have any. Raises Skip as the others do."""
    if not is_visium(context, visium) or is_single(context) is False:
        return {}
    return {name: element for name, element in spatial_below(context).items() if name != IS_SINGLE}


def spatial_below(context: Context) -> dict[str, ElementHeader]:
    """What lies right below uns['spatial'], by name. Raises Skip where that is no dictionary."""
    header = context.uns_header(SPATIAL)
    if header is None or header.kind != "dict":
        raise Skip
    return uns_below(context, SPATIAL)


def uns_below(context: Context, path: str) -> dict[str, ElementHeader]:
    """What lies right below a path of uns, by name. Raises Skip for a uns of too many elements to know it."""
    if not context.header.uns_complete:
        raise Skip
    prefix = f"uns/{path}/"
    below = {
        element.path.removeprefix(prefix): element for element in context.header.uns if element.path.startswith(prefix)
    }
    return {name: element for name, element in below.items() if "/" not in name}


def _assays(context: Context) -> list[str]:
    return [value for value in context.column("obs", _ASSAY).used if isinstance(value, str)]


def _is_below(context: Context, root: str) -> bool:
    terms = context.reference.terms(_assays(context))
    return any(root in term.ancestors for term in terms.values())

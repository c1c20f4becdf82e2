"""What a curation has changed, as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from celldock.curation.ledger import Change, Ledger
from celldock.report.text import printable, render_findings

_SHOWN = 12
"""Details of one change; the record has all of them."""


def render_curation(ledger: Ledger) -> str:
    """The changes by what they concern, in the order in which that was first changed; then what to look at."""
    count = len(ledger.changes)
    lines = [f"{count:,} change{'' if count == 1 else 's'}:" if count else "Nothing is to be changed."]
    places: dict[str, list[Change]] = {}
    for change in ledger.changes:
        places.setdefault(change.where, []).append(change)
    for where, changes in places.items():
        lines += ["", printable(where), *(line for change in changes for line in _change(change))]
    text = "\n".join(lines) + "\n"
    return text + "\n" + render_findings(ledger.findings) if ledger.findings else text


def _change(change: Change) -> Iterator[str]:
    yield f"  {printable(change.message)}"
    details = change.details
    if not details or all(repr(name) in change.message for name in details):
        return
    names = list(details)[:_SHOWN]
    if isinstance(details, Mapping) and (len(details) == 1 or len({*details.values()}) > 1):
        width = max(len(printable(name)) for name in names)
        yield from (f"    {printable(name):{width}} → {printable(details[name])}" for name in names)
    else:
        yield f"    {', '.join(map(printable, names))}"
    if len(details) > _SHOWN:
        yield f"    … and {len(details) - _SHOWN:,} more"

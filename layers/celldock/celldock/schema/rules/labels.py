"""Rules about what the portal adds to a file when it is published, which submitters must not have in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from celldock.report import Finding
from celldock.schema.registry import Context, rule
from celldock.schema.rules.conditions import uns_text

type Names = Mapping[str, Collection[str]]
"""Names of columns or keys by where they lie: `obs`, `var`, `raw.var`, `uns`, or each dictionary in `uns/<key>`."""

_REMOVE = "celldock label --remove"


@rule("file.labelled")
def file_labelled(
    context: Context, *, labels: Names, marks: Names, always: Names, others: Sequence[str] = ()
) -> Iterator[Finding]:
    """The file is not one that the portal has labelled: it has none of its marks, nor all of its usual labels.

    Such a file gets this finding alone, and none for each label. `others` are the versions by which a file can be
    checked instead if it says that it is of them.
    """
    if not _is_labelled(context, marks, always):
        return
    found = [f"{place}/{name}" for place, names in _present(context, labels).items() for name in names]
    version = uns_text(context, "uns/schema_version")
    made = f" by schema {version}" if version else ""
    suggestion = f"Take the labels off with `{_REMOVE}`, which keeps all else, and submit what it writes."
    if version in others:
        suggestion += f" Or have it checked by schema {version}: with `--schema`, or in a collection that accepts it."
    yield context.finding(
        "",
        f"The file has been labelled{made}: it has columns or keys that the portal adds itself.",
        count=len(found),
        examples=found,
        suggestion=suggestion,
    )


@rule("labels.present")
def labels_present(context: Context, *, labels: Names, marks: Names, always: Names) -> Iterator[Finding]:
    """No column or key has a name that the portal uses for its labels: one finding for each place."""
    if _is_labelled(context, marks, always):
        return
    for place, names in _present(context, labels).items():
        if names:
            yield context.finding(
                place.replace(".", "/"),
                f"{place} has names that are reserved for what the portal adds: it derives them from the ids.",
                count=len(names),
                examples=names,
                suggestion=f"Rename what you want to keep, such as {names[0]!r} to 'author_{names[0].split('/')[-1]}', "
                f"and drop the rest, or let `{_REMOVE}` drop them.",
            )


def _is_labelled(context: Context, marks: Names, always: Names) -> bool:
    if any(_present(context, marks).values()):
        return True
    return all(len(found) == len(always[place]) for place, found in _present(context, always).items())


def _present(context: Context, wanted: Names) -> dict[str, list[str]]:
    """Those of the names that the file has."""
    return {
        place: [name for name in _names(context, place) if name.split("/")[-1] in wanted[place]] for place in wanted
    }


def _names(context: Context, place: str) -> Iterator[str]:
    """A frame's columns, the keys of uns, or of `uns/<key>` those of its dictionaries: `guide-1/derived_features`."""
    header = context.header
    frame = {"obs": header.obs, "var": header.var, "raw.var": header.raw_var}.get(place)
    if frame is not None:
        yield from (column.name for column in frame.columns)
    elif place.startswith("uns"):
        below = 2 if "/" in place else 1
        for element in header.uns:
            if element.path.startswith(f"{place}/") and element.path.count("/") == place.count("/") + below:
                yield element.path.removeprefix(f"{place}/")

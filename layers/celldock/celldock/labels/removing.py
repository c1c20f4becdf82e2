"""What takes the labels off a file again: only what a schema version reserves, so that it can be submitted anew."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from celldock.errors import InvalidSubmission
from celldock.h5ad.additions import Additions, RemovedColumn
from celldock.h5ad.file import H5adFile
from celldock.h5ad.headers import CROWD, Header
from celldock.labels.recipes import recipes
from celldock.schema import Schema


def removals(file: H5adFile, header: Header, schema: Schema) -> Additions:
    """The columns and keys of a file that have names of labels, whoever put them there.

    `header` is that of the file. What cannot be restored: docs/labels.md.

    Raises:
        InvalidSubmission: uns holds more than a header lists, so that labels in it might be passed over.
    """
    if not header.uns_complete:
        raise InvalidSubmission(
            "uns has too many elements for its labels to be found.",
            code="labels.uns_too_large",
            where="uns",
            hint="Move what is not needed out of uns, and try again.",
        )
    labels = recipes(schema)
    frames = (("obs", header.obs), ("var", header.var), ("raw.var", header.raw_var))
    return Additions(
        removed_columns=tuple(
            RemovedColumn(frame.path, column.name)
            for place, frame in frames
            if frame is not None
            for column in frame.columns
            if column.name in labels.get(place, ())
        ),
        removed_elements=tuple(
            path
            for place in labels
            if place.startswith("uns")
            for path in _elements(file, header, place, labels[place])
        ),
    )


def _elements(file: H5adFile, header: Header, place: str, names: Collection[str]) -> Iterator[str]:
    """The paths of such names in uns itself, or in each dictionary in `place`."""
    parents = {element.path: element for element in header.uns}
    if place == "uns":
        yield from (path for name in names if (path := f"uns/{name}") in parents)
        return
    crowd = place in parents and parents[place].shape[:1] > (CROWD,)
    for path, element in parents.items():
        if path.rpartition("/")[0] != place or element.kind != "dict":
            continue
        # Of a crowd the header tells the names alone.
        inside = file.element(path) if crowd else None
        held = inside if isinstance(inside, Mapping) else ()
        yield from (inner for name in names if (inner := f"{path}/{name}") in parents or name in held)

"""What neither the config nor the file says, but follows from what they do say, by the schema and without guessing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from celldock.curation.dropping import frames_of
from celldock.curation.fields import ORGANISM, Place
from celldock.curation.genes import GeneFacts
from celldock.curation.making import MadeColumn
from celldock.curation.task import Task
from celldock.curation.terms import UnresolvedError, resolve
from celldock.h5ad.additions import NewColumn, NewElement
from celldock.h5ad.frames import iter_blocks
from celldock.h5ad.headers import FrameHeader
from celldock.schema import Schema
from celldock.schema.facts import Value
from celldock.schema.rules.suspensions import suspension_types
from celldock.schema.rules.terms import named
from celldock.schema.words import ROWS

type Array = np.ndarray[Any, Any]
type Ids = Mapping[str, Sequence[str]]
"""The ids that genes are about to get, by the path of their frame; of a frame that is not there its index has them."""

_BLOCK = 1 << 16
_ASSAY = "assay_ontology_term_id"
_SUSPENSION = "suspension_type"
_PRIMARY = "is_primary_data"
_BIOTYPE = "feature_biotype"
_IS_SINGLE = "uns/spatial/is_single"


def derived_organism(task: Task, genes: GeneFacts | None) -> str | None:
    """The organism that all genes are of, but for those that may be in a file of any organism."""
    place: Place = "uns" if ORGANISM in task.fields.known["uns"] else "obs"
    wanted = task.fields.known[place][ORGANISM]
    found: list[str] = []
    for organism in genes.organisms if genes is not None and genes.organisms else _organisms(task):
        try:
            found.append(resolve(task.reference, wanted, organism, {}).value)
        except UnresolvedError:
            continue
    if len(found) != 1:
        return None
    message = f"All genes are of {named(task.reference, found[0])}, so that this is the organism."
    task.ledger.change(f"{place}.derived", f"{place}/{ORGANISM}", message, 1)
    return found[0]


def derived_suspensions(task: Task, schema: Schema, assays: MadeColumn | None) -> MadeColumn | None:
    """The suspension type, where the schema leaves exactly one for each assay of the file."""
    table = next(
        (rule.parameters["table"] for rule in schema.rules if rule.rule.name == "suspension_type_by_assay"), None
    )
    if table is None or assays is None:
        return None
    types: dict[Value, str] = {}
    for assay in assays.counts:
        allowed = suspension_types(task.reference, table, assay) if isinstance(assay, str) else []
        if len(allowed) != 1 or assay is None:
            return None
        types[assay] = allowed[0]
    values = {value: None if assay is None else types.get(assay) for value, assay in assays.values.items()}
    words = ", ".join(f"{named(task.reference, str(assay))} is of {kind!r}" for assay, kind in types.items())
    message = f"{_SUSPENSION} follows from the assay: {words}."
    task.ledger.change("obs.derived", f"obs/{_SUSPENSION}", message, assays.frame.length)
    return MadeColumn(assays.frame, _SUSPENSION, assays.facts, values)


def assumed_primary(task: Task, elements: Sequence[NewElement]) -> MadeColumn:
    """is_primary_data where nobody says: True, but for spatial data that are not of a single section or array."""
    said = {element.path: element.value for element in elements}
    single: object = said.get(_IS_SINGLE)
    spatial = said.get("uns/spatial")
    if isinstance(spatial, Mapping):
        single = spatial.get("is_single")
    if single is None and task.tables.element_header(_IS_SINGLE) is not None:
        single = task.tables.element(_IS_SINGLE)
    primary = single is not False
    why = "as nothing says otherwise" if primary else "as these are spatial data that are not of a single section"
    frame = task.frame("obs")
    message = f"{_PRIMARY} is assumed to be {primary} in {ROWS['obs'].of(frame.length)}, {why}."
    task.ledger.change("obs.assumed", f"obs/{_PRIMARY}", message, frame.length)
    return MadeColumn(frame, _PRIMARY, None, {None: primary})


def derived_biotypes(task: Task, schema: Schema, ids: Ids) -> Iterator[NewColumn]:
    """feature_biotype, in a schema that has it of submitters: spike-ins are told by their ids."""
    rules = {
        applied.parameters["frame"]: applied.parameters for applied in schema.rules if applied.rule.name == _BIOTYPE
    }
    for place, frame in frames_of(task.tables.header):
        if place not in rules or any(column.name == _BIOTYPE for column in frame.columns):
            continue
        words = (rules[place]["gene"], rules[place]["spike_in"])
        spiked = _spiked(task, frame, rules[place]["spike_ins"], ids)
        used = [word for word, number in zip(words, (~spiked, spiked), strict=True) if number.any()]
        codes = np.where(spiked, len(used) - 1, 0).astype(np.int8)
        message = f"{_BIOTYPE} follows from the ids of {ROWS[place].of(frame.length)}: {' and '.join(used)}."
        task.ledger.change(f"{place}.derived", f"{frame.path}/{_BIOTYPE}", message, frame.length)
        blocks = partial(_in_blocks, codes)
        yield NewColumn(frame.path, _BIOTYPE, "categorical", frame.length, blocks, tuple(used))


def _spiked(task: Task, frame: FrameHeader, spike_ins: str, ids: Ids) -> Array:
    """For each gene whether it is a spike-in."""
    found = np.zeros(frame.length, np.bool)
    for start, some in _ids(task, frame, ids):
        known = task.reference.genes(some)
        found[start : start + len(some)] = [id_ in known and known[id_].organism == spike_ins for id_ in some]
    return found


def _ids(task: Task, frame: FrameHeader, ids: Ids) -> Iterator[tuple[int, Sequence[str]]]:
    """The ids of a frame's genes in blocks, each with its first row."""
    new = ids.get(frame.path)
    for start, stop in iter_blocks(frame.length, _BLOCK):
        yield start, task.tables.file.index(frame, start, stop).tolist() if new is None else new[start:stop]


def _organisms(task: Task) -> list[str]:
    """The organisms of the genes that var and raw.var name."""
    found: set[str] = set()
    for place, frame in frames_of(task.tables.header):
        if place != "obs":
            for _, ids in _ids(task, frame, {}):
                found |= {gene.organism for gene in task.reference.genes(ids).values()}
    return sorted(found)


def _in_blocks(codes: Array) -> Iterator[Array]:
    for start, stop in iter_blocks(len(codes), _BLOCK):
        yield codes[start:stop]

"""Genes as submitters name them, by symbol or id, and the ids of the schema's annotations that they stand for.

Nothing is guessed: a name that stands for several genes, or for one that another name stands for, has no id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from celldock.curation.config import Curation
from celldock.curation.fields import nearest
from celldock.curation.ledger import Ledger
from celldock.errors import InvalidSubmission
from celldock.h5ad.file import Array, H5adFile
from celldock.h5ad.frames import iter_blocks
from celldock.h5ad.headers import ColumnHeader, FrameHeader, Header
from celldock.report.model import MAX_EXAMPLES
from celldock.schema.reference import Reference
from celldock.schema.rules.genes import without_version
from celldock.schema.rules.terms import named
from celldock.schema.words import ROWS

INDEX = "index"
"""What a config calls the index of a frame."""

type _How = Literal["id", "version", "symbol", "case"]

_RANKS: Mapping[_How, int] = {"id": 0, "version": 1, "symbol": 2, "case": 3}
_BLOCK = 65_536
_MOST_GENES = 1 << 20
_SAMPLE = 500
_LIKELY = 3
_TEXTS = frozenset({"categorical", "string", "nullable-string"})


@dataclass(frozen=True, slots=True, eq=False)
class GeneMapping:
    """The genes of one frame.

    Attributes:
        frame: its header.
        names: of its genes, where the config says that they are.
        ids: what they stand for; "" for a gene that cannot be kept.
        index: the names of its rows as they are.
        former: what the index is to be called as a column, once the ids have taken its place.
        why: of each name without an id why it has none.
    """

    frame: FrameHeader
    names: tuple[str, ...]
    ids: tuple[str, ...]
    index: tuple[str, ...]
    former: str
    why: Mapping[str, str]

    @property
    def kept(self) -> tuple[str, ...]:
        """The ids of all genes that are kept, in their order."""
        return tuple(filter(None, self.ids))

    @property
    def kept_rows(self) -> Array:
        """Their rows."""
        return np.flatnonzero(np.array([bool(each) for each in self.ids], np.bool))


@dataclass(frozen=True, slots=True)
class GeneFacts:
    """What the genes of a file say of it: how many ids of each organism there are, shared gene sets included.

    `organism` is the one whose symbols were looked up; "" where there was no need to.
    """

    organisms: Mapping[str, int] = field(default_factory=dict[str, int])
    organism: str = ""


@dataclass(frozen=True, slots=True)
class Genes:
    """The genes of var, and of raw.var where there is one, by the frame's path."""

    mappings: Mapping[str, GeneMapping]
    facts: GeneFacts


class _Found(NamedTuple):
    """What a name stands for: an id, or several candidates, or nothing."""

    id: str = ""
    how: _How = "id"
    candidates: tuple[str, ...] = ()


def map_genes(
    file: H5adFile, header: Header, curation: Curation, reference: Reference, ledger: Ledger, *, organism: str = ""
) -> Genes:
    """The ids of all genes of a file, by the config's `genes`; what has none is told, or is to be dropped.

    `organism` is the term of the file's organism as far as it is known; else it is the one of most ids.
    Memory: the names and ids of all genes. Raises InvalidSubmission for a damaged file, and for more genes than all
    annotations have together.
    """
    frames = [frame for frame in (header.var, header.raw_var) if frame is not None]
    indexes = {frame.path: _index(file, frame) for frame in frames}
    names = {frame.path: _names(file, frame, indexes[frame.path], curation, ledger) for frame in frames}
    lookup = _Lookup(reference)
    lookup.learn(name for some in names.values() for name in some)
    lookup.learn_symbols(_organism_of(organism, lookup, ledger))
    mappings = {
        frame.path: _mapping(frame, names[frame.path], indexes[frame.path], lookup, curation) for frame in frames
    }
    _tell_found(mappings, lookup, ledger)
    _tell_lost(mappings, curation, ledger)
    ids = {id_ for mapping in mappings.values() for id_ in mapping.kept}
    organisms = Counter(gene.organism for gene in reference.genes(ids).values())
    return Genes(mappings, GeneFacts(dict(sorted(organisms.items())), lookup.organism))


class _Lookup:
    """What names stand for, each looked up once."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.found: dict[str, _Found] = {}
        self.organisms: Counter[str] = Counter()
        self.organism = ""

    def learn(self, names: Iterable[str]) -> None:
        """Looks names up as ids, with and without their version."""
        distinct = dict.fromkeys(names)
        plain = {name: without_version(name.strip()) for name in distinct}
        genes = self.reference.genes(dict.fromkeys([*distinct, *plain.values()]))
        for name in distinct:
            if name in genes:
                self.found[name] = _Found(name, "id")
            elif plain[name] in genes:
                self.found[name] = _Found(plain[name], "version")
            else:
                self.found[name] = _Found()
                continue
            self.organisms[genes[self.found[name].id].organism] += 1

    @property
    def others(self) -> list[str]:
        """The names that no id is found for."""
        return [name for name, found in self.found.items() if not found.id]

    def learn_symbols(self, organism: str) -> None:
        """Looks the names that are no ids up as symbols of an organism."""
        self.organism = organism
        self.found |= {name: self._symbol(name.strip(), organism) for name in self.others if organism}

    def _symbol(self, name: str, organism: str) -> _Found:
        genes = self.reference.find_symbol(name, organism)
        exact = [gene for gene in genes if gene.symbol == name]
        named = exact or genes
        if len(named) == 1:
            return _Found(named[0].id, "symbol" if exact else "case")
        return _Found(candidates=tuple(gene.id for gene in named))


def _organism_of(organism: str, lookup: _Lookup, ledger: Ledger) -> str:
    """The organism among whose symbols names are looked up; "" where all names are ids, or none has such symbols.

    Organisms share most of their symbols, so that these do not say which one it is: somebody has to.
    """
    reference, names = lookup.reference, lookup.others
    if not names:
        return ""
    term = reference.term(organism) if organism else None
    if term is not None:
        return next(filter(reference.has_genes_of, (term.id, *sorted(term.ancestors))), "")
    if lookup.organisms:
        return lookup.organisms.most_common(1)[0][0]
    sample = names[:: max(1, len(names) // _SAMPLE)]
    of_each = Counter(
        {each: _symbols_of(reference, each, sample) for each in reference.versions if reference.has_genes_of(each)}
    )
    likely = [(each, count) for each, count in of_each.most_common(_LIKELY) if count]
    if not likely:
        return ""
    shares = ", ".join(f"{named(reference, each)} has {count / len(sample):.0%} of them" for each, count in likely)
    ledger.problem(
        "genes.organism_unknown",
        "var",
        f"Genes are named by symbols, which do not say of which organism they are: {shares}.",
        count=len(names),
        examples=names[:MAX_EXAMPLES],
        suggestion="Say so in the config: organism_ontology_term_id, as the name of the organism or its id.",
    )
    return likely[0][0]


def _symbols_of(reference: Reference, organism: str, names: Iterable[str]) -> int:
    """How many of some names are symbols of an organism, exactly so written."""
    found = (reference.find_symbol(name, organism)[:1] for name in names)
    return sum(bool(genes) and genes[0].symbol == name for genes, name in zip(found, names, strict=True))


def _index(file: H5adFile, frame: FrameHeader) -> tuple[str, ...]:
    if frame.length > _MOST_GENES:
        raise InvalidSubmission(
            f"{frame.path} has {frame.length:,} rows, more than all annotations have genes.",
            code="genes.too_many",
            where=frame.path,
            hint="Check the shape of the matrices: cells are their rows and genes their columns.",
        )
    blocks = (file.index(frame, start, stop).tolist() for start, stop in iter_blocks(frame.length, _BLOCK))
    return tuple(name for block in blocks for name in block)


def _names(
    file: H5adFile, frame: FrameHeader, index: tuple[str, ...], curation: Curation, ledger: Ledger
) -> tuple[str, ...]:
    """The names of a frame's genes, from where the config says that they are."""
    wanted = curation.config.genes.names
    if wanted == INDEX:
        return index
    column = next((column for column in frame.columns if column.name == wanted and column.kind in _TEXTS), None)
    if column is not None:
        return column_texts(file, column, frame.length)
    texts = [column.name for column in frame.columns if column.kind in _TEXTS]
    near = nearest(wanted, texts)
    ledger.problem(
        "genes.no_such_column",
        curation.where("genes", "names"),
        f"The names of genes are to be in the column {wanted!r}, but {frame.path} has no such column of text.",
        examples=texts,
        suggestion=f"Did you mean {near!r}?" if near else f"Name a column of {frame.path}, or {INDEX!r} for its index.",
    )
    return index


def column_texts(file: H5adFile, column: ColumnHeader, rows: int) -> tuple[str, ...]:
    """All values of a column of text; "" where one is missing."""
    labels = [*map(str, file.categories(column).tolist()), ""] if column.categories is not None else None
    texts: list[str] = []
    for start, stop in iter_blocks(rows, _BLOCK):
        block = file.column(column, start, stop)
        values = block.values.tolist()
        # The code of a missing value is -1: the last place.
        here: list[str] = values if labels is None else [labels[code] for code in values]
        if block.mask is not None:
            here = ["" if gone else text for text, gone in zip(here, block.mask.tolist(), strict=True)]
        texts += here
    return tuple(texts)


def _mapping(
    frame: FrameHeader, names: tuple[str, ...], index: tuple[str, ...], lookup: _Lookup, curation: Curation
) -> GeneMapping:
    """The ids of a frame's genes, each at most once."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if found := lookup.found[name].id:
            rows.setdefault(found, []).append(row)
    ids = [lookup.found[name].id for name in names]
    why = {name: _why(lookup.found[name]) for name in names if not lookup.found[name].id}
    for id_, some in rows.items():
        # What is named by its id is that gene, whatever else may have been meant by it.
        best = min(_RANKS[lookup.found[names[row]].how] for row in some)
        certain = [row for row in some if _RANKS[lookup.found[names[row]].how] == best]
        for row in some if len(certain) > 1 else set(some) - set(certain):
            ids[row] = ""
            why[names[row]] = f"names {id_}, as another row does"
    former = _former(frame, index, lookup, curation)
    return GeneMapping(frame, names, tuple(ids), index, former, why)


def _why(found: _Found) -> str:
    if not found.candidates:
        return "unknown"
    return f"stands for several genes: {', '.join(found.candidates)}"


def _former(frame: FrameHeader, index: Sequence[str], lookup: _Lookup, curation: Curation) -> str:
    """A name that no column has yet for the names of rows that ids take the place of."""
    if curation.config.genes.names == INDEX:
        symbols = sum(lookup.found[name].how in ("symbol", "case") for name in index)
        are_symbols = symbols * 2 > sum(bool(lookup.found[name].id) for name in index)
    else:
        sample = index[:: max(1, len(index) // _SAMPLE)]
        organism = lookup.organism or next((each for each, _ in lookup.organisms.most_common(1)), "")
        are_symbols = _symbols_of(lookup.reference, organism, sample) * 2 > len(sample)
    name = base = "gene_symbol" if are_symbols else "author_index"
    taken = {*(column.name for column in frame.columns), *curation.config.var}
    number = 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    return name


def _tell_found(mappings: Mapping[str, GeneMapping], lookup: _Lookup, ledger: Ledger) -> None:
    for path, mapping in mappings.items():
        how = Counter(lookup.found[name].how for name, id_ in zip(mapping.names, mapping.ids, strict=True) if id_)
        symbols = how["symbol"] + how["case"]
        if symbols:
            ledger.change(
                "genes.resolved", path, f"{path}: the symbols of {ROWS['var'].of(symbols)} became Ensembl ids.", symbols
            )
        if how["version"]:
            message = f"{path}: the ids of {ROWS['var'].of(how['version'])} lost their version."
            ledger.change("genes.version_removed", path, message, how["version"])
    by_case = {
        name: id_
        for mapping in mappings.values()
        for name, id_ in zip(mapping.names, mapping.ids, strict=True)
        if id_ and lookup.found[name].how == "case"
    }
    if by_case:
        message = f"{ROWS['var'].of(len(by_case))} were found by their symbol only when case is ignored."
        ledger.change("genes.case_ignored", "var", message, len(by_case), by_case)


def _tell_lost(mappings: Mapping[str, GeneMapping], curation: Curation, ledger: Ledger) -> None:
    """The genes without an id: a problem, or dropped, as the config says."""
    if curation.config.genes.unknown == "drop":
        for path, mapping in mappings.items():
            count = len(mapping.ids) - len(mapping.kept)
            if count:
                message = f"{path}: {ROWS['var'].of(count)} of {len(mapping.ids):,} were dropped{_kinds(mapping.why)}."
                ledger.change("genes.dropped", path, message, count, dict(mapping.why))
        return
    why = {name: reason for mapping in mappings.values() for name, reason in mapping.why.items()}
    if why:
        paths = [path for path, mapping in mappings.items() if mapping.why]
        ledger.problem(
            "genes.unresolved",
            paths[0],
            f"{' and '.join(paths)}: {ROWS['var'].of(len(why))} cannot be given an Ensembl id{_kinds(why)}.",
            count=len(why),
            examples=(f"{name!r}: {reason}" for name, reason in why.items()),
            suggestion="Correct their names, or leave these genes out of all matrices: genes: {unknown: drop}.",
        )


def _kinds(why: Mapping[str, str]) -> str:
    """How many names have which reason, in brackets."""
    counts = Counter(reason.partition(" ")[0] for reason in why.values())
    words = {"unknown": "unknown to the schema", "stands": "ambiguous", "names": "the same gene as another"}
    return f" ({', '.join(f'{counts[key]:,} {word}' for key, word in words.items() if counts[key])})"

"""Rules about gene ids: the indexes of var and raw.var against the annotations that the schema pins.

`shared` are gene sets that go with any organism: spike-ins and SARS-CoV-2.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from weakref import WeakKeyDictionary

import numpy as np

from celldock.errors import InvalidSubmission
from celldock.h5ad.frames import iter_blocks
from celldock.h5ad.headers import ColumnHeader, FrameHeader
from celldock.report import Finding
from celldock.report.model import MAX_EXAMPLES
from celldock.schema.facts import Tables
from celldock.schema.reference import Gene, Reference
from celldock.schema.registry import Context, Skip, rule
from celldock.schema.words import ROWS

_BLOCK = 65_536
_LOOKED_AT = 50
_LONGEST = 200
_ORGANISM = "organism_ontology_term_id"

# What is left of an Ensembl id with a version, such as ENSG00000186092.7 or ENSG00000002586.20_PAR_Y.
_VERSIONED = re.compile(r"(ENS[A-Z_]*\d+)\.\d+(.*)", re.ASCII | re.DOTALL)
_WITHIN = re.compile(r"ENS[A-Z]*G\d{11}|FBgn\d{7}|WBGene\d{8}|ERCC-\d{5}", re.ASCII)


@rule("{frame}.index.gene_unknown")
def gene_unknown(context: Context, *, frame: str) -> Iterator[Finding]:
    """Each id is in one of the pinned annotations. Ids that only have a version too many are told by another rule."""
    header = context.frame(frame)
    unknown = _look_up(context, frame).unknown
    if unknown.count:
        yield context.finding(
            header.index,
            f"{frame} has {ROWS[frame].of(unknown.count)} whose id is in no annotation that the schema accepts.",
            count=unknown.count,
            examples=unknown.shown,
            suggestion=_column_of_ids(context, frame, header) or _suggest_ids(context, unknown.first),
        )


@rule("{frame}.index.gene_version")
def gene_version(context: Context, *, frame: str) -> Iterator[Finding]:
    """No Ensembl id carries the version of its gene."""
    versioned = _look_up(context, frame).versioned
    if versioned.count:
        names = "adata.raw.var_names" if frame == "raw.var" else "adata.var_names"
        yield context.finding(
            context.frame(frame).index,
            f"{frame} has {ROWS[frame].of(versioned.count)} whose id carries a version, but ids are given without.",
            count=versioned.count,
            examples=versioned.shown,
            suggestion=f"{versioned.first[0]} is {without_version(versioned.first[0])}: take {names}.str.replace("
            r"r'\.\d+', '', regex=True).",
        )


@rule("{frame}.index.gene_organism")
def gene_organism(context: Context, *, frame: str, shared: Sequence[str]) -> Iterator[Finding]:
    """All genes are of the organism that uns names, or in a `shared` set."""
    organism = context.uns(_ORGANISM)
    term = context.reference.term(organism) if isinstance(organism, str) else None
    # Another rule tells an organism that no annotation is for.
    if term is None or not any(map(context.reference.has_genes_of, (term.id, *term.ancestors))):
        raise Skip
    own = {term.id, *term.ancestors, *shared}
    foreign = {other: some for other, some in _look_up(context, frame).organisms.items() if other not in own}
    if not foreign:
        return
    whose = " and ".join(f"{some.count:,} of {_organism(context.reference, other)}" for other, some in foreign.items())
    count = sum(some.count for some in foreign.values())
    only = next(iter(foreign)) if len(foreign) == 1 and len(_look_up(context, frame).organisms) == 1 else ""
    yield context.finding(
        context.frame(frame).index,
        f"The organism of the file is {term.label} ({term.id}), but {frame} has genes of another: {whose}.",
        count=count,
        examples=[name for some in foreign.values() for name in some.shown],
        suggestion=f"If the cells are of {_organism(context.reference, only)}, set adata.uns[{_ORGANISM!r}] = {only!r}."
        if only
        else f"Leave these genes out, or give their orthologs' ids in {term.label}.",
    )


@rule("raw.var.index.differs")
def raw_genes_differ(context: Context) -> Iterator[Finding]:
    """raw.var names the same genes as var, in the same order. Their numbers are compared by another rule."""
    var, raw = context.frame("var"), context.frame("raw.var")
    if var.length != raw.length:
        raise Skip
    differ = _Some()
    balance = 0
    for start, stop in iter_blocks(var.length, _BLOCK):
        names = (context.file.index(frame, start, stop).tolist() for frame in (var, raw))
        for mine, other in zip(*names, strict=True):
            if mine != other:
                differ.add(f"{mine} in var, {other} in raw.var")
                balance += hash(mine) - hash(other)
    if differ.count:
        # The same names in any order have the same sum of hashes, and other names next to never.
        reordered = balance == 0
        yield context.finding(
            raw.index,
            f"raw.var and var differ in {ROWS['var'].of(differ.count)}{', by their order' if reordered else ''}.",
            count=differ.count,
            examples=differ.shown,
            suggestion="Set adata.raw = adata.raw[:, adata.var_names].to_adata()."
            if reordered
            else "Set adata.raw from an AnnData of the same genes; those that were filtered out of X stay in it as "
            "zeros, flagged in feature_is_filtered.",
        )


@rule("{frame}.feature_biotype.not_allowed")
def feature_biotype(context: Context, *, frame: str, gene: str, spike_in: str, spike_ins: str) -> Iterator[Finding]:
    """feature_biotype is `spike_in` for the ids of the gene set `spike_ins`, and `gene` for all others."""
    header, column = context.frame(frame), context.column_header(frame, "feature_biotype")
    labels = context.file.categories(column).tolist() if column.categories is not None else None
    wrong = _Some()
    for start, (block,) in context.tables.blocks([column], header.length):
        names = context.file.index(header, start, start + len(block.values)).tolist()
        genes = context.reference.genes(names)
        for name, value in zip(names, block.values.tolist(), strict=True):
            given = value if labels is None else labels[value] if value >= 0 else None
            wanted = spike_in if name in genes and genes[name].organism == spike_ins else gene
            if given != wanted:
                wrong.add(f"{name}: {given!r} where {wanted!r} is right")
    if wrong.count:
        yield context.finding(
            column.path,
            f"feature_biotype is wrong for {ROWS[frame].of(wrong.count)}: it is {spike_in!r} for ERCC ids and {gene!r} "
            "for all others.",
            count=wrong.count,
            examples=wrong.shown,
            suggestion=f"Set it anew: numpy.where(adata.{frame}_names.str.startswith('ERCC-'), {spike_in!r}, {gene!r})."
            if frame == "var"
            else "Set it as in var, before the AnnData becomes raw.",
        )


@rule("var.few_genes")
def few_genes(context: Context, *, genes: int) -> Iterator[Finding]:
    """There are as many genes as an annotation of a whole genome would leave: fewer may have been filtered."""
    found = context.frame("var").length
    if 0 < found < genes:
        yield context.finding(
            "var",
            f"The file has {ROWS['var'].of(found)}: genes should not be filtered out of the matrices.",
            suggestion="If a filter has removed genes, such as one for variable genes, keep them in raw.X, and in X as "
            "zeros flagged in feature_is_filtered.",
        )


def without_version(name: str) -> str:
    """An Ensembl id without its version; any other name as it is.

    >>> without_version("ENSG00000186092.7")
    'ENSG00000186092'
    """
    found = _VERSIONED.fullmatch(name)
    return found[1] + found[2] if found else name


def only_organism(context: Context, shared: Sequence[str]) -> str:
    """The one organism that the genes of var are of, apart from `shared` sets; "" if there is none or more than one."""
    organisms = _look_up(context, "var").organisms.keys() - set(shared)
    return organisms.pop() if len(organisms) == 1 else ""


@dataclass(slots=True)
class _Some:
    """How many there are, and the first few."""

    count: int = 0
    first: list[str] = field(default_factory=list[str])

    def add(self, name: str) -> None:
        self.extend(1, [name])

    def extend(self, count: int, names: Iterable[str]) -> None:
        """Adds so many, of which `names` gives as many as are wanted."""
        self.count += count
        self.first += islice(names, MAX_EXAMPLES - len(self.first))

    @property
    def shown(self) -> list[str]:
        """The first few, in quotes where blanks would not be seen."""
        return [name if name and name == name.strip() else repr(name) for name in self.first]


@dataclass(slots=True)
class _LookedUp:
    """What the ids of an index are: unknown, known but for a version, or of an organism."""

    unknown: _Some = field(default_factory=_Some)
    versioned: _Some = field(default_factory=_Some)
    organisms: dict[str, _Some] = field(default_factory=dict[str, _Some])


_looked_up: WeakKeyDictionary[Tables, dict[str, _LookedUp]] = WeakKeyDictionary()


def _look_up(context: Context, frame: str) -> _LookedUp:
    """The ids of a frame, looked up once for all rules, a block at a time."""
    header = context.frame(frame)
    of_file = _looked_up.setdefault(context.tables, {})
    if frame == "raw.var" and frame not in of_file and _names_alike(context):
        of_file[frame] = _look_up(context, "var")
    if frame not in of_file:
        found = _LookedUp()
        for start, stop in iter_blocks(header.length, _BLOCK):
            _sort(found, context.file.index(header, start, stop).tolist(), context.reference)
        of_file[frame] = found
    return of_file[frame]


def _names_alike(context: Context) -> bool:
    """Whether raw.var names the genes of var in their order: then they need not be looked up again."""
    var, raw = context.frame("var"), context.frame("raw.var")
    return var.length == raw.length and all(
        np.array_equal(context.file.index(var, start, stop), context.file.index(raw, start, stop))
        for start, stop in iter_blocks(var.length, _BLOCK)
    )


def _sort(found: _LookedUp, names: list[str], reference: Reference) -> None:
    genes = reference.genes(names)
    organisms = [genes[name].organism if name in genes else "" for name in names]
    for organism, count in Counter(organisms).items():
        if organism:
            whose = (name for name, other in zip(names, organisms, strict=True) if other == organism)
            found.organisms.setdefault(organism, _Some()).extend(count, whose)
    others = [name for name, organism in zip(names, organisms, strict=True) if not organism]
    plain = {name: without_version(name) for name in others}
    known = reference.genes(other for name, other in plain.items() if other != name)
    for name in others:
        (found.versioned if plain[name] in known else found.unknown).add(name)


def _organism(reference: Reference, organism: str) -> str:
    term = reference.term(organism)
    return f"{term.label} ({organism})" if term else organism


def _column_of_ids(context: Context, frame: str, header: FrameHeader) -> str:
    """Which column of the frame holds the ids that its index should."""
    for column in header.columns[:_LOOKED_AT]:
        values = _first_values(context, column, min(header.length, _LOOKED_AT))
        plain = [without_version(value) for value in values]
        if values and len(context.reference.genes(plain)) > len(values) * 0.8:
            place = f"adata.{frame}[{column.name!r}]"
            versions = r".str.replace(r'\.\d+', '', regex=True)" if plain != values else ""
            return f"{place} looks like the ids: make it the index, adata.{frame}_names = {place}{versions}."
    return ""


def _first_values(context: Context, column: ColumnHeader, rows: int) -> list[str]:
    """The first values of a column of text; none if one of them is missing or it cannot be read."""
    try:
        if column.kind not in ("string", "nullable-string", "categorical") or not rows:
            return []
        values = context.file.column(column, 0, rows).values.tolist()
        if column.kind == "categorical":
            labels = context.file.categories(column).tolist()
            values = [labels[code] for code in values if code >= 0]
    except InvalidSubmission:
        return []
    return values if len(values) == rows and all(isinstance(value, str) for value in values) else []


def _suggest_ids(context: Context, names: Iterable[str]) -> str:
    """The ids that some unknown names stand for, as far as that can be told."""
    known = [f"{name!r} is {gene.id}" for name in names if (gene := _meant(context, name)) is not None]
    if known:
        return f"{'; '.join(known)}: give each gene's id, not its symbol or another form of it."
    return (
        "Give the ids of the annotation that the schema pins, and leave out genes that it does not have: ids that only "
        "an older or a newer release has are not in it."
    )


def _meant(context: Context, name: str) -> Gene | None:
    """The gene that an unknown name stands for."""
    if len(name) > _LONGEST:
        return None
    reference = context.reference
    spelled = [name.strip(), name.strip().upper(), name.strip().replace("_", "-"), *_WITHIN.findall(name)]
    for form in spelled:
        gene = reference.gene(without_version(form))
        if gene is not None:
            return gene
    for organism in _organisms(context):
        genes = reference.find_symbol(name.strip(), organism)
        if len(genes) == 1:
            return genes[0]
    return None


def _organisms(context: Context) -> list[str]:
    """The gene sets that go with the organism of the file, or with those of its cells."""
    try:
        stated = [context.uns(_ORGANISM)] if context.uns_header(_ORGANISM) else context.column("obs", _ORGANISM).used
    except Skip:
        return []
    terms = [context.reference.term(each) for each in islice(stated, _LOOKED_AT) if isinstance(each, str)]
    families = [organism for term in terms if term for organism in (term.id, *term.ancestors)]
    return [organism for organism in families if context.reference.has_genes_of(organism)]
